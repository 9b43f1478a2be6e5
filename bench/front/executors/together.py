"""A job that several processes of one machine compute together, started by torchrun."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.core.environment import core_count
from bench.core.errors import CellError, InputError
from bench.core.foreign.documents import read_json
from bench.core.store.claims import is_gone, remove, this_process
from bench.front.executors.parts import code_environment
from bench.runs.execution.jobs import Job, JobContext

JOB, RESULT = "job.json", "result.json"
"""Files in the folder of a job."""
PREFIX = "bench-job-"
"""How the folder of a job begins; machine and process follow."""
PATIENCE = 30.0
"""Seconds for the processes of a job that is ended to store what they have."""
Ended = tuple[dict[str, str], tuple[int, str] | None]
"""The reasons of the items that failed, by key, and what ends the run: `JobResult`."""

log = logging.getLogger("bench")


def carry_out_together(job: Job) -> Ended:
    """Have `job.processes` processes compute a job, data-parallel; return how that ended.

    They see the GPUs that this process sees, and end if it does. Raises CellError if they end
    without a result, as when one of them is killed.

    Examples
    --------
    >>> from bench.front.executors.together import carry_out_together
    >>> from bench.runs.execution.jobs import Job, JobContext
    >>> job = Job(JobContext("{", ".", "logs"), 0, ("1f0c",), "features", on_device=True)
    >>> carry_out_together(job)  # its configuration is cut
    ({'1f0c': '...invalid JSON: ...'}, None)
    """
    _sweep()
    host, pid = this_process()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{host}-{pid}-") as folder:
        place = Path(folder)
        (place / JOB).write_text(json.dumps(asdict(job)))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(job.processes), "--log-dir", folder]
        command += ["-m", "bench.front.executors.rank", folder]
        # Each process reads its input, which ends with this process.
        there, here = os.pipe()
        running = subprocess.Popen(
            command,
            stdin=there,
            stderr=subprocess.PIPE,
            env=_environment(job.processes),
            start_new_session=True,  # Ctrl-C is for the run, which ends its workers
        )
        os.close(there)
        try:
            _, errors = running.communicate()
        finally:
            _end(running)
            os.close(here)
        return _ended(place, errors.decode(errors="replace"))


def _sweep() -> None:
    """Remove the folders of jobs whose workers were killed."""
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        host, _, rest = place.name.removeprefix(PREFIX).partition("-")
        with suppress(OSError, ValueError):  # of another user, or of another form
            if is_gone((host, int(rest.partition("-")[0]))):
                remove(place)


def _environment(processes: int) -> Mapping[str, str]:
    """Return the environment of a job's processes, who share the threads of this one."""
    launched = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "TORCHELASTIC")
    own = {name: v for name, v in os.environ.items() if not name.startswith(launched)}
    threads = int(os.environ.get("OMP_NUM_THREADS") or core_count())
    return own | code_environment() | {"OMP_NUM_THREADS": str(max(1, threads // processes))}


def _end(running: subprocess.Popen[bytes]) -> None:
    """End what still runs."""
    if running.poll() is None:
        running.terminate()
        try:
            running.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            running.kill()


def _ended(place: Path, said: str) -> Ended:
    log.debug("%s", said)
    try:
        match read_json(place / RESULT):
            case {"failed": dict(failed), "error": None}:
                return failed, None
            case {"failed": dict(failed), "error": [int(code), str(message)]}:
                return failed, (code, message)
    except (OSError, InputError):
        pass
    lines = [line for line in said.splitlines() if line.startswith("bench: ")] or ["no message"]
    raise CellError(f"its processes ended without a result: {lines[-1].removeprefix('bench: ')}")


def read_job(place: Path) -> Job:
    """Return the job that lies in a folder.

    Examples
    --------
    >>> import json
    >>> from dataclasses import asdict
    >>> from pathlib import Path
    >>> from bench.front.executors.together import JOB, read_job
    >>> from bench.runs.execution.jobs import Job, JobContext
    >>> job = Job(JobContext("{}", ".", "logs"), 0, ("1f0c",), "features", on_device=True)
    >>> _ = Path(JOB).write_text(json.dumps(asdict(job)))
    >>> read_job(Path(".")) == job
    True
    """
    fields: dict[str, Any] = read_json(place / JOB)
    context = JobContext(**fields.pop("context"))
    return Job(context, keys=tuple(fields.pop("keys")), **fields)


def write_result(place: Path, ended: Ended) -> None:
    """Write how the job ended into its folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.front.executors.together import RESULT, write_result
    >>> write_result(Path("."), ({}, (4, "dog.png is cut")))
    >>> print(Path(RESULT).read_text())
    {"failed": {}, "error": [4, "dog.png is cut"]}
    """
    failed, error = ended
    (place / RESULT).write_text(json.dumps({"failed": failed, "error": error}))

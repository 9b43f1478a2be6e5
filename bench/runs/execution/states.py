"""What the jobs of a run do, in a file of its folder: for ``bench status``; it is no result."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pydantic

from bench.core.errors import InputError
from bench.core.foreign.documents import read_json
from bench.core.paths import write_atomic

JOBS = "jobs.json"
"""The file in a run's folder."""


class JobState(pydantic.BaseModel):
    """A job: how many items it has, what it does, where, for how many seconds, and its log.

    `state` is done, failed, lost, or what the executor says of it, such as waiting or running;
    `reason` says why it failed.
    """

    label: str
    items: int
    state: str = "waiting"
    host: str = ""
    seconds: float = 0.0
    log: str = ""
    reason: str = ""


class RunJobs(pydantic.BaseModel):
    """The jobs of a run, in the order in which they were sent; `updated` is the time in UTC."""

    executor: str
    updated: str
    jobs: tuple[JobState, ...]


def write_jobs(folder: Path, executor: str, jobs: Sequence[JobState]) -> None:
    """Write what jobs do into a run's folder, if that can be written."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    content = RunJobs(executor=executor, updated=now, jobs=tuple(jobs))
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        text = content.model_dump_json(indent=1)
        write_atomic(folder / JOBS, text.encode(), durable=False)


def read_jobs(folder: Path) -> RunJobs:
    """Read them. Raises InputError if the run has none, as without workers, or the file is bad."""
    path = folder / JOBS
    if not path.is_file():
        raise InputError(
            f"{path}: not there: a run writes it while it has workers (--executor); one without "
            "shows its progress where it was started"
        )
    try:
        return RunJobs.model_validate(read_json(path))
    except pydantic.ValidationError as error:
        raise InputError(f"{path} is not what bench wrote: start the run again") from error

"""For tests: a small run by workers, and the processes that carry it out."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from commands import SAME_BENCH, start

RUN = (
    *("run", "--suite", "micro", "--limit", "40", "--shifts", "v2", "--no-curves"),
    *("--methods", "wise-ft,vrf", "--seeds", "0,1", "--set", "e2e-ft.epochs=2", "--device", "cpu"),
)
ONE_THREAD = SAME_BENCH | {"OMP_NUM_THREADS": "1"}
"""The bits of a training depend on the number of threads."""


def run(folder: Path, *more: str, command: Sequence[str] = RUN) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that has another bench, which nobody must import."""
    other = folder / "bench" / "__init__.py"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text("raise ImportError('another bench')")
    places = ("--out", folder / "out", "--cache-dir", folder / "cache")
    process = start(*command, *places, *more, env=ONE_THREAD, cwd=folder)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers of a run, which a server forks off; none if another child ends meanwhile."""
    try:
        found = [p for one in psutil.Process(process.pid).children() for p in one.children()]
        return [p for p in found if "forkserver" in str(p.cmdline())]
    except psutil.Error:
        return []


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what `condition` returns once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that ended may not have been waited for."""
    return process.is_running() and process.status() != "zombie"


def ranks_of(run: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a run that share a job."""
    try:
        found = psutil.Process(run.pid).children(recursive=True)
        words = {process: process.cmdline() for process in found}
    except psutil.Error:  # one that ends meanwhile
        return []
    rank, launcher = "bench.front.executors.rank", "torch.distributed.run"
    return [one for one, said in words.items() if rank in said and launcher not in said]

"""Workers on this machine: a process for each GPU, or as many as asked for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from bench.core.environment import core_count, end_with_parent
from bench.core.errors import one_line
from bench.front.executors.parts import changed_environment, code_environment
from bench.front.executors.worker import carry_out_job
from bench.runs.execution.jobs import Job, JobResult, Submitted

PRELOADED = ("bench.front.executors.local", "torch", "torchvision", "open_clip")
"""What each worker needs, and takes longer to import than the rest of its start."""
_server_threads: dict[str, str] = {}
"""The number of threads of the server that this process has, if it has one."""


class LocalExecutor:
    """Carries out jobs in `count` workers of this machine, each with its share of the cores.

    Of the `gpus`, named as in ``CUDA_VISIBLE_DEVICES``, each worker sees as many, in turn, as
    `processes` share its jobs on a device. A worker is a process; one that dies loses its job
    alone, and the next job starts another. ``OMP_NUM_THREADS`` is kept where it is set: runs give
    the same bits with the same number of threads.

    Examples
    --------
    >>> from bench.front.executors.local import LocalExecutor
    >>> executor = LocalExecutor(2)
    >>> executor.name, executor.slots
    ('local:2', 2)
    >>> executor.close()
    """

    least = 4

    def __init__(self, count: int, gpus: Sequence[str] = (), processes: int = 1) -> None:
        shared = f",processes={processes}" if processes > 1 else ""
        self.name, self.slots, self.processes = f"local:{count}{shared}", count, processes
        threads = str(max(1, core_count() // count))
        self._own: list[dict[str, str]] = [
            {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
            | ({"CUDA_VISIBLE_DEVICES": _some(gpus, i * processes, processes)} if gpus else {})
            for i in range(count)
        ]
        self._pools: list[ProcessPoolExecutor | None] = [None] * count
        self._busy: dict[int, Future[JobResult]] = {}

    def submit(self, jobs: Sequence[Job]) -> list[Submitted]:
        """Give each job to a free process; `slots` is how many there are."""
        return [self._submitted(job) for job in jobs]

    def _submitted(self, job: Job) -> Submitted:
        number = next(i for i in range(self.slots) if i not in self._busy or self._busy[i].done())
        earlier = self._busy.pop(number, None)
        if earlier is not None and earlier.exception() is not None:
            self._stop(number)  # its process died
        try:
            future = self._begun(number, job)
        except BrokenExecutor:  # its process died after the last job
            self._stop(number)
            future = self._begun(number, job)
        self._busy[number] = future
        return Submitted(future.done, future.result)

    def _begun(self, number: int, job: Job) -> Future[JobResult]:
        own = self._own[number]
        environment = dict(os.environ) | own
        with changed_environment(code_environment() | own), _without_main():
            pool = self._pools[number]
            if pool is None:
                context = _context(own["OMP_NUM_THREADS"])
                pool = ProcessPoolExecutor(1, context, initializer=_set_up, initargs=(environment,))
                self._pools[number] = pool
            return pool.submit(_in_a_process, job)

    def _stop(self, number: int) -> None:
        pool, self._pools[number] = self._pools[number], None
        if pool is not None:
            for process in [*(pool._processes or {}).values()]:
                process.terminate()  # a training stores where it is
            pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """End all processes; a training among them first stores where it is."""
        for number in range(self.slots):
            self._stop(number)
        self._busy.clear()


def _context(threads: str) -> BaseContext:
    """Return how processes start: forked off a server that has imported what all need, once.

    Libraries read the number of threads when they are imported: where the server has another, and
    where frameworks of the system do not bear a fork (macOS), or the server cannot have its socket,
    as below a temporary folder with a long name, each process starts anew.
    """
    if (
        sys.platform == "linux"
        and _server_threads.setdefault("OMP_NUM_THREADS", threads) == threads
    ):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*PRELOADED])
        with suppress(OSError):
            forkserver.ensure_running()
            return context
    return multiprocessing.get_context("spawn")


def _some(gpus: Sequence[str], first: int, count: int) -> str:
    return ",".join(gpus[i % len(gpus)] for i in range(first, first + count))


@contextmanager
def _without_main() -> Iterator[None]:
    """Have a process that starts meanwhile not run the user's script again, as Python's own do."""
    main = sys.modules["__main__"]
    names = {"__file__", "__spec__"} & vars(main).keys()
    kept: dict[str, Any] = {name: vars(main)[name] for name in names}
    vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(kept)


def _set_up(environment: Mapping[str, str]) -> None:
    """Leave Ctrl-C, which a terminal sends to this process as well, to the run; end with it."""
    os.environ.clear()
    os.environ.update(environment)  # a process that is forked has that of its server
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Else processes that decode images for this one would start as it did: spawned ones take
    # seconds, and outlive it if it is killed meanwhile.
    multiprocessing.set_start_method(None, force=True)
    end_with_parent()


def _in_a_process(job: Job) -> JobResult:
    """Carry out a job, with what libraries print in the log of this process."""
    place = Path(job.context.log) / f"{socket.gethostname()}-{os.getpid()}.log"
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
    try:
        return carry_out_job(job)
    except KeyboardInterrupt as stopped:
        raise SystemExit(f"stopped: {one_line(stopped)}") from stopped

"""How far workers are with their jobs, in small files beside their logs; they are no results."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import InputError
from bench.core.foreign.documents import read_json
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.core.records import Record

ENDING = ".progress"
EVERY = 1.0
"""Seconds between two reports of a worker."""


@dataclass
class JobProgress:
    """A `Progress` of a worker that writes how much work of a job it has done into `folder`.

    Work is counted in forward passes of an image. What cannot be written is not reported.
    """

    folder: Path
    job: Sequence[str] = ()
    """The keys of the job's items."""
    _done: float = field(default=0.0, repr=False)
    _written: float = field(default_factory=time.monotonic, repr=False)

    @property
    def _path(self) -> Path:
        return self.folder / f"{socket.gethostname()}-{os.getpid()}{ENDING}"

    def begin(self, job: Sequence[str]) -> None:
        """Count from 0, for another job."""
        self.job, self._done, self._written = job, 0.0, time.monotonic()

    def end(self) -> None:
        """Remove the report of a job that ended."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    @contextmanager
    def task(self, label: str, total: int, work: float = 0.0) -> Iterator[_Task]:
        """Count the work of a part of the job."""
        yield _Task(self, work)

    def measured(self, record: Record) -> None:
        """Do nothing: the run reads what was measured from the store."""

    def did(self, work: float) -> None:
        """Count some work, and report it if the last report is old enough."""
        self._done += work
        if work and time.monotonic() - self._written >= EVERY:
            self._written = time.monotonic()
            said = {"job": job_name(self.job), "work": self._done}
            with suppress(OSError):
                write_atomic(self._path, json.dumps(said).encode(), durable=False)


@dataclass(frozen=True)
class _Task:
    progress: JobProgress
    work: float

    def advance(self, count: int) -> None:
        self.progress.did(count * self.work)


def job_name(keys: Sequence[str]) -> str:
    """Return what a report calls the job with items of these keys."""
    return key_of(list(keys))


def work_by_job(folder: Path) -> dict[str, float]:
    """Return the work that the workers at each job report, {name of the job: work}.

    A report that cannot be read, or is none, is left out.
    """
    found: dict[str, float] = {}
    for path in folder.glob(f"*{ENDING}"):
        with suppress(OSError, InputError):
            match read_json(path):
                case {"job": str(name), "work": int() | float() as work} if 0 <= work < 1e18:
                    found[name] = found.get(name, 0.0) + work
    return found

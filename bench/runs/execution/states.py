"""What the jobs of a run do, in a file of its folder: for ``bench status``; it is no result."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pydantic

from bench.core.errors import InputError
from bench.core.foreign.documents import read_json
from bench.core.paths import write_atomic

JOBS = "jobs.json"
"""The file in a run's folder."""


Amount = Annotated[float, pydantic.Field(ge=0, le=1e15)]
"""A count or a time that a run can have."""


class JobState(pydantic.BaseModel):
    """A job: how many items it has, what it does, where, for how many seconds, and its log.

    `state` is done, failed, lost, or what the executor says of it, such as waiting or running;
    `share` is the part of its forward passes that is done, from 0 to 1. `reason` says why it
    failed.
    """

    label: str
    items: int
    state: str = "waiting"
    share: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    host: str = ""
    seconds: Amount = 0.0
    log: str = ""
    reason: str = ""


class RunJobs(pydantic.BaseModel):
    """The jobs of a run, in the order in which they were sent; `updated` is the time in UTC.

    `seconds` have passed since the first was sent. Of the work, in forward passes of an image,
    `work_done` is done since then, and `work_left` is left as far as it is known: choices that are
    still to be made can add to it.
    """

    executor: str
    updated: str
    seconds: Amount = 0.0
    work_done: Amount = 0.0
    work_left: Amount = 0.0
    jobs: tuple[JobState, ...]

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the pace so far; None if that is not known.

        Examples
        --------
        >>> from bench.runs.execution.states import RunJobs
        >>> counted = {"seconds": 60, "work_done": 3000, "work_left": 1000}
        >>> RunJobs(executor="ray", updated="", jobs=(), **counted).seconds_left
        20.0
        """
        if not self.work_left:
            return 0.0
        return self.seconds * self.work_left / self.work_done if self.work_done else None


@dataclass
class JobBook:
    """The jobs of a run in `folder`, while they are sent and end; see `RunJobs`."""

    folder: Path
    executor: str
    jobs: list[JobState] = field(default_factory=list)
    work_done: float = 0.0
    work_left: float = 0.0
    _begun: float = field(default_factory=time.monotonic, repr=False)
    _written: float = field(default=0.0, repr=False)

    def did(self, work: float) -> None:
        """Note that so much work was done; less than 0 for work that was lost."""
        self.work_done += work
        self.work_left = max(0.0, self.work_left - work)

    def is_due(self) -> bool:
        """Whether the file is a second old."""
        return time.monotonic() - self._written >= 1

    def write(self) -> None:
        """Write the file, if the folder can be written."""
        self._written = time.monotonic()
        content = RunJobs(
            executor=self.executor,
            updated=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(self._written - self._begun, 1),
            work_done=round(self.work_done),
            work_left=round(self.work_left),
            jobs=tuple(self.jobs),
        )
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            text = content.model_dump_json(indent=1)
            write_atomic(self.folder / JOBS, text.encode(), durable=False)


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

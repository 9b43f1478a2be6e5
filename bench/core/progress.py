"""What the harness reports while it works; how that is shown is the edge's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bench.core.records import Record


class ProgressTask(Protocol):
    """A piece of work under way."""

    def advance(self, count: int) -> None:
        """`count` more units (images) are done."""
        ...


class ByteCounter(Protocol):
    """Told how many more bytes are done."""

    def __call__(self, count: int) -> None:
        """`count` more bytes."""
        ...


class Progress(Protocol):
    """Receives what happens during a run."""

    def task(self, label: str, total: int) -> AbstractContextManager[ProgressTask]:
        """A context manager around a piece of work of `total` units."""
        ...

    def measured(self, record: Record) -> None:
        """A leaderboard cell is known."""
        ...


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[SilentProgress]:
        """Do nothing around the work."""
        yield self

    def advance(self, count: int) -> None:
        """Do nothing."""

    def measured(self, record: Record) -> None:
        """Do nothing."""


@contextmanager
def byte_progress(progress: Progress, label: str, size: int | None) -> Iterator[ByteCounter]:
    """A task of `size` bytes, shown in MB; where the size is unknown (None) it is one step."""
    done = 0
    with progress.task(f"{label}, MB", 1 if size is None else max(1, size // 10**6)) as task:

        def count(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            if step := done // 10**6 - before // 10**6:
                task.advance(step)

        yield count

"""Progress events of a run. How they are displayed is up to the receiver, such as the CLI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bench.core.records import Record


class ProgressTask(Protocol):
    """A running piece of work."""

    def advance(self, count: int) -> None:
        """Report that `count` more units (such as images) are done."""
        ...


class ByteCounter(Protocol):
    """A callback that counts processed bytes."""

    def __call__(self, count: int) -> None:
        """Report that `count` more bytes are done."""
        ...


class Progress(Protocol):
    """Receiver of the progress events of a run."""

    def task(
        self, label: str, total: int, work: float = 0.0
    ) -> AbstractContextManager[ProgressTask]:
        """Return a context manager around a piece of work of `total` units.

        `work` is the share of each unit in the work of the whole run, in forward passes of an
        image.
        """
        ...

    def measured(self, record: Record) -> None:
        """Report the record of a newly measured leaderboard cell."""
        ...


class SilentProgress:
    """A `Progress` that displays nothing.

    Examples
    --------
    >>> from bench.core.progress import SilentProgress
    >>> with SilentProgress().task("features of mini/test", total=2000) as task:
    ...     task.advance(500)
    ...
    """

    @contextmanager
    def task(self, label: str, total: int, work: float = 0.0) -> Iterator[SilentProgress]:
        """Do nothing around the work."""
        yield self

    def advance(self, count: int) -> None:
        """Do nothing."""

    def measured(self, record: Record) -> None:
        """Do nothing."""


@contextmanager
def byte_progress(progress: Progress, label: str, size: int | None) -> Iterator[ByteCounter]:
    """Run a task of `size` bytes that advances in MB.

    If `size` is unknown (None), the task's total is set to 1.

    Examples
    --------
    >>> from bench.core.progress import SilentProgress, byte_progress
    >>> with byte_progress(SilentProgress(), "downloading", size=3 * 10**6) as count:
    ...     count(10**6)
    ...
    """
    done = 0
    with progress.task(f"{label}, MB", 1 if size is None else max(1, size // 10**6)) as task:

        def count(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            if step := done // 10**6 - before // 10**6:
                task.advance(step)

        yield count

"""What the harness reports while it works; how that is shown is the edge's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bench.records import Record


class Task(Protocol):
    """A piece of work under way."""

    def advance(self, count: int) -> None:
        """`count` more units (images) are done."""
        ...


class Progress(Protocol):
    """Receives what happens during a run."""

    def task(self, label: str, total: int) -> AbstractContextManager[Task]:
        """A context manager around a piece of work of `total` units."""
        ...

    def measured(self, record: Record) -> None:
        """A leaderboard cell is known."""
        ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Silent]:
        """Do nothing around the work."""
        yield self

    def advance(self, count: int) -> None:
        """Do nothing."""

    def measured(self, record: Record) -> None:
        """Do nothing."""

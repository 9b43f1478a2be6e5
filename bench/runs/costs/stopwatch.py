"""How long work takes on a machine that has nothing else to do."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

THREADS = Path("/proc/self/task")
"""Where Linux says of each thread how long it ran, and how long it waited for a processor."""


@dataclass(frozen=True)
class Stopwatch:
    """Measures from when it is made.

    Examples
    --------
    >>> from bench.runs.costs.stopwatch import Stopwatch
    >>> 0 < Stopwatch().seconds() < 60
    True
    """

    started: float = field(default_factory=time.monotonic)
    before: tuple[float, float] = field(default_factory=lambda: _ran_and_waited())

    def seconds(self) -> float:
        """Return the seconds since then, without those in which other processes ran instead.

        If threads ran for r seconds in all and waited for w more, (r + w) / wall of them were at
        work at once, each of which waited for its part of w. Where the system does not tell, all
        seconds count.
        """
        wall = time.monotonic() - self.started
        ran, waited = (now - then for now, then in zip(_ran_and_waited(), self.before, strict=True))
        return idle_seconds(wall, ran, waited)


def idle_seconds(wall: float, ran: float, waited: float) -> float:
    """Return how long work takes without waiting; `ran` and `waited` are sums over its threads.

    Examples
    --------
    >>> from bench.runs.costs.stopwatch import idle_seconds
    >>> idle_seconds(40, ran=10, waited=30), idle_seconds(20, ran=10, waited=30)  # 1, 2 threads
    (10.0, 5.0)
    >>> idle_seconds(40, ran=10, waited=0)  # it waited for a disk
    40.0
    """
    if min(ran, waited) <= 0 or wall <= 0:  # threads that ended take their times with them
        return wall
    at_once = max(1.0, (ran + waited) / wall)
    return max(wall - waited / at_once, ran / at_once)


def _ran_and_waited() -> tuple[float, float]:
    """Seconds that the threads of this process ran, and waited for a processor, until now."""
    ran = waited = 0
    with suppress(OSError, ValueError):
        for thread in THREADS.iterdir():
            with suppress(OSError, ValueError):
                own, others, *_ = (thread / "schedstat").read_text().split()
                ran, waited = ran + int(own), waited + int(others)
    return ran / 1e9, waited / 1e9

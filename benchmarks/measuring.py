"""How the programs beside this one measure."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Usage(NamedTuple):
    """CPU seconds and the peak of memory in bytes."""

    seconds: float
    peak: int


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median CPU seconds of `work`, after one run that is not counted."""
    found = []
    for _ in range(repeats + 1):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return statistics.median(found[1:])


def usage(command: Sequence[str], repeats: int = 3) -> Usage:
    """Return the median CPU seconds and memory of a command, after one run that is not counted.

    Raises subprocess.CalledProcessError if it fails.
    """
    found = []
    for _ in range(repeats + 1):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        unit = 1 if sys.platform == "darwin" else 1024
        found.append(Usage(used.ru_utime + used.ru_stime, used.ru_maxrss * unit))
    kept = found[1:]
    return Usage(*(statistics.median(values) for values in zip(*kept, strict=True)))

"""SIGKILL at random moments: to a whole run, to the processes that load images, to the driver."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from stress_attacks.case import Place, Tally, compared, leftovers

WHOM = ("group", "workers", "driver")


def kills(
    folder: Path,
    expected: dict[str, bytes],
    seconds: float,
    count: int,
    seed: int = 0,
    executor: str = "local",
) -> Tally:
    """Kill a run that takes `seconds` at `count` moments, and run the same command again.

    With another `executor`, such as ``local:2``, the workers that are killed are its.
    """
    tally, random_ = Tally(f"kills, {executor}"), random.Random(7 + seed)
    for number in range(count):
        whom, after = WHOM[number % 3], random_.uniform(0.1, 1.05) * seconds
        place = Place(folder / f"kill-{number}")
        process = place.start("--executor", executor)
        killed = kill(process, whom, after)
        process.communicate()
        with suppress(ProcessLookupError):  # a killed driver's workers end by themselves later
            os.killpg(process.pid, signal.SIGKILL)
        fault = compared(place.out, expected, place.run("--executor", executor))
        left = leftovers(place.cache, place.out)
        tally.add(f"{whom} after {after:.2f} s ({killed} killed)", fault, left)
        shutil.rmtree(place.root)
    return tally


def kill(process: subprocess.Popen[str], whom: str, after: float) -> int:
    """Kill a run, its workers (once there are any, until its end) or its driver."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(after)
    if whom == "group":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return 1
    if whom == "driver":
        process.kill()
        return 1
    while process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        with suppress(OSError):
            if pids := children.read_text().split():
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                return len(pids)
        time.sleep(0.005)
    return 0

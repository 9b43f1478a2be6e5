"""SIGKILL at random moments: to a run, its workers, its driver, and the store that it writes to."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from stress_attacks.case import Place, Tally, compared, last_line, leftovers
from stress_attacks.object_store import BUCKET, ObjectStore

WHOM = ("group", "workers", "driver")


def kills(
    folder: Path,
    expected: dict[str, bytes],
    seconds: float,
    count: int,
    seed: int = 0,
    executor: str = "local",
    store: ObjectStore | None = None,
) -> Tally:
    """Kill a run that takes `seconds` at `count` moments, and run the same command again.

    With another `executor`, such as ``local:2``, the workers that are killed are its. With a
    `store` the run has its store there, and every fourth time that is killed.
    """
    title = f"kills, {executor}" + (", a store on S3" if store else "")
    tally, random_ = Tally(title), random.Random(7 + seed)
    whoms = (*WHOM, "store") if store else WHOM
    for number in range(count):
        whom, after = whoms[number % len(whoms)], random_.uniform(0.1, 1.05) * seconds
        place = Place(folder / f"kill-{number}")
        if store:
            address = f"s3://{BUCKET}/{executor.replace(':', '-')}-{number}"
            place = replace(place, store=address, environment=store.environment)
        process = place.start("--executor", executor)
        if store and whom == "store":
            fault = _cut(process, store, after, random_.uniform(0, 30))
            killed = 1
        else:
            killed, fault = kill(process, whom, after), ""
            process.communicate()
        with suppress(ProcessLookupError):  # a killed driver's workers end by themselves later
            os.killpg(process.pid, signal.SIGKILL)
        fault = fault or compared(place.out, expected, place.run("--executor", executor))
        left = leftovers(place.cache, place.out)
        tally.add(f"{whom} after {after:.2f} s ({killed} killed)", fault, left)
        shutil.rmtree(place.root)
    return tally


def _cut(process: subprocess.Popen[str], store: ObjectStore, after: float, away: float) -> str:
    """Kill the store of a run, and start it again; say what is wrong with how the run ended.

    It may end well, as requests are sent again, or in a sentence.
    """
    for wait, then in ((after, store.kill), (away, store.start)):
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        then()
    _, said = process.communicate(timeout=600)
    if process.returncode in (0, 1, 4) and "internal error" not in said:
        return ""
    return f"exit {process.returncode}: {last_line(said)}"


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
        with suppress(psutil.Error):
            if found := psutil.Process(process.pid).children(recursive=True):
                for one in found:
                    with suppress(psutil.Error):
                        one.kill()
                return len(found)
        time.sleep(0.005)
    return 0

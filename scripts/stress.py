#!/usr/bin/env python
"""Attack small runs: kills, a store that dies, damage, crowds, full disks, hostile inputs.

    python scripts/stress.py            # all attacks; about half an hour on two cores
    python scripts/stress.py --short    # a few of each
    python scripts/stress.py --only kills,disks --kills 200 --seed 3

Prints how many trials of each attack held, as "N of N", and those that did not; exit code 1 if
there are any. docs/reliability.md says what must hold. Linux only; full disks need root.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stress_attacks.case import Place, Tally, contents
from stress_attacks.corruption import KINDS, corruption, damaged_runs, obey_permissions
from stress_attacks.crowds import crowd, different, one_folder
from stress_attacks.disks import full_disks, sizes_of
from stress_attacks.kills import kills
from stress_attacks.object_store import object_store

TESTS = Path(__file__).parents[1] / "tests"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--short", action="store_true", help="a few trials of each attack")
    options.add_argument("--only", help="the names of some attacks, separated by commas")
    options.add_argument("--kills", type=int, default=0, help="the number of kills")
    options.add_argument("--seed", type=int, default=0, help="of moments of kills, sizes of disks")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-stress-") as scratch:
        folder, done = Path(scratch), Place(Path(scratch) / "done")
        started = time.monotonic()
        code, said = done.run()
        seconds = time.monotonic() - started
        if code != 0:
            print(f"the undisturbed run failed: {said}")
            return 1
        expected = contents(done.out)
        attacks = _attacks(folder, done, expected, seconds, given)
        names = given.only.split(",") if given.only else [*attacks]
        broken = 0
        for name in names:
            began = time.monotonic()
            for tally in attacks[name]():
                print(f"{tally} ({time.monotonic() - began:.0f} s)", flush=True)
                for one in tally.broken:
                    print(f"  not: {one}", flush=True)
                broken += len(tally.broken)
        return 1 if broken else 0


def _attacks(
    folder: Path,
    done: Place,
    expected: dict[str, bytes],
    seconds: float,
    given: argparse.Namespace,
) -> dict[str, Callable[[], Iterator[Tally]]]:
    short = given.short
    many = 3 if short else 8

    def killed() -> Iterator[Tally]:
        count = given.kills or (3 if short else 50)
        yield kills(folder, expected, seconds, count, given.seed)
        yield kills(folder, expected, 2 * seconds, count, given.seed, "local:2")

    def stores() -> Iterator[Tally]:
        if not short:
            with object_store() as store:
                count = given.kills or 20
                yield kills(folder, expected, 2 * seconds, count, given.seed, "local:2", store)

    def damaged() -> Iterator[Tally]:
        obey_permissions()
        yield corruption(folder, done, expected, ("features", "fits", "cells") if short else KINDS)
        if not short:
            yield damaged_runs(folder, done, expected)

    def crowded() -> Iterator[Tally]:
        yield crowd(folder, expected, many)
        yield one_folder(folder, expected, many)
        yield different(folder, many)
        yield crowd(folder, expected, many, killed=1 if short else 3)

    def full() -> Iterator[Tally]:
        sizes = sizes_of(given.seed)
        yield full_disks(folder, done, expected, sizes[2:4] if short else sizes)

    def inputs() -> Iterator[Tally]:
        yield _tests("bad inputs", [TESTS / "cli" / "test_bad_inputs.py"])

    def hostile() -> Iterator[Tally]:
        yield _tests("hostile files (tests)", sorted(TESTS.rglob("test_*hostile*.py")))

    return {
        "crowds": crowded, "disks": full, "kills": killed, "store": stores, "inputs": inputs,
        "hostile": hostile, "damage": damaged,
    }  # fmt: skip


def _tests(title: str, files: list[Path]) -> Tally:
    """Run tests that the repository has, and count them."""
    tally = Tally(title)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, *map(str, files)], capture_output=True, text=True, check=False, cwd=TESTS.parent,
        env=os.environ,
    )  # fmt: skip
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", found.stdout)}
    tally.trials = sum(counts.values())
    if found.returncode != 0:
        bad = tally.trials - counts.get("passed", 0) or 1
        tally.broken = [found.stdout.strip().splitlines()[-1]] * bad
    return tally


if __name__ == "__main__":
    sys.exit(main())

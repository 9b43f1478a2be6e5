#!/usr/bin/env python
"""Change the code in small ways, one at a time, and count how many changes a test notices.

    pytest -n 0 --cov --cov-context=test --junitxml=.tests.xml
    python scripts/mutation.py                         # all mutants: hours
    python scripts/mutation.py --sample 60 --seed 0    # 60 of each group
    python scripts/mutation.py --only vrf,metrics

The first command says which tests run which lines: a mutant is tried by those alone, in a copy of
the repository. Prints killed of all by group and by file, and each survivor as file, line and
change; exit code 1 if a group has less than 90 % killed. docs/reliability.md has the last figures.
Linux only; needs the extra `mutation`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from mutants.listing import Mutant, mutants
from mutants.trials import Bench, Suite

ROOT = Path(__file__).resolve().parents[1]
GROUPS: dict[str, tuple[str, ...]] = {
    "vrf": ("methods/vrf.py",),
    "posthoc": ("bench/posthoc/*.py",),
    "statistics": ("bench/leaderboard/stats/*.py",),
    "labels": (
        *("bench/data/classes.py", "bench/data/class_files.py", "bench/data/missing_classes.py"),
        *("bench/api/dataset.py::LabelMap", "bench/data/suites/from_yaml.py::label_map"),
    ),
    "metrics": ("bench/api/metrics/*.py", "bench/posthoc/calibration_error.py"),
    "store": (
        *("bench/core/store/store.py", "bench/core/store/container.py"),
        *("bench/core/store/claims.py", "bench/core/store/forms.py"),
    ),
}
ENOUGH = 0.9


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", help="the names of some groups, separated by commas")
    options.add_argument("--sample", type=int, help="how many mutants of each group; default all")
    options.add_argument("--seed", type=int, default=0, help="of the sample")
    options.add_argument("--budget", type=float, default=20, help="seconds of tests per mutant")
    options.add_argument("--coverage", type=Path, default=ROOT / ".coverage")
    options.add_argument("--durations", type=Path, default=ROOT / ".tests.xml")
    options.add_argument("--results", type=Path, help="a list of results, to go on from and extend")
    given = options.parse_args()
    if given.results:
        given.results = given.results.resolve()
    suite = Suite(given.coverage.resolve(), given.durations.resolve())
    killed_before = _killed(given.results)
    enough = True
    with tempfile.TemporaryDirectory(prefix="bench-mutants-") as scratch:
        bench = Bench(_copied(Path(scratch) / "copy"), Path(scratch))
        bench.prepare()
        for group in given.only.split(",") if given.only else GROUPS:
            began = time.monotonic()
            found = _of_group(group)
            random.Random(f"{given.seed} {group}").shuffle(found)
            valid = (mutant for mutant in found if mutant.can_be_tried(bench.root))
            drawn = list(islice(valid, given.sample))
            counts: Counter[tuple[str, bool]] = Counter()
            survivors = []
            for mutant in sorted(drawn, key=lambda m: (m.file, m.line, m.column, m.operator)):
                by = killed_before.get(mutant)
                if by is None:
                    tests = suite.tests(bench.root, mutant, given.budget)
                    by = bench.killer(mutant, tests, 60 + 5 * given.budget) if tests else None
                    _note(given.results, mutant, by)
                counts[mutant.file, by is not None] += 1
                if by is None:
                    survivors.append(mutant)
            killed = len(drawn) - len(survivors)
            enough &= killed >= ENOUGH * len(drawn)
            print(f"{group}: {killed} of {len(drawn)} killed, drawn from {len(found)} "
                  f"({time.monotonic() - began:.0f} s)", flush=True)  # fmt: skip
            for file in sorted({file for file, _ in counts}):
                alive = counts[file, False]
                print(f"  {file}: {counts[file, True]} of {counts[file, True] + alive}")
            for mutant in survivors:
                change = mutant.change(bench.root)
                print(f"  survived: {mutant.file}:{mutant.line} {mutant.operator} {change}")
            sys.stdout.flush()
    return 0 if enough else 1


def _of_group(group: str) -> list[Mutant]:
    named = {target for targets in GROUPS.values() for target in targets}
    found = []
    for target in GROUPS[group]:
        files = [target]
        if "*" in target:  # a file that is named belongs to the group that names it
            paths = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(target))
            files = [path for path in paths if path not in named]
        found += [mutant for file in files for mutant in mutants(ROOT, file)]
    return found


def _copied(folder: Path) -> Path:
    """Copy what git would, and git's own files: tests ask it for the commit."""
    shutil.copytree(ROOT / ".git", folder / ".git", symlinks=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def _killed(results: Path | None) -> dict[Mutant, str]:
    found: dict[Mutant, str] = {}
    if results and results.exists():
        for line in results.read_text().splitlines():
            note = json.loads(line)
            by = note.pop("by")
            if by is not None:
                found[Mutant(**note)] = by
    return found


def _note(results: Path | None, mutant: Mutant, by: str | None) -> None:
    if results:
        with results.open("a") as file:
            file.write(json.dumps(asdict(mutant) | {"by": by}) + "\n")


if __name__ == "__main__":
    sys.exit(main())

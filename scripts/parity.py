#!/usr/bin/env python
"""Compare bench's arithmetic with the official codes of its methods, run live.

    python scripts/parity.py --official DIR      # prints a table; exit code 1 if anything differs
    python scripts/parity.py --official DIR --only temperature --markdown
    python scripts/parity.py --official DIR --record tests/recorded/parity.json

DIR holds checkouts of the repositories, or is one of them. A checkout without git names its commit
in a file COMMIT. `docs/parity.md` describes what is compared. With the recorded numbers the tests
do not need DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the bench command does

import numpy as np
from parity_cases import CASES, Arrays, Case, Checkout, checkouts, difference
from tabulate import tabulate

from bench.core.errors import BenchError, InputError, one_line
from bench.core.paths import write_atomic

HEADERS = ("What", "Official", "Commit", "Largest difference", "Tolerance", "")


@dataclass(frozen=True)
class Result:
    """The result of one case: the official numbers and the difference of ours from them."""

    case: Case
    checkout: Checkout
    numbers: Arrays
    difference: float

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.case.tolerance

    def row(self) -> tuple[str, ...]:
        """Return the row of the printed table."""
        case, commit = self.case, self.checkout.commit[:7]
        limits = (f"{x:.0e}" if x else "0" for x in (self.difference, case.tolerance))
        source = f"{case.repository} {case.source}"
        return (case.name, source, commit, *limits, "ok" if self.ok else "DIFFERS")


def chosen(only: str | None, found: Mapping[str, Checkout]) -> list[Case]:
    """Return the cases of the repositories that were found.

    `only` selects those with this text in "repository name". Raises InputError if none is left.
    """
    cases = [c for c in CASES if c.repository in found]
    if only is not None:
        cases = [c for c in cases if only.lower() in f"{c.repository} {c.name}".lower()]
    if not cases:
        raise InputError(
            f"--only {only}: no comparison with {', '.join(found)} has this in its name; run "
            "without --only to see the names"
        )
    return cases


def compare(case: Case, checkout: Checkout) -> Result:
    """Run one case with both codes. Raises InputError if the official code fails."""
    inputs = case.inputs()
    try:
        numbers = case.official(inputs, checkout)
    except Exception as error:
        where = "" if isinstance(error, BenchError) else f"{case.repository} {case.source} failed: "
        raise InputError(where + one_line(error)) from error
    return Result(case, checkout, numbers, difference(case.ours(inputs), numbers))


def recorded(results: Sequence[Result]) -> bytes:
    """Return the official numbers and their sources as JSON, one case per line."""
    lines = []
    for result in results:
        case = result.case
        content: dict[str, Any] = {
            "name": case.name,
            "repository": case.repository,
            "source": case.source,
            "commit": result.checkout.commit,
            "seed": case.seed,
            "shapes": case.shapes,
            "numbers": {n: np.asarray(a, dtype=float).tolist() for n, a in result.numbers.items()},
        }
        lines.append(json.dumps(content))
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def run(arguments: argparse.Namespace) -> int:
    """Run the comparisons, print the table and return the exit code."""
    found = checkouts(arguments.official)
    cases = chosen(arguments.only, found)
    if arguments.record and len(cases) < len(CASES):
        raise InputError("--record needs checkouts of all repositories, and no --only")
    results = [compare(case, found[case.repository]) for case in cases]
    style = "github" if arguments.markdown else "simple"
    rows = [result.row() for result in results]
    print(tabulate(rows, HEADERS, tablefmt=style, disable_numparse=True))
    if arguments.record:
        arguments.record.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(arguments.record, recorded(results))
    return 0 if all(result.ok for result in results) else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--official", type=Path, required=True, help="folder of checkouts, or one checkout"
    )
    parser.add_argument("--only", help="run comparisons with this in repository or name")
    parser.add_argument("--record", type=Path, help="write the official numbers to this file")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    try:
        return run(parser.parse_args(argv))
    except BenchError as error:
        print(f"parity: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

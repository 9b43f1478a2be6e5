"""``bench compare OLD NEW``: what changed between two runs, and whether it is a regression."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli_check import JUNIT
from bench.errors import InputError, RegressionError
from bench.streams import say

if TYPE_CHECKING:
    from bench.changes import Measured

RECORDS = "records.jsonl"


@click.command("compare")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option(
    "--tolerance",
    type=float,
    default=1.0,
    metavar="POINTS",
    help="By how much a cell may be worse: percent, or hundredths of a nat. [default: 1]",
)
@click.option("--all", "everything", is_flag=True, help="Controls and watermarked rows gate, too.")
@JUNIT
@click.option("--json", "as_json", is_flag=True, help="Print every cell as JSON.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def compare_command(
    old: str, new: str, tolerance: float, everything: bool, junit: Path | None, as_json: bool
) -> None:
    """Show what changed from OLD to NEW: folders of runs, records.jsonl files, or git revisions
    of such as HEAD~5:results/mini.

    Exit code 3 if a cell is worse by more than the tolerance and, for accuracies, significantly so;
    2 if no cell is in both. docs/ci.md says how changes are tested.
    """
    from bench.changes import compare, in_words, table, verdicts
    from bench.published_tables import drawn
    from bench.verdicts import publish

    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"--tolerance {tolerance}: expected a number of points, 0 or more")
    changes = compare(_read(old), _read(new), tolerance / 100, everything)
    if all(change.difference is None for change in changes):
        raise InputError(f"{old} and {new} have no cell in common: nothing can be compared")
    title = f"From {old} to {new}"
    publish(title, verdicts(changes), junit)
    count = Counter(change.state for change in changes)
    summary = ", ".join(f"{number} {state}" for state, number in count.items())
    if as_json:
        say(json.dumps([asdict(change) for change in changes]), sys.stdout)
    else:
        changed = [change for change in changes if change.state != "same"]
        if changed:
            say(drawn(table(changed, title), wide=True), sys.stdout)
        say(f"{len(changes)} cells: {summary}", sys.stdout)
    if worse := [change for change in changes if change.state == "regression"]:
        more = f" and {len(worse) - 3} more" if len(worse) > 3 else ""
        said = "; ".join(map(in_words, worse[:3])) + more
        raise RegressionError(
            f"worse by more than {tolerance:g}, {len(worse)} of {len(changes)} cells: {said}"
        )


def _read(name: str) -> Measured:
    """Records and samples of a run's folder, of a file, or of a git revision of one.

    Raises InputError if there is none.
    """
    from bench.changes import Measured
    from bench.records import parse, read
    from bench.samples import FOLDER, sample_outputs

    path = Path(name)
    if path.exists():
        folder = path if path.is_dir() else path.parent
        records = read(folder / RECORDS if path.is_dir() else path)
        has_samples = (folder / FOLDER).is_dir() and (path.is_dir() or path.name == RECORDS)
        return Measured(records, tuple(sample_outputs(folder)) if has_samples else ())
    revision, colon, inside = name.partition(":")
    if not colon or not revision or not inside:
        raise InputError(
            f"{name}: no run's folder or {RECORDS} there, nor a git revision such as "
            "HEAD~5:results/mini"
        )
    file = inside if inside.endswith(".jsonl") else f"{inside.rstrip('/')}/{RECORDS}"
    return Measured(parse(_shown(f"{revision}:{file}"), name))


def _shown(file: str) -> str:
    """A file of a git revision, ``REV:path``. Raises InputError with what git says."""
    try:
        done = subprocess.run(
            ["git", "show", "--end-of-options", file], capture_output=True, timeout=60, check=True
        )
        return done.stdout.decode("utf-8")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InputError(f"{file}: {lines[0] if lines else 'git show failed'}") from error
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{file} cannot be read with git: {error}") from error

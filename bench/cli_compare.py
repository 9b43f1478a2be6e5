"""``bench compare OLD NEW``: what changed between two runs, and whether it is a regression."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from bench.cli_options import DEBUG, JSON, JUNIT
from bench.errors import DataError, InputError, RegressionError
from bench.paths import write_atomic
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
@JSON
@DEBUG
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
    from bench.records import read

    path = Path(name)
    if path.exists():
        if path.is_file() and path.name != RECORDS:
            return Measured(read(path))
        return _of_run(path if path.is_dir() else path.parent)
    revision, colon, inside = name.partition(":")
    if not colon or not revision or not inside:
        raise InputError(
            f"{name}: no run's folder or {RECORDS} there, nor a git revision such as "
            "HEAD~5:results/mini"
        )
    tree = inside.removesuffix(RECORDS).rstrip("/")
    with tempfile.TemporaryDirectory() as folder:
        _check_out(f"{revision}:{tree}", Path(folder))
        try:
            return _of_run(Path(folder))
        except (InputError, DataError) as error:
            raise type(error)(str(error).replace(folder, f"{revision}:{tree}")) from error


def _of_run(folder: Path) -> Measured:
    """A run's folder; without samples if it kept none."""
    from bench.changes import Measured
    from bench.records import read
    from bench.samples import FOLDER, sample_outputs

    has_samples = (folder / FOLDER).is_dir()
    samples = tuple(sample_outputs(folder)) if has_samples else ()
    return Measured(read(folder / RECORDS), samples)


def _check_out(tree: str, folder: Path) -> None:
    """Write records and samples of a git tree, ``REV:path``. Raises InputError if there is none."""
    from bench.samples import FOLDER

    try:
        found = _git("rev-parse", "--end-of-options", tree).decode().split()[-1]
        # With the folder named, paths are the tree's own wherever in the repository we are.
        where = _git("rev-parse", "--absolute-git-dir").decode().strip()
        archive = _git(f"--git-dir={where}", "archive", "--format=tar", found)
        records, samples = PurePosixPath(RECORDS), PurePosixPath(FOLDER)
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            for member in members:
                at = PurePosixPath(member.name)
                if member.isfile() and (at == records or at.parent == samples):
                    file = members.extractfile(member)
                    assert file is not None
                    write_atomic(folder / at, file.read(), durable=False)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InputError(f"{tree}: {lines[0] if lines else 'git failed'}") from error
    except (OSError, ValueError, tarfile.TarError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{tree} cannot be read with git: {error}") from error


def _git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout

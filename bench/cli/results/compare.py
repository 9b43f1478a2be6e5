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

import cloup

from bench.cli.options import DEBUG, JSON, JUNIT, examples
from bench.core.errors import DataError, InputError, RegressionError
from bench.core.paths import write_atomic
from bench.core.streams import print_line

if TYPE_CHECKING:
    from bench.checks.compare import ComparedRun

RECORDS = "records.jsonl"


@cloup.command(
    "compare",
    epilog=examples(
        "bench compare results/runs/OLD results/runs/NEW",
        "bench compare HEAD~1:results/mini results/mini      # what a commit changed",
    ),
)
@cloup.argument("old", metavar="OLD")
@cloup.argument("new", metavar="NEW")
@cloup.option(
    "--tolerance",
    type=float,
    default=1.0,
    metavar="POINTS",
    help="Accepted loss of a cell: percentage points, or hundredths of a nat. [default: 1]",
)
@cloup.option(
    "--all", "everything", is_flag=True, help="Also fail on ablations and watermarked rows."
)
@cloup.option("--allow-missing", is_flag=True, help="Accept that NEW lacks cells or seeds of OLD.")
@JUNIT
@JSON
@DEBUG
def compare_command(
    old: str,
    new: str,
    tolerance: float,
    everything: bool,
    allow_missing: bool,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Show what changed between two runs.

    OLD and NEW are folders of runs, records.jsonl files, or git revisions of them, such as
    HEAD~5:results/mini.

    The exit code is 3 if a cell got worse by more than the tolerance (and, for an accuracy,
    significantly so) or if NEW lacks cells or seeds of OLD, and 2 if the runs share no cell. See
    docs/ci.md for the tests.
    """
    from bench.checks.compare import compare_runs
    from bench.checks.compare_table import (
        ORDER,
        board_names,
        changes_table,
        describe_change,
        missing_cells,
        missing_seeds,
        verdicts,
        worst_first,
    )
    from bench.checks.junit import publish_verdicts
    from bench.report.published_tables import render_table

    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"--tolerance {tolerance}: expected a number of points, 0 or more")
    before, after = _read(old), _read(new)
    changes = compare_runs(before, after, tolerance / 100, everything)
    if all(change.difference is None for change in changes):
        raise InputError(
            f"{old} and {new} share no cell: the first has {board_names(before)}, "
            f"the second {board_names(after)}; compare runs of one suite, model and protocol"
        )
    title = f"From {old} to {new}"
    publish_verdicts(title, verdicts(changes, may_vanish=allow_missing), junit)
    count = Counter(change.state for change in changes)
    summary = ", ".join(f"{count[state]} {state}" for state in ORDER if count[state])
    if fewer := sum(bool(change.lost) for change in changes):
        summary += f"; {fewer} of them have fewer seeds"
    if as_json:
        print_line(json.dumps([asdict(change) for change in changes]), sys.stdout)
    else:
        changed = [change for change in changes if change.state != "same" or change.lost]
        if changed:
            print_line(
                render_table(changes_table(worst_first(changed), title), wide=True),
                sys.stdout,
                styled=True,
            )
        print_line(f"{len(changes)} cells: {summary}", sys.stdout)
    worse = [c for c in worst_first(changes) if c.state == "regression"]
    lacking = [c for c in changes if c.state == "vanished" and c.gates and not allow_missing]
    failures = []
    if worse:
        more = f" and {len(worse) - 3} more" if len(worse) > 3 else ""
        first = "; ".join(map(describe_change, worse[:3])) + more
        failures.append(
            f"{len(worse)} of {len(changes)} cells are worse by more than {tolerance:g}: {first}"
        )
    if lacking:
        rows = missing_cells([c for c in changes if c.gates])
        failures.append(f"{len(lacking)} cells are missing (--allow-missing accepts that): {rows}")
    seeds = missing_seeds([c for c in changes if c.gates])
    if seeds and not allow_missing:
        failures.append(f"seeds are missing (--allow-missing accepts that): {seeds}")
    if failures:
        raise RegressionError("; ".join(failures))


def _read(name: str) -> ComparedRun:
    """Records and samples of a run's folder, of a file, or of a git revision of one.

    Raises InputError if there is none.
    """
    from bench.checks.compare import ComparedRun
    from bench.core.records import read_records

    if not name:
        raise InputError("a path of a run to compare is empty: give a folder, a file or a revision")
    path = Path(name)
    if path.exists():
        if path.is_file() and path.name != RECORDS:
            return ComparedRun(read_records(path))
        return _of_run(path if path.is_dir() else path.parent)
    revision, colon, inside = name.partition(":")
    if not colon or not revision or not inside:
        raise InputError(
            f"{name}: no such run folder or {RECORDS}; a git revision would be written as "
            "HEAD~5:results/mini"
        )
    tree = inside.removesuffix(RECORDS).rstrip("/")
    with tempfile.TemporaryDirectory() as folder:
        _check_out(revision, tree, Path(folder))
        try:
            return _of_run(Path(folder))
        except (InputError, DataError) as error:
            raise type(error)(str(error).replace(folder, f"{revision}:{tree}")) from error


def _of_run(folder: Path) -> ComparedRun:
    """A run read from its folder, without samples if it stored none."""
    from bench.checks.compare import ComparedRun
    from bench.core.records import read_records
    from bench.leaderboard.samples import FOLDER, sample_outputs

    has_samples = (folder / FOLDER).is_dir()
    samples = tuple(sample_outputs(folder)) if has_samples else ()
    return ComparedRun(read_records(folder / RECORDS), samples)


def _check_out(revision: str, inside: str, folder: Path) -> None:
    """Write records and samples of a folder of a git revision.

    Raises InputError if there is none.
    """
    from bench.leaderboard.samples import FOLDER

    try:
        tree = _tree(revision, inside)
        # With --git-dir, paths are relative to the tree, wherever in the repository we are.
        where = _git("rev-parse", "--absolute-git-dir").decode().strip()
        archive = _git(f"--git-dir={where}", "archive", "--format=tar", tree)
        records, samples = PurePosixPath(RECORDS), PurePosixPath(FOLDER)
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            for member in members:
                at = PurePosixPath(member.name)
                if member.isfile() and (at == records or at.parent == samples):
                    file = members.extractfile(member)
                    assert file is not None
                    write_atomic(folder / at, file.read(), durable=False)
    except (
        OSError,
        ValueError,
        tarfile.TarError,
        subprocess.SubprocessError,
    ) as error:
        raise InputError(f"{revision}:{inside} cannot be read with git: {error}") from error


def _tree(revision: str, inside: str) -> str:
    """The name of the tree of a folder in a revision. Raises InputError if there is none."""
    named = f"{revision}:{inside}"
    if _succeeds("rev-parse", "--git-dir") is None:
        raise InputError(f"{named}: no such path, and this folder is in no git repository")
    commit = _succeeds("rev-parse", "--verify", "--end-of-options", f"{revision}^{{tree}}")
    if commit is None:
        raise InputError(
            f"{named}: no revision {revision} in this repository (a shallow clone lacks older ones)"
        )
    found = _succeeds("rev-parse", "--verify", "--end-of-options", named)
    if found is None:
        raise InputError(f"{named}: revision {revision} has no such path")
    if _git("cat-file", "-t", found).strip() != b"tree":
        raise InputError(f"{named} is a file: expected the folder of a run, or its {RECORDS}")
    return found


def _succeeds(*arguments: str) -> str | None:
    """The last word that git prints; None if it fails."""
    try:
        return _git(*arguments).decode().split()[-1]
    except subprocess.CalledProcessError:
        return None


def _git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout

"""``bench check``: a run's numbers against its stored outputs, golden or published ones."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CACHE, DATA, DEBUG, JSON, JUNIT, PATH
from bench.core.errors import DataError, InputError, RegressionError, one_line
from bench.core.streams import print_line

if TYPE_CHECKING:
    from bench.checks.golden import GoldenComparison
    from bench.checks.junit import Verdict
    from bench.checks.recompute import RecomputedRun
    from bench.core.records import MissingCell, Record
    from bench.leaderboard.published.ledger import LedgerEntry

PUBLISHED, GOLDEN = "published:", "golden:"
LINES = 30
"""Differences that are printed at most."""


@click.command("check")
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN|FILE...")
@click.option(
    "--against",
    metavar="golden:NAME|published:NAME",
    help="Recorded numbers of the embedded suite (golden:mini), or a published table ('bench list "
    "published' lists them). [default: the run's own stored outputs]",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="POINTS",
    help="Largest difference from a published number that counts as reproduced, in points "
    "(percent). [default: by the size of each set and the deviation over seeds]",
)
@click.option(
    "--run",
    "made_of",
    type=PATH,
    multiple=True,
    metavar="RUN",
    help="The folder of a run that FILE was made of, where it lies elsewhere; once for each run.",
)
@DATA
@CACHE
@JUNIT
@JSON
@DEBUG
def check_command(
    runs: tuple[Path, ...],
    against: str | None,
    tolerance: float | None,
    made_of: tuple[Path, ...],
    data: Path | None,
    cache_dir: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Check the numbers of RUNs (folders), or of one of their reports, such as report.md; a copy
    of one in the same folder may have any name.

    Without --against every number is computed again from the run's stored outputs, and the tables
    are written again: exit code 3 if a digit differs, 4 if a stored output is missing or damaged.
    With it, cells are compared: exit code 3 if one is not what was recorded or published, 2 if
    none is comparable. docs/ci.md and docs/published.md say what is compared how.
    """
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"--tolerance {tolerance}: expected a number of points, 0 or more")
    if tolerance is not None and not (against or "").startswith(PUBLISHED):
        raise InputError(f"--tolerance {tolerance}: only with --against {PUBLISHED}NAME")
    if made_of and against is not None:
        raise InputError(f"--run {made_of[0]}: only without --against")
    if against is None:
        _against_outputs(runs, made_of, {"data": data, "cache_dir": cache_dir}, junit, as_json)
    elif against.startswith(GOLDEN):
        _against_golden(runs, against.removeprefix(GOLDEN), junit, as_json)
    elif against.startswith(PUBLISHED):
        _against_published(runs, against, tolerance, junit, as_json)
    else:
        raise InputError(
            f"--against {against}: expected {PUBLISHED}NAME or {GOLDEN}NAME, such as "
            f"{PUBLISHED}vrf-table1 or {GOLDEN}mini"
        )


def _against_outputs(
    runs: Sequence[Path],
    made_of: Sequence[Path],
    options: dict[str, Path | None],
    junit: Path | None,
    as_json: bool,
) -> None:
    from bench.checks.junit import Verdict, publish_verdicts
    from bench.checks.recompute import recompute_run

    title, verdicts, found = "Recomputed from stored outputs", list[Verdict](), []
    for run in runs:
        try:
            found.append(recompute_run(run, options, runs=made_of))
        except DataError as error:
            verdicts.append(Verdict(str(run), "stored outputs", "failed", one_line(error)))
            publish_verdicts(title, verdicts, junit)
            raise
        verdicts += _by_file(run, found[-1])
    publish_verdicts(title, verdicts, junit)
    differences = [str(d) for one in found for d in one.differences]
    cells = sum(one.cells for one in found)
    files = ", ".join(dict.fromkeys(name for one in found for name in one.files))
    if as_json:
        data = {"cells": cells, "files": files.split(", "), "differences": differences}
        print_line(json.dumps(data), sys.stdout)
    elif differences:
        more = [f"and {len(differences) - LINES} more"] if len(differences) > LINES else []
        print_line("\n".join(differences[:LINES] + more), sys.stdout)
    if differences:
        raise RegressionError(
            f"not what the stored outputs give, in {len(differences)} places, the first: "
            f"{differences[0]}"
        )
    if not as_json:
        print_line(
            f"{cells} cells recomputed from stored outputs, no difference: {files}", sys.stdout
        )


def _by_file(run: Path, found: RecomputedRun) -> list[Verdict]:
    """One verdict for each file, with its first differences."""
    from bench.checks.junit import Verdict

    verdicts = []
    for name in found.files:
        odd = [str(d) for d in found.differences if d.file == name]
        text = "; ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
        verdicts.append(Verdict(str(run), name, "failed" if odd else "passed", text))
    return verdicts


def _against_golden(runs: Sequence[Path], name: str, junit: Path | None, as_json: bool) -> None:
    from bench.checks import golden
    from bench.checks.junit import publish_verdicts

    recorded = golden.find_golden(name)
    compared = golden.compare_with_golden(recorded, [r for run in runs for r in _read(run)[0]])
    publish_verdicts(f"Against {GOLDEN}{name}", [one.verdict for one in compared], junit)
    misses = [one for one in compared if not one.holds]
    if as_json:
        print_line(json.dumps(_golden_data(name, compared)), sys.stdout)
    else:
        for one in misses[:LINES]:
            print_line(_of_golden(one), sys.stdout)
        if len(misses) > LINES:
            print_line(f"and {len(misses) - LINES} more", sys.stdout)
        held = len(compared) - len(misses)
        print_line(f"{held} of {len(compared)} cells are those of {GOLDEN}{name}", sys.stdout)
    if misses:
        raise RegressionError(
            f"not {GOLDEN}{name}, {len(misses)} of {len(compared)} cells, the first: "
            f"{_of_golden(misses[0])}"
        )


def _of_golden(one: GoldenComparison) -> str:
    return f"{one.verdict.group}: {one.verdict.name}: {one.verdict.text}"


def _golden_data(name: str, compared: Sequence[GoldenComparison]) -> dict[str, Any]:
    """For ``--json``: every recorded cell with the run's value, as fractions or nats."""
    cells = [
        {
            **one.cell.model_dump(exclude={"value"}),
            "golden": one.cell.value,
            "value": one.value,
            "tolerance": one.tolerance,
            "holds": one.holds,
        }
        for one in compared
    ]
    return {"against": name, "cells": cells}


def _against_published(
    runs: Sequence[Path],
    against: str,
    tolerance: float | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    from bench.checks.junit import publish_verdicts
    from bench.leaderboard.published.evidence import Evidence
    from bench.leaderboard.published.ledger import ledger
    from bench.leaderboard.published.tables import find_published_table
    from bench.report import published_tables
    from bench.report.run_folder import RECORDS, read_samples
    from bench.report.tables.ledger import describe_entry, ledger_table

    table = find_published_table(against.removeprefix(PUBLISHED))
    found = [_read(run) for run in runs]
    records = {r.model_dump_json(): r for have, _ in found for r in have}
    missing = [m for _, lacking in found for m in lacking]
    share = None if tolerance is None else tolerance / 100
    backing = Evidence(records.values())
    for run in runs:
        folder = run.parent if run.name == RECORDS else run
        backing.of(read_samples(folder))
    entries = ledger(table, records.values(), missing, share, backing)
    attempted = [entry for entry in entries if entry.verdict != "not attempted"]
    if not attempted:
        raise InputError(f"nothing is comparable with {against}: {_reasons(entries)}")
    publish_verdicts(f"Against {against}", [_as_verdict(entry) for entry in entries], junit)
    if as_json:
        print_line(json.dumps(_data(table.name, entries)), sys.stdout)
    else:
        compared = ledger_table(table, entries)
        print_line(published_tables.render_table(compared, wide=True), sys.stdout)
        print_line(_summary(entries), sys.stdout)
    said = []
    if misses := [entry for entry in attempted if entry.verdict == "not reproduced"]:
        more = f" and {len(misses) - 3} more" if len(misses) > 3 else ""
        first = "; ".join(map(describe_entry, misses[:3])) + more
        said.append(f"not reproduced, {len(misses)} of {len(attempted)} attempted cells: {first}")
    if unbacked := [entry for entry in attempted if entry.verdict == "not verified"]:
        number = f"{len(unbacked)} of {len(attempted)} attempted cells"
        said.append(f"not verified, {number}: {unbacked[0].reason}")
    if said:
        raise RegressionError("; ".join(said))


def _read(run: Path) -> tuple[list[Record], list[MissingCell]]:
    """Records and missing cells of a run's folder, or of a file of records alone."""
    from bench.core.records import read_records
    from bench.report.run_folder import read_run

    if run.name == "records.jsonl":
        return read_run(run.parent)
    return (read_records(run), []) if run.is_file() else read_run(run)


def _as_verdict(entry: LedgerEntry) -> Verdict:
    from bench.checks.junit import State, Verdict
    from bench.report.tables.ledger import describe_entry

    claim = entry.claim
    states: dict[str, State] = {"reproduced": "passed", "not attempted": "skipped"}
    state = states.get(entry.verdict, "failed")
    words = "" if entry.ours is None else describe_entry(entry)
    said = "; ".join(filter(None, (words, entry.reason)))
    return Verdict(f"{claim.backbone} {claim.row.name}", claim.column.name, state, said)


def _reasons(entries: Sequence[LedgerEntry]) -> str:
    """The three most frequent reasons for which cells were not attempted."""
    found = Counter(entry.reason for entry in entries).most_common()
    more = f" and {len(found) - 3} other reasons" if len(found) > 3 else ""
    return "; ".join(f"{reason} ({count} cells)" for reason, count in found[:3]) + more


def _summary(entries: Sequence[LedgerEntry]) -> str:
    from bench.leaderboard.published.ledger import count_verdicts

    models = ", ".join(sorted({entry.model for entry in entries if entry.model}))
    verdicts = ", ".join(
        f"{number} {verdict}" for verdict, number in count_verdicts(entries).items()
    )
    return f"{verdicts}; measured with {models}"


def _data(name: str, entries: Sequence[LedgerEntry]) -> dict[str, Any]:
    """The ledger for ``--json``: the claim as printed and as a share, all else as shares."""
    from bench.leaderboard.published.ledger import claimed_fraction, count_verdicts

    return {
        "against": name,
        "counts": dict(count_verdicts(entries)),
        "cells": [
            {
                "backbone": entry.claim.backbone,
                "row": entry.claim.row.name,
                "column": entry.claim.column.name,
                "printed": entry.claim.text,
                "claim": claimed_fraction(entry.claim),
                "ours": entry.ours,
                "model": entry.model,
                "seeds": entry.seeds,
                "difference": entry.difference,
                "tolerance": entry.tolerance,
                "seed_error": entry.seed_error,
                "verdict": entry.verdict,
                "reason": entry.reason,
                "remarks": [remark.text for remark in entry.claim.remarks],
            }
            for entry in entries
        ],
    }

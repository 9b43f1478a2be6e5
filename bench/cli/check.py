"""``bench check``: a run's numbers against its stored outputs, golden or published numbers."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloup

from bench.cli.options import CACHE, DATA, DEBUG, JSON, JUNIT, PATH, examples
from bench.core.errors import DataError, InputError, RegressionError, one_line
from bench.core.streams import print_line

if TYPE_CHECKING:
    from bench.checks.golden import GoldenComparison
    from bench.checks.junit import Verdict
    from bench.checks.recompute import RecomputedRun
    from bench.core.records import MissingCell, Record
    from bench.leaderboard.published.ledger import LedgerEntry

PUBLISHED, GOLDEN = "published:", "golden:"
OTHER_VERSION = "if another version of bench wrote the report, bench report RUN rebuilds it"
LINES = 30
"""Maximal number of differences that are printed."""


@cloup.command(
    "check",
    epilog=examples(
        "bench check results/runs/RUN                 # recompute stored outputs",
        "bench check results/runs/RUN/report.md       # is each digit right?",
        "bench check results/runs/RUN --against golden:mini",
        "bench check results/runs/RUN --against published:vrf-table1",
    ),
)
@cloup.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN|FILE...")
@cloup.option(
    "--against",
    metavar="golden:NAME|published:NAME",
    help="Compare with recorded numbers of the embedded suite (golden:mini) or with a published "
    "table (`bench list published`). [default: the run's own stored outputs]",
)
@cloup.option(
    "--tolerance",
    type=float,
    metavar="POINTS",
    help="Largest difference from a published number that counts as reproduced, in points "
    "(percent). [default: by the size of each set and the deviation over seeds]",
)
@cloup.option(
    "--run",
    "made_of",
    type=PATH,
    multiple=True,
    metavar="RUN",
    help="Folder of a run that FILE was made from, if it is elsewhere. Repeatable.",
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
    """Check a run, or a report of it, number by number.

    RUN is a folder; FILE is one of its reports, such as report.md, or a copy under another name in
    the same folder.

    Without --against every number is recomputed from the run's stored outputs and the tables are
    rebuilt. The exit code is 3 if a digit differs and 4 if a stored output is missing or damaged.
    With --against cells are compared. The exit code is 3 if a cell differs from what was recorded
    or published and 2 if no cell is comparable. See docs/ci.md and docs/published.md.
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

    title, verdicts, results = "Recomputed from stored outputs", list[Verdict](), []
    for run in runs:
        try:
            results.append(recompute_run(run, options, runs=made_of))
        except DataError as error:
            verdicts.append(Verdict(str(run), "stored outputs", "failed", one_line(error)))
            publish_verdicts(title, verdicts, junit)
            raise
        verdicts += _by_file(run, results[-1])
    publish_verdicts(title, verdicts, junit)
    differences = [str(d) for one in results for d in one.differences]
    cells = sum(one.cells for one in results)
    files = ", ".join(dict.fromkeys(name for one in results for name in one.files))
    if as_json:
        data = {"cells": cells, "files": files.split(", "), "differences": differences}
        print_line(json.dumps(data), sys.stdout)
    elif differences:
        more = [f"and {len(differences) - LINES} more"] if len(differences) > LINES else []
        print_line("\n".join(differences[:LINES] + more), sys.stdout)
    if differences:
        only_reports = all(d.file != "records.jsonl" for one in results for d in one.differences)
        hint = f"; {OTHER_VERSION}" if only_reports else ""
        raise RegressionError(
            f"{_differences(len(differences))} from what the stored outputs give; the first: "
            f"{differences[0]}{hint}"
        )
    if not as_json:
        print_line(
            f"{cells} cells recomputed from stored outputs; no difference in {files}", sys.stdout
        )


def _differences(count: int) -> str:
    return "1 difference" if count == 1 else f"{count} differences"


def _by_file(run: Path, found: RecomputedRun) -> list[Verdict]:
    """One verdict for each file, with its first differences."""
    from bench.checks.junit import Verdict

    verdicts = []
    for name in found.files:
        differing = [str(d) for d in found.differences if d.file == name]
        text = "; ".join(differing[:3])
        text += f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        verdicts.append(Verdict(str(run), name, "failed" if differing else "passed", text))
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
            print_line(_golden_line(one), sys.stdout)
        if len(misses) > LINES:
            print_line(f"and {len(misses) - LINES} more", sys.stdout)
        held = len(compared) - len(misses)
        print_line(f"{held} of {len(compared)} cells agree with {GOLDEN}{name}", sys.stdout)
    if misses:
        raise RegressionError(
            f"{len(misses)} of {len(compared)} cells differ from {GOLDEN}{name}; the first: "
            f"{_golden_line(misses[0])}"
        )


def _golden_line(one: GoldenComparison) -> str:
    return f"{one.verdict.group}: {one.verdict.name}: {one.verdict.text}"


def _golden_data(name: str, compared: Sequence[GoldenComparison]) -> dict[str, Any]:
    """The data of ``--json``: every recorded cell with the run's value, in fractions or nats."""
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
    fraction = None if tolerance is None else tolerance / 100
    evidence = Evidence(records.values())
    for run in runs:
        folder = run.parent if run.name == RECORDS else run
        evidence.of(read_samples(folder))
    entries = ledger(table, records.values(), missing, fraction, evidence)
    attempted = [entry for entry in entries if entry.verdict != "not attempted"]
    if not attempted:
        raise InputError(f"no cell is comparable with {against}: {_reasons(entries)}")
    publish_verdicts(f"Against {against}", [_as_verdict(entry) for entry in entries], junit)
    if as_json:
        print_line(json.dumps(_data(table.name, entries)), sys.stdout)
    else:
        compared = ledger_table(table, entries)
        print_line(published_tables.render_table(compared, wide=True), sys.stdout)
        print_line(_summary(entries), sys.stdout)
    failures = []
    if misses := [entry for entry in attempted if entry.verdict == "not reproduced"]:
        more = f" and {len(misses) - 3} more" if len(misses) > 3 else ""
        first = "; ".join(map(describe_entry, misses[:3])) + more
        failures.append(
            f"{len(misses)} of {len(attempted)} attempted cells not reproduced: {first}"
        )
    if unverified := [entry for entry in attempted if entry.verdict == "not verified"]:
        number = f"{len(unverified)} of {len(attempted)} attempted cells"
        failures.append(f"{number} not verified: {unverified[0].reason}")
    if failures:
        raise RegressionError("; ".join(failures))


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
    text = "; ".join(filter(None, (words, entry.reason)))
    return Verdict(f"{claim.backbone} {claim.row.name}", claim.column.name, state, text)


def _reasons(entries: Sequence[LedgerEntry]) -> str:
    """The three most frequent reasons why cells were not attempted."""
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
    """The data of ``--json``: claims as printed and as fractions, other numbers as fractions."""
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

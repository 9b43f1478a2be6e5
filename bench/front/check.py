"""Checks of finished runs as values: recomputed, or compared with golden or published numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.checks import golden
from bench.checks.differences import likely_reason
from bench.checks.golden import GoldenComparison
from bench.checks.junit import State, Verdict
from bench.checks.recompute import RecomputedRun, recompute_run
from bench.checks.resample import parse_share
from bench.checks.submission import report_faults, submission_faults
from bench.core.errors import DataError, InputError, one_line, shortened
from bench.core.records import MissingCell, Record, distinct_records, read_records
from bench.front.options import load_plugins
from bench.leaderboard.published.evidence import Evidence
from bench.leaderboard.published.ledger import (
    LedgerEntry,
    claimed_fraction,
    count_verdicts,
    ledger,
)
from bench.leaderboard.published.tables import PublishedTable, find_published_table
from bench.report.published_tables import render_table
from bench.report.run_folder import RECORDS, read_run, read_samples
from bench.report.tables.ledger import describe_entry, ledger_table

PUBLISHED, GOLDEN, SAMPLES = "published:", "golden:", "samples"
LONGEST = 480
"""The most characters of a failure, which is one line of text."""
LINES = 30
"""Maximal number of differences in the text of a result."""
RECOMPUTED = "Recomputed from stored outputs"


class DamagedRunError(DataError):
    """Stored outputs of a run are missing or damaged; `verdicts` has what was found until then.

    Examples
    --------
    >>> from bench.front.check import DamagedRunError
    >>> DamagedRunError("samples of cell 1f0c are missing", verdicts=()).exit_code
    4
    """

    def __init__(self, message: str, verdicts: tuple[Verdict, ...]) -> None:
        super().__init__(message)
        self.verdicts = verdicts


@dataclass(frozen=True)
class CheckResult:
    """What a check found; ``str`` gives it as text.

    Attributes
    ----------
    title : what was checked against what.
    verdicts : one per file or cell, for JUnit and summaries.
    failure : what does not hold, in one line; empty if all does.
    text : the result in lines, as ``bench check`` prints it.
    data : the result as plain data, as ``bench check --json`` prints it.

    Examples
    --------
    >>> from bench.front.check import CheckResult
    >>> found = CheckResult("Against golden:mini", (), "", "40 of 40 cells agree", {})
    >>> found.passed, str(found)
    (True, '40 of 40 cells agree')
    """

    title: str
    verdicts: tuple[Verdict, ...] = field(repr=False)
    failure: str
    text: str = field(repr=False)
    data: dict[str, Any] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether everything that was checked holds."""
        return not self.failure

    def __str__(self) -> str:
        """The result in lines."""
        return "\n".join(filter(None, (self.text, self.failure)))


def check(
    *runs: str | Path,
    against: str | None = None,
    tolerance: float | None = None,
    made_of: Sequence[str | Path] = (),
    data: str | Path | None = None,
    cache_dir: str | Path | None = None,
    plugin: str | Path | Sequence[str | Path] = (),
    resample: str | None = None,
) -> CheckResult:
    """Check runs, or one of their reports, number by number: ``bench check`` in Python.

    Without `against` every number is recomputed from the runs' stored outputs and the reports are
    rebuilt; `made_of` names the runs of a report that lies elsewhere, `data` and `cache_dir` the
    folders of the inputs, `plugin` the plugin files that the runs used. With `resample`, such as
    ``"1%"``, a random share of the images is forwarded again and compared with stored features.
    ``against="golden:mini"`` compares with recorded numbers, ``"published:vrf-table1"`` with a
    published table, within `tolerance` in percentage points. ``against="samples"`` checks what the
    folders show by themselves, without data and cache: whether ``results/`` would take them.

    Raises InputError for bad arguments and if nothing is comparable, DataError if a stored output
    is missing or damaged. A difference is no error: see `CheckResult.passed`.

    Examples
    --------
    >>> import bench
    >>> bench.check("nowhere")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: nowhere: expected the folder of a run, ...
    """
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"--tolerance {tolerance}: expected a number of points, 0 or more")
    if tolerance is not None and not (against or "").startswith(PUBLISHED):
        raise InputError(f"--tolerance {tolerance}: only with --against {PUBLISHED}NAME")
    if made_of and against is not None:
        raise InputError(f"--run {made_of[0]}: only without --against")
    if resample is not None and against is not None:
        raise InputError(f"--resample {resample}: only without --against")
    share = 0.0 if resample is None else parse_share(resample)
    load_plugins(plugin)
    paths = [Path(run) for run in runs]
    if against is None:
        places = {"data": data, "cache_dir": cache_dir}
        options = {name: None if place is None else Path(place) for name, place in places.items()}
        return _recomputed(paths, [Path(run) for run in made_of], options, share)
    if against.startswith(GOLDEN):
        return _against_golden(paths, against.removeprefix(GOLDEN))
    if against.startswith(PUBLISHED):
        return _against_published(paths, against, tolerance)
    if against == SAMPLES:
        return _against_samples(paths)
    raise InputError(
        f"--against {against}: expected {PUBLISHED}NAME, {GOLDEN}NAME or {SAMPLES}, such as "
        f"{PUBLISHED}vrf-table1 or {GOLDEN}mini"
    )


def _recomputed(
    runs: Sequence[Path],
    made_of: Sequence[Path],
    options: dict[str, Path | None],
    share: float,
) -> CheckResult:
    results, verdicts = list[RecomputedRun](), list[Verdict]()
    for run in runs:
        try:
            results.append(recompute_run(run, options, runs=made_of, share=share))
        except DataError as error:
            damaged = Verdict(str(run), "stored outputs", "failed", one_line(error))
            raise DamagedRunError(str(error), (*verdicts, damaged)) from error
        verdicts += _by_file(run, results[-1])
    found = [difference for one in results for difference in one.differences]
    differences, cells = [str(d) for d in found], sum(one.cells for one in results)
    files = list(dict.fromkeys(name for one in results for name in one.files))
    data = {"cells": cells, "files": files, "differences": differences}
    if not differences:
        text = f"{cells} cells recomputed from stored outputs; no difference in {', '.join(files)}"
        return CheckResult(RECOMPUTED, tuple(verdicts), "", text, data)
    hint = likely_reason(found, [name for one in results for name in one.elsewhere])
    failure = (
        f"{_differences(len(differences))} from what the stored outputs give; the first: "
        f"{shortened(differences[0], LONGEST - 80 - len(hint))}{hint}"
    )
    return CheckResult(RECOMPUTED, tuple(verdicts), failure, _lines(differences), data)


def _lines(found: Sequence[str]) -> str:
    """The first lines, and how many more there are."""
    more = [f"and {len(found) - LINES} more"] if len(found) > LINES else []
    return "\n".join([*found[:LINES], *more])


def _differences(count: int) -> str:
    return "1 difference" if count == 1 else f"{count} differences"


def _by_file(run: Path, found: RecomputedRun) -> list[Verdict]:
    """One verdict for each file, with its first differences."""
    verdicts = []
    for name in found.files:
        differing = [str(d) for d in found.differences if d.file == name]
        text = "; ".join(differing[:3])
        text += f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        verdicts.append(Verdict(str(run), name, "failed" if differing else "passed", text))
    return verdicts


def _against_golden(runs: Sequence[Path], name: str) -> CheckResult:
    recorded = golden.find_golden(name)
    compared = golden.compare_with_golden(recorded, [r for run in runs for r in _read(run)[0]])
    misses = [_golden_line(one) for one in compared if not one.holds]
    held = len(compared) - len(misses)
    lines = ([_lines(misses)] if misses else []) + [
        f"{held} of {len(compared)} cells agree with {GOLDEN}{name}"
    ]
    failure = ""
    if misses:
        differ = f"{len(misses)} of {len(compared)} cells differ from {GOLDEN}{name}"
        failure = shortened(f"{differ}; the first: {misses[0]}", LONGEST)
    verdicts = tuple(one.verdict for one in compared)
    title, data = f"Against {GOLDEN}{name}", _golden_data(name, compared)
    return CheckResult(title, verdicts, failure, "\n".join(lines), data)


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


def _against_samples(paths: Sequence[Path]) -> CheckResult:
    runs = [path.parent if path.name == RECORDS else path for path in paths]
    found = {run: (*submission_faults(run), *report_faults(run)) for run in runs}
    faults = [f"{run}: {fault}" for run, own in found.items() for fault in own]
    verdicts = [
        Verdict(str(run), "results", "failed", fault) for run in runs for fault in found[run]
    ]
    verdicts += [Verdict(str(run), "results") for run in runs if not found[run]]
    data = {"against": SAMPLES, "faults": {str(run): list(own) for run, own in found.items()}}
    title = "Against their own samples"
    if not faults:
        folders = "1 folder" if len(runs) == 1 else f"{len(runs)} folders"
        text = (
            f"{folders}: complete; numbers follow from samples, where samples can show them, and "
            "reports from records"
        )
        return CheckResult(title, tuple(verdicts), "", text, data)
    failure = shortened(f"{_faults(len(faults))}; the first: {faults[0]}", LONGEST)
    return CheckResult(title, tuple(verdicts), failure, _lines(faults), data)


def _faults(count: int) -> str:
    return "1 fault" if count == 1 else f"{count} faults"


def published_entries(
    runs: Sequence[Path], table: PublishedTable, tolerance: float | None = None
) -> tuple[LedgerEntry, ...]:
    """Return the ledger of a published table over runs, with their samples as evidence.

    `tolerance`, a fraction, replaces the ledger's own. Raises InputError for a folder that is no
    run.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import records_text
    >>> from bench.front.check import published_entries
    >>> from bench.leaderboard.published.tables import PublishedTable, find_published_table
    >>> from bench.testing.fakes import fake_records
    >>> Path("run").mkdir()
    >>> _ = Path("run/records.jsonl").write_text(records_text(fake_records()))
    >>> published_entries([Path("run")], find_published_table("vrf-table1"))[0].verdict
    'not attempted'
    """
    found = [_read(run) for run in runs]
    records = distinct_records(r for have, _ in found for r in have)
    missing = [m for _, lacking in found for m in lacking]
    evidence = Evidence(records)
    for run in runs:
        folder = run.parent if run.name == RECORDS else run
        evidence.of(read_samples(folder))
    return ledger(table, records, missing, tolerance, evidence)


def _against_published(runs: Sequence[Path], against: str, tolerance: float | None) -> CheckResult:
    table = find_published_table(against.removeprefix(PUBLISHED))
    fraction = None if tolerance is None else tolerance / 100
    entries = published_entries(runs, table, fraction)
    attempted = [entry for entry in entries if entry.verdict != "not attempted"]
    if not attempted:
        raise InputError(f"no cell is comparable with {against}: {frequent_reasons(entries)}")
    failures = []
    if misses := [entry for entry in attempted if entry.verdict == "not reproduced"]:
        more = f" and {len(misses) - 3} more" if len(misses) > 3 else ""
        first = "; ".join(map(describe_entry, misses[:3])) + more
        number = f"{len(misses)} of {len(attempted)} attempted cells"
        failures.append(f"{number} not reproduced: {first}")
    if unverified := [entry for entry in attempted if entry.verdict == "not verified"]:
        number = f"{len(unverified)} of {len(attempted)} attempted cells"
        failures.append(f"{number} not verified: {unverified[0].reason}")
    verdicts = tuple(_as_verdict(entry) for entry in entries)
    shown = render_table(ledger_table(table, entries), wide=True)
    text = f"{shown}\n{verdicts_summary(entries)}"
    data = _data(table.name, entries)
    failure = shortened("; ".join(failures), LONGEST)
    return CheckResult(f"Against {against}", verdicts, failure, text, data)


def _read(run: Path) -> tuple[list[Record], list[MissingCell]]:
    """Records and missing cells of a run's folder, or of a file of records alone."""
    if run.name == RECORDS:
        return read_run(run.parent)
    return (read_records(run), []) if run.is_file() else read_run(run)


def _as_verdict(entry: LedgerEntry) -> Verdict:
    claim = entry.claim
    states: dict[str, State] = {"reproduced": "passed", "not attempted": "skipped"}
    state = states.get(entry.verdict, "failed")
    words = "" if entry.ours is None else describe_entry(entry)
    text = "; ".join(filter(None, (words, entry.reason)))
    return Verdict(f"{claim.backbone} {claim.row.name}", claim.column.name, state, text)


def frequent_reasons(entries: Sequence[LedgerEntry]) -> str:
    """Return the three most frequent reasons why cells were not attempted.

    Examples
    --------
    >>> from bench.front.check import frequent_reasons
    >>> from bench.leaderboard.published.ledger import ledger
    >>> from bench.leaderboard.published.tables import PublishedTable, find_published_table
    >>> frequent_reasons(ledger(find_published_table("vrf-table1"), []))
    'no record of top1 (70 cells)'
    """
    found = Counter(entry.reason for entry in entries).most_common()
    more = f" and {len(found) - 3} other reasons" if len(found) > 3 else ""
    return "; ".join(f"{reason} ({count} cells)" for reason, count in found[:3]) + more


def verdicts_summary(entries: Sequence[LedgerEntry]) -> str:
    """Return the number of cells with each verdict, and the models that they were measured with.

    Examples
    --------
    >>> from bench.front.check import verdicts_summary
    >>> from bench.leaderboard.published.ledger import LedgerEntry
    >>> from bench.leaderboard.published.tables import PublishedTable, find_published_table
    >>> claim = find_published_table("vrf-table1").claims[0]
    >>> verdicts_summary([LedgerEntry(claim, "reproduced", ours=0.634, model="ViT-B-32/openai")])
    '1 reproduced, 0 not reproduced, 0 not attempted; measured with ViT-B-32/openai'
    """
    models = ", ".join(sorted({entry.model for entry in entries if entry.model}))
    verdicts = ", ".join(
        f"{number} {verdict}" for verdict, number in count_verdicts(entries).items()
    )
    return f"{verdicts}; measured with {models}"


def _data(name: str, entries: Sequence[LedgerEntry]) -> dict[str, Any]:
    """The data of ``--json``: claims as printed and as fractions, other numbers as fractions."""
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

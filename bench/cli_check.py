"""``bench check``: a run's numbers against published ones."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.errors import InputError, RegressionError
from bench.streams import say

if TYPE_CHECKING:
    from bench.ledger import Entry
    from bench.records import Missing, Record

AGAINST = "published:"


@click.command("check")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--against",
    required=True,
    metavar="published:NAME",
    help="The published table to compare with; 'bench list published' lists them.",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="POINTS",
    help="Largest difference that counts as reproduced, in points (percent). "
    "[default: by the size of each set and the deviation over seeds]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def check_command(
    runs: tuple[Path, ...], against: str, tolerance: float | None, as_json: bool
) -> None:
    """Compare RUNs (folders, or their records.jsonl) with a published table, cell by cell.

    Exit code 0 if every attempted cell is reproduced, 3 if one is not, 2 if none is comparable.
    docs/published.md says what counts as attempted, and what the default tolerance is.
    """
    from bench import published, published_tables
    from bench.ledger import ledger

    if not against.startswith(AGAINST):
        raise InputError(
            f"--against {against}: expected {AGAINST}NAME, such as published:vrf-table1"
        )
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"--tolerance {tolerance}: expected a number of points, 0 or more")
    table = published.find(against.removeprefix(AGAINST))
    found = [_read(run) for run in runs]
    records = {r.model_dump_json(): r for have, _ in found for r in have}
    missing = [m for _, lacking in found for m in lacking]
    share = None if tolerance is None else tolerance / 100
    entries = ledger(table, records.values(), missing, share)
    attempted = [entry for entry in entries if entry.verdict != "not attempted"]
    if not attempted:
        raise InputError(f"nothing is comparable with {against}: {_reasons(entries)}")
    if as_json:
        say(json.dumps(_data(table.name, entries)), sys.stdout)
    else:
        compared = published_tables.compared(table, entries)
        say(published_tables.drawn(compared, wide=True), sys.stdout)
        say(_summary(entries), sys.stdout)
    if misses := [entry for entry in attempted if entry.verdict == "not reproduced"]:
        more = f" and {len(misses) - 3} more" if len(misses) > 3 else ""
        said = "; ".join(map(published_tables.in_words, misses[:3])) + more
        raise RegressionError(
            f"not reproduced, {len(misses)} of {len(attempted)} attempted cells: {said}"
        )


def _read(run: Path) -> tuple[list[Record], list[Missing]]:
    """Records and missing cells of a run's folder, or of a file of records alone."""
    from bench.records import read
    from bench.session import read_run

    if run.name == "records.jsonl":
        return read_run(run.parent)
    return (read(run), []) if run.is_file() else read_run(run)


def _reasons(entries: Sequence[Entry]) -> str:
    """The three most frequent reasons for which cells were not attempted."""
    found = Counter(entry.reason for entry in entries).most_common()
    more = f" and {len(found) - 3} other reasons" if len(found) > 3 else ""
    return "; ".join(f"{reason} ({count} cells)" for reason, count in found[:3]) + more


def _summary(entries: Sequence[Entry]) -> str:
    from bench.ledger import count

    models = ", ".join(sorted({entry.model for entry in entries if entry.model}))
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in count(entries).items())
    return f"{verdicts}; measured with {models}"


def _data(name: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """The ledger for ``--json``: the claim as printed and as a share, all else as shares."""
    from bench.ledger import count, share

    return {
        "against": name,
        "counts": dict(count(entries)),
        "cells": [
            {
                "backbone": entry.claim.backbone,
                "row": entry.claim.row.name,
                "column": entry.claim.column.name,
                "printed": entry.claim.text,
                "claim": share(entry.claim),
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

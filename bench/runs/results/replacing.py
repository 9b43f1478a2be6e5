"""What lies in a run's output folder, and whether a new outcome may take its place."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.foreign.files import read_bounded
from bench.core.records import MissingCell, Record, read_records
from bench.leaderboard.comparability import row_name
from bench.report.run_folder import CONFIG, RECORDS

EXTENDED = (
    "suite",
    "table",
    "methods",
    "shifts",
    "seeds",
    "controls",
    "curves",
    "rows",
    "backbones",
    "allow_incomplete",
)
"""The settings that a run with more cells may have differently."""


class PoorerError(Exception):
    """An outcome lacks what the run has whose place it should take.

    Examples
    --------
    >>> from bench.runs.results.replacing import PoorerError
    >>> str(PoorerError("run"))
    'run'
    """


def check_replaceable(
    out: Path, settings: Mapping[str, Any], planned: Iterable[MissingCell]
) -> None:
    """Raise InputError if `out` has a run that one with such cells and settings must not replace.

    It may replace a run with the same settings whose cells are all planned; a cell with watermarks
    does not replace one without.
    """
    before = _records(out)
    if not before:
        return
    other = _differing_setting(out / CONFIG, settings)
    if other:
        raise InputError(
            f"{out} has a run with another {other}: choose another --out, or replace it with "
            "--overwrite"
        )
    cells = {_row_and_set(cell): cell.notes for cell in planned}
    lost = [
        r
        for r in before
        if (r.kind == "cell" and r.role != "oracle")
        and ((notes := cells.get(_row_and_set(r))) is None or (notes and not r.notes))
    ]
    if lost:
        what = f"{row_name(lost[0])} on {lost[0].shift} of {lost[0].suite}"
        raise InputError(
            f"{out} has a run with cells that this one leaves out, such as {what}: choose another "
            "--out, or replace it with --overwrite"
        )


def refuse_poorer(records: Iterable[Record], out: Path) -> None:
    """Raise PoorerError if the run in `out` has a record that is not among `records`.

    So if its records cannot be read: what they are is not known.
    """
    before = _records(out)
    if before is None or not {_place(r) for r in before} <= {_place(r) for r in records}:
        raise PoorerError(str(out))


def places_of(out: Path) -> Iterator[Path]:
    """Yield `out`, and folders beside it for outcomes that are too poor for those before.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.runs.results.replacing import places_of
    >>> [path.name for path, _ in zip(places_of(Path("run")), range(3))]
    ['run', 'run.incomplete', 'run.incomplete-2']
    """
    yield out
    yield out.with_name(f"{out.name}.incomplete")
    for number in itertools.count(2):
        yield out.with_name(f"{out.name}.incomplete-{number}")


def _records(out: Path) -> list[Record] | None:
    """The records of a run; none if there is no run, and None if they cannot be read."""
    path = out / RECORDS
    try:
        return read_records(path) if path.exists() else []
    except (InputError, OSError):
        return None


def _differing_setting(path: Path, settings: Mapping[str, Any]) -> str:
    try:
        before = json.loads(read_bounded(path))
        shared = [n for n in settings if n in before and n not in EXTENDED]
        now = json.loads(json.dumps(settings))
        return next((name for name in shared if before[name] != now[name]), "")
    except (OSError, ValueError, TypeError, RecursionError):
        return "configuration, which cannot be read"


def _row_and_set(cell: Record | MissingCell) -> tuple[Any, ...]:
    row = (cell.suite, cell.model, cell.protocol, cell.method, cell.base, cell.seed)
    return (*row, cell.shift)


def _place(record: Record) -> tuple[Any, ...]:
    choice = tuple(sorted(record.choice.items())) if record.kind == "curve" else ()
    return (*_row_and_set(record), record.kind, record.metric, choice)

"""Which records may share a leaderboard, and which of its rows may be ranked together.

A mean over seeds means something only if nothing but the seed differs, a comparison of rows only
if they were measured on the same images. Records say how they were made in their provenance;
what a record does not say is not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.api.metrics import ACCURACY
from bench.core.errors import InputError
from bench.core.records import CellAddress, Record
from bench.leaderboard.board import Board, BoardRow

ADVICE = "report their runs separately"


def check_comparable(records: Iterable[Record]) -> None:
    """Raise InputError if records of one board differ in what they must agree in.

    Of a row: method and base with all hyper-parameters (a base also with its own row), precision,
    data, backbone and selection rule. Of the board: the images of each shift and the metric it is
    judged by, precision and prompts.
    """
    known: dict[tuple[object, ...], tuple[Any, Record]] = {}
    for record in records:
        for scope, name, value in _facts(record):
            if value is None:
                continue
            first, other = known.setdefault((scope, name), (value, record))
            if first != value:
                what, one, two = _difference(name, first, value)
                raise InputError(
                    f"{record.suite}: {_row(other)} and {_row(record)} differ in {what}: "
                    f"{one} and {two}; {ADVICE}"
                )


def describe_conflict(record: Record, other: float) -> str:
    """What to say if the cell of `record` also has the value `other`."""
    return (
        f"two values of {record.metric} for {row_name(record)} on {record.suite}/{record.shift}, "
        f"seed {record.seed}: {other:g} and {record.value:g}; {ADVICE}"
    )


def row_name(place: CellAddress) -> str:
    """``METHOD`` or ``METHOD:BASE``, as on the command line."""
    return f"{place.method}:{place.base}" if place.base else place.method


def _row(record: Record) -> str:
    return f"{row_name(record)} (seed {'none' if record.seed is None else record.seed})"


def _facts(record: Record) -> Iterator[tuple[object, str, Any]]:
    """(scope, name, value): within a scope a name must have one value; None says nothing."""
    made, row = record.provenance, (record.method, record.base)
    data = made.get("data")
    images = data if isinstance(data, Mapping) else {}
    yield row, record.method, made.get("method")
    if record.base is not None:
        yield (record.base, None), record.base, made.get("base")
    yield row, "backbone", made.get("backbone")
    yield row, "selection rule", (record.chosen_on or {}).get("rule")
    yield "board", "precision", made.get("precision")
    yield "board", "prompts", made.get("prompts", "the suite's own") if "inputs" in made else None
    yield "board", f"images of {record.shift}", images.get("evaluation")
    yield "board", f"metric of {record.shift}", record.primary_metric
    yield (
        "board",
        f"place of {record.shift}",
        "beside the mean" if record.outside_mean else "in the mean",
    )
    for split in sorted(images.keys() - {"evaluation"}):
        yield row, f"images of {split}", images[split]


def _difference(name: str, one: Any, two: Any) -> tuple[str, Any, Any]:
    """The first place where two values differ, such as ``e2e-ft.trainer.lr``, and what is there."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in sorted(one.keys() | two.keys()):
            if one.get(key) != two.get(key):
                return _difference(f"{name}.{key}", one.get(key), two.get(key))
    return name, one, two


def rankable_rows(board: Board) -> tuple[BoardRow, ...]:
    """The rows of a board that may be ranked together, in its order; often none.

    They share suite, model and protocol, as all of a board do. A partial or limited board ranks
    nothing, nor does one with a set that is judged by something else than accuracy; rows that lack
    a cell, controls and what was chosen in hindsight are left out.
    """
    if not board.ranked or set(board.metrics) != {ACCURACY.name}:
        return ()
    return tuple(row for row in board.rows if row.complete and row.role == "method")

"""Which records may share a leaderboard, and which of its rows may be ranked together.

A mean over seeds is meaningful only if nothing but the seed differs, and a comparison of rows only
if they were measured on the same images. The provenance of a record states how it was computed;
facts that a record does not state are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.method import ZERO_SHOT
from bench.api.metrics import ACCURACY
from bench.core.errors import InputError
from bench.core.records import CellAddress, Record
from bench.leaderboard.board import Board, BoardRow

ADVICE = "report their runs separately"
RELATIVE, ABSOLUTE = 1e-6, 1e-9
"""Up to which differences two values of one cell are the same: other hardware and other versions of
NumPy sum in another order. The absolute one is for values near 0."""


def check_comparable(records: Iterable[Record]) -> None:
    """Raise InputError if records of one board differ in a setting that they must share.

    Records of one row must share the method and the base with all hyper-parameters (a base also
    with its own row), the data, the backbone and the selection rule. Records of one board must
    share precision, prompts, and for each shift its images, its primary metric and whether it
    counts in the OOD mean.

    Examples
    --------
    >>> from bench.leaderboard.comparability import check_comparable
    >>> from bench.testing.fakes import fake_records
    >>> one, other = fake_records({"zero-shot": (0.6,), "e2e-ft": (0.8,)}, shifts=[])
    >>> check_comparable([one, other])
    >>> other = other.model_copy(update={"primary_metric": "macro-f1"})
    >>> check_comparable([one, other])
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: fake: zero-shot (seed none) and e2e-ft (seed 0) ...
    """
    known: dict[tuple[object, ...], tuple[Any, Record]] = {}
    for record in records:
        for scope, name, value in _facts(record):
            if value is None:
                continue
            first, other = known.setdefault((scope, name), (value, record))
            if first != value:
                place, one, two = _difference(name, first, value)
                raise InputError(
                    f"{record.suite}: {_row(other)} and {_row(record)} differ in {place}: "
                    f"{one} and {two}; {ADVICE}"
                )


def same_value(one: float, other: float) -> bool:
    """Return whether two values of one cell are the same, apart from rounding.

    Examples
    --------
    >>> from bench.leaderboard.comparability import same_value
    >>> same_value(0.6, 0.6 + 1e-9), same_value(0.0, 1e-12), same_value(0.6, 0.6001)
    (True, True, False)
    """
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def describe_conflict(record: Record, other: float) -> str:
    """Return the error message for a cell that has the value of `record` and also `other`.

    Examples
    --------
    >>> from bench.leaderboard.comparability import describe_conflict
    >>> from bench.testing.fakes import fake_records
    >>> describe_conflict(fake_records()[0], other=0.61)
    'two values of top1 for zero-shot on fake/id, seed None: 0.61 and 0.6; ...
    """
    return (
        f"two values of {record.metric} for {row_name(record)} on {record.suite}/{record.shift}, "
        f"seed {record.seed}: {other:g} and {record.value:g}; {ADVICE}"
    )


def row_name(place: CellAddress) -> str:
    """Return ``METHOD`` or ``METHOD:BASE``, as on the command line.

    Examples
    --------
    >>> from bench.leaderboard.comparability import row_name
    >>> from bench.testing.fakes import fake_records
    >>> row_name(fake_records()[0]), row_name(fake_records()[-1])
    ('zero-shot', 'vrf:e2e-ft')
    """
    return f"{place.method}:{place.base}" if place.base else place.method


def _row(record: Record) -> str:
    return f"{row_name(record)} (seed {'none' if record.seed is None else record.seed})"


def _facts(record: Record) -> Iterator[tuple[object, str, Any]]:
    """Yield (scope, name, value): within a scope, each name must have one value.

    None means that the record does not state the value.
    """
    provenance, row = record.provenance, (record.method, record.base)
    data = provenance.get("data")
    images = data if isinstance(data, Mapping) else {}
    # Records that list their inputs but no prompts used the suite's own.
    prompts = provenance.get("prompts", "the suite's own") if "inputs" in provenance else None
    yield row, record.method, provenance.get("method")
    if record.base is not None:
        yield (record.base, None), record.base, provenance.get("base")
    yield row, "backbone", provenance.get("backbone")
    yield row, "selection rule", (record.chosen_on or {}).get("rule")
    yield "board", "precision", provenance.get("precision")
    yield "board", "prompts", prompts
    yield "board", f"images of {record.shift}", images.get("evaluation")
    yield "board", f"metric of {record.shift}", record.primary_metric
    yield (
        "board",
        f"place of {record.shift}",
        "outside the mean" if record.outside_mean else "in the mean",
    )
    for split in sorted(images.keys() - {"evaluation"}):
        yield row, f"images of {split}", images[split]


def _difference(name: str, one: Any, two: Any) -> tuple[str, Any, Any]:
    """Return where two values first differ, such as ``e2e-ft.trainer.lr``, and both values."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in sorted(one.keys() | two.keys()):
            if one.get(key) != two.get(key):
                return _difference(f"{name}.{key}", one.get(key), two.get(key))
    return name, one, two


def rankable_rows(board: Board) -> tuple[BoardRow, ...]:
    """Return the rows of a board that may be ranked together, in its order; may be empty.

    Nothing is ranked on a partial or watermarked board, nor where the primary metric of a set is
    not accuracy. Rows with a missing cell, controls and oracles are left out.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.leaderboard.comparability import rankable_rows
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> [row.method for row in rankable_rows(board)]
    ['zero-shot', 'e2e-ft', 'vrf']
    """
    if not board.ranked or set(board.metrics) != {ACCURACY.name}:
        return ()
    return tuple(row for row in board.rows if row.complete and row.role == "method")


def trained_once(rows: Sequence[BoardRow]) -> bool:
    """Return whether rows were trained with one seed, so that their training noise is unknown.

    A fine-tuned model from elsewhere was trained once, too. Nothing between two such rows is called
    better or worse: only the sample of images could be counted.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.leaderboard.comparability import trained_once
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> trained_once(board.rows), trained_once(board.rows[:1])  # the first is zero-shot
    (True, False)
    """
    trained = [row for row in rows if row.method != ZERO_SHOT]
    return bool(trained) and max(len(row.seeds) for row in trained) == 1


def tested_pairs(rows: Sequence[BoardRow]) -> NDArray[np.bool_]:
    """Return which pairs of rows [m, m] are compared: all, or with one seed those with zero-shot.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.leaderboard.comparability import tested_pairs
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> [row.method for row in board.rows], tested_pairs(board.rows).tolist()[1]
    (['zero-shot', 'e2e-ft', 'vrf'], [True, False, False])
    """
    untrained = np.array([row.method == ZERO_SHOT for row in rows], dtype=bool)
    found: NDArray[np.bool_] = untrained[:, None] | untrained[None, :] | (not trained_once(rows))
    return found

"""The cells of the board as plain data, for measured and for published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.report.tables.table import TableCell

Data = dict[str, Any]
"""A part of the page's data: a JSON object."""


def number(value: float) -> float:
    """Return a number with eight digits, which sorting and figures do not tell from all.

    Examples
    --------
    >>> from bench.report.formats.board.cells import number
    >>> number(56.399999999999999)
    56.4
    """
    return float(f"{value:.8g}")


def cell_data(
    cell: TableCell,
    value: float | None,
    interval: str = "",
    rank: tuple[int, int] | None = None,
    reasons: Sequence[str] = (),
) -> Data | None:
    """Return a cell: what is printed, and its `value` on the same scale; None for an empty cell.

    Fields: t text, v value, s small print, m sign, b whether it is the best, u whether no other
    row is surely better, i 95% interval, r best and worst rank, w reasons or remarks. Fields
    without content are left out.

    Examples
    --------
    >>> from bench.report.formats.board.cells import cell_data
    >>> from bench.report.tables.table import TableCell
    >>> cell_data(TableCell("56.4", small="± 0.4", strong=True), 56.41)
    {'t': '56.4', 'v': 56.41, 's': '± 0.4', 'b': True}
    """
    why = list(dict.fromkeys((*cell.reasons, *reasons)))
    if value is None:
        return {"t": cell.text, "w": why} if why else None
    found = {
        "s": cell.small,
        "m": cell.sign,
        "b": cell.strong,
        "u": cell.tied,
        "i": interval,
        "r": None if rank is None else list(rank),
        "w": why,
    }
    return {"t": cell.text, "v": number(value)} | {k: v for k, v in found.items() if v}

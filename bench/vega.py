"""Figures as values: Vega-Lite specifications, each with the table of what it shows.

A specification is plain data without colours of text or ground: whoever draws it adds those
(`bench.drawing` for files, the page's script for light and dark).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.board import Board, Row
from bench.tables import DASH, Item, Line, Table, full_name

Spec = dict[str, Any]
PALETTE = (
    "#4c78a8", "#f58518", "#2f9e44", "#d6409f", "#8e6bbf", "#0ca5b0", "#b07d3c", "#e5484d",
    "#7a8b2a", "#5c6bc0", "#9b6a6c", "#708090",
)  # fmt: skip
"""Colours of rows that are told apart on white and on black."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
"""Between the labels of logit axes, in percent."""
HEIGHT = 300


@dataclass(frozen=True)
class Chart:
    """A figure: what it shows, how it is drawn, and the same as a table.

    `spec` is None where it cannot be drawn; `reason` then says why. `caption` says how to read it.
    """

    name: str
    title: str
    caption: str
    spec: Spec | None
    table: Table | None = None
    reason: str = ""


def logit(p: float) -> float:
    """log(p / (1 - p)), of 0 and 1 that of half a thousandth from them."""
    q = min(max(p, 0.0005), 0.9995)
    return math.log(q / (1 - q))


def colours(board: Board) -> tuple[list[str], list[str]]:
    """Domain and range of the rows' colours: the same row has the same colour in each figure."""
    names = [full_name(board, row) for row in board.rows]
    return names, [PALETTE[i % len(PALETTE)] for i in range(len(names))]


def colour(board: Board, shown: Iterable[str], *, legend: bool = True) -> Spec:
    """The colours of the rows that are shown, as `colours` has them."""
    domain, palette = colours(board)
    kept = set(shown)
    pairs = [(n, c) for n, c in zip(domain, palette, strict=True) if n in kept]
    scale = {"domain": [n for n, _ in pairs], "range": [c for _, c in pairs]}
    look = {"title": None, "orient": "bottom"}
    base: Spec = {"field": "row", "type": "nominal", "scale": scale}
    return base | {"legend": look if legend else None}


def logit_axis(field_name: str, title: str, values: Iterable[float]) -> Spec:
    """A logit axis, labelled in percent."""
    found = sorted(values)
    low, high = found[0] - 0.1, found[-1] + 0.1
    ticks = percent_ticks(low, high)
    return {
        "field": field_name,
        "type": "quantitative",
        "title": title,
        "scale": {"domain": [round(low, 4), round(high, 4)], "nice": False, "zero": False},
        "axis": {
            "values": [round(logit(t / 100), 6) for t in ticks],
            "labelExpr": "format(100 / (1 + exp(-datum.value)), '~r')",
        },
    }


def percent_ticks(low: float, high: float) -> list[float]:
    """Round percentages between two logits, about six of them."""
    ends = [100 / (1 + math.exp(-x)) for x in (low, high)]
    step = next((s for s in STEPS if (ends[1] - ends[0]) / s <= 7), STEPS[-1])
    return [round(i * step, 1) for i in range(math.ceil(ends[0] / step), int(ends[1] / step) + 1)]


def tooltip(*names: str) -> list[Spec]:
    """The fields that a mark shows when it is pointed at."""
    return [{"field": name, "type": "nominal"} for name in names]


def percent(board: Board, value: float | None) -> str:
    """A value as the leaderboard prints it."""
    return DASH if value is None else board.scale.text(value)


def shown_rows(board: Board) -> list[Row]:
    """Rows with an ID value and a mean over the shifts."""
    return [r for r in board.rows if r.complete and r.cells[-1].mean is not None]


def plain(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    """A table of texts; the first `texts` columns stand to the left."""
    lines = tuple(Line(tuple(map(Item, row))) for row in rows)
    align = "l" * texts + "r" * (len(columns) - texts)
    return Table(name, tuple(columns), align, (lines,) if lines else ())


def linear_axis(field_name: str, title: str, *, zero: bool = False) -> Spec:
    """An axis of numbers, with room at its ends."""
    return {
        "field": field_name,
        "type": "quantitative",
        "title": title,
        "scale": {"zero": zero, "padding": 12},
        "axis": {"tickCount": 6},
    }

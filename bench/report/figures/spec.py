"""Figures as values: Vega-Lite specifications, each with the table of what it shows.

A specification is plain data without colours of text or ground: whoever draws it adds those
(`bench.report.figures.rasterize` for files, the page's script for light and dark).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.leaderboard.board import Board, BoardRow
from bench.report.tables.table import DASH, Table, TableCell, TableLine

Spec = dict[str, Any]
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
"""Between the labels of logit axes, in percent."""
HEIGHT = 300
THOUSAND = 1000
ROOM, APART = 0.05, 0.13
"""Of an axis of counts: at its ends, and between ticks."""


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


def shown_rows(board: Board) -> list[BoardRow]:
    """Rows with an ID value and a mean over the shifts."""
    return [r for r in board.rows if r.complete and r.cells[-1].mean is not None]


def plain(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    """A table of texts; the first `texts` columns stand to the left."""
    lines = tuple(TableLine(tuple(map(TableCell, row))) for row in rows)
    align = "l" * texts + "r" * (len(columns) - texts)
    return Table(name, tuple(columns), align, (lines,) if lines else ())


def linear_axis(field_name: str, title: str, *, zero: bool = False) -> Spec:
    """An axis of numbers, with room at its ends; with `zero` it begins there."""
    return {
        "field": field_name,
        "type": "quantitative",
        "title": title,
        "scale": {"domainMin": 0, "nice": True} if zero else {"zero": False, "padding": 12},
        "axis": {"tickCount": 6},
    }


def count_axis(field_name: str, title: str, values: Iterable[int]) -> Spec:
    """An axis of counts, 0 among them: symlog, ticks at 0 and at 1, 2, 5, 10, ... thousands."""
    span = math.log1p(max(*values, THOUSAND) / THOUSAND)
    low, high = (THOUSAND * math.expm1(x) for x in (ROOM * span, (1 + ROOM) * span))
    ticks, last = [0], 0.0
    for tick in (step * 10**power for power in range(3, 12) for step in (1, 2, 5)):
        place = math.log1p(tick / THOUSAND) / span
        if tick <= high and place - last >= APART:
            ticks.append(tick)
            last = place
    domain = [-round(low), round(high)]
    return {
        "field": field_name,
        "type": "quantitative",
        "title": title,
        "scale": {"type": "symlog", "constant": THOUSAND, "domain": domain, "nice": False},
        "axis": {
            "values": ticks,
            "labelExpr": "datum.value ? format(datum.value, '~s') : '0'",
        },
    }

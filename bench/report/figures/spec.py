"""Figures as values: Vega-Lite specifications, each with a table of the numbers it shows.

A specification is plain data without text and background colours. The renderer adds those:
`bench.report.figures.rasterize` for files, the page's script for light and dark pages.
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
"""Possible distances between the labels of logit axes, in percent."""
HEIGHT = 300
THOUSAND = 1000
ROOM, APART = 0.05, 0.13
"""Fractions of an axis of counts: free space at both ends, least distance between ticks."""


@dataclass(frozen=True)
class Chart:
    """A figure: its title, caption and specification, and the same numbers as a table.

    `spec` is None if the figure cannot be made; `reason` then states why. `caption` explains how
    to read the figure.
    """

    name: str
    title: str
    caption: str
    spec: Spec | None
    table: Table | None = None
    reason: str = ""


def logit(p: float) -> float:
    """Return log(p / (1 - p)), with p clipped to [0.0005, 0.9995]."""
    q = min(max(p, 0.0005), 0.9995)
    return math.log(q / (1 - q))


def logit_axis(field_name: str, title: str, values: Iterable[float]) -> Spec:
    """Return a logit axis with labels in percent."""
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
    """Return round percentages between two logits, about six of them."""
    first, last = [100 / (1 + math.exp(-x)) for x in (low, high)]
    step = next((s for s in STEPS if (last - first) / s <= 7), STEPS[-1])
    return [round(i * step, 1) for i in range(math.ceil(first / step), int(last / step) + 1)]


def tooltip(*names: str) -> list[Spec]:
    """Return the fields in the tooltip of a mark; the field ``on`` is shown as "set"."""
    titles = {"on": {"title": "set"}}
    return [{"field": name, "type": "nominal"} | titles.get(name, {}) for name in names]


def percent(board: Board, value: float | None) -> str:
    """Return a value as the leaderboard prints it; a dash for None."""
    return DASH if value is None else board.scale.text(value)


def shown_rows(board: Board) -> list[BoardRow]:
    """Return the complete rows with a mean over the shifts."""
    return [r for r in board.rows if r.complete and r.cells[-1].mean is not None]


def plain(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    """Return a table of texts; the first `texts` columns are left-aligned."""
    lines = tuple(TableLine(tuple(map(TableCell, row))) for row in rows)
    align = "l" * texts + "r" * (len(columns) - texts)
    return Table(name, tuple(columns), align, (lines,) if lines else ())


def linear_axis(field_name: str, title: str, *, zero: bool = False) -> Spec:
    """Return a linear axis with free space at its ends; with `zero` it starts at 0."""
    return {
        "field": field_name,
        "type": "quantitative",
        "title": title,
        "scale": {"domainMin": 0, "nice": True} if zero else {"zero": False, "padding": 12},
        "axis": {"tickCount": 6},
    }


def count_axis(field_name: str, title: str, values: Iterable[int]) -> Spec:
    """Return a symlog axis of counts, with ticks at 0 and at 1, 2, 5, 10, ... thousands."""
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

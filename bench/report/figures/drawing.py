"""What the drawings of figures share: axes, tooltips and the way from altair to a `Chart`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from bench.report.figures.spec import Chart, Spec
from bench.report.tables.table import Table

STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
"""Possible distances between the labels of logit axes, in percent."""
SIZE: dict[str, Any] = {"width": "container", "height": 300}
THOUSAND = 1000
ROOM, APART = 0.05, 0.13
"""Fractions of an axis of counts: free space at both ends, least distance between ticks."""


def drawn(
    name: str,
    title: str,
    caption: str,
    drawing: alt.TopLevelMixin,
    table: Table,
    **data: Sequence[Spec],
) -> Chart:
    """Return a figure; `drawing` reads `data` by name.

    Title and caption are its description, for screen readers. Values do not pass through altair,
    which limits their number and would look at each. Neither the global settings of altair nor
    its version change a specification.
    """
    described = drawing.properties(description=f"{title}. {caption}")
    with alt.theme.enable("none"), alt.data_transformers.enable("default"):
        spec = described.to_dict(validate=False)
    del spec["$schema"]
    return Chart(name, title, caption, spec | {"datasets": data}, table)


def tooltip(*names: str, **titles: str) -> list[alt.Tooltip]:
    """Return the fields in the tooltip of a mark, with `titles` for some of them."""
    titles = {"on": "set"} | titles
    return [
        alt.Tooltip(field=name, type="nominal", title=titles.get(name, alt.Undefined))
        for name in names
    ]


def logit(p: float) -> float:
    """Return log(p / (1 - p)), with p clipped to [0.0005, 0.9995]."""
    q = min(max(p, 0.0005), 0.9995)
    return math.log(q / (1 - q))


def logit_axis(values: Iterable[float]) -> dict[str, Any]:
    """Return scale and axis of logits, with labels in percent."""
    found = sorted(values)
    low, high = found[0] - 0.1, found[-1] + 0.1
    ticks = [round(logit(t / 100), 6) for t in percent_ticks(low, high)]
    label = "format(100 / (1 + exp(-datum.value)), '~r')"
    return {
        "scale": alt.Scale(domain=[round(low, 4), round(high, 4)], nice=False, zero=False),
        "axis": alt.Axis(values=ticks, labelExpr=label),
    }


def percent_ticks(low: float, high: float) -> list[float]:
    """Return round percentages between two logits, about six of them."""
    first, last = [100 / (1 + math.exp(-x)) for x in (low, high)]
    step = next((s for s in STEPS if (last - first) / s <= 7), STEPS[-1])
    return [round(i * step, 1) for i in range(math.ceil(first / step), int(last / step) + 1)]


def linear_axis(*, zero: bool = False) -> dict[str, Any]:
    """Return linear scale and axis with free space at the ends; with `zero` they start at 0."""
    scale = alt.Scale(domainMin=0, nice=True) if zero else alt.Scale(zero=False, padding=12)
    return {"scale": scale, "axis": alt.Axis(tickCount=6)}


def count_axis(values: Iterable[int]) -> dict[str, Any]:
    """Return symlog scale and axis of counts, with ticks at 0 and at 1, 2, 5, ... thousands."""
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
        "scale": alt.Scale(type="symlog", constant=THOUSAND, domain=domain, nice=False),
        "axis": alt.Axis(values=ticks, labelExpr="datum.value ? format(datum.value, '~s') : '0'"),
    }

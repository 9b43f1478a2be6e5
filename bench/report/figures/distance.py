"""Accuracy of both endpoints and the weight w by distance to the failure set, for each row."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import altair as alt

from bench.core.records import Record
from bench.leaderboard.board import ID, Board, BoardRow
from bench.leaderboard.derived import POOLED
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.drawing import SIZE, drawn, linear_axis, tooltip
from bench.report.figures.spec import Chart, Spec, numbers_table
from bench.report.figures.style import GREY, LEGEND, looks
from bench.report.tables.leaderboard import full_name

LEAST = 20
"""Samples per seed below which the accuracy in a bin of distances is mostly noise."""
FIELDS = ("on", "Distance", "Accuracy ratio", "samples")
SETS = {ID: ("ID", "#2f98c8"), POOLED: ("ID and all shifts, pooled", "#a87b00")}
"""Labels and colours of the sets of samples."""


def distance_charts(numbers: SuiteResults) -> list[Chart]:
    """Return a figure for every row whose records have accuracies by distance."""
    found: dict[tuple[str, str | None], list[Record]] = defaultdict(list)
    for record in numbers.figures:
        if record.metric == "accuracy-by-distance" and record.shift in SETS:
            found[record.method, record.base].append(record)
    rows = {(row.method, row.base): row for row in numbers.board.rows}
    charts = (_chart(numbers.board, rows[n], found[n]) for n in found if n in rows)
    return [chart for chart in charts if chart is not None]


def _chart(board: Board, row: BoardRow, records: Sequence[Record]) -> Chart | None:
    bins: list[Spec] = []
    first = {(r.shift, r.seed): r for r in reversed(records)}  # of several runs
    records = list(reversed(first.values()))
    for place, (label, _) in SETS.items():
        same = [r.data for r in records if r.shift == place and r.data is not None]
        if len({str(data["edges"]) for data in same}) == 1:
            bins += [{"on": label} | one for one in _ratios(same)]
    if not bins:
        return None
    known = {b["on"] for b in bins}
    colours = {label: colour for label, colour in SETS.values() if label in known}
    weights = _weights(records, [b["distance"] for b in bins])
    title = full_name(board, row)
    drawing = _drawing(colours, bool(weights)).properties(usermeta={"row": title})
    caption = (
        "Accuracy of the fine-tuned model divided by that of the zero-shot model, by distance to "
        "the failure set. Counts are pooled over seeds; bins with fewer than "
        f"{LEAST} samples per seed are left out. A weight by distance assumes that this ratio "
        "falls with it. Dashed: the weight w on the fine-tuned model, mean over seeds."
    )
    name = "-".join(part for part in ("distance", row.method, row.base) if part)
    table = numbers_table("Accuracy by distance", bins, FIELDS, 1)
    data = {"bins": bins, "equal": [{"ratio": 1}], "weights": weights}
    return drawn(name, f"{title}: accuracy by distance", caption, drawing, table, **data)


def _drawing(colours: Mapping[str, str], weighted: bool) -> alt.LayerChart:
    x = alt.X("distance:Q", title="Distance to the failure set", **linear_axis())
    title = "Accuracy ratio (fine-tuned / zero-shot)"
    bins = alt.Chart(alt.NamedData("bins")).mark_line(point=True)
    ratios = bins.encode(
        x=x,
        y=alt.Y("ratio:Q", title=title, scale=alt.Scale(zero=False)),
        color=alt.Color("on:N", scale=looks(colours), legend=LEGEND),
        tooltip=tooltip(*FIELDS),
    )
    equal = alt.Chart(alt.NamedData("equal")).mark_rule(strokeDash=[2, 3], color=GREY)
    on_right = alt.Axis(orient="right", grid=False)
    dashed = alt.Chart(alt.NamedData("weights")).mark_line(strokeDash=[6, 4], color=GREY)
    weights = dashed.encode(
        x=x,
        y=alt.Y("w:Q", title="w (dashed)", scale=alt.Scale(domain=[0, 1]), axis=on_right),
        tooltip=tooltip("Distance", "Mean w"),
    )
    layers = [ratios + equal.encode(alt.Y("ratio:Q")), *([weights] if weighted else [])]
    drawing: alt.LayerChart = alt.layer(*layers, **SIZE).resolve_scale(y="independent")
    return drawing


def _ratios(parts: Sequence[Mapping[str, Any]]) -> list[Spec]:
    """Accuracy of the fine-tuned over that of the zero-shot model, per pair of adjacent bins.

    `parts` are the counts of each seed; they are pooled.
    """
    edges = parts[0]["edges"]
    total = {k: [sum(c) for c in zip(*(p[k] for p in parts), strict=True)]
             for k in ("n", "hits_zs", "hits_ft")}  # fmt: skip
    found = []
    for i in range(0, len(edges) - 2, 2):
        n, zs, ft = (sum(total[k][i : i + 2]) for k in ("n", "hits_zs", "hits_ft"))
        if n < LEAST * len(parts) or not zs:
            continue
        middle = (edges[i] + edges[i + 2]) / 2
        texts = {"Distance": f"{edges[i]:.2f} to {edges[i + 2]:.2f}", "samples": str(n)}
        found.append(texts | {"distance": middle, "ratio": ft / zs,
                             "Accuracy ratio": f"{ft / zs:.3f}"})  # fmt: skip
    return found


def _weights(records: Sequence[Record], distances: Sequence[float]) -> list[Spec]:
    """Mean over seeds of w = sigmoid(-(d - a) / b) (`bench.posthoc.functional.sigmoid_weight`)."""
    choices = {r.seed: r.choice for r in records if {"a", "b"} <= r.choice.keys()}
    if not choices:
        return []
    low, high = min(distances), max(distances)
    found = []
    for step in range(41):
        d = low + (high - low) * step / 40
        w = fmean(1 / (1 + math.exp(min((d - c["a"]) / c["b"], 700))) for c in choices.values())
        found.append({"distance": d, "w": w, "Distance": f"{d:.2f}", "Mean w": f"{w:.2f}"})
    return found

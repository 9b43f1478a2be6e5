"""Reliability diagrams: accuracy by confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from bench.leaderboard.board import Board, BoardRow
from bench.leaderboard.stats.row_samples import BINS, reliability
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.drawing import drawn, tooltip
from bench.report.figures.spec import NO_SAMPLES, Chart, Spec, numbers_table
from bench.report.figures.style import GREY, mark_values, method_colours

SIDE = 130
"""Side of a diagram in pixels."""
COLUMNS = 4
FIELDS = ("row", "on", "Confidence", "Accuracy", "Fraction of samples")


def reliability_chart(numbers: SuiteResults) -> Chart:
    """Return the accuracy by confidence on ID and on the shifts, for each row."""
    board, found = numbers.board, numbers.comparison
    title = "Reliability"
    places = [("ID", found.sets[0])] if found and any(found.sets) else []
    if found and places and board.averaged and found.sets[-1]:
        places.append((board.over_shifts, found.sets[-1]))
    points = [
        point
        for row in board.rows
        for label, sets in places
        if sets and numbers.samples.get((row.method, row.base), {}).keys() >= set(sets)
        for point in _bins(numbers, row, label, sets)
    ]
    if not points:
        return Chart("reliability", title, "", None, reason=NO_SAMPLES)
    caption = (
        f"Accuracy by confidence in {BINS} bins, pooled over seeds, with equal weight for every "
        "shift. Larger points are bins with more samples. On the diagonal, confidence equals "
        "accuracy; below it, a row is overconfident."
    )
    shown = [p for p in points if p["kind"] == "method"] or points
    if len(shown) < len(points):
        caption += " Ablations and checkpoints are only in the table."
    table = numbers_table("Reliability", points, FIELDS, 2)
    return drawn("reliability", title, caption, _diagrams(board, shown), table, points=shown)


def _bins(numbers: SuiteResults, row: BoardRow, label: str, sets: Sequence[str]) -> list[Spec]:
    bins = reliability(numbers.samples[row.method, row.base], sets)
    points = []
    for n, confidence, right in zip(*bins, strict=True):
        if n <= 0:
            continue
        texts = {"Confidence": f"{confidence / n:.3f}", "Accuracy": f"{right / n:.3f}"}
        values = {"confidence": round(confidence / n, 5), "accuracy": round(right / n, 5)}
        mark = mark_values(numbers.board, row)
        mark |= {"on": label, "panel": f"{mark['row']}: {label}", "share": round(n, 6)}
        points.append(mark | values | texts | {"Fraction of samples": f"{100 * n:.1f}%"})
    return points


def _diagrams(board: Board, points: Sequence[Spec]) -> alt.FacetChart:
    axis = alt.Axis(values=[0, 0.5, 1], format="~g")
    unit: dict[str, Any] = {"scale": alt.Scale(domain=[0, 1]), "axis": axis}
    base = alt.Chart().encode(
        x=alt.X("confidence:Q", title="Confidence", **unit),
        y=alt.Y("accuracy:Q", title="Accuracy", **unit),
        color=method_colours(board, board.rows).legend(None),
    )
    share = alt.Size("share:Q", legend=None, scale=alt.Scale(range=[6, 160]))
    diagonal = alt.Chart().mark_rule(color=GREY, strokeDash=[3, 3])
    panels = list(dict.fromkeys(p["panel"] for p in points))
    header = alt.Header(title=None, labelLimit=SIDE + 30, labelFontSize=10, labelAnchor="start",
                        labelExpr="split(datum.label, ': ')")  # fmt: skip
    diagrams = alt.layer(
        diagonal.encode(alt.XDatum(0), alt.YDatum(0), alt.X2Datum(1), alt.Y2Datum(1)),
        base.mark_line(strokeWidth=1),
        base.mark_circle(opacity=0.9).encode(size=share, tooltip=tooltip(*FIELDS)),
        data=alt.NamedData("points"),
        width=SIDE,
        height=SIDE,
    )
    facets = diagrams.facet(alt.Facet("panel:N", sort=panels, header=header), columns=COLUMNS)
    drawing: alt.FacetChart = facets.resolve_axis(x="independent")
    return drawing

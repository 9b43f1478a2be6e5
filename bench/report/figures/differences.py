"""Paired differences to zero-shot, with intervals."""

from __future__ import annotations

from functools import partial

import altair as alt

from bench.leaderboard.board import Board, BoardRow
from bench.leaderboard.stats.significance import ZERO_SHOT, BoardStatistics
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.drawing import drawn, tooltip
from bench.report.figures.spec import NO_SAMPLES, Chart, Spec, numbers_table
from bench.report.figures.style import (
    FADED,
    GREY,
    PICKED,
    base_shapes,
    emphasised,
    grey_caption,
    mark_values,
    method_colours,
)
from bench.report.tables.leaderboard import full_name
from bench.report.tables.standings import interval_text
from bench.report.tables.table import DASH

ROW_HEIGHT = 9
"""Pixels for one row on one evaluation set."""
FIELDS = ("row", "on", "Difference", "95% interval", "McNemar's p")


def difference_chart(numbers: SuiteResults) -> Chart | None:
    """Return the differences of all rows to zero-shot on every evaluation set, with intervals."""
    board, found = numbers.board, numbers.comparison
    title = "Differences to zero-shot"
    rows = [row for row in board.rows if (row.method, row.base) != ZERO_SHOT]
    if len(rows) == len(board.rows) or not rows:
        return None
    points = [p for row in rows for p in _points(board, found, row)] if found else []
    if not points:
        return Chart("differences", title, "", None, reason=NO_SAMPLES)
    methods_first = sorted(points, key=lambda p: p["kind"] != "method")
    names = list(dict.fromkeys(p["row"] for p in methods_first))
    shown = [row for row in rows if full_name(board, row) in names]
    labels = list(dict.fromkeys(p["on"] for p in points))
    axis = alt.Axis(tickCount=8, labelFlush=False)
    x = partial(alt.X, type="quantitative", title="Minus zero-shot, points", axis=axis)
    base = alt.Chart().encode(
        y=alt.Y("on:N", sort=labels, title=None, axis=alt.Axis(grid=True)),
        yOffset=alt.YOffset("row:N", sort=names),
        color=method_colours(board, shown),
        opacity=FADED,
        tooltip=tooltip(*FIELDS[:-1]),
    )
    drawing = alt.layer(
        alt.Chart().mark_rule(color=GREY).encode(x=alt.XDatum(0, type="quantitative")),
        base.mark_rule()
        .encode(x=x("low"), x2=alt.X2("high"), strokeWidth=emphasised(alt.StrokeWidthValue, 2, 1))
        .properties(name="intervals")
        .add_params(PICKED),
        base.mark_point(filled=True).encode(
            x=x("value"), shape=base_shapes(board, shown), size=emphasised(alt.SizeValue, 40, 14)
        ),
        data=alt.NamedData("points"),
        width="container",
        height=max(120, ROW_HEIGHT * len(points)),
    )
    caption = (
        f"{board.scale.title} minus that of zero-shot, paired by sample and averaged over seeds. "
        "The 95% intervals account for test samples, seeds and selection. McNemar's exact p-values "
        "are given per training run, in the order of seeds. These intervals and p-values are not "
        "corrected for multiple comparisons; the ranks in the standings are."
    )
    caption = " ".join((caption, *grey_caption(points)))
    table = numbers_table("Differences to zero-shot (points)", points, FIELDS, 2)
    return drawn("differences", title, caption, drawing, table, points=points)


def _points(board: Board, found: BoardStatistics, row: BoardRow) -> list[Spec]:
    points = []
    for label, column in zip(board.columns, found.columns, strict=True):
        names = (row.method, row.base), ZERO_SHOT
        if column is None or names not in column.differences:
            continue
        value, interval = column.differences[names]
        p_values = column.mcnemar.get(names, ())
        points.append(
            {
                **mark_values(board, row),
                "on": label,
                "value": value * board.scale.factor,
                "low": interval.low * board.scale.factor,
                "high": interval.high * board.scale.factor,
                "Difference": board.scale.text(value, signed=True),
                "95% interval": interval_text(board.scale, interval, signed=True),
                "McNemar's p": ", ".join(map(_p_text, p_values)) or DASH,
            }
        )
    return points


def _p_text(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"

"""ECE against accuracy, before and after temperature scaling."""

from __future__ import annotations

import altair as alt

from bench.api.protocol import scaling_label
from bench.leaderboard.board import Board
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.drawing import drawn, linear_axis, tooltip
from bench.report.figures.spec import Chart, Spec, numbers_table
from bench.report.figures.style import filled_points, grey_caption, mark_values, methods_last
from bench.report.tables.leaderboard import full_name

HOWS = ("unscaled", "temperature-scaled")
"""Kinds of probabilities."""
FIELDS = ("row", "probabilities", "Accuracy", "ECE")
AFTER = {"TS": "temperature scaling", "VS": "vector scaling", "IR": "isotonic regression"}
"""Calibrations by their short names."""


def calibration_charts(numbers: SuiteResults) -> list[Chart]:
    """Return ECE against accuracy on ID and, if there is one, for the mean over the shifts."""
    accuracy = numbers.common["top1"]
    boards = numbers.common["ece"], numbers.scaled["ece"]
    places = [("id", "ID", 0)]
    if accuracy.averaged:
        places.append(("ood", accuracy.over_shifts, -1))
    found = [(name, label, _points(accuracy, boards, at)) for name, label, at in places]
    return [_chart(accuracy, *one) for one in found if one[-1]]


def _points(accuracy: Board, boards: tuple[Board, Board], at: int) -> list[Spec]:
    found = []
    after = AFTER[scaling_label(accuracy.protocol)]
    hows = (HOWS[0], HOWS[1] if after == AFTER["TS"] else f"after {after}")
    for board, how in zip(boards, hows, strict=True):
        for row, other in zip(accuracy.rows, board.rows, strict=True):
            a, e = row.cells[at].mean, other.cells[at].mean
            if a is None or e is None:
                continue
            values: Spec = {"accuracy": a * 100, "ece": e * board.scale.factor}
            texts = {"Accuracy": accuracy.scale.text(a), "ECE": board.scale.text(e)}
            found.append(mark_values(accuracy, row) | {"probabilities": how} | values | texts)
    return found


def _chart(accuracy: Board, name: str, label: str, points: list[Spec]) -> Chart:
    known, hows = ({p[name] for p in points} for name in ("row", "probabilities"))
    shown = [row for row in accuracy.rows if full_name(accuracy, row) in known]
    drawing = filled_points(accuracy, shown, alt.datum.probabilities == HOWS[0]).encode(
        x=alt.X("accuracy:Q", title=f"Accuracy, {label} (percent)", **linear_axis()),
        y=alt.Y("ece:Q", title="ECE (percent)", **linear_axis(zero=True)),
        tooltip=tooltip(*FIELDS),
    )
    caption = ["Means over seeds; down and to the right is better."]
    if len(hows) > 1:
        after = AFTER[scaling_label(accuracy.protocol)]
        caption.append(f"Filled: unscaled probabilities; hollow: after {after}.")
    caption += grey_caption(points)
    table = numbers_table(f"Accuracy and ECE, {label} (percent)", points, FIELDS, 2)
    title = f"ECE against accuracy, {label}"
    points = methods_last(points)
    return drawn(f"ece-accuracy-{name}", title, " ".join(caption), drawing, table, points=points)

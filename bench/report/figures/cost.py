"""Mean over the shifts against images seen in training, with encoders per test image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from bench.leaderboard.board import Board, BoardRow
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.drawing import count_axis, drawn, linear_axis, tooltip
from bench.report.figures.spec import Chart, Spec, numbers_table, shown_rows
from bench.report.figures.style import filled_points, grey_caption, mark_values, methods_last


def cost_chart(numbers: SuiteResults) -> Chart:
    """Return the mean over the shifts against the cost of training and testing."""
    board, title = numbers.board, "Cost against accuracy"
    costs = {
        (r.method, r.base): cost
        for r in numbers.records
        if isinstance(cost := r.provenance.get("cost"), Mapping)
    }
    rows = [row for row in shown_rows(board) if costs.get((row.method, row.base))]
    points = [_point(board, row, costs[row.method, row.base]) for row in rows]
    if not points:
        why = "the records do not contain the cost of training and testing"
        return Chart("cost", title, "", None, reason=why)
    images = count_axis(p["images"] for p in points)
    fields = ("row", "Training images", "Encoders per test image", board.over_shifts)
    drawing = filled_points(board, rows, alt.datum.encoders == "1").encode(
        x=alt.X("images:Q", title="Images seen in training", **images),
        y=alt.Y("value:Q", title=f"{board.over_shifts}, {board.scale.unit}", **linear_axis()),
        tooltip=tooltip(*fields),
    )
    caption = [
        "The x-axis counts the images seen in training a row's image encoders, with repeats. Each "
        "row counts its training runs in full, even if it shares them with other rows; an ensemble "
        "counts those of its base."
    ]
    pairs = zip(rows, points, strict=True)
    if heads := [p["row"] for row, p in pairs if not p["images"] and not row.seed_free]:
        caption.append(
            f"{', '.join(heads)} {'is' if len(heads) == 1 else 'are'} trained despite 0 images: "
            "heads fitted on stored features see none."
        )
    if any(p["encoders"] != "1" for p in points):
        caption.append("Hollow points need several image encoders per test image.")
    caption += grey_caption(points)
    caption.append("Reports contain no run times, as these depend on the machine.")
    table = numbers_table("Cost", points, fields, 1)
    return drawn("cost", title, " ".join(caption), drawing, table, points=methods_last(points))


def _point(board: Board, row: BoardRow, cost: Mapping[str, Any]) -> Spec:
    mean = row.cells[-1].mean or 0
    return mark_values(board, row) | {
        "images": cost["training_images"],
        "value": mean * board.scale.factor,
        "encoders": str(cost["encoders"]),
        "Training images": f"{cost['training_images']:,}",
        "Encoders per test image": str(cost["encoders"]),
        board.over_shifts: board.scale.text(mean),
    }

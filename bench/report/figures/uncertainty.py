"""Figures from stored samples: paired differences to zero-shot and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.board import Board, BoardRow
from bench.leaderboard.stats.significance import BINS, ZERO_SHOT, BoardStatistics, reliability
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.spec import Chart, Spec, plain, tooltip
from bench.report.figures.style import (
    FADED,
    GREY,
    PICKED,
    base_shapes,
    emphasised_size,
    grey_caption,
    mark_values,
    method_colours,
)
from bench.report.tables.leaderboard import full_name
from bench.report.tables.standings import interval_text
from bench.report.tables.table import DASH, Table

NO_SAMPLES = "these records have no per-sample outcomes, which a run stores in samples/"
ROW_HEIGHT = 9
"""Pixels for one row on one evaluation set."""
SIDE = 130
"""Side of a reliability diagram in pixels."""
COLUMNS = 4


def difference_chart(numbers: SuiteResults) -> Chart | None:
    """Return the differences of all rows to zero-shot on every evaluation set, with intervals."""
    board, found = numbers.board, numbers.comparison
    title = "Differences to zero-shot"
    rows = [row for row in board.rows if (row.method, row.base) != ZERO_SHOT]
    if len(rows) == len(board.rows) or not rows:
        return None
    if found is None:
        return Chart("differences", title, "", None, reason=NO_SAMPLES)
    points = [p for row in rows for p in _differences(board, found, row)]
    if not points:
        return Chart("differences", title, "", None, reason=NO_SAMPLES)
    labels = list(dict.fromkeys(p["on"] for p in points))
    methods_first = sorted(points, key=lambda p: p["kind"] != "method")
    names = list(dict.fromkeys(p["row"] for p in methods_first))
    shown = [row for row in rows if full_name(board, row) in names]
    y = {"field": "on", "type": "nominal", "sort": labels, "title": None, "axis": {"grid": True}}
    x: Spec = {"type": "quantitative", "title": "Minus zero-shot, points"}
    x["axis"] = {"tickCount": 8, "labelFlush": False}
    shared: Spec = {
        "y": y,
        "yOffset": {"field": "row", "type": "nominal", "sort": names},
        "color": method_colours(board, shown),
        "opacity": FADED,
        "tooltip": tooltip("row", "on", "Difference", "95% interval"),
    }
    spec = {
        "width": "container",
        "height": max(120, ROW_HEIGHT * len(points)),
        "data": {"values": points},
        "layer": [
            {"mark": {"type": "rule", "color": GREY},
             "encoding": {"x": {"datum": 0, "type": "quantitative"}}},
            {"mark": {"type": "rule"}, "params": [PICKED],
             "encoding": shared | {"x": x | {"field": "low"}, "x2": {"field": "high"},
                                   "strokeWidth": emphasised_size(2, 1)}},
            {"mark": {"type": "point", "filled": True},
             "encoding": shared | {"x": x | {"field": "value"}, "shape": base_shapes(board, shown),
                                   "size": emphasised_size(40, 14)}},
        ],
    }  # fmt: skip
    table = plain(
        "Differences to zero-shot (points)",
        ("Row", "Set", "Difference", "95% interval", "McNemar's p"),
        [[p["row"], p["on"], p["Difference"], p["95% interval"], p["McNemar's p"]] for p in points],
        2,
    )
    caption = (
        f"{board.scale.title} minus that of zero-shot, paired by sample and averaged over seeds. "
        "The 95% intervals account for test samples and seeds. McNemar's exact p-values are given "
        "per training run, in the order of seeds. These intervals and p-values are not corrected "
        "for multiple comparisons; the ranks in the standings are."
    )
    return Chart("differences", title, " ".join((caption, *grey_caption(points))), spec, table)


def _differences(board: Board, found: BoardStatistics, row: BoardRow) -> list[Spec]:
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


def reliability_diagrams(numbers: SuiteResults) -> list[Chart]:
    """Return the accuracy by confidence on ID and on the shifts, for each row."""
    board, found = numbers.board, numbers.comparison
    title = "Reliability"
    if found is None or not any(found.sets):
        return [Chart("reliability", title, "", None, reason=NO_SAMPLES)]
    places = [("ID", found.sets[0])]
    if board.averaged and found.sets[-1]:
        places.append((board.over_shifts, found.sets[-1]))
    points = [
        point
        for row in board.rows
        for label, sets in places
        if sets and _has_samples(numbers, row, sets)
        for point in _bins(numbers, row, label, sets)
    ]
    if not points:
        return [Chart("reliability", title, "", None, reason=NO_SAMPLES)]
    caption = (
        f"Accuracy by confidence in {BINS} bins, pooled over seeds, with equal weight for every "
        "shift. Larger points are bins with more samples. On the diagonal, confidence equals "
        "accuracy; below it, a row is overconfident."
    )
    drawn = [p for p in points if p["kind"] == "method"] or points
    if len(drawn) < len(points):
        caption += " Ablations and checkpoints are only in the table."
    return [Chart("reliability", title, caption, _facets(board, drawn), _table(points))]


def _has_samples(numbers: SuiteResults, row: BoardRow, sets: Sequence[str]) -> bool:
    of_row = numbers.samples.get((row.method, row.base), {})
    return all(name in of_row for name in sets)


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


def _facets(board: Board, points: Sequence[Spec]) -> Spec:
    axis = {"values": [0, 0.5, 1], "format": "~g"}
    unit = {"type": "quantitative", "scale": {"domain": [0, 1]}, "axis": axis}
    encoding = {
        "x": unit | {"field": "confidence", "title": "Confidence"},
        "y": unit | {"field": "accuracy", "title": "Accuracy"},
        "size": {"field": "share", "type": "quantitative", "legend": None,
                 "scale": {"range": [6, 160]}},
        "color": method_colours(board, board.rows, legend=False),
        "tooltip": tooltip("row", "on", "Confidence", "Accuracy", "Fraction of samples"),
    }  # fmt: skip
    line = {"mark": {"type": "line", "strokeWidth": 1},
            "encoding": {k: encoding[k] for k in ("x", "y", "color")}}  # fmt: skip
    diagonal = {"mark": {"type": "rule", "color": GREY, "strokeDash": [3, 3]},
                "encoding": {"x": {"datum": 0}, "y": {"datum": 0}, "x2": {"datum": 1},
                             "y2": {"datum": 1}}}  # fmt: skip
    dots = {"mark": {"type": "circle", "opacity": 0.9}, "encoding": encoding}
    panels = list(dict.fromkeys(p["panel"] for p in points))
    header = {"title": None, "labelLimit": SIDE + 30, "labelFontSize": 10,
              "labelExpr": "split(datum.label, ': ')", "labelAnchor": "start"}  # fmt: skip
    return {
        "data": {"values": list(points)},
        "facet": {"field": "panel", "type": "nominal", "sort": panels, "header": header},
        "columns": COLUMNS,
        "resolve": {"axis": {"x": "independent"}},
        "spec": {"width": SIDE, "height": SIDE, "layer": [diagonal, line, dots]},
    }


def _table(points: Sequence[Spec]) -> Table:
    names = ("row", "on", "Confidence", "Accuracy", "Fraction of samples")
    rows = [[point[name] for name in names] for point in points]
    return plain("Reliability", ("Row", "Set", *names[2:]), rows, 2)

"""The scatter plot of OOD against ID: rows, alpha curves, training checkpoints and baselines.

Its axes fit the methods. Baselines, ablations and oracles may lie far away and would squash them,
so their layers are not drawn; the page has a checkbox for each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import altair as alt

from bench.leaderboard.board import ID, Board, BoardRow, Curve, Name
from bench.leaderboard.published.baselines import (
    Baseline,
    BaselineLine,
    fit_line,
    same_data,
    shipped_baselines,
    usable_baselines,
)
from bench.leaderboard.published.curves import published_curves
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.drawing import SIZE, drawn, logit, logit_axis, tooltip
from bench.report.figures.elsewhere import curve_values
from bench.report.figures.spec import Chart, Spec, numbers_table, shown_rows
from bench.report.figures.style import (
    FADED,
    GREY,
    GREYS,
    PICKED,
    grey_caption,
    mark_values,
    methods_last,
    point_styles,
    training_and_epoch,
)
from bench.report.tables.table import Table, TableCell, TableLine

LAST = 10**7
"""Step of the final model of a training run."""
CROSS = "M-1,-1L1,1M-1,1L1,-1"
SOURCES = 3
"""Number of baseline sources that a caption names."""
ASIDE = "The axes fit the methods; report.html draws what follows on request, by a checkbox."
ON_REQUEST = ("baselines", "line", "aside", "elsewhere")
"""Layers that a page draws on request only; they stand in the specification's ``usermeta``."""


def id_ood(numbers: SuiteResults, baselines: Sequence[Baseline]) -> Chart | None:
    """Return the scatter plot of the mean over the shifts against ID; None without shifts.

    `baselines` are supplied in addition to the shipped ones
    (`bench.leaderboard.published.baselines.usable_baselines`).
    """
    board = numbers.board
    title = f"{board.over_shifts} against ID"
    if not board.over:
        return None
    rows = shown_rows(board)
    if not board.averaged or not rows:
        why = "the shifts have no common mean" if not board.averaged else "no row is complete"
        return Chart("id-ood", title, "", None, reason=why)
    every = [_point(board, row) for row in rows]
    aside = [point for point in every if point["kind"] in GREYS]
    points = [point for point in every if point not in aside]
    if not points:
        points, aside = aside, []
    curves = [curve for curve in numbers.curves if _is_path(curve)]
    paths = [p for curve in curves for p in _path(board, curve)]
    trained = _checkpoints(board, rows)
    others = [_baseline(b, board) for b in usable_baselines(numbers, baselines)]
    elsewhere = _elsewhere(numbers)
    line = fit_line([(b["id"], b["ood"]) for b in others])
    of_baselines = _baselines_text(board, baselines, others, line)
    x, y = (logit_axis(p[axis] for p in (*points, *paths)) for axis in "xy")
    ends = [{"x": at, "y": round(line.at(at), 5)} for at in x["scale"]["domain"]] if line else []
    data = {"baselines": others, "line": ends, "aside": aside, "elsewhere": elsewhere,
            "paths": paths, "trained": trained, "points": methods_last(points)}  # fmt: skip
    known = list(dict.fromkeys((*rows, *(_row(board, curve) for curve in curves))))
    drawing = alt.layer(*_layers(board, known, data), **SIZE).encode(
        x=alt.X("x:Q", title=f"ID, {board.scale.unit} (logit scale)", **x),
        y=alt.Y("y:Q", title=f"{board.over_shifts}, {board.scale.unit} (logit scale)", **y),
    )
    caption = _scatter_caption(every, data, of_baselines)
    table = _scatter_table(board, every, others, line, elsewhere)
    return _set_aside(drawn("id-ood", title, caption, drawing, table, **data))


def _set_aside(chart: Chart) -> Chart:
    """Return the figure without the layers that are drawn on request; a page finds them apart."""
    spec = dict(chart.spec or {})
    layers = {layer["name"]: layer for layer in spec["layer"]}
    spec["layer"] = [layer for name, layer in layers.items() if name not in ON_REQUEST]
    if more := [layers[name] for name in ON_REQUEST if name in layers]:
        spec["usermeta"] = {"on_request": more}
    return replace(chart, spec=spec)


def _layers(
    board: Board, rows: Sequence[BoardRow], data: Mapping[str, Sequence[Spec]]
) -> list[alt.Chart]:
    """The layers that have data, from the lowest up. The page's script finds them by name."""

    def chart(values: str, name: str = "") -> alt.Chart:
        return alt.Chart(alt.NamedData(values), name=name or values)

    look, means = point_styles(board, rows), ("ID", board.over_shifts)
    chosen = alt.condition(alt.datum.chosen == "chosen", alt.value(30), alt.value(12))
    small = look | {"size": alt.SizeValue(**chosen)}
    crosses = chart("baselines").mark_point(
        shape=CROSS, filled=False, size=25, opacity=1, color=GREY
    )
    paths = chart("paths").mark_line(strokeWidth=1).encode(color=look["color"], opacity=FADED)
    candidates = chart("paths", "candidates").mark_point(filled=False, strokeWidth=0.8)
    trained = chart("trained").mark_line(strokeDash=[4, 3], strokeWidth=1.2, color=GREY)
    points = chart("points").mark_point(filled=True)
    aside = chart("aside").mark_point(filled=True, color=GREY, size=26)
    dots = alt.OverlayMarkDef(filled=False, size=12, strokeWidth=0.8, color=GREY)
    elsewhere = chart("elsewhere").mark_line(strokeWidth=0.8, color=GREY, point=dots)
    layers = (
        crosses.encode(tooltip=tooltip("row", "source", *means, row="baseline")),
        chart("line").mark_line(strokeDash=[6, 4], clip=True, color=GREY),
        aside.encode(shape=look["shape"], tooltip=tooltip("row", *means, "seeds")),
        elsewhere.encode(
            alt.Order("step:Q"),
            alt.Detail(["row:N", "source:N"]),
            tooltip=tooltip("row", "candidate", "source", *means, row="measured elsewhere"),
        ),
        paths.encode(alt.Order("step:Q"), alt.Detail("row:N")),
        candidates.encode(tooltip=tooltip("row", "candidate", "chosen", *means), **small),
        trained.encode(alt.Order("step:Q"), alt.Detail("training:N")),
        points.encode(tooltip=tooltip("row", *means, "seeds"), **look),
    )
    legend = "paths" if data["paths"] else "points"  # Vega makes it from the lowest layer of rows
    return [
        layer.add_params(PICKED) if layer.name == legend else layer
        for layer in layers
        if data[layer.data.name]
    ]


def _point(board: Board, row: BoardRow) -> Spec:
    """The point of a row; `shifts` holds its mean on each shift, for means over fewer shifts."""
    seeds = len(row.seeds) if not row.seed_free else 0
    cells = dict(zip(board.shifts, row.cells[1:], strict=False))
    mark = mark_values(board, row) | {"seeds": str(seeds or "none")}
    mark["shifts"] = [cells[shift].mean for shift in board.over]
    return mark | _place(board, row.cells[0].mean or 0, row.cells[-1].mean or 0)


def _place(board: Board, of_id: float, ood: float) -> Spec:
    return {
        "id": of_id,
        "ood": ood,
        "x": round(logit(of_id), 5),
        "y": round(logit(ood), 5),
        "ID": board.scale.text(of_id),
        board.over_shifts: board.scale.text(ood),
    }


def _elsewhere(numbers: SuiteResults) -> list[Spec]:
    """The points of published curves on the same images, with the text of the board's mean."""
    board = numbers.board
    if not published_curves(board.suite) or not same_data(numbers):
        return []
    curves = [c for c in published_curves(board.suite) if c.covers(board.over)]
    return [
        value | _place(board, value["id"], value["ood"])
        for curve in curves
        for value in curve_values(curve, board.over)
    ]


def _is_path(curve: Curve) -> bool:
    return all(len(p.choice) == 1 and p.id.mean is not None for p in curve.points)


def _row(board: Board, curve: Curve) -> BoardRow:
    """The row of a curve; without cells if the board does not have it."""
    bare = BoardRow(curve.method, curve.base, curve.title, (), ())
    name = curve.method, curve.base
    return next((row for row in board.rows if (row.method, row.base) == name), bare)


def _path(board: Board, curve: Curve) -> list[Spec]:
    """The candidates of a curve in order."""
    row = mark_values(board, _row(board, curve))
    found = []
    for index, point in enumerate(curve.points):
        if point.id.mean is None or point.ood.mean is None:
            continue
        ((parameter, value),) = point.choice
        mark = row | {"step": index, "candidate": f"{parameter} {value:g}"}
        mark["chosen"] = "chosen" if point.chosen else "not chosen"
        shifts = {"shifts": [cell.mean for cell in point.shifts]} if point.shifts else {}
        found.append(mark | shifts | _place(board, point.id.mean, point.ood.mean))
    return found


def _checkpoints(board: Board, rows: Sequence[BoardRow]) -> list[Spec]:
    """Rows ``METHOD@EPOCH`` and the row METHOD of the final model, by epoch."""
    trainings: dict[Name, list[tuple[int, BoardRow]]] = defaultdict(list)
    for row in rows:
        if of := training_and_epoch(row.method):
            trainings[of[0], row.base].append((of[1], row))
    for row in rows:
        if (name := (row.method, row.base)) in trainings:
            trainings[name].append((LAST, row))
    return [
        _point(board, row) | {"training": f"{method} {base}", "step": step}
        for (method, base), steps in trainings.items()
        for step, row in steps
    ]


def _baseline(found: Baseline, board: Board) -> Spec:
    """The point of a baseline; `shifts` as in `_point`."""
    values = [found.values[shift] for shift in board.over]
    named = {"row": found.model, "source": found.source, "shifts": values}
    return named | _place(board, found.values[ID], fmean(values))


def _scatter_caption(
    points: Sequence[Spec], data: Mapping[str, Sequence[Spec]], of_baselines: str
) -> str:
    parts = ["Means over seeds; up and to the right is better. Both axes are logit-scaled."]
    if data["paths"]:
        parts.append(
            "Filled points are rows with the parameters chosen for each seed. Lines and hollow "
            "points are candidates on the test sets; at least one seed chose the larger ones, and "
            "others may have chosen values between."
        )
    if data["trained"]:
        parts.append("Dashed lines connect the checkpoints of a training run with its final model.")
    if any(data[name] for name in ON_REQUEST):
        parts.append(ASIDE)
    if data["elsewhere"]:
        count = sum(value["step"] == 0 for value in data["elsewhere"])
        parts.append(
            f"Grey lines are {count} curves over alpha in published tables, measured elsewhere: "
            "they are not ranked with the rows."
        )
    return " ".join([*parts, *grey_caption(points), of_baselines])


def _baselines_text(
    board: Board, supplied: Sequence[Baseline], others: Sequence[Spec], line: BaselineLine | None
) -> str:
    """The part of the caption on the baselines, or on why there are none."""
    unused = [baseline for baseline in supplied if not baseline.covers(board.over)]
    lacking = [name for name in (ID, *board.over) if any(name not in b.values for b in unused)]
    several = len(unused) != 1
    left_out = (
        f" {len(unused)} supplied baseline{'s' if several else ''} without {', '.join(lacking)} "
        f"{'were' if several else 'was'} left out."
        if unused
        else ""
    )
    if others:
        sources = sorted({p["source"] for p in others})
        more = f" and {len(sources) - SOURCES} more" if len(sources) > SOURCES else ""
        text = f"Crosses are {len(others)} baselines ({'; '.join(sources[:SOURCES])}{more})"
        if line is None:
            return f"{text}, too few for a line.{left_out}"
        values = [p["id"] for p in others]
        span = " to ".join(map(board.scale.text, (min(values), max(values))))
        return (
            f"{text} with {span} on ID. The straight dashed line is fitted to them by least "
            "squares and extends beyond their range. Effective robustness is the height of a row "
            f"above it.{left_out}"
        )
    why = "no baseline models were supplied"
    if supplied:
        why = "no supplied baseline has values for ID and all of these shifts"
    elif shipped_baselines(board.suite):
        why = (
            f"the baselines shipped with bench are accuracies on all images of {board.suite}, "
            "but these rows are not"
        )
    return f"No line for effective robustness: {why}.{left_out}"


def _scatter_table(
    board: Board,
    points: Sequence[Spec],
    others: Sequence[Spec],
    line: BaselineLine | None,
    elsewhere: Sequence[Spec],
) -> Table:
    """A table of all points: rows, then baselines and points measured elsewhere, if there are."""
    fields, note = ["row", "ID", board.over_shifts], ""
    if line is not None:
        fields.append("Above the baselines")
        note = (
            f"Fitted to the baselines: logit({board.over_shifts}) = {line.slope:.2f} logit(ID) "
            f"{line.offset:+.2f}, R² = {line.r2:.2f}."
        )

    def above(point: Spec) -> Spec:
        if line is None:
            return point
        height = point["ood"] - line.expected(point["id"])
        return point | {"Above the baselines": board.scale.text(height, signed=True)}

    caption = f"ID and {board.over_shifts} ({board.scale.unit})"
    named = [
        value | {"row": f"{value['row']}, {value['candidate']} ({value['source']})"}
        for value in elsewhere
    ]
    table = numbers_table(caption, [*map(above, points)], fields, 1)
    for title, values in (("Baselines", others), ("Measured elsewhere", named)):
        if values:
            more = numbers_table(caption, [*map(above, values)], fields, 1)
            head = TableLine((TableCell(title),), "head")
            table = replace(table, groups=(*table.groups, (head, *more.groups[0])), note=note)
    return table

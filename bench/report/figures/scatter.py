"""The scatter plot of OOD against ID: rows, alpha curves, training checkpoints and baselines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from bench.leaderboard.board import ID, Board, BoardRow, Curve, Name
from bench.leaderboard.published.baselines import (
    Baseline,
    BaselineLine,
    fit_line,
    shipped_baselines,
    usable_baselines,
)
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.spec import (
    HEIGHT,
    Chart,
    Spec,
    logit,
    logit_axis,
    plain,
    shown_rows,
    tooltip,
)
from bench.report.figures.style import (
    GREY,
    PICKED,
    grey_caption,
    mark_values,
    methods_last,
    point_styles,
    training_and_epoch,
)
from bench.report.tables.table import Table, TableCell
from bench.report.tables.table import TableLine as TableLine

LAST = 10**7
"""Step of the final model of a training run."""
LOOKS = {
    ("points", "point"): ("color", "shape", "size", "opacity"),
    ("paths", "point"): ("color", "shape", "opacity"),
    ("paths", "line"): ("color", "opacity"),
}
"""Encoding channels of `point_styles` that each data source and mark type use."""
CROSS = "M-1,-1L1,1M-1,1L1,-1"
SOURCES = 3
"""Number of baseline sources that a caption names."""


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
    points = [_point(board, row) for row in rows]
    lines = [p for curve in numbers.curves if _is_path(curve) for p in _path(board, curve)]
    trained = _checkpoints(board, rows)
    others = [_baseline(b, board) for b in usable_baselines(numbers, baselines)]
    line = fit_line([(b["id"], b["ood"]) for b in others])
    everything = [*points, *lines, *others]
    x = logit_axis("x", f"ID, {board.scale.unit} (logit scale)", [p["x"] for p in everything])
    of_mean = f"{board.over_shifts}, {board.scale.unit} (logit scale)"
    y = logit_axis("y", of_mean, [p["y"] for p in everything])
    layers = [*_baseline_layers(others, line, x["scale"]["domain"]), *_path_layers(lines, trained)]
    tips = tooltip("row", "ID", board.over_shifts, "seeds")
    mark = {"type": "point", "filled": True}
    layers.append({"data": {"name": "points", "values": methods_last(points)}, "mark": mark,
                   "encoding": {"tooltip": tips}})  # fmt: skip
    curved = (_row(board, curve) for curve in numbers.curves if _is_path(curve))
    look = point_styles(board, list(dict.fromkeys((*rows, *curved))))
    for layer in layers:
        data_name, mark_type = layer["data"].get("name"), layer["mark"]["type"]
        of_rows = LOOKS.get((data_name, mark_type), ())
        shared = {"x": x, "y": y} | {channel: look[channel] for channel in of_rows}
        layer["encoding"] = shared | layer["encoding"]
    first = next(layer for layer in layers if "opacity" in layer["encoding"])
    first["params"] = [PICKED]  # Vega makes the legend from this layer
    spec = {"width": "container", "height": HEIGHT, "layer": layers}
    return Chart(
        "id-ood",
        title,
        _scatter_caption(points, lines, trained, _baselines_text(board, baselines, others, line)),
        spec,
        _scatter_table(board, points, others, line),
    )


def _point(board: Board, row: BoardRow) -> Spec:
    """The point of a row; `shifts` holds its mean on each shift, for means over fewer shifts."""
    seeds = len(row.seeds) if not row.seed_free else 0
    shifts = {s: c.mean for s, c in zip(board.shifts, row.cells[1:], strict=False)}
    return (
        mark_values(board, row)
        | {
            "seeds": str(seeds or "none"),
            "shifts": [shifts[s] for s in board.over],
        }
        | _place(board, row.cells[0].mean or 0, row.cells[-1].mean or 0)
    )


def _place(board: Board, of_id: float, ood: float) -> Spec:
    return {
        "id": of_id,
        "ood": ood,
        "x": round(logit(of_id), 5),
        "y": round(logit(ood), 5),
        "ID": board.scale.text(of_id),
        board.over_shifts: board.scale.text(ood),
    }


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


def _path_layers(lines: Sequence[Spec], trained: Sequence[Spec]) -> list[Spec]:
    layers: list[Spec] = []
    if lines:
        path = {"data": {"name": "paths", "values": list(lines)}}
        order = {"field": "step", "type": "quantitative"}
        detail = {"field": "row", "type": "nominal"}
        layers.append(path | {"mark": {"type": "line", "strokeWidth": 1},
                              "encoding": {"order": order, "detail": detail}})  # fmt: skip
        tips = tooltip("row", "candidate", "chosen", "ID", *_mean_of(lines))
        size = {"condition": {"test": "datum.chosen === 'chosen'", "value": 30}, "value": 12}
        layers.append(path | {"mark": {"type": "point", "filled": False, "strokeWidth": 0.8},
                              "encoding": {"tooltip": tips, "size": size}})  # fmt: skip
    if trained:
        dashes = {"type": "line", "strokeDash": [4, 3], "strokeWidth": 1.2, "color": GREY}
        layers.append({
            "data": {"name": "trained", "values": list(trained)},
            "mark": dashes,
            "encoding": {
                "order": {"field": "step", "type": "quantitative"},
                "detail": {"field": "training", "type": "nominal"},
            },
        })  # fmt: skip
    return layers


def _mean_of(points: Sequence[Spec]) -> list[str]:
    """Name of the mean over the shifts in tooltips."""
    known = {"row", "step", "candidate", "chosen", "shifts", "id", "ood", "x", "y", "ID"}
    return [name for name in points[0] if name not in known | {"method", "base", "kind"}]


def _baseline(found: Baseline, board: Board) -> Spec:
    """The point of a baseline; `shifts` as in `_point`."""
    values = [found.values[shift] for shift in board.over]
    named = {"row": found.model, "source": found.source, "shifts": values}
    return named | _place(board, found.values[ID], fmean(values))


def _baseline_layers(
    others: Sequence[Spec], line: BaselineLine | None, domain: Sequence[float]
) -> list[Spec]:
    """The bottom layers; the page's script finds the baselines and their line by data name."""
    if not others:
        return []
    grey = {"value": GREY}
    tips = tooltip("row", "source", "ID", *[n for n in _mean_of(others) if n != "source"])
    tips[0]["title"] = "baseline"
    cross = {"type": "point", "shape": CROSS, "filled": False, "size": 25, "opacity": 1}
    layers = [{"data": {"name": "baselines", "values": list(others)}, "mark": cross,
               "encoding": {"tooltip": tips, "color": grey}}]  # fmt: skip
    if line is not None:
        points = [{"x": x, "y": round(line.at(x), 5)} for x in domain]
        mark = {"type": "line", "strokeDash": [6, 4], "clip": True}
        layers.append({"data": {"name": "line", "values": points}, "mark": mark,
                       "encoding": {"color": grey}})  # fmt: skip
    return layers


def _scatter_caption(
    points: Sequence[Spec], lines: Sequence[Spec], trained: Sequence[Spec], of_baselines: str
) -> str:
    parts = ["Means over seeds; up and to the right is better. Both axes are logit-scaled."]
    if lines:
        parts.append(
            "Filled points are rows with the parameters chosen for each seed. Lines and hollow "
            "points are all candidates on the test sets; at least one seed chose the larger ones."
        )
    parts += grey_caption(points)
    if trained:
        parts.append("Dashed lines connect the checkpoints of a training run with its final model.")
    return " ".join([*parts, of_baselines])


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
    board: Board, points: Sequence[Spec], others: Sequence[Spec], line: BaselineLine | None
) -> Table:
    """A table of all points: the rows, then the baselines, if there are any."""
    columns = ["Row", "ID", board.over_shifts]
    caption = f"ID and {board.over_shifts} ({board.scale.unit})"
    note = ""
    if line is not None:
        columns.append("Above the baselines")
        note = (
            f"Fitted to the baselines: logit({board.over_shifts}) = {line.slope:.2f} logit(ID) "
            f"{line.offset:+.2f}, R² = {line.r2:.2f}."
        )

    def texts(point: Spec) -> list[str]:
        found = [point["row"], point["ID"], point[board.over_shifts]]
        if line is not None:
            above = point["ood"] - line.expected(point["id"])
            found.append(board.scale.text(above, signed=True))
        return found

    table = plain(caption, columns, [texts(p) for p in points], 1)
    if others:
        head = TableLine((TableCell("Baselines"),), "head")
        lines = (head, *(TableLine(tuple(map(TableCell, texts(p)))) for p in others))
        table = replace(table, groups=(*table.groups, lines), note=note)
    return table

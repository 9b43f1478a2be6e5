"""All figures of a report; calibration, VRF's distances and cost are built here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from bench.core.records import Record
from bench.leaderboard.board import ID, Board, BoardRow
from bench.leaderboard.derived import POOLED
from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.scatter import id_ood
from bench.report.figures.spec import (
    HEIGHT,
    Chart,
    Spec,
    count_axis,
    linear_axis,
    percent,
    plain,
    shown_rows,
    tooltip,
)
from bench.report.figures.style import (
    GREY,
    PICKED,
    filled_where,
    grey_caption,
    mark_values,
    methods_last,
    point_styles,
)
from bench.report.figures.uncertainty import difference_chart, reliability_diagrams
from bench.report.tables.leaderboard import full_name

LEAST = 20
"""Samples per seed below which the accuracy in a bin of distances is mostly noise."""
TWO = ("#2f98c8", "#a87b00")
"""Colours of series that are not rows."""
HOWS = ("unscaled", "temperature-scaled")
"""Kinds of probabilities."""


def charts(numbers: SuiteResults, baselines: Sequence[Baseline] = ()) -> tuple[Chart, ...]:
    """Return the figures of a chapter.

    A figure without data is included only if its absence needs a reason. Each specification has
    title and caption as its description, for screen readers.
    """
    found = [
        id_ood(numbers, baselines),
        difference_chart(numbers),
        *_calibration(numbers),
        *reliability_diagrams(numbers),
        *_distances(numbers),
        _cost(numbers),
    ]
    return tuple(_described(chart) for chart in found if chart is not None)


def _described(chart: Chart) -> Chart:
    if chart.spec is None:
        return chart
    return replace(chart, spec=chart.spec | {"description": f"{chart.title}. {chart.caption}"})


def _calibration(numbers: SuiteResults) -> list[Chart | None]:
    """ECE against accuracy, on ID and as the mean over the shifts."""
    accuracy, ece = numbers.common["top1"], numbers.common["ece"]
    if not any(cell.seeds for row in ece.rows for cell in row.cells):
        return []
    scaled = numbers.scaled["ece"]
    places = [("id", "ID", 0)]
    if accuracy.averaged:
        places.append(("ood", accuracy.over_shifts, -1))
    return [
        _ece_accuracy(accuracy, (ece, scaled), name, label, at)
        for name, label, at in places
    ]  # fmt: skip


def _ece_accuracy(
    accuracy: Board, boards: tuple[Board, Board], name: str, label: str, at: int
) -> Chart | None:
    found: list[Spec] = []
    for board, how in zip(boards, HOWS, strict=True):
        for row, other in zip(accuracy.rows, board.rows, strict=True):
            a, e = row.cells[at].mean, other.cells[at].mean
            if a is None or e is None:
                continue
            shared = mark_values(accuracy, row) | {"probabilities": how}
            values: Spec = {"accuracy": a * 100, "ece": e * board.scale.factor}
            texts = {"Accuracy": accuracy.scale.text(a), "ECE": board.scale.text(e)}
            found.append(shared | values | texts)
    if not found:
        return None
    known, hows = ({p[name] for p in found} for name in ("row", "probabilities"))
    shown = [row for row in accuracy.rows if full_name(accuracy, row) in known]
    encoding = {
        "x": linear_axis("accuracy", f"Accuracy, {label} (percent)"),
        "y": linear_axis("ece", "ECE (percent)", zero=True),
        "tooltip": tooltip("row", "probabilities", "Accuracy", "ECE"),
        **filled_where(point_styles(accuracy, shown), f"datum.probabilities === '{HOWS[0]}'"),
    }
    spec = _scattered(found, encoding)
    caption = ["Means over seeds; down and to the right is better."]
    if len(hows) > 1:
        caption.append("Filled: unscaled probabilities; hollow: after temperature scaling.")
    caption += grey_caption(found)
    rows = [[p["row"], p["probabilities"], p["Accuracy"], p["ECE"]] for p in found]
    columns = ("Row", "Probabilities", "Accuracy", "ECE")
    table = plain(f"Accuracy and ECE, {label} (percent)", columns, rows, 2)
    title = f"ECE against accuracy, {label}"
    return Chart(f"ece-accuracy-{name}", title, " ".join(caption), spec, table)


def _distances(numbers: SuiteResults) -> list[Chart | None]:
    """Accuracy of both endpoints and the weight w by distance; one figure per row that has them."""
    found: dict[tuple[str, str | None], list[Record]] = defaultdict(list)
    for record in numbers.figures:
        if record.metric == "accuracy-by-distance" and record.shift in (ID, POOLED):
            found[record.method, record.base].append(record)
    rows = {(row.method, row.base): row for row in numbers.board.rows}
    return [
        _distance(numbers.board, rows[name], records)
        for name, records in found.items()
        if name in rows
    ]


def _distance(board: Board, row: BoardRow, records: Sequence[Record]) -> Chart | None:
    bins: list[Spec] = []
    for place, label in ((ID, "ID"), (POOLED, "ID and all shifts, pooled")):
        same = [r for r in records if r.shift == place and r.data is not None]
        edges = {str(r.data["edges"]) for r in same if r.data}
        if len(edges) == 1:
            bins += [{"on": label} | one for one in _ratios([r.data or {} for r in same])]
    labels = list(dict.fromkeys(b["on"] for b in bins))
    weights = _weights(records, [b["distance"] for b in bins])
    if not bins:
        return None
    x = linear_axis("distance", "Distance to the failure set") | {"axis": {"tickCount": 6}}
    ratio = {"field": "ratio", "type": "quantitative", "scale": {"zero": False},
             "title": "Accuracy ratio (fine-tuned / zero-shot)"}  # fmt: skip
    on = {"field": "on", "type": "nominal", "scale": {"domain": labels, "range": list(TWO)}}
    on["legend"] = {"title": None, "orient": "bottom"}
    tips = tooltip("on", "Distance", "Accuracy ratio", "samples")
    values = {"data": {"values": bins}}
    first = {
        "layer": [
            values | {"mark": {"type": "line", "point": True},
                      "encoding": {"x": x, "y": ratio, "color": on, "tooltip": tips}},
            {"data": {"values": [{"one": 1}]}, "mark": {"type": "rule", "strokeDash": [2, 3],
             "color": GREY}, "encoding": {"y": {"field": "one", "type": "quantitative"}}},
        ]
    }  # fmt: skip
    second = {
        "data": {"values": weights},
        "mark": {"type": "line", "strokeDash": [6, 4], "color": GREY},
        "encoding": {
            "x": x,
            "y": {"field": "w", "type": "quantitative", "scale": {"domain": [0, 1]},
                  "title": "w (dashed)", "axis": {"orient": "right", "grid": False}},
            "tooltip": tooltip("Distance", "Mean w"),
        },
    }  # fmt: skip
    spec: Spec = {
        "width": "container",
        "height": HEIGHT,
        "resolve": {"scale": {"y": "independent"}},
    }
    spec["layer"] = [first, *([second] if weights else [])]
    rows = [[b["on"], b["Distance"], b["Accuracy ratio"], b["samples"]] for b in bins]
    columns = ("Set", "Distance", "Accuracy ratio", "Samples")
    caption = (
        "Accuracy of the fine-tuned model divided by that of the zero-shot model, by distance to "
        "the failure set. Counts are pooled over seeds; bins with fewer than "
        f"{LEAST} samples per seed are left out. VRF assumes that this ratio falls with the "
        "distance. Dashed: the weight w on the fine-tuned model, mean over seeds."
    )
    title = full_name(board, row)
    spec["usermeta"] = {"row": title}
    name = f"distance-{'-'.join(part for part in (row.method, row.base) if part)}"
    table = plain("Accuracy by distance", columns, rows, 1)
    return Chart(name, f"{title}: accuracy by distance", caption, spec, table)


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
    if not choices or not distances:
        return []
    low, high = min(distances), max(distances)
    found = []
    for step in range(41):
        d = low + (high - low) * step / 40
        w = fmean(1 / (1 + math.exp(min((d - c["a"]) / c["b"], 700))) for c in choices.values())
        found.append({"distance": d, "w": w, "Distance": f"{d:.2f}", "Mean w": f"{w:.2f}"})
    return found


def _cost(numbers: SuiteResults) -> Chart:
    """Mean over the shifts against images seen in training, with encoders per test image."""
    board, title = numbers.board, "Cost against accuracy"
    costs = {
        (r.method, r.base): cost
        for r in numbers.records
        if isinstance(cost := r.provenance.get("cost"), Mapping)
    }
    rows = [row for row in shown_rows(board) if costs.get((row.method, row.base))]
    found = [_price(board, row, costs[row.method, row.base]) for row in rows]
    if not found:
        why = "the records do not contain the cost of training and testing"
        return Chart("cost", title, "", None, reason=why)
    tips = ("row", "Training images", "Encoders per test image", board.over_shifts)
    encoding = {
        "x": count_axis("images", "Images seen in training", [p["images"] for p in found]),
        "y": linear_axis("value", f"{board.over_shifts}, {board.scale.unit}"),
        "tooltip": tooltip(*tips),
        **filled_where(point_styles(board, rows), "datum.encoders === '1'"),
    }
    spec = _scattered(found, encoding)
    caption = [
        "The x-axis counts the images seen in training a row's image encoders, with repeats. Each "
        "row counts its training runs in full, even if it shares them with other rows; an ensemble "
        "counts those of its base."
    ]
    pairs = zip(rows, found, strict=True)
    if heads := [p["row"] for row, p in pairs if not p["images"] and not row.seed_free]:
        caption.append(
            f"{', '.join(heads)} {'is' if len(heads) == 1 else 'are'} trained despite 0 images: "
            "heads fitted on stored features see none."
        )
    if any(p["encoders"] != "1" for p in found):
        caption.append("Hollow points need several image encoders per test image.")
    caption += grey_caption(found)
    caption.append("Reports contain no run times, as these depend on the machine.")
    table = plain("Cost", ("Row", *tips[1:]), [[p[t] for t in tips] for p in found], 1)
    return Chart("cost", title, " ".join(caption), spec, table)


def _scattered(values: Sequence[Spec], encoding: Spec) -> Spec:
    """A plain scatter plot."""
    return {
        "width": "container",
        "height": HEIGHT,
        "data": {"values": methods_last(values)},
        "params": [PICKED],
        "mark": {"type": "point", "filled": True},
        "encoding": encoding,
    }


def _price(board: Board, row: BoardRow, cost: Mapping[str, Any]) -> Spec:
    cell = row.cells[-1]
    return mark_values(board, row) | {
        "images": cost["training_images"],
        "value": (cell.mean or 0) * board.scale.factor,
        "encoders": str(cost["encoders"]),
        "Training images": f"{cost['training_images']:,}",
        "Encoders per test image": str(cost["encoders"]),
        board.over_shifts: percent(board, cell.mean),
    }

"""The figures of a report: of calibration, of VRF's distances, of samples and of cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench import sample_charts
from bench.baselines import Baseline
from bench.board import ID, Board
from bench.measured import Measured
from bench.pooling import POOLED
from bench.records import Record
from bench.scatter import id_ood
from bench.tables import full_name
from bench.vega import (
    HEIGHT,
    PALETTE,
    SHAPES,
    Chart,
    Spec,
    colour,
    linear_axis,
    percent,
    plain,
    shown_rows,
    tooltip,
)

LEAST = 20
"""Samples in a bin of distance below which an accuracy there is mostly noise."""


def charts(numbers: Measured, baselines: Sequence[Baseline] = ()) -> tuple[Chart, ...]:
    """Every figure of a chapter; those that have nothing to show only where that needs a reason."""
    found = [
        id_ood(numbers, baselines),
        sample_charts.differences(numbers),
        *_calibration(numbers),
        *sample_charts.reliability_diagrams(numbers),
        *_distances(numbers),
        _cost(numbers),
    ]
    return tuple(chart for chart in found if chart is not None)


def _calibration(numbers: Measured) -> list[Chart | None]:
    """ECE against accuracy, on ID and as the mean over the shifts."""
    accuracy, ece = numbers.common["top1"], numbers.common["ece"]
    if not any(cell.seeds for row in ece.rows for cell in row.cells):
        return []
    scaled = numbers.scaled["ece"]
    ends = [("id", "ID", 0)]
    if accuracy.averaged:
        ends.append(("ood", accuracy.over_shifts, -1))
    return [
        _ece_accuracy(accuracy, (ece, scaled), name, label, at)
        for name, label, at in ends
    ]  # fmt: skip


def _ece_accuracy(
    accuracy: Board, boards: tuple[Board, Board], name: str, label: str, at: int
) -> Chart | None:
    points: list[Spec] = []
    for board, how in zip(boards, ("as it is", "temperature-scaled"), strict=True):
        for row, other in zip(accuracy.rows, board.rows, strict=True):
            a, e = row.cells[at].mean, other.cells[at].mean
            if a is None or e is None:
                continue
            said = {"row": full_name(accuracy, row), "probabilities": how}
            values: Spec = {"accuracy": a * 100, "ece": e * board.scale.factor}
            texts = {"Accuracy": accuracy.scale.text(a), "ECE": board.scale.text(e)}
            points.append(said | values | texts)
    if not points:
        return None
    hows = sorted({p["probabilities"] for p in points})
    encoding: Spec = {
        "x": linear_axis("accuracy", f"Accuracy on {label}, percent"),
        "y": linear_axis("ece", "ECE, percent", zero=True),
        "color": colour(accuracy, [p["row"] for p in points]),
        "tooltip": tooltip("row", "probabilities", "Accuracy", "ECE"),
        "shape": {
            "field": "probabilities",
            "type": "nominal",
            "scale": {
                "domain": ["as it is", "temperature-scaled"],
                "range": ["circle", "triangle-down"],
            },
            "legend": None,
        },
    }
    mark = {"type": "point", "filled": True, "size": 70, "opacity": 0.9}
    spec = {"width": "container", "height": HEIGHT, "data": {"values": points}, "mark": mark,
            "encoding": encoding}  # fmt: skip
    caption = "Means over seeds; down and to the right is better."
    if len(hows) > 1:
        caption += " Circles: probabilities as they are; triangles: after temperature scaling."
    rows = [[p["row"], p["probabilities"], p["Accuracy"], p["ECE"]] for p in points]
    columns = ("Row", "Probabilities", "Accuracy", "ECE")
    table = plain(f"Accuracy and ECE on {label} (percent)", columns, rows, 2)
    return Chart(f"ece-accuracy-{name}", f"ECE against accuracy, {label}", caption, spec, table)


def _distances(numbers: Measured) -> list[Chart | None]:
    """Both ends' accuracy by distance, and w there: one figure for each row that has them."""
    found: dict[tuple[str, str | None], list[Record]] = defaultdict(list)
    for record in numbers.figures:
        if record.metric == "accuracy-by-distance" and record.shift in (ID, POOLED):
            found[record.method, record.base].append(record)
    rows = {(row.method, row.base): row for row in numbers.board.rows}
    return [
        _distance(full_name(numbers.board, rows[name]), name, records)
        for name, records in found.items()
        if name in rows
    ]


def _distance(title: str, name: tuple[str, str | None], records: Sequence[Record]) -> Chart | None:
    bins: list[Spec] = []
    for place, label in ((ID, "ID"), (POOLED, "ID and all shifts, pooled")):
        same = [r for r in records if r.shift == place and r.data is not None]
        edges = {str(r.data["edges"]) for r in same if r.data}
        if len(edges) == 1:
            bins += [{"on": label} | one for one in _ratios([r.data or {} for r in same])]
    weights = _weights(records, [b["distance"] for b in bins])
    if not bins:
        return None
    x = linear_axis("distance", "Distance to the failure set") | {"axis": {"tickCount": 6}}
    ratio = {"field": "ratio", "type": "quantitative", "title": "Accuracy ft / zs",
             "scale": {"zero": False}}  # fmt: skip
    on = {"field": "on", "type": "nominal", "scale": {"range": list(PALETTE[:2])}}
    on["legend"] = {"title": None, "orient": "bottom"}
    tips = tooltip("on", "Distance", "Accuracy ft / zs", "samples")
    values = {"data": {"values": bins}}
    first = {
        "layer": [
            values | {"mark": {"type": "line", "point": True},
                      "encoding": {"x": x, "y": ratio, "color": on, "tooltip": tips}},
            {"data": {"values": [{"one": 1}]}, "mark": {"type": "rule", "strokeDash": [2, 3],
             "color": "#808890"}, "encoding": {"y": {"field": "one", "type": "quantitative"}}},
        ]
    }  # fmt: skip
    second = {
        "data": {"values": weights},
        "mark": {"type": "line", "strokeDash": [6, 4], "color": "#808890"},
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
    rows = [[b["on"], b["Distance"], b["Accuracy ft / zs"], b["samples"]] for b in bins]
    columns = ("On", "Distance", "Accuracy ft / zs", "Samples")
    caption = (
        "Accuracy of the fine-tuned over that of the zero-shot model, by distance to the failure "
        f"set; all seeds' counts together, bins of fewer than {LEAST} samples left out. VRF's "
        "claim is that it falls. Dashed: the weight w on the fine-tuned model, mean over seeds."
    )
    slug = "-".join(part for part in name if part)
    table = plain("Accuracy by distance", columns, rows, 1)
    return Chart(f"distance-{slug}", f"{title}: accuracy by distance", caption, spec, table)


def _ratios(parts: Sequence[Mapping[str, Any]]) -> list[Spec]:
    """Pairs of bins of all seeds together: how much more often the fine-tuned model is right."""
    edges = parts[0]["edges"]
    total = {k: [sum(c) for c in zip(*(p[k] for p in parts), strict=True)]
             for k in ("n", "hits_zs", "hits_ft")}  # fmt: skip
    found = []
    for i in range(0, len(edges) - 2, 2):
        n, zs, ft = (sum(total[k][i : i + 2]) for k in ("n", "hits_zs", "hits_ft"))
        if n < LEAST * len(parts) or not zs:
            continue
        middle = (edges[i] + edges[i + 2]) / 2
        said = {"Distance": f"{edges[i]:.2f} to {edges[i + 2]:.2f}", "samples": str(n)}
        found.append(said | {"distance": middle, "ratio": ft / zs,
                             "Accuracy ft / zs": f"{ft / zs:.3f}"})  # fmt: skip
    return found


def _weights(records: Sequence[Record], distances: Sequence[float]) -> list[Spec]:
    """The mean over seeds of w = sigmoid(-(d - a) / b), as `bench.posthoc.sigmoid_weight`."""
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


def _cost(numbers: Measured) -> Chart:
    """The mean over shifts against the images that training saw; encoders a test image needs."""
    board, title = numbers.board, "Cost against accuracy"
    costs = {
        (r.method, r.base): cost
        for r in numbers.records
        if isinstance(cost := r.provenance.get("cost"), Mapping)
    }
    points = []
    for row in shown_rows(board):
        cost = costs.get((row.method, row.base))
        if cost is None:
            continue
        cell = row.cells[-1]
        points.append({
            "row": full_name(board, row),
            "images": cost["training_images"],
            "value": (cell.mean or 0) * board.scale.factor,
            "encoders": str(cost["encoders"]),
            "Training images": f"{cost['training_images']:,}",
            "Encoders per test image": str(cost["encoders"]),
            board.over_shifts: percent(board, cell.mean),
        })  # fmt: skip
    if not points:
        why = "the records do not say what training and testing cost"
        return Chart("cost", title, "", None, reason=why)
    tips = ("row", "Training images", "Encoders per test image", board.over_shifts)
    encoding = {
        "x": {"field": "images", "type": "quantitative", "title": "Images seen in training",
              "scale": {"type": "symlog", "constant": 1000, "padding": 14},
              "axis": {"format": "~s", "tickCount": 5}},
        "y": linear_axis("value", f"{board.over_shifts}, {board.scale.unit}"),
        "color": colour(board, [p["row"] for p in points]),
        "shape": {"field": "encoders", "type": "nominal", "legend": None,
                  "scale": {"range": list(SHAPES)}},
        "tooltip": tooltip(*tips),
    }  # fmt: skip
    mark = {"type": "point", "filled": True, "size": 70, "opacity": 0.9}
    spec = {"width": "container", "height": HEIGHT, "data": {"values": points}, "mark": mark,
            "encoding": encoding}  # fmt: skip
    rows = [[p[t] for t in tips] for p in points]
    columns = ("Row", *tips[1:])
    caption = (
        "Images that a row's trainings see, repeats counted, each once however many rows share "
        "them; an ensemble has its base's. Circles run one image encoder for each test image, "
        "squares two. Times are no part of reports: they depend on the machine."
    )
    return Chart("cost", title, caption, spec, plain("Cost", columns, rows, 1))

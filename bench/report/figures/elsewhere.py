"""The scatter plot of published curves over alpha alone: OOD mean against ID, and the rules' picks.

Values come from published tables, not from a run. The same curves are drawn in a run's figure on
request (`bench.report.figures.scatter`).
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from bench.leaderboard.board import ID, MEAN, scale_of
from bench.leaderboard.published.curves import PublishedCurve, PublishedPoint, rule_picks
from bench.report.figures.drawing import SIZE, drawn, logit, logit_axis, tooltip
from bench.report.figures.spec import Chart, Spec, numbers_table
from bench.report.figures.style import LEGEND, OTHER_COLOURS, looks
from bench.report.tables.elsewhere import NOTE

FIELDS = ("row", "candidate", "source", "ID", MEAN)
SHAPES = ("circle", "square")


def curve_values(curve: PublishedCurve, shifts: Sequence[str]) -> list[Spec]:
    """Return the fields of a curve's points in a figure, by rising alpha; `shifts` as in `Board`.

    Examples
    --------
    >>> from bench.leaderboard.published.curves import published_curves
    >>> from bench.report.figures.elsewhere import curve_values
    >>> curve_values(published_curves("imagenet")[0], ["v2", "a"])[0]["candidate"]
    'alpha 0'
    """
    return [
        {"row": curve.title, "source": curve.table, "backbone": curve.backbone, "step": step}
        | {"candidate": f"alpha {point.alpha:g}"}
        | {"shifts": [point.values[shift] for shift in shifts]}
        | _place(point, shifts)
        for step, point in enumerate(curve.points)
    ]


def curves_chart(curves: Sequence[PublishedCurve], shifts: Sequence[str]) -> Chart:
    """Return the scatter plot of `curves`, which must not be empty, with the rules' picks.

    Examples
    --------
    >>> from bench.leaderboard.published.curves import published_curves
    >>> from bench.report.figures.elsewhere import curves_chart
    >>> curves_chart(published_curves("imagenet"), ["v2", "a"]).name
    'elsewhere'
    """
    paths = [value for curve in curves for value in curve_values(curve, shifts)]
    picks = [
        {"row": curve.title, "rule": rule, "source": curve.table, "backbone": curve.backbone}
        | {"candidate": f"alpha {point.alpha:g}"}
        | _place(point, shifts)
        for curve in curves
        for rule, point in rule_picks(curve).items()
    ]
    backbones = list(dict.fromkeys(curve.backbone for curve in curves))
    colours = dict(zip(backbones, OTHER_COLOURS[4::5], strict=False))
    shapes = dict(zip(dict.fromkeys(pick["rule"] for pick in picks), SHAPES, strict=False))
    colour = alt.Color("backbone:N", scale=looks(colours), legend=LEGEND)
    tips = tooltip(*FIELDS, row="curve")
    layers = (
        alt.Chart(alt.NamedData("paths"), name="paths")
        .mark_line(strokeWidth=1)
        .encode(alt.Order("step:Q"), alt.Detail(["row:N", "source:N"]), color=colour),
        alt.Chart(alt.NamedData("paths"), name="candidates")
        .mark_point(filled=False, strokeWidth=0.8, size=12)
        .encode(color=colour, tooltip=tips),
        alt.Chart(alt.NamedData("picks"), name="picks")
        .mark_point(filled=True, size=60, opacity=1)
        .encode(
            color=colour,
            shape=alt.Shape("rule:N", scale=looks(shapes), legend=LEGEND),
            tooltip=[*tips, alt.Tooltip("rule:N")],
        ),
    )
    unit = scale_of("top1").unit
    x, y = (logit_axis(value[axis] for value in paths) for axis in "xy")
    drawing = alt.layer(*layers, **SIZE).encode(
        x=alt.X("x:Q", title=f"ID, {unit} (logit scale)", **x),
        y=alt.Y("y:Q", title=f"{MEAN}, {unit} (logit scale)", **y),
    )
    caption = (
        f"{len(curves)} published curves of weights or outputs between zero-shot and fine-tuned, "
        f"measured elsewhere; up and to the right is better. Filled points: what each selection "
        f"rule picks. {NOTE}"
    )
    table = numbers_table(f"ID and {MEAN} ({unit})", paths, FIELDS, 3)
    return drawn(
        "elsewhere", f"{MEAN} against ID, measured elsewhere", caption, drawing, table,
        paths=paths, picks=picks,
    )  # fmt: skip


def _place(point: PublishedPoint, shifts: Sequence[str]) -> Spec:
    of_id, ood, scale = point.values[ID], point.ood(shifts), scale_of("top1")
    return {
        "id": of_id,
        "ood": ood,
        "x": round(logit(of_id), 5),
        "y": round(logit(ood), 5),
        "ID": scale.text(of_id),
        MEAN: scale.text(ood),
    }

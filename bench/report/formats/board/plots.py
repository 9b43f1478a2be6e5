"""The figures of the board: specifications whose points the page's script takes from its rows."""

from __future__ import annotations

from collections.abc import Iterable

import altair as alt

from bench.report.figures.drawing import SIZE, count_axis, drawn, linear_axis
from bench.report.figures.spec import Spec
from bench.report.figures.style import FADED, GREY, LEGEND, PICKED, emphasised
from bench.report.formats.board.cells import Data
from bench.report.tables.table import Table

FIGURES = {
    "id-ood": ("On other images against images like the training images", ""),
    "cost": (
        "Against the cost of training",
        "Images seen in training, with repeats; an ensemble counts those of its base, and heads "
        "fitted on stored features see none. ",
    ),
    "calibration": ("Calibration: ECE against accuracy", "Down and to the right is better. "),
}
"""Titles of figures, and what is said of them."""
POINTS = (
    "The rows of the table. Hollow points are published numbers; small and grey are ablations and "
    "oracles, which are not ranked."
)


def board_plots() -> dict[str, Data]:
    """Return title, caption and specification of each figure by name; ``points`` are empty.

    Examples
    --------
    >>> from bench.report.formats.board.plots import board_plots
    >>> list(board_plots())
    ['id-ood', 'cost', 'calibration']
    """
    return {
        name: {"title": title, "caption": more + POINTS, "spec": _spec(name, title)}
        for name, (title, more) in FIGURES.items()
    }


def cost_axis(images: Iterable[int]) -> Data | None:
    """Return scale and axis of the numbers of training images; None without any.

    Examples
    --------
    >>> from bench.report.formats.board.plots import cost_axis
    >>> cost_axis([24000])["scale"]["type"]
    'symlog'
    """
    found = list(images)
    if not found:
        return None
    return {name: part.to_dict() for name, part in count_axis(found).items()}


def _spec(name: str, title: str) -> Spec:
    is_method = alt.datum.kind == "method"
    named = alt.Color("method:N", scale=alt.Scale(domain=[], range=[]), legend=LEGEND)
    colour = alt.condition(~is_method, alt.value(GREY), named)
    shape = alt.Shape("base:N", scale=alt.Scale(domain=[], range=[]), legend=LEGEND)
    hollow = alt.FillOpacityValue(**alt.condition(alt.datum.published, alt.value(0), alt.value(1)))
    drawing = (
        alt.Chart(alt.NamedData("points"), **SIZE)
        .mark_point(filled=True)
        .add_params(PICKED)
        .encode(
            x=alt.X("x:Q", title="", **linear_axis()),
            y=alt.Y("y:Q", title="", **linear_axis(zero=name == "calibration")),
            color=colour,
            stroke=colour,
            shape=shape,
            size=emphasised(alt.SizeValue, 80, 26),
            opacity=FADED,
            fillOpacity=hollow,
        )
    )
    return drawn(name, title, "", drawing, Table(title, (), "", ()), points=[]).spec or {}

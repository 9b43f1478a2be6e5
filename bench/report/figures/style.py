"""Styles of rows in figures: the colour shows the method, the shape of points the base.

Ablations and oracles are small and grey. Legends leave them out; tooltips name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import altair as alt

from bench.api.registry import methods
from bench.leaderboard.board import Board, BoardRow
from bench.report.figures.drawing import SIZE
from bench.report.figures.spec import Spec
from bench.report.tables.leaderboard import full_name

GREY = "#808890"
OTHER_COLOURS = (
    "#d010b8", "#f84868", "#f840e0", "#d00000", "#609040", "#a000d8",
    "#40a0b8", "#386888", "#b048d8", "#d01060", "#6090d8", "#9850a0",
    "#287050", "#008890", "#b09028", "#806000", "#b87868",
    "#7860f8", "#986880", "#d85098",
)  # fmt: skip
"""Colours for methods that state none.

Those of bench's methods and these are as different as possible from each other, also for readers
who lack one type of cone. All have a contrast of at least 3 to white and to the background of dark
pages.
"""
ALONE_SHAPE = "circle"
OTHER_SHAPES = ("triangle-down", "triangle-right", "triangle-left", "cross")
GREYS = {
    "transductive": "transductive rows",
    "control": "ablations",
    "oracle": "oracles (chosen on the test sets)",
}
ALONE = "not an ensemble"
PICKED = alt.selection_point(name="picked", fields=["method"], bind="legend")
"""Set by a click on a name in the legend; one layer of a figure has it."""
FADED = alt.OpacityValue(**alt.condition(PICKED, alt.value(1), alt.value(0.08)))
LEGEND = alt.Legend(title=None, orient="bottom")


def mark_values(board: Board, row: BoardRow) -> Spec:
    """Return the fields by which a value of a figure identifies its row.

    ``row`` is the full name, ``method`` the name in the legend and ``base`` the meaning of the
    shape. ``kind`` is the role, or ``checkpoint`` for a row METHOD@EPOCH if METHOD has a row, too.
    """
    final = final_row(board, row)
    return {
        "row": full_name(board, row),
        "method": (final or row).title,
        "base": _base(board, row),
        "kind": "checkpoint" if final else row.role,
    }


def final_row(board: Board, row: BoardRow) -> BoardRow | None:
    """Return the row of the final model if `row` is a checkpoint METHOD@EPOCH of its training."""
    of = training_and_epoch(row.method)
    return next((r for r in board.rows if of and (r.method, r.base) == (of[0], row.base)), None)


def training_and_epoch(method: str) -> tuple[str, int] | None:
    """Return training and epoch of a checkpoint ``METHOD@EPOCH[+MODIFIER]``; None for others."""
    stem, at, rest = method.partition("@")
    epoch, plus, modifier = rest.partition("+")
    return (f"{stem}{plus}{modifier}", int(epoch)) if at and epoch.isdecimal() else None


def method_colours(board: Board, rows: Sequence[BoardRow]) -> alt.Color:
    """Return the colours of methods, with those of `rows` in the legend; other rows are grey."""
    series = [row for row in rows if row.role == "method" and final_row(board, row) is None]
    colours = colours_of(row.method for row in series)
    titles = {row.title: colours[row.method] for row in series}
    colour = alt.Color("method:N", scale=looks(titles), legend=LEGEND if titles else None)
    is_grey = alt.FieldOneOfPredicate("kind", list(GREYS))
    return alt.condition(is_grey, alt.value(GREY), colour)


def base_shapes(board: Board, rows: Sequence[BoardRow]) -> alt.Shape:
    """Return the shapes of bases, with a legend if there are several."""
    shapes = shapes_of(row.base for row in rows)
    labels = {_base(board, row): shapes[row.base] for row in rows}
    return alt.Shape("base:N", scale=looks(labels), legend=LEGEND if len(labels) > 1 else None)


def colours_of(names: Iterable[str]) -> Mapping[str | None, str]:
    """Return the colours of methods by name."""
    return _assigned(names, _own("colour"), OTHER_COLOURS)


def shapes_of(bases: Iterable[str | None]) -> Mapping[str | None, str]:
    """Return the shapes of the points of rows by their base."""
    return _assigned(bases, {None: ALONE_SHAPE, **_own("shape")}, OTHER_SHAPES)


def looks(of: Mapping[str, str]) -> alt.Scale:
    """Return the scale that gives each name its colour or shape."""
    return alt.Scale(domain=list(of), range=list(of.values()))


def point_styles(board: Board, rows: Sequence[BoardRow]) -> dict[str, Any]:
    """Return the style of the points of `rows`; the figure also needs the parameter `PICKED`."""
    return {
        "color": method_colours(board, rows),
        "shape": base_shapes(board, rows),
        "size": emphasised(alt.SizeValue, 80, 26),
        "opacity": FADED,
    }


def emphasised(channel: type[Any], size: float, other: float) -> Any:
    """Return one size or width for methods and another for all other rows."""
    is_method = alt.datum.kind == "method"
    return channel(**alt.condition(is_method, alt.value(size), alt.value(other)))


def filled_points(board: Board, rows: Sequence[BoardRow], test: alt.Expression) -> alt.Chart:
    """Return a scatter plot of the values ``points``: filled where `test` holds, hollow elsewhere.

    Its axes and tooltips are missing.
    """
    look = point_styles(board, rows)
    filled = alt.FillOpacityValue(**alt.condition(test, alt.value(1), alt.value(0)))
    chart = alt.Chart(alt.NamedData("points"), **SIZE).mark_point(filled=True).add_params(PICKED)
    points: alt.Chart = chart.encode(**look, stroke=look["color"], fillOpacity=filled)
    return points


def grey_caption(values: Iterable[Spec]) -> list[str]:
    """Return the sentence of a caption that explains grey points, if there are any."""
    kinds = {value["kind"] for value in values}
    names = [text for kind, text in GREYS.items() if kind in kinds]
    return [f"Small and grey: {' and '.join(names)}."] if names else []


def methods_last(values: Iterable[Spec]) -> list[Spec]:
    """Return values in drawing order: methods last, on top of all other rows."""
    return sorted(values, key=lambda value: value["kind"] == "method")


def _base(board: Board, row: BoardRow) -> str:
    if row.base is None:
        return ALONE
    titles = {r.method: r.title for r in board.rows if r.base is None}
    return f"on {titles.get(row.base, row.base)}"


def _own(attribute: str) -> dict[str | None, str]:
    """Looks that methods state on their own class, {method: look}; subclasses do not inherit."""
    found = ((name, vars(cls).get(attribute)) for name, cls in methods().items())
    return {name: look for name, look in found if look is not None}


def _assigned(
    names: Iterable[str | None], known: Mapping[Any, str], others: Sequence[str]
) -> Mapping[str | None, str]:
    """Looks of names: their own in `known`, else one of `others`, picked by checksum if free."""
    distinct = set(names)
    found = {name: known[name] for name in distinct if name in known}
    for name in sorted((n for n in distinct if n not in known), key=str):
        turn = crc32(str(name).encode("utf-8", "backslashreplace")) % len(others)
        order = (*others[turn:], *others[:turn], *known.values())
        found[name] = next((look for look in order if look not in found.values()), order[0])
    return found

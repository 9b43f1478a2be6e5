"""Styles of rows in figures: the colour shows the method, the shape of points the base.

Ablations and oracles are small and grey. Legends leave them out; tooltips name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

from bench.api.registry import methods
from bench.leaderboard.board import Board, BoardRow
from bench.report.figures.spec import Spec
from bench.report.tables.leaderboard import full_name

GREY = "#808890"
OTHER_COLOURS = (
    "#d010b8", "#f84868", "#f840e0", "#d00000", "#609040", "#a000d8",
    "#40a0b8", "#386888", "#b048d8", "#d01060", "#6090d8", "#9850a0",
)  # fmt: skip
"""Colours for methods that state none.

Those of bench's methods and these are as different as possible from each other, also for readers
who lack one type of cone. All have a contrast of at least 3 to white and to the background of dark
pages.
"""
ALONE_SHAPE = "circle"
OTHER_SHAPES = ("triangle-down", "triangle-right", "triangle-left", "cross")
GREYS = {"control": "ablations", "oracle": "oracles (chosen on the test sets)"}
ALONE = "not an ensemble"
PICKED = {"name": "picked", "select": {"type": "point", "fields": ["method"]}, "bind": "legend"}
"""Vega-Lite parameter set by a click on a name in the legend; one layer of a figure has it."""
FADED: Spec = {"condition": {"param": "picked", "value": 1}, "value": 0.08}


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


def method_colours(board: Board, rows: Sequence[BoardRow], *, legend: bool = True) -> Spec:
    """Return the colours of methods, with those of `rows` in the legend; other rows are grey."""
    series = [row for row in rows if row.role == "method" and final_row(board, row) is None]
    colours = _assigned((row.method for row in series), _own("colour"), OTHER_COLOURS)
    titles = {row.title: colours[row.method] for row in series}
    scale = {"domain": list(titles), "range": list(titles.values())}
    return {
        "condition": {"test": f"indexof({list(GREYS)}, datum.kind) >= 0", "value": GREY},
        "field": "method",
        "type": "nominal",
        "scale": scale,
        "legend": {"title": None, "orient": "bottom"} if legend and titles else None,
    }


def base_shapes(board: Board, rows: Sequence[BoardRow]) -> Spec:
    """Return the shapes of bases, with a legend if there are several."""
    shapes = _assigned(
        (row.base for row in rows), {None: ALONE_SHAPE, **_own("shape")}, OTHER_SHAPES
    )
    labels = {_base(board, row): shapes[row.base] for row in rows}
    scale = {"domain": list(labels), "range": list(labels.values())}
    legend = {"title": None, "orient": "bottom"} if len(labels) > 1 else None
    return {"field": "base", "type": "nominal", "scale": scale, "legend": legend}


def point_styles(board: Board, rows: Sequence[BoardRow], size: int = 80) -> Spec:
    """Return the style of the points of `rows`; the figure also needs the parameter `PICKED`."""
    return {
        "color": method_colours(board, rows),
        "shape": base_shapes(board, rows),
        "size": emphasised_size(size, size // 3),
        "opacity": FADED,
    }


def emphasised_size(size: float, other: float) -> Spec:
    """Return one size for methods and another for all other rows."""
    return {"condition": {"test": "datum.kind === 'method'", "value": size}, "value": other}


def filled_where(look: Spec, test: str) -> Spec:
    """Return `look` with points filled where the expression `test` holds, hollow elsewhere."""
    filled = {"condition": {"test": test, "value": 1}, "value": 0}
    return look | {"stroke": look["color"], "fillOpacity": filled}


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
        turn = crc32(str(name).encode()) % len(others)
        order = (*others[turn:], *others[:turn], *known.values())
        found[name] = next((look for look in order if look not in found.values()), order[0])
    return found

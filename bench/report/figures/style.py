"""How figures tell rows apart: a method by its colour, its base by the shape of its points.

Controls and what was chosen in hindsight are grey and small and in no legend; tooltips name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

from bench.leaderboard.board import Board, BoardRow
from bench.report.figures.spec import Spec
from bench.report.tables.leaderboard import full_name

GREY = "#808890"
COLOURS: Mapping[str, str] = {
    "vrf": "#0072b2",
    "e2e-ft": "#d55e00",
    "wise-ft": "#009e73",
    "ose": "#cc79a7",
    "zero-shot": "#7888f8",
    "linear": "#4048f8",
    "lp-ft": "#a04840",
    "flyp": "#a83880",
    "carot": "#d010b8",
    "ose-calibrated": "#f84868",
    "carot-slides": "#f840e0",
    "l2-sp": "#d00000",
    "ema": "#609040",
    "fisher": "#a000d8",
    "soup": "#40a0b8",
    "greedy-soup": "#386888",
    "linear-lbfgs": "#b048d8",
    "lp-ft-raw": "#d01060",
    "ose-logits": "#6090d8",
    "lp-ft-sgd": "#9850a0",
}
"""The methods' colours, in every report the same.

The first four are of Okabe and Ito's colour-blind safe palette. The others were added one by one,
each as far as can be from those before it, to eyes that lack one kind of cone, too. All have a
contrast of 3 to white and to the ground of dark pages.
"""
MAIN = 8
"""The first colours, which other methods get last."""
SHAPES: Mapping[str | None, str] = {
    None: "circle",
    "e2e-ft": "square",
    "lp-ft": "triangle-up",
    "flyp": "diamond",
}
"""The shapes of the rows on a base, in every report the same."""
OTHER_SHAPES = ("triangle-down", "triangle-right", "triangle-left", "cross")
GREYS = {"control": "controls", "oracle": "rows chosen in hindsight"}
ALONE = "not an ensemble"
PICKED = {"name": "picked", "select": {"type": "point", "fields": ["method"]}, "bind": "legend"}
"""What a click on a name in the legend picks; a parameter of one of a figure's layers."""
FADED: Spec = {"condition": {"param": "picked", "value": 1}, "value": 0.08}


def mark_values(board: Board, row: BoardRow) -> Spec:
    """What a value of a figure says of its row.

    ``row`` is the full name, ``method`` that in the legend, ``base`` what the shape stands for,
    ``kind`` the role, or ``training_and_epoch`` of a row METHOD@EPOCH beside the row of METHOD.
    """
    end = final_row(board, row)
    return {
        "row": full_name(board, row),
        "method": (end or row).title,
        "base": _base(board, row),
        "kind": "checkpoint" if end else row.role,
    }


def final_row(board: Board, row: BoardRow) -> BoardRow | None:
    """The row of the training's end, if `row` is a checkpoint METHOD@EPOCH on the way there."""
    of = training_and_epoch(row.method)
    return next((r for r in board.rows if of and (r.method, r.base) == (of[0], row.base)), None)


def training_and_epoch(method: str) -> tuple[str, int] | None:
    """The training and the epoch of a checkpoint ``METHOD@EPOCH[+MODIFIER]``; of others None."""
    stem, at, rest = method.partition("@")
    epoch, plus, modifier = rest.partition("+")
    return (f"{stem}{plus}{modifier}", int(epoch)) if at and epoch.isdecimal() else None


def method_colours(board: Board, rows: Sequence[BoardRow], *, legend: bool = True) -> Spec:
    """The colours of methods, those of `rows` in the legend; grey for all that is no method."""
    series = [row for row in rows if row.role == "method" and final_row(board, row) is None]
    others = tuple(COLOURS.values())[MAIN:]
    colours = _assigned((row.method for row in series), COLOURS, others)
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
    """The shapes of bases; a legend where there are several."""
    shapes = _assigned((row.base for row in rows), SHAPES, OTHER_SHAPES)
    labels = {_base(board, row): shapes[row.base] for row in rows}
    scale = {"domain": list(labels), "range": list(labels.values())}
    legend = {"title": None, "orient": "bottom"} if len(labels) > 1 else None
    return {"field": "base", "type": "nominal", "scale": scale, "legend": legend}


def point_styles(board: Board, rows: Sequence[BoardRow], size: int = 80) -> Spec:
    """How the points of `rows` look; a figure needs the parameter `PICKED` beside it."""
    return {
        "color": method_colours(board, rows),
        "shape": base_shapes(board, rows),
        "size": emphasised_size(size, size // 3),
        "opacity": FADED,
    }


def emphasised_size(size: float, other: float) -> Spec:
    """A size for methods, and another for all else."""
    return {"condition": {"test": "datum.kind === 'method'", "value": size}, "value": other}


def filled_where(look: Spec, test: str) -> Spec:
    """`look` with points filled where the expression `test` holds, hollow elsewhere."""
    filled = {"condition": {"test": test, "value": 1}, "value": 0}
    return look | {"stroke": look["color"], "fillOpacity": filled}


def grey_caption(values: Iterable[Spec]) -> list[str]:
    """What a caption says of grey points, if there are any."""
    kinds = {value["kind"] for value in values}
    said = [text for kind, text in GREYS.items() if kind in kinds]
    return [f"Small and grey: {' and '.join(said)}."] if said else []


def methods_last(values: Iterable[Spec]) -> list[Spec]:
    """Values in the order in which they are drawn: methods over all else."""
    return sorted(values, key=lambda value: value["kind"] == "method")


def _base(board: Board, row: BoardRow) -> str:
    if row.base is None:
        return ALONE
    titles = {r.method: r.title for r in board.rows if r.base is None}
    return f"on {titles.get(row.base, row.base)}"


def _assigned(
    names: Iterable[str | None], known: Mapping[Any, str], others: Sequence[str]
) -> Mapping[str | None, str]:
    """The looks of names: their own, or of `others` that of a checksum or the next one free."""
    distinct = set(names)
    found = {name: known[name] for name in distinct if name in known}
    for name in sorted((n for n in distinct if n not in known), key=str):
        turn = crc32(str(name).encode()) % len(others)
        order = (*others[turn:], *others[:turn], *known.values())
        found[name] = next((look for look in order if look not in found.values()), order[0])
    return found

"""Tables: what is shown of leaderboards, in words and printed numbers, but not yet dressed.

Texts are plain here: whoever prints them escapes them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, TypeVar

from bench.leaderboard import ID, SCALES, UNRECORDED, Board, Cell, Curve, Group, Point, Row, Seed
from bench.records import Record

Kind = Literal["head", "row", "member", "difference"]
T = TypeVar("T")
DASH = "–"
MOST_POINTS = 25
"""A curve with more candidates is shown by the chosen ones and the best two."""


@dataclass(frozen=True)
class Item:
    """A table cell: text, what follows it in small print, and the reasons of an absent value."""

    text: str
    small: str = ""
    strong: bool = False
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A table line: the head of a group, a row, a member of a group, or a difference."""

    items: tuple[Item, ...]
    kind: Kind = "row"


@dataclass(frozen=True)
class Table:
    """A table; `align` has ``l`` or ``r`` per column, `groups` are set apart by a rule."""

    caption: str
    columns: tuple[str, ...]
    align: str
    groups: tuple[tuple[Line, ...], ...]


def leaderboard(board: Board) -> Table:
    """Methods x (ID, shifts, OOD mean), grouped by base, with difference rows."""

    def line(row: Row, kind: Kind) -> Line:
        items = [_item(board, row, cell, signed=kind == "difference") for cell in row.cells]
        seeds = (Item(seeds_text(row.seeds)),) if board.seeds_differ else ()
        return Line((_name(row, kind), *items, *seeds), kind)

    groups = []
    for group in board.groups:
        lines = [*_head(group), *(line(row, _kind(row)) for row in group.rows)]
        groups.append((*lines, *(line(row, "difference") for row in group.differences)))
    columns = ("Method", *board.columns, *(("Seeds",) if board.seeds_differ else ()))
    caption = f"{board.scale.title} ({board.scale.unit})"
    return Table(caption, columns, _aligned(columns, texts=1), tuple(groups))


def ends(boards: Sequence[Board]) -> Table:
    """ID and OOD mean in several metrics: the same leaderboard in each of them."""
    groups = []
    for same in zip(*(board.groups for board in boards), strict=True):
        lines = list(_head(same[0]))
        for rows in zip(*(group.rows for group in same), strict=True):
            pairs = zip(boards, rows, strict=True)
            items = [_item(board, row, cell) for board, row in pairs for cell in _ends(row.cells)]
            kind = _kind(rows[0])
            lines.append(Line((_name(rows[0], kind), *items), kind))
        groups.append(tuple(lines))
    labels = (f"{board.scale.title} {end}" for board in boards for end in _ends(board.columns))
    columns = ("Method", *labels)
    caption = ", ".join(f"{board.scale.title} ({board.scale.unit})" for board in boards)
    return Table(caption, columns, _aligned(columns, texts=1), tuple(groups))


def choices(board: Board, records: Sequence[Record]) -> Table:
    """What was chosen for each row and seed, on what, and the weights it led to."""
    found: dict[tuple[str, str | None, Seed], list[Record]] = defaultdict(list)
    for record in records:
        if record.choice or record.chosen_on:
            found[record.method, record.base, record.seed].append(record)
    lines = []
    for row in board.rows:
        for seed in row.seeds:
            if same := found.get((row.method, row.base, seed)):
                on = _chosen_on(same[0].chosen_on or {})
                texts = (_full_name(board, row), _seed(seed), phrase(same[0].choice), on)
                items = (*texts, *_weights(same, board.shifts))
                lines.append(Line(tuple(Item(text or DASH) for text in items)))
    columns = ("Row", "Seed", "Chosen", "Chosen on", "Weight ID", f"Weight {board.columns[-1]}")
    caption = "Chosen parameters, and the mean weight on the fine-tuned model they led to"
    return Table(caption, columns, _aligned(columns, texts=4), _group(lines))


def absences(board: Board) -> Table:
    """Cells without a value, by row and reason."""
    found: dict[tuple[str, str], dict[str, set[Seed]]] = defaultdict(lambda: defaultdict(set))
    for row in board.rows:
        for label, cell in zip(("ID", *board.shifts), row.cells, strict=False):
            for seed, reason in cell.absent:
                found[_full_name(board, row), reason][label].add(seed)
    lines = []
    for (name, reason), places in found.items():
        seeds = seeds_text(set[Seed]().union(*places.values()))
        lines.append(Line((Item(name), Item(", ".join(places)), Item(seeds), Item(reason))))
    columns = ("Row", "Missing on", "Seeds", "Reason")
    return Table("Missing cells", columns, _aligned(columns, texts=4), _group(lines))


def candidates(curve: Curve, board: Board) -> Table:
    """ID and OOD mean of a method's candidates, and which of them was chosen."""
    shown = _shown(curve.points)
    names = ", ".join(name for name, _ in shown[0].choice) or "candidate"
    lines = []
    for point in shown:
        values = (Item(_value(curve, point.id)), Item(_value(curve, point.ood)))
        choice = ", ".join(f"{value:g}" for _, value in point.choice)
        lines.append(Line((Item(choice), *values, Item(_takers(point)))))
    row = next((r for r in board.rows if (r.method, r.base) == (curve.method, curve.base)), None)
    title = curve.title if row is None else _full_name(board, row)
    some = "" if shown == curve.points else f"; chosen and best of {len(curve.points)} candidates"
    columns = (names, "ID", board.columns[-1], "Chosen")
    caption = f"{title} over {names} ({curve.scale.title}, {curve.scale.unit}{some})"
    return Table(caption, columns, "rrrl", _group(lines))


def printable(text: str) -> str:
    """`text` on one line, without control and direction characters (terminal escapes)."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+", " ", text)


def phrase(value: Any) -> str:
    """JSON data in words: ``a 1.5, b 0.6``; keys sorted, floats to four digits."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {phrase(v)}" for k, v in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(map(phrase, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def seeds_text(seeds: Iterable[Seed]) -> str:
    """Number and list of seeds, ``3 (0, 1, 2)``; a dash if there are none."""
    numbers = sorted(seed for seed in seeds if seed is not None)
    return f"{len(numbers)} ({', '.join(map(str, numbers))})" if numbers else DASH


def _item(board: Board, row: Row, cell: Cell, *, signed: bool = False) -> Item:
    """A cell as printed: value, deviation, and the number of seeds if some are absent.

    A seed-free row shows a dash for the deviation where other rows have one.
    """
    if cell.mean is None:
        return Item(DASH, reasons=_reasons(row, cell))
    deviation = ""
    if cell.std is not None:
        deviation = f"± {board.scale.text(cell.std)}"
    elif board.has_deviations and row.seed_free:
        deviation = f"± {DASH}"
    count = f"({cell.seeds}/{len(row.seeds)})" if cell.absent else ""
    value = board.scale.text(cell.mean, signed=signed)
    small = " ".join(filter(None, (deviation, count)))
    return Item(value, small, cell.best, _reasons(row, cell))


def _reasons(row: Row, cell: Cell) -> tuple[str, ...]:
    """Why a cell lacks seeds; the OOD mean is absent because any other cell is."""
    cells = row.cells if cell is row.cells[-1] and cell.absent else (cell,)
    found = {reason for c in cells for _, reason in c.absent}
    return tuple(sorted(found - {UNRECORDED} or found))


def _chosen_on(facts: Mapping[str, Any]) -> str:
    """On what a choice was made, and the accuracy there (in percent)."""
    order = ("split", "n", "samples", "rule", "accuracy", "top1")
    known = [key for key in order if key in facts]
    percent = SCALES["top1"]
    return ", ".join(
        f"accuracy {percent.text(facts[key])}%"
        if key in order[-2:]
        else f"{key} {phrase(facts[key])}"
        for key in (*known, *sorted(facts.keys() - set(known)))
    )


def _weights(records: Sequence[Record], shifts: Sequence[str]) -> tuple[str, str]:
    """The mean weight on the fine-tuned model on ID and over all shifts; empty if not known."""
    weights = {record.shift: record.weight for record in records if record.weight is not None}
    ood = [weights[shift] for shift in shifts if shift in weights]
    return (
        f"{weights[ID]:.2f}" if ID in weights else "",
        f"{fmean(ood):.2f}" if ood and len(ood) == len(shifts) else "",
    )


def _shown(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """All points; of very many the chosen ones and those with the best ID and OOD mean."""
    if len(points) <= MOST_POINTS:
        return points
    best_id = max(points, key=lambda point: point.id.mean or 0)
    best_ood = max(points, key=lambda point: point.ood.mean or 0)
    return tuple(p for p in points if p.chosen or p in (best_id, best_ood))


def _takers(point: Point) -> str:
    """Which seeds chose a candidate."""
    count, seeds = len(point.chosen), point.id.seeds + len(point.id.absent)
    if count in (0, seeds):
        return "chosen" if count else ""
    return f"by {count} of {seeds} seeds"


def _value(curve: Curve, cell: Cell) -> str:
    return DASH if cell.mean is None else curve.scale.text(cell.mean)


def _head(group: Group) -> tuple[Line, ...]:
    """The header of a group whose base was not run."""
    return (Line((Item(f"{group.base} (not run)"),), "head"),) if group.lacks_base else ()


def _kind(row: Row) -> Kind:
    return "row" if row.base is None else "member"


def _name(row: Row, kind: Kind) -> Item:
    return Item({"member": "+ ", "difference": "Δ "}.get(kind, "") + row.title)


def _full_name(board: Board, row: Row) -> str:
    """A row's name where its group is not in sight: ``VRF on LP-FT``."""
    titles = {r.method: r.title for r in board.rows if r.base is None}
    return row.title if row.base is None else f"{row.title} on {titles.get(row.base, row.base)}"


def _ends(values: Sequence[T]) -> Sequence[T]:
    """The first and the last: ID and the OOD mean (ID alone where there are no shifts)."""
    return values if len(values) < 2 else (values[0], values[-1])


def _group(lines: Sequence[Line]) -> tuple[tuple[Line, ...], ...]:
    return (tuple(lines),) if lines else ()


def _aligned(columns: Sequence[str], texts: int) -> str:
    """`texts` columns of text to the left, the rest numbers to the right."""
    return "l" * texts + "r" * (len(columns) - texts)


def _seed(seed: Seed) -> str:
    return DASH if seed is None else str(seed)

"""Tables: what is shown of leaderboards, in words and printed numbers, but not yet dressed.

Texts are plain here: whoever prints them escapes them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any, Literal, TypeVar

from bench.api.protocol import CLEAN
from bench.core.hashing import canonical
from bench.core.records import Record, Role
from bench.leaderboard.board import (
    ID,
    MARKS,
    OWN_SCALES,
    SCALES,
    UNRECORDED,
    Board,
    Cell,
    Curve,
    Group,
    Point,
    Row,
    Seed,
)

Kind = Literal["head", "row", "member", "difference"]
T = TypeVar("T")
DASH = "–"
MOST_POINTS = 25
"""A curve with more candidates is shown by the chosen ones and the best two."""
UNRANKED: Mapping[Role, str] = {
    "control": "not ranked: controls",
    "oracle": "not ranked: hindsight",
}
"""What stands above the rows of a group that are no methods."""


@dataclass(frozen=True)
class Item:
    """A table cell: text, what follows it in small print, and the reasons of an absent value.

    `tied` marks what no other row is significantly better than.
    """

    text: str
    small: str = ""
    strong: bool = False
    reasons: tuple[str, ...] = ()
    tied: bool = False


@dataclass(frozen=True)
class Line:
    """A table line: the head of a group, a row, a member of a group, or a difference.

    `row` names the leaderboard's row (``METHOD:BASE``) that it shows, if it shows one.
    """

    items: tuple[Item, ...]
    kind: Kind = "row"
    row: str = ""


@dataclass(frozen=True)
class Table:
    """A table; `align` has ``l`` or ``r`` per column, `groups` are set apart by a rule.

    `note` is a line below it; `name` says what it is to programs: ``leaderboard``, ``calibration``
    of a metric.
    """

    caption: str
    columns: tuple[str, ...]
    align: str
    groups: tuple[tuple[Line, ...], ...]
    note: str = ""
    name: str = ""


def leaderboard(board: Board) -> Table:
    """Methods x (ID, shifts, OOD mean), grouped by base, with difference rows.

    Controls and what was chosen in hindsight come last in their group, under a head of their own.
    """

    def line(row: Row, kind: Kind) -> Line:
        items = [item(board, row, cell, signed=kind == "difference") for cell in row.cells]
        seeds = (Item(seeds_text(row.seeds)),) if board.seeds_differ else ()
        return Line((_name(row, kind), *items, *seeds), kind, row_key(row))

    groups = []
    for group in board.groups:
        lines = list(_head(group))
        for role in MARKS:
            lines += _role_head(group, role)
            lines += [line(row, _kind(row)) for row in group.of(role)]
            lines += [line(row, "difference") for row in group.differences if role == "method"]
        groups.append(tuple(lines))
    columns = ("Method", *board.columns, *(("Seeds",) if board.seeds_differ else ()))
    caption = f"{board.title} ({board.scale.unit})"
    whole, name = tuple(groups), "leaderboard"
    return Table(caption, columns, _aligned(columns, texts=1), whole, prompts(board), name)


def row_key(row: Row) -> str:
    """``METHOD`` or ``METHOD:BASE``; of a difference row ``METHOD - METHOD:BASE``."""
    return row.method if row.base is None else f"{row.method}:{row.base}"


def prompts(board: Board) -> str:
    """The line that says where class names and templates came from; empty if nothing does."""
    return f"Prompts: {board.prompts}" if board.prompts else ""


def calibration(
    plain: Board, scaled: Board, temperatures: Mapping[tuple[str, str | None], float]
) -> Table:
    """ID and OOD mean in a metric, without and (where any row has it) with temperature scaling.

    `plain` and `scaled` are the same leaderboard without and with it; `temperatures` the rows'
    own, by method and base, for one more column; none if it is empty.
    """
    with_scaled = any(cell.mean is not None for row in scaled.rows for cell in row.cells)
    shown = (plain, scaled) if with_scaled else (plain,)

    def line(rows: tuple[Row, ...]) -> Line:
        pairs, kind = zip(shown, rows, strict=True), _kind(rows[0])
        items = [item(board, row, cell) for board, row in pairs for cell in ends(row.cells)]
        if temperatures:
            t = temperatures.get((rows[0].method, rows[0].base))
            items.append(Item(DASH if t is None else f"{t:.2f}"))
        return Line((_name(rows[0], kind), *items), kind, row_key(rows[0]))

    labels = ends(plain.columns)
    scaled_labels = [f"{label} w/ TS" for label in labels] if with_scaled else []
    columns = ("Method", *labels, *scaled_labels, *(("T",) if temperatures else ()))
    caption, name = f"{plain.scale.title} ({plain.scale.unit})", f"calibration {plain.scale.metric}"
    return Table(
        caption, columns, _aligned(columns, texts=1), _side_by_side(shown, line), name=name
    )


def further(board: Board, others: Sequence[Board]) -> Table:
    """What sets are measured in besides: a column for each set and metric of its own.

    `others` are the leaderboards in such metrics, `board` that in what each set is judged by.
    """
    picked = [
        (number, index)
        for number, other in enumerate(others)
        for index, judge in enumerate(board.metrics)
        if judge != other.scale.metric and any(r.cells[index].seeds for r in other.rows)
    ]

    def line(rows: tuple[Row, ...]) -> Line:
        items = [item(others[n], rows[n], rows[n].cells[i]) for n, i in picked]
        return Line((_name(rows[0], _kind(rows[0])), *items), _kind(rows[0]))

    labels = [f"{('ID', *board.shifts)[i]} ({others[n].scale.title})" for n, i in picked]
    caption = f"Further metrics ({board.scale.unit})"
    groups = _side_by_side(others, line) if picked else ()
    return Table(caption, ("Method", *labels), _aligned(("Method", *labels), texts=1), groups)


def _side_by_side(
    boards: Sequence[Board], line: Callable[[tuple[Row, ...]], Line]
) -> tuple[tuple[Line, ...], ...]:
    """Groups of lines, each made of the same row of several leaderboards."""
    groups = []
    for same in zip(*(board.groups for board in boards), strict=True):
        lines = list(_head(same[0]))
        for role in MARKS:
            lines += _role_head(same[0], role)
            lines += map(line, zip(*(group.of(role) for group in same), strict=True))
        groups.append(tuple(lines))
    return tuple(groups)


def protocol(facts: Mapping[str, Any]) -> Table:
    """The fields of a protocol in which it differs from ``clean``, and what is known of them."""
    clean = canonical(CLEAN.facts())
    lines = []
    for field in (field for field in fields(CLEAN) if field.name in clean):
        name, about = field.name, field.metadata.get("source", "")
        if name in facts and facts[name] != clean[name]:
            texts = (name, _said(clean[name]), _said(facts[name]), about)
            lines.append(Line(tuple(map(Item, texts))))
    columns = ("Field", "Clean", "Here", "About")
    return Table("Where the protocol is not clean", columns, "llll", _group(lines))


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
                on = chosen_on(same[0].chosen_on or {})
                texts = (full_name(board, row), _seed(seed), _chosen(same), on)
                items = (*texts, *_weights(same, board.over))
                lines.append(Line(tuple(Item(text or DASH) for text in items)))
    columns = ("Row", "Seed", "Chosen", "Chosen on", "Weight ID", f"Weight {board.over_shifts}")
    caption = "Chosen parameters, and the mean weight on the fine-tuned model they led to"
    return Table(caption, columns, _aligned(columns, texts=4), _group(lines), name="choices")


def absences(board: Board) -> Table:
    """Cells without a value, by row and reason."""
    found: dict[tuple[str, str], dict[str, set[Seed]]] = defaultdict(lambda: defaultdict(set))
    for row in board.rows:
        for label, cell in zip(("ID", *board.shifts), row.cells, strict=False):
            for seed, reason in cell.absent:
                found[full_name(board, row), reason][label].add(seed)
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
    title = curve.title if row is None else full_name(board, row)
    some = "" if shown == curve.points else f"; chosen and best of {len(curve.points)} candidates"
    columns = (names, "ID", board.over_shifts, "Chosen")
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


def item(board: Board, row: Row, cell: Cell, *, signed: bool = False) -> Item:
    """A cell as printed: value, deviation, and the number of seeds if some are absent.

    A seed-free row shows a dash for the deviation where other rows have one.
    """
    if cell.mean is None:
        return Item(DASH, reasons=_reasons(board, row, cell))
    deviation = ""
    if cell.std is not None:
        deviation = f"± {board.scale.text(cell.std)}"
    elif board.has_deviations and row.seed_free:
        deviation = f"± {DASH}"
    count = f"({cell.seeds}/{len(row.seeds)})" if cell.absent else ""
    value = board.scale.text(cell.mean, signed=signed)
    small = " ".join(filter(None, (deviation, count)))
    return Item(value, small, cell.best, _reasons(board, row, cell))


def _reasons(board: Board, row: Row, cell: Cell) -> tuple[str, ...]:
    """Why a cell lacks seeds; the OOD mean is absent because any other cell is."""
    is_mean = board.averaged and cell is row.cells[-1]
    cells = row.cells if is_mean and cell.absent else (cell,)
    found = {reason for c in cells for _, reason in c.absent}
    return tuple(sorted(found - {UNRECORDED} or found))


def chosen_on(facts: Mapping[str, Any]) -> str:
    """On what a choice was made, and the accuracy there (in percent), or what stood in for it."""
    percent = SCALES["top1"]
    scores = {name: scale.title for name, scale in OWN_SCALES.items()}
    scores |= dict.fromkeys(("accuracy", percent.metric), "accuracy")
    known = [key for key in ("split", "n", "samples", "rule", *scores) if key in facts]
    return ", ".join(
        f"{scores[key]} {percent.text(facts[key])}%"
        if key in scores
        else f"{key} {phrase(facts[key])}"
        for key in (*known, *sorted(facts.keys() - set(known)))
    )


def _chosen(records: Sequence[Record]) -> str:
    """A row's choice; of oracles that choose for each evaluation set, each of them."""
    ordered = sorted(records, key=lambda record: record.order)
    choices = {record.shift: phrase(record.choice) for record in ordered}
    if len(set(choices.values())) == 1:
        return phrase(records[0].choice)
    return "; ".join(f"{'ID' if k == ID else k} {choice}" for k, choice in choices.items())


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


def _role_head(group: Group, role: Role) -> tuple[Line, ...]:
    """The header of a group's rows of a role that is not ranked."""
    return (Line((Item(UNRANKED[role]),), "head"),) if role in UNRANKED and group.of(role) else ()


def _kind(row: Row) -> Kind:
    return "row" if row.base is None else "member"


def _name(row: Row, kind: Kind) -> Item:
    sign = {"member": "+ ", "difference": "Δ "}.get(kind, "")
    return Item(sign + row.title, MARKS[row.role])


def full_name(board: Board, row: Row) -> str:
    """A row's name where its group is not in sight: ``VRF on LP-FT``."""
    titles = {r.method: r.title for r in board.rows if r.base is None}
    on = "" if row.base is None else f" on {titles.get(row.base, row.base)}"
    return f"{row.title}{on} {MARKS[row.role]}".rstrip()


def ends(values: Sequence[T]) -> Sequence[T]:
    """The first and the last: ID and the OOD mean (ID alone where there are no shifts)."""
    return values if len(values) < 2 else (values[0], values[-1])


def _said(value: Any) -> str:
    return DASH if value is None else phrase(value)


def _group(lines: Sequence[Line]) -> tuple[tuple[Line, ...], ...]:
    return (tuple(lines),) if lines else ()


def _aligned(columns: Sequence[str], texts: int) -> str:
    """`texts` columns of text to the left, the rest numbers to the right."""
    return "l" * texts + "r" * (len(columns) - texts)


def _seed(seed: Seed) -> str:
    return DASH if seed is None else str(seed)

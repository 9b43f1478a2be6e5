"""Build leaderboards and curves from records.

`build_boards` and `build_curves` are pure; the values they return are defined in
`bench.leaderboard.board`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench.api.method import Method
from bench.api.metrics import ACCURACY, BY_CLASS, OWN
from bench.api.registry import methods
from bench.core.records import MissingCell, Record
from bench.leaderboard.board import (
    ID,
    KINDS,
    MARKS,
    MEAN,
    PENDING,
    Board,
    BoardKey,
    BoardRow,
    Curve,
    Group,
    Kind,
    Name,
    Point,
    Scale,
    Seed,
    board_key,
    scale_of,
)
from bench.leaderboard.comparability import check_comparable
from bench.leaderboard.entries import BoardEntries, RowEntry


def build_boards(
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    metric: str | Scale | None = None,
    kind: Kind = "cell",
) -> tuple[Board, ...]:
    """Return one leaderboard per suite, model, protocol and set of watermarks.

    Leaderboards without watermarks come first. Values are those of records of one `kind`; rows and
    columns are the same for every metric and kind. `metric` is a name, or the scale to print it
    on; if it is None, each set is shown in its primary metric. A `MissingCell` becomes a cell only
    where there is no record.

    Raises InputError for an unknown metric, and for records that cannot share a leaderboard: two
    different values for one cell, or numbers that were computed under different settings
    (`bench.leaderboard.comparability.check_comparable`).

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> [(row.title, round(row.cells[-1].mean, 2)) for row in board.rows]  # the OOD means
    [('Zero-shot', 0.45), ('E2E-FT', 0.4), ('VRF', 0.51)]
    """
    return boards_of(items_by_board(records, missing), metric, kind)


@dataclass(frozen=True)
class BoardItems:
    """Records and missing cells of one leaderboard, and what boards in all metrics share.

    Examples
    --------
    >>> from bench.leaderboard.build import BoardItems
    >>> from bench.testing.fakes import fake_records
    >>> BoardItems(fake_records()).shifts
    ('v2', 'sketch')
    """

    items: Sequence[Record | MissingCell]

    @cached_property
    def entries(self) -> BoardEntries:
        """The values of its rows in all metrics."""
        return BoardEntries(self.items)

    @cached_property
    def shifts(self) -> tuple[str, ...]:
        """The shifts in suite order."""
        positions: dict[str, int] = {}
        for item in self.items:
            if item.shift != ID:
                positions[item.shift] = min(item.order, positions.get(item.shift, item.order))
        return tuple(sorted(positions, key=lambda shift: (positions[shift], shift)))

    @cached_property
    def shifts_in_suite(self) -> int:
        """How many shifts of the suite count in the OOD mean."""
        return max(item.shifts_in_suite for item in self.items)

    @cached_property
    def outside_mean(self) -> tuple[str, ...]:
        """The shifts that are not part of the OOD mean."""
        found = {item.shift for item in self.items if item.outside_mean}
        return tuple(shift for shift in self.shifts if shift in found)

    @cached_property
    def primary_metrics(self) -> dict[str, str]:
        """Each set's primary metric, from its first item; accuracy for ID if it has no item."""
        found = {item.shift: item.primary_metric for item in reversed(self.items)}
        return {ID: ACCURACY.name} | found

    @cached_property
    def prompts(self) -> str:
        """Where prompts came from, by the first record that states it.

        `check_comparable` makes sure that all records which state it agree.
        """
        stated = (item.provenance for item in self.items if isinstance(item, Record))
        return next((str(found["prompts"]) for found in stated if "prompts" in found), "")


Items = Mapping[BoardKey, BoardItems]
"""Records and missing cells by leaderboard, in the order of leaderboards."""


def items_by_board(records: Iterable[Record], missing: Iterable[MissingCell] = ()) -> Items:
    """Return what belongs to each leaderboard, after checking it as `build_boards` does.

    Examples
    --------
    >>> from bench.leaderboard.build import items_by_board
    >>> from bench.testing.fakes import fake_records
    >>> [len(found.items) for found in items_by_board(fake_records()).values()]
    [9]
    """
    explained = sorted(missing, key=lambda m: (m.reason != PENDING, m.reason))
    by_board: dict[BoardKey, list[Record | MissingCell]] = defaultdict(list)
    items: list[Record | MissingCell] = [*(r for r in records if r.kind in KINDS), *explained]
    for item in items:
        by_board[board_key(item)].append(item)
    for of_board in by_board.values():
        check_comparable(item for item in of_board if isinstance(item, Record))
    order = sorted(by_board, key=lambda k: (k[0], k[1], bool(k[3]), k[2], k[3]))
    return {key: BoardItems(by_board[key]) for key in order}


def boards_of(
    items: Items, metric: str | Scale | None = None, kind: Kind = "cell"
) -> tuple[Board, ...]:
    """Return one leaderboard for each entry of `items_by_board`; the rest as in `build_boards`.

    Examples
    --------
    >>> from bench.leaderboard.build import boards_of, items_by_board
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = boards_of(items_by_board(fake_records()), "top1")
    >>> board.rows[0].title
    'Zero-shot'
    """
    scale = None if metric is None else scale_of(metric)
    return tuple(_board(key, of_board, scale, kind) for key, of_board in items.items())


def build_curves(records: Iterable[Record]) -> tuple[Curve, ...]:
    """Return a curve for each method and base that has ``curve`` records.

    Each set is shown in its primary metric. Values are means over seeds. A candidate with a missing
    cell has no OOD mean.

    Examples
    --------
    >>> from bench.leaderboard.build import build_curves
    >>> from bench.testing.fakes import fake_records
    >>> (record,) = fake_records({"ose:e2e-ft": (0.8,)}, shifts=[])
    >>> points = [
    ...     record.model_copy(update={"kind": "curve", "choice": {"alpha": alpha}, "value": value})
    ...     for alpha, value in ((0.0, 0.6), (1.0, 0.8))
    ... ]
    >>> [point.id.mean for point in build_curves(points)[0].points]
    [0.6, 0.8]
    """
    points: dict[tuple[BoardKey, Name], list[Record]] = defaultdict(list)
    chosen: dict[tuple[BoardKey, Name], dict[Seed, Mapping[str, float]]] = defaultdict(dict)
    for record in records:
        row = (board_key(record), (record.method, record.base))
        if record.kind == "cell":
            chosen[row][record.seed] = record.choice
        elif record.kind == "curve" and record.metric == record.primary_metric:
            points[row].append(record)
    order = sorted(points, key=lambda r: (r[0], _order(r[1][1] or ""), _order(r[1][0])))
    return tuple(_curve(row, points[row], chosen[row]) for row in order)


def _board(key: BoardKey, of: BoardItems, scale: Scale | None, kind: Kind) -> Board:
    places = (ID, *of.shifts)
    metrics = of.primary_metrics if scale is None else dict.fromkeys(places, scale.metric)
    scale = scale or scale_of(metrics[ID])
    by_place, in_suite = tuple(metrics[place] for place in places), of.shifts_in_suite
    empty = Board(*key, scale, of.shifts, in_suite, by_place, (), of.outside_mean, of.prompts)
    unlike = kind == "cell" and scale.metric not in {ACCURACY.name, *OWN, *BY_CLASS}
    entries = of.entries.of(metrics, kind, empty.over)
    return replace(empty, groups=_groups(entries, empty, unlike=unlike))


def _groups(entries: Mapping[Name, RowEntry], board: Board, *, unlike: bool) -> tuple[Group, ...]:
    """Return the board's rows, grouped by base; `unlike` as for `_with_best`."""
    columns = (ID, *board.shifts, *((MEAN,) if board.averaged else ()))
    rows = {name: entry.row(columns) for name, entry in entries.items()}
    if board.ranked:
        rows = _with_best(rows, board.scale, unlike=unlike)
    bases = {base for _, base in entries if base is not None}
    alone = [m for m, base in entries if base is None and m not in bases]
    first = _by_role(rows[m, None] for m in sorted(alone, key=_order))
    groups = [Group(None, first)] if first else []
    for base in sorted(bases, key=_order):
        members = sorted((m for m, b in entries if b == base), key=_order)
        names = [(base, None), *((m, base) for m in members)]
        roles = {m: entries[m, base].role for m in members}
        ranked = [m for m, role in roles.items() if role == "method"]
        known = [m for m, role in roles.items() if role != "oracle"]  # a control may be subtracted
        pairs = ((a, b) for a in ranked for b in _compared_with(a) if b in known)
        found = [_difference(entries[a, base], entries[b, base]) for a, b in pairs]
        differences = tuple(entry.row(columns) for entry in found if entry.values)
        found_rows = _by_role(rows[name] for name in names if name in rows)
        groups.append(Group(base, found_rows, differences))
    return tuple(groups)


def _by_role(rows: Iterable[BoardRow]) -> tuple[BoardRow, ...]:
    """Sort rows by role: methods, then controls, then oracles."""
    return tuple(sorted(rows, key=lambda row: list(MARKS).index(row.role)))


def _difference(left: RowEntry, right: RowEntry) -> RowEntry:
    """Return left minus right for each cell and seed that both have."""
    both = left.values.keys() & right.values.keys()
    values = {place: left.values[place] - right.values[place] for place in both}
    titles = (f"({t})" if "," in t else t for t in (left.title, right.title))
    return RowEntry(f"{left.method} - {right.method}", left.base, " - ".join(titles), values=values)


def _with_best(
    rows: Mapping[Name, BoardRow], scale: Scale, *, unlike: bool
) -> dict[Name, BoardRow]:
    """Return the rows with the best value of each column marked, among complete methods.

    With `unlike`, for metrics that depend on temperatures, rows that are calibrated by themselves
    are not compared with the others, which have no temperature.
    """
    complete = {
        name: row
        for name, row in rows.items()
        if row.complete and row.role == "method" and not (unlike and row.calibrated)
    }
    choose = max if scale.higher_is_better else min
    columns = zip(*([cell.mean for cell in row.cells] for row in complete.values()), strict=True)
    best = [scale.text(choose(mean for mean in column if mean is not None)) for column in columns]

    def marked(row: BoardRow) -> BoardRow:
        means = [cell.mean for cell in row.cells]
        wins = [m is not None and scale.text(m) == b for m, b in zip(means, best, strict=True)]
        cells = (replace(c, best=win) for c, win in zip(row.cells, wins, strict=True))
        return replace(row, cells=tuple(cells))

    return {**rows, **{name: marked(row) for name, row in complete.items()}}


def _curve(
    row: tuple[BoardKey, Name],
    records: Sequence[Record],
    chosen: Mapping[Seed, Mapping[str, float]],
) -> Curve:
    key, name = row
    of = BoardItems(records)
    over, metrics = [s for s in of.shifts if s not in of.outside_mean], of.primary_metrics
    candidates: dict[tuple[tuple[str, float], ...], list[Record]] = defaultdict(list)
    for record in records:
        candidates[tuple(sorted(record.choice.items()))].append(record)
    points = []
    for choice in sorted(candidates):
        entry = BoardEntries(candidates[choice]).of(metrics, "curve", over)[name]
        id_cell, ood, *others = entry.row((ID, MEAN, *over)).cells
        chosen_by = (s for s in entry.seeds if set(choice) <= set(chosen.get(s, {}).items()))
        points.append(Point(choice, id_cell, ood, tuple(chosen_by), tuple(others)))
    title = min(record.title for record in records)
    return Curve(key, *name, title, scale_of(metrics[ID]), tuple(points))


def _order(method: str) -> tuple[int, str]:
    """Return the sort key of a row; ``lp-ft+ls`` and ``lp-ft@3`` come next to ``lp-ft``.

    A method whose plugin is not installed comes last, and is compared with none.
    """
    found = methods().get(re.split(r"[@+]|-oracle-", method)[0], Method)
    return (found.position, method)


def _compared_with(method: str) -> tuple[str, ...]:
    return methods().get(method, Method).compared_with

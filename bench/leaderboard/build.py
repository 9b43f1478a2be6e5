"""Build leaderboards and curves from records.

`build_boards` and `build_curves` are pure; the values they return are defined in
`bench.leaderboard.board`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from bench.api.method import Method
from bench.api.metrics import ACCURACY, averageable
from bench.api.registry import methods
from bench.core.errors import InputError
from bench.core.records import MissingCell, Record, Role
from bench.leaderboard.board import (
    ID,
    KINDS,
    MARKS,
    MEAN,
    PENDING,
    SCALES,
    UNRECORDED,
    Board,
    BoardKey,
    BoardRow,
    Cell,
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
from bench.leaderboard.comparability import check_comparable, describe_conflict


@dataclass(frozen=True)
class _Entry:
    """The data of a row: values, and reasons for absent values, by (shift, seed)."""

    method: str
    base: str | None
    title: str
    role: Role = "method"
    values: Mapping[tuple[str, Seed], float] = field(default_factory=dict)
    reasons: Mapping[tuple[str, Seed], str] = field(default_factory=dict)
    has_caveats: bool = False
    calibrated: bool = False

    @property
    def seeds(self) -> tuple[Seed, ...]:
        """All seeds planned or measured for the row, ascending."""
        found = {seed for _, seed in (*self.values, *self.reasons)}
        return tuple(sorted(found, key=lambda s: -1 if s is None else s))

    def with_mean(self, shifts: Sequence[str]) -> _Entry:
        """Return the entry with its OOD mean per seed; unchanged if any cell is absent."""
        needed = [(shift, seed) for shift in (ID, *shifts) for seed in self.seeds]
        if not shifts or not all(place in self.values for place in needed):
            return self
        ood = {(MEAN, s): fmean(self.values[shift, s] for shift in shifts) for s in self.seeds}
        return replace(self, values={**self.values, **ood})

    def row(self, columns: Sequence[str]) -> BoardRow:
        """Return the entry as a row of the board."""
        cells = tuple(self._cell(column) for column in columns)
        names = self.method, self.base, self.title
        facts = self.role, self.has_caveats, self.calibrated
        return BoardRow(*names, self.seeds, cells, *facts)

    def _cell(self, column: str) -> Cell:
        found = [self.values[column, s] for s in self.seeds if (column, s) in self.values]
        absent = tuple(
            (seed, self.reasons.get((column, seed), UNRECORDED))
            for seed in self.seeds
            if (column, seed) not in self.values
        )
        mean = fmean(found) if found else None
        return Cell(mean, stdev(found) if len(found) > 1 else None, len(found), absent)


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


Items = Mapping[BoardKey, Sequence[Record | MissingCell]]
"""Records and missing cells by leaderboard, in the order of leaderboards."""


def items_by_board(records: Iterable[Record], missing: Iterable[MissingCell] = ()) -> Items:
    """Return what belongs to each leaderboard, after checking it as `build_boards` does.

    Examples
    --------
    >>> from bench.leaderboard.build import items_by_board
    >>> from bench.testing.fakes import fake_records
    >>> [len(items) for items in items_by_board(fake_records()).values()] == [len(fake_records())]
    True
    """
    explained = sorted(missing, key=lambda m: (m.reason != PENDING, m.reason))
    by_board: dict[BoardKey, list[Record | MissingCell]] = defaultdict(list)
    items: list[Record | MissingCell] = [*(r for r in records if r.kind in KINDS), *explained]
    for item in items:
        by_board[board_key(item)].append(item)
    for of_board in by_board.values():
        check_comparable(item for item in of_board if isinstance(item, Record))
    order = sorted(by_board, key=lambda k: (k[0], k[1], bool(k[3]), k[2], k[3]))
    return {key: by_board[key] for key in order}


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


def _board(
    key: BoardKey, items: Sequence[Record | MissingCell], scale: Scale | None, kind: Kind
) -> Board:
    shifts, in_suite = _shifts(items), max(item.shifts_in_suite for item in items)
    places = (ID, *shifts)
    metrics = _primary_metrics(items) if scale is None else dict.fromkeys(places, scale.metric)
    scale = scale or scale_of(metrics[ID])
    by_place, outside_mean = tuple(metrics[p] for p in places), _outside_mean(items, shifts)
    empty = Board(*key, scale, shifts, in_suite, by_place, (), outside_mean, _prompts(items))
    unlike = kind == "cell" and scale.metric in SCALES and scale.metric != ACCURACY.name
    entries = _entries(items, metrics, kind, empty.over)
    return replace(empty, groups=_groups(entries, empty, unlike=unlike))


def _prompts(items: Iterable[Record | MissingCell]) -> str:
    """Return where prompts came from, by the first record that states it.

    `check_comparable` has made sure that all records which state it agree.
    """
    stated = (item.provenance for item in items if isinstance(item, Record))
    return next((str(found["prompts"]) for found in stated if "prompts" in found), "")


def _primary_metrics(items: Sequence[Record | MissingCell]) -> dict[str, str]:
    """Return each set's primary metric, from its first item; accuracy for ID if it has no item."""
    return {ID: ACCURACY.name} | {item.shift: item.primary_metric for item in reversed(items)}


def _shifts(items: Sequence[Record | MissingCell]) -> tuple[str, ...]:
    """Return the shifts in suite order."""
    positions: dict[str, int] = {}
    for item in items:
        if item.shift != ID:
            positions[item.shift] = min(item.order, positions.get(item.shift, item.order))
    return tuple(sorted(positions, key=lambda shift: (positions[shift], shift)))


def _outside_mean(items: Iterable[Record | MissingCell], shifts: Sequence[str]) -> tuple[str, ...]:
    """Return the shifts that are not part of the OOD mean."""
    found = {item.shift for item in items if item.outside_mean}
    return tuple(shift for shift in shifts if shift in found)


def _entries(
    items: Iterable[Record | MissingCell],
    metrics: Mapping[str, str],
    kind: str,
    shifts: Sequence[str],
) -> dict[Name, _Entry]:
    """Return one entry per (method, base), even if it has no value of these metrics and kind."""
    values: dict[Name, dict[tuple[str, Seed], float]] = defaultdict(dict)
    reasons: dict[Name, dict[tuple[str, Seed], str]] = defaultdict(dict)
    titles: dict[Name, str] = {}
    roles: dict[Name, Role] = {}
    doubtful: set[Name] = set()
    calibrated: set[Name] = set()
    for item in items:
        row, place = (item.method, item.base), (item.shift, item.seed)
        titles[row] = min(titles.get(row, item.title), item.title)
        roles[row] = item.role
        if isinstance(item, MissingCell):
            reasons[row][place] = item.reason
            continue
        reasons[row].setdefault(place, UNRECORDED)
        if item.provenance.get("caveats", {}).get("row"):
            doubtful.add(row)
        if _is_calibrated(item):
            calibrated.add(row)
        if (item.metric, item.kind) != (metrics[item.shift], kind):
            continue
        if values[row].setdefault(place, item.value) != item.value:
            raise InputError(describe_conflict(item, values[row][place]))
    averaged = shifts if averageable(metrics[shift] for shift in shifts) else ()
    # The records of an oracle are points of a curve, which the row of its method explains.
    calibrated |= {row for row in titles if (row[0].partition("-oracle-")[0], row[1]) in calibrated}
    entries = {
        row: _Entry(
            *row, title, roles[row], values[row], reasons[row], row in doubtful, row in calibrated
        )
        for row, title in titles.items()
    }
    return {row: entry.with_mean(averaged) for row, entry in entries.items()}


def _is_calibrated(record: Record) -> bool:
    """Whether the record's method fitted temperatures before it was measured.

    Records of earlier versions do not state it; the setting of such methods was ``calibrate``.
    """
    method = record.provenance.get("method")
    setting = method.get("calibrate", "none") if isinstance(method, Mapping) else "none"
    return bool(record.provenance.get("calibrated", setting != "none"))


def _groups(entries: Mapping[Name, _Entry], board: Board, *, unlike: bool) -> tuple[Group, ...]:
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


def _difference(left: _Entry, right: _Entry) -> _Entry:
    """Return left minus right for each cell and seed that both have."""
    both = left.values.keys() & right.values.keys()
    values = {place: left.values[place] - right.values[place] for place in both}
    titles = (f"({t})" if "," in t else t for t in (left.title, right.title))
    return _Entry(f"{left.method} - {right.method}", left.base, " - ".join(titles), values=values)


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
    shifts, metrics = _shifts(records), _primary_metrics(records)
    over = [shift for shift in shifts if shift not in _outside_mean(records, shifts)]
    candidates: dict[tuple[tuple[str, float], ...], list[Record]] = defaultdict(list)
    for record in records:
        candidates[tuple(sorted(record.choice.items()))].append(record)
    points = []
    for choice in sorted(candidates):
        entry = _entries(candidates[choice], metrics, "curve", over)[name]
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

"""Leaderboards: from records to values that say what every cell of the table is.

``boards(records)`` and ``curves(records)`` are pure; what they return is in
`bench.leaderboard.board`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from bench.api.metrics import ACCURACY, averageable
from bench.core.errors import InputError
from bench.core.records import MissingCell, Record, Role
from bench.leaderboard.board import (
    ID,
    KINDS,
    MARKS,
    MEAN,
    PENDING,
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

ORDER = (
    "zero-shot", "linear", "linear-lbfgs",
    "e2e-ft", "ema", "l2-sp", "lp-ft", "lp-ft-sgd", "lp-ft-raw", "flyp", "carot-slides", "carot",
    "wise-ft", "fisher", "soup", "greedy-soup", "ose", "ose-logits", "ose-calibrated", "vrf",
    "vrf-shuffled", "vrf-constant", "vrf-all-correct",
)  # fmt: skip
"""Rows come in this order, first those without a base; then other names, alphabetically."""
DIFFERENCES = (("vrf", "ose"), ("vrf", "ose-calibrated"), ("vrf", "wise-ft"))
"""Rows are subtracted from each other where both are methods of one group."""


@dataclass(frozen=True)
class _Entry:
    """A row's raw material: values and reasons of absence by (shift, seed)."""

    method: str
    base: str | None
    title: str
    role: Role = "method"
    values: Mapping[tuple[str, Seed], float] = field(default_factory=dict)
    reasons: Mapping[tuple[str, Seed], str] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[Seed, ...]:
        """All seeds the row was asked for, ascending."""
        found = {seed for _, seed in (*self.values, *self.reasons)}
        return tuple(sorted(found, key=lambda s: -1 if s is None else s))

    def with_mean(self, shifts: Sequence[str]) -> _Entry:
        """The entry with its OOD mean per seed; as it is if any cell is absent."""
        needed = [(shift, seed) for shift in (ID, *shifts) for seed in self.seeds]
        if not shifts or not all(place in self.values for place in needed):
            return self
        ood = {(MEAN, s): fmean(self.values[shift, s] for shift in shifts) for s in self.seeds}
        return replace(self, values={**self.values, **ood})

    def row(self, columns: Sequence[str]) -> BoardRow:
        """The entry as a row."""
        cells = tuple(self._cell(column) for column in columns)
        return BoardRow(self.method, self.base, self.title, self.seeds, cells, self.role)

    def _cell(self, column: str) -> Cell:
        found = [self.values[column, s] for s in self.seeds if (column, s) in self.values]
        lacking = [seed for seed in self.seeds if (column, seed) not in self.values]
        absent = tuple((seed, self.reasons.get((column, seed), UNRECORDED)) for seed in lacking)
        mean = fmean(found) if found else None
        return Cell(mean, stdev(found) if len(found) > 1 else None, len(found), absent)


def build_boards(
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    metric: str | Scale | None = None,
    kind: Kind = "cell",
) -> tuple[Board, ...]:
    """One leaderboard per suite, model, protocol and set of watermarks.

    Clean ones come before watermarked ones. Values are those of records of one `kind`; the
    structure (rows, columns) is the same for every metric and kind. A metric may be given by the
    scale on which it is to be printed; without one, every set has the metric it is judged by. A
    `MissingCell` makes a cell only where there is no record.
    Raises InputError for an unknown metric, or for records that cannot share a leaderboard: two
    different values for one cell, or numbers that were made differently (`agreement.check`).
    """
    scale = None if metric is None else scale_of(metric)
    explained = sorted(missing, key=lambda m: (m.reason != PENDING, m.reason))
    asked: dict[BoardKey, list[Record | MissingCell]] = defaultdict(list)
    items: list[Record | MissingCell] = [*(r for r in records if r.kind in KINDS), *explained]
    for item in items:
        asked[board_key(item)].append(item)
    for same in asked.values():
        check_comparable(item for item in same if isinstance(item, Record))
    order = sorted(asked, key=lambda k: (k[0], k[1], bool(k[3]), k[2], k[3]))
    return tuple(_board(key, asked[key], scale, kind) for key in order)


def build_curves(records: Iterable[Record]) -> tuple[Curve, ...]:
    """For each method and base with ``curve`` records: ID and OOD mean per candidate.

    Each set in the metric it is judged by. Values are means over seeds; a candidate that lacks a
    cell has no OOD mean.
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
    key: BoardKey, asked: Sequence[Record | MissingCell], scale: Scale | None, kind: Kind
) -> Board:
    shifts, in_suite = _shifts(asked), max(item.shifts_in_suite for item in asked)
    places = (ID, *shifts)
    metrics = _primary_metrics(asked) if scale is None else dict.fromkeys(places, scale.metric)
    scale = scale or scale_of(metrics[ID])
    primary, outside_mean = tuple(metrics[p] for p in places), _outside_mean(asked, shifts)
    bare = Board(*key, scale, shifts, in_suite, primary, (), outside_mean, _prompts(asked))
    return replace(bare, groups=_groups(_entries(asked, metrics, kind, bare.over), bare))


def _prompts(asked: Iterable[Record | MissingCell]) -> str:
    """Where prompts came from, by the first record that says so (`agreement`: all say the same)."""
    made = (item.provenance for item in asked if isinstance(item, Record))
    return next((str(found["prompts"]) for found in made if "prompts" in found), "")


def _primary_metrics(asked: Sequence[Record | MissingCell]) -> dict[str, str]:
    """The metric that each set is judged by, the first item's; ID by accuracy if there is none."""
    return {ID: ACCURACY.name} | {item.shift: item.primary_metric for item in reversed(asked)}


def _shifts(asked: Sequence[Record | MissingCell]) -> tuple[str, ...]:
    """The shifts in suite order."""
    positions: dict[str, int] = {}
    for item in asked:
        if item.shift != ID:
            positions[item.shift] = min(item.order, positions.get(item.shift, item.order))
    return tuple(sorted(positions, key=lambda shift: (positions[shift], shift)))


def _outside_mean(asked: Iterable[Record | MissingCell], shifts: Sequence[str]) -> tuple[str, ...]:
    """Those of the shifts that are no part of the mean."""
    found = {item.shift for item in asked if item.outside_mean}
    return tuple(shift for shift in shifts if shift in found)


def _entries(
    asked: Iterable[Record | MissingCell],
    metrics: Mapping[str, str],
    kind: str,
    shifts: Sequence[str],
) -> dict[Name, _Entry]:
    """One entry per (method, base), whether or not it has values of the metrics and kind."""
    values: dict[Name, dict[tuple[str, Seed], float]] = defaultdict(dict)
    reasons: dict[Name, dict[tuple[str, Seed], str]] = defaultdict(dict)
    titles: dict[Name, str] = {}
    roles: dict[Name, Role] = {}
    for item in asked:
        row, place = (item.method, item.base), (item.shift, item.seed)
        titles[row] = min(titles.get(row, item.title), item.title)
        roles[row] = item.role
        if isinstance(item, MissingCell):
            reasons[row][place] = item.reason
            continue
        reasons[row].setdefault(place, UNRECORDED)
        if (item.metric, item.kind) != (metrics[item.shift], kind):
            continue
        if values[row].setdefault(place, item.value) != item.value:
            raise InputError(describe_conflict(item, values[row][place]))
    averaged = shifts if averageable(metrics[shift] for shift in shifts) else ()
    return {
        row: _Entry(*row, title, roles[row], values[row], reasons[row]).with_mean(averaged)
        for row, title in titles.items()
    }


def _groups(entries: Mapping[Name, _Entry], board: Board) -> tuple[Group, ...]:
    """The board's groups: its rows, put under their bases."""
    columns = (ID, *board.shifts, *((MEAN,) if board.averaged else ()))
    rows = {name: entry.row(columns) for name, entry in entries.items()}
    if board.ranked:
        rows = _with_best(rows, board.scale)
    bases = {base for _, base in entries if base is not None}
    alone = [m for m, base in entries if base is None and m not in bases]
    first = _by_role(rows[m, None] for m in sorted(alone, key=_order))
    groups = [Group(None, first)] if first else []
    for base in sorted(bases, key=_order):
        members = sorted((m for m, b in entries if b == base), key=_order)
        names = [(base, None), *((m, base) for m in members)]
        methods = [m for m in members if entries[m, base].role == "method"]
        pairs = ((a, b) for a, b in DIFFERENCES if a in methods and b in methods)
        found = [_difference(entries[a, base], entries[b, base]) for a, b in pairs]
        differences = tuple(entry.row(columns) for entry in found if entry.values)
        found_rows = _by_role(rows[name] for name in names if name in rows)
        groups.append(Group(base, found_rows, differences))
    return tuple(groups)


def _by_role(rows: Iterable[BoardRow]) -> tuple[BoardRow, ...]:
    """Methods first, controls and oracles after them."""
    return tuple(sorted(rows, key=lambda row: list(MARKS).index(row.role)))


def _difference(left: _Entry, right: _Entry) -> _Entry:
    """Left minus right where both have the cell with the same seed."""
    both = left.values.keys() & right.values.keys()
    values = {place: left.values[place] - right.values[place] for place in both}
    method, title = f"{left.method} - {right.method}", f"{left.title} - {right.title}"
    return _Entry(method, left.base, title, values=values)


def _with_best(rows: Mapping[Name, BoardRow], scale: Scale) -> dict[Name, BoardRow]:
    """The rows with the best of each column marked, among the methods that lack no cell."""
    whole = {n: row for n, row in rows.items() if row.complete and row.role == "method"}
    choose = max if scale.higher_is_better else min
    columns = zip(*([cell.mean for cell in row.cells] for row in whole.values()), strict=True)
    best = [scale.text(choose(mean for mean in column if mean is not None)) for column in columns]

    def marked(row: BoardRow) -> BoardRow:
        means = [cell.mean for cell in row.cells]
        wins = [m is not None and scale.text(m) == b for m, b in zip(means, best, strict=True)]
        cells = (replace(c, best=win) for c, win in zip(row.cells, wins, strict=True))
        return replace(row, cells=tuple(cells))

    return {**rows, **{name: marked(row) for name, row in whole.items()}}


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
        takers = (s for s in entry.seeds if set(choice) <= set(chosen.get(s, {}).items()))
        points.append(Point(choice, id_cell, ood, tuple(takers), tuple(others)))
    title = min(record.title for record in records)
    return Curve(key, *name, title, scale_of(metrics[ID]), tuple(points))


def _order(method: str) -> tuple[int, str]:
    """A row's place among its like; ``lp-ft+ls`` and ``lp-ft@3`` come beside ``lp-ft``."""
    family = re.split(r"[@+]|-oracle-", method)[0]
    return (ORDER.index(family) if family in ORDER else len(ORDER), method)

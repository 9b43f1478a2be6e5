"""Leaderboards: from records to values that say what every cell of the table is.

``boards(records)`` is pure; values stay unrounded (fractions, nats). How they are printed is
`Scale`'s, where they are printed is the business of `bench.report` and `bench.console`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import Literal

from bench import agreement
from bench.errors import InputError, unknown
from bench.metrics import ACCURACY, METRICS, OWN, Metric, averageable
from bench.records import Missing, Record, Role

ID = "id"
MEAN = "OOD mean"
PENDING = "pending"
"""The reason of a `Missing` cell that is planned and not yet computed (live display)."""
UNRECORDED = "no record"
"""The reason given for an absent cell that no `Missing` explains."""

ORDER = (
    "zero-shot", "linear", "linear-lbfgs",
    "e2e-ft", "ema", "l2-sp", "lp-ft", "lp-ft-sgd", "lp-ft-raw", "flyp", "carot-slides", "carot",
    "wise-ft", "fisher", "soup", "greedy-soup", "ose", "ose-logits", "ose-calibrated", "vrf",
    "vrf-shuffled", "vrf-constant", "vrf-all-correct",
)  # fmt: skip
"""Rows come in this order, first those without a base; then other names, alphabetically."""
DIFFERENCES = (("vrf", "ose"), ("vrf", "ose-calibrated"), ("vrf", "wise-ft"))
"""Rows are subtracted from each other where both are methods of one group."""
MARKS: Mapping[Role, str] = {
    "method": "",
    "control": "(control)",
    "oracle": "(chosen in hindsight)",
}
"""What follows the title of a row that is no method; roles come in this order."""

Seed = int | None
Kind = Literal["cell", "scaled"]
KINDS: tuple[Kind, ...] = ("cell", "scaled")
"""The kinds of records that are cells of leaderboards: without and with temperature scaling."""
Key = tuple[str, str, str, tuple[str, ...]]
"""What separates leaderboards: suite, model, protocol, watermarks."""
_Name = tuple[str, str | None]
"""What separates rows: method and base."""


@dataclass(frozen=True)
class Scale:
    """How a metric is printed: value times `factor`, in `unit`, with `decimals`."""

    metric: str
    title: str
    unit: str
    factor: float
    decimals: int
    higher_is_better: bool

    def text(self, value: float, *, signed: bool = False) -> str:
        """The printed value; never a negative zero."""
        return f"{value * self.factor:{'+' if signed else ''}z.{self.decimals}f}"


def _scales(metrics: Mapping[str, Metric]) -> dict[str, Scale]:
    return {
        m.name: Scale(m.name, m.title, m.unit, m.factor, m.decimals, m.higher_is_better)
        for m in metrics.values()
    }


SCALES = _scales(METRICS)
"""How the metrics of all sets are printed, in the order of reports."""
OWN_SCALES = _scales(OWN)
"""How the metrics of some sets alone are printed: as accuracy is, so that one board holds both."""


@dataclass(frozen=True)
class Cell:
    """One cell of a row.

    `mean` over the `seeds` that have a value (None if none has); `std` the sample standard
    deviation (ddof 1), None with fewer than two; `absent` the seeds without a value and why;
    `best` whether it is the column's best at the printed precision.
    """

    mean: float | None = None
    std: float | None = None
    seeds: int = 0
    absent: tuple[tuple[Seed, str], ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A method on its base, with one cell per column; a difference row is one too.

    `seeds` is ``(None,)`` for rows into which no training went.
    """

    method: str
    base: str | None
    title: str
    seeds: tuple[Seed, ...]
    cells: tuple[Cell, ...]
    role: Role = "method"

    @property
    def complete(self) -> bool:
        """Whether no cell lacks a seed. Others have no OOD mean and are not ranked."""
        return not any(cell.absent for cell in self.cells)

    @property
    def seed_free(self) -> bool:
        """Whether no training went into the row, so that it has no deviation."""
        return self.seeds == (None,)


@dataclass(frozen=True)
class Group:
    """Rows that belong together: those of no base (`base` None), or a base and its ensembles.

    The base's own row comes first; it is not there if it was not run. Methods come before
    controls, and those before what was chosen in hindsight.
    """

    base: str | None
    rows: tuple[Row, ...]
    differences: tuple[Row, ...] = ()

    @property
    def lacks_base(self) -> bool:
        """Whether the base's own row was not run."""
        return self.base is not None and self.rows[0].base is not None

    def of(self, role: Role) -> tuple[Row, ...]:
        """The rows of one role."""
        return tuple(row for row in self.rows if row.role == role)


@dataclass(frozen=True)
class Board:
    """The leaderboard of one suite, model and protocol in one metric, or in each set's own.

    `columns` holds the labels: ID, the shifts in suite order, the OOD mean (if there are shifts).
    `notes` are the watermarks all its records carry, `metrics` those of ID and of each shift;
    `scale` is that of ID; `beside` names the shifts that are no part of the mean; `prompts` says
    where class names and templates came from, if the suite does.
    """

    suite: str
    model: str
    protocol: str
    notes: tuple[str, ...]
    scale: Scale
    shifts: tuple[str, ...]
    shifts_in_suite: int
    metrics: tuple[str, ...]
    groups: tuple[Group, ...]
    beside: tuple[str, ...] = ()
    prompts: str = ""

    @property
    def over(self) -> tuple[str, ...]:
        """The shifts that the mean is over."""
        return tuple(shift for shift in self.shifts if shift not in self.beside)

    @property
    def title(self) -> str:
        """What the numbers are."""
        others = "" if len(set(self.metrics)) == 1 else " or a set's own metric"
        return f"{self.scale.title}{others}"

    @property
    def key(self) -> Key:
        """Suite, model, protocol, watermarks."""
        return (self.suite, self.model, self.protocol, self.notes)

    @property
    def partial(self) -> bool:
        """Whether only some of the suite's shifts were run."""
        return len(self.over) < self.shifts_in_suite

    @property
    def ranked(self) -> bool:
        """Whether the best are marked: no watermark, and all shifts of the suite."""
        return not self.notes and not self.partial

    @property
    def averaged(self) -> bool:
        """Whether there is an OOD mean: not over no shifts, nor over metrics that have none."""
        metrics = dict(zip(self.shifts, self.metrics[1:], strict=True))
        return bool(self.over) and averageable(metrics[shift] for shift in self.over)

    @property
    def over_shifts(self) -> str:
        """What a mean over the shifts is called: ``OOD mean`` or ``mean of k``; ``ID`` of none."""
        if not self.over:
            return "ID"
        return f"mean of {len(self.over)}" if self.partial else MEAN

    @property
    def columns(self) -> tuple[str, ...]:
        """Labels: ``ID``, the shifts with their metrics if not ID's, and the mean over them."""
        pairs = zip(("ID", *self.shifts), self.metrics, strict=True)
        labels = [label + self._own(metric) for label, metric in pairs]
        return (*labels, *((self.over_shifts,) if self.averaged else ()))

    def _own(self, metric: str) -> str:
        """What a label says of a metric that is not ID's."""
        if metric == self.scale.metric:
            return ""
        title = _scale(metric).title
        return f" ({title[0].lower()}{title[1:]})"

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """All rows in printed order, without difference rows."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def has_deviations(self) -> bool:
        """Whether any row has at least two seeds."""
        return any(cell.std is not None for row in self.rows for cell in row.cells)

    @property
    def seeds_differ(self) -> bool:
        """Whether rows with seeds were run with different ones."""
        return len({row.seeds for row in self.rows if not row.seed_free}) > 1


@dataclass(frozen=True)
class Point:
    """One candidate of a curve; `chosen` lists the seeds that chose it.

    `shifts` are its cells on each of the shifts that the mean is over.
    """

    choice: tuple[tuple[str, float], ...]
    id: Cell
    ood: Cell
    chosen: tuple[Seed, ...]
    shifts: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Curve:
    """ID and OOD mean of every candidate of a method, chosen or not. Never ranked."""

    key: Key
    method: str
    base: str | None
    title: str
    scale: Scale
    points: tuple[Point, ...]


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

    def row(self, columns: Sequence[str]) -> Row:
        """The entry as a row."""
        cells = tuple(self._cell(column) for column in columns)
        return Row(self.method, self.base, self.title, self.seeds, cells, self.role)

    def _cell(self, column: str) -> Cell:
        found = [self.values[column, s] for s in self.seeds if (column, s) in self.values]
        lacking = [seed for seed in self.seeds if (column, seed) not in self.values]
        absent = tuple((seed, self.reasons.get((column, seed), UNRECORDED)) for seed in lacking)
        mean = fmean(found) if found else None
        return Cell(mean, stdev(found) if len(found) > 1 else None, len(found), absent)


def boards(
    records: Iterable[Record],
    missing: Iterable[Missing] = (),
    metric: str | Scale | None = None,
    kind: Kind = "cell",
) -> tuple[Board, ...]:
    """One leaderboard per suite, model, protocol and set of watermarks.

    Clean ones come before watermarked ones. Values are those of records of one `kind`; the
    structure (rows, columns) is the same for every metric and kind. A metric may be given by the
    scale on which it is to be printed; without one, every set has the metric it is judged by. A
    `Missing` makes a cell only where there is no record.
    Raises InputError for an unknown metric, or for records that cannot share a leaderboard: two
    different values for one cell, or numbers that were made differently (`agreement.check`).
    """
    scale = None if metric is None else _scale(metric)
    explained = sorted(missing, key=lambda m: (m.reason != PENDING, m.reason))
    asked: dict[Key, list[Record | Missing]] = defaultdict(list)
    items: list[Record | Missing] = [*(r for r in records if r.kind in KINDS), *explained]
    for item in items:
        asked[key_of(item)].append(item)
    for same in asked.values():
        agreement.check(item for item in same if isinstance(item, Record))
    order = sorted(asked, key=lambda k: (k[0], k[1], bool(k[3]), k[2], k[3]))
    return tuple(_board(key, asked[key], scale, kind) for key in order)


def curves(records: Iterable[Record]) -> tuple[Curve, ...]:
    """For each method and base with ``curve`` records: ID and OOD mean per candidate.

    Each set in the metric it is judged by. Values are means over seeds; a candidate that lacks a
    cell has no OOD mean.
    """
    points: dict[tuple[Key, _Name], list[Record]] = defaultdict(list)
    chosen: dict[tuple[Key, _Name], dict[Seed, Mapping[str, float]]] = defaultdict(dict)
    for record in records:
        row = (key_of(record), (record.method, record.base))
        if record.kind == "cell":
            chosen[row][record.seed] = record.choice
        elif record.kind == "curve" and record.metric == record.judged_by:
            points[row].append(record)
    order = sorted(points, key=lambda r: (r[0], _order(r[1][1] or ""), _order(r[1][0])))
    return tuple(_curve(row, points[row], chosen[row]) for row in order)


def key_of(item: Record | Missing) -> Key:
    """The leaderboard a cell belongs to."""
    return (item.suite, item.model, item.protocol, tuple(sorted(item.notes)))


def _scale(metric: str | Scale) -> Scale:
    if isinstance(metric, Scale):
        return metric
    if metric not in SCALES | OWN_SCALES:
        raise unknown("metric", metric, SCALES | OWN_SCALES)
    return (SCALES | OWN_SCALES)[metric]


def _board(key: Key, asked: Sequence[Record | Missing], scale: Scale | None, kind: Kind) -> Board:
    shifts, in_suite = _shifts(asked), max(item.shifts_in_suite for item in asked)
    places = (ID, *shifts)
    metrics = _judges(asked) if scale is None else dict.fromkeys(places, scale.metric)
    scale = scale or _scale(metrics[ID])
    judges, beside = tuple(metrics[p] for p in places), _beside(asked, shifts)
    bare = Board(*key, scale, shifts, in_suite, judges, (), beside, _prompts(asked))
    return replace(bare, groups=_groups(_entries(asked, metrics, kind, bare.over), bare))


def _prompts(asked: Iterable[Record | Missing]) -> str:
    """Where prompts came from, by the first record that says so (`agreement`: all say the same)."""
    made = (item.provenance for item in asked if isinstance(item, Record))
    return next((str(found["prompts"]) for found in made if "prompts" in found), "")


def _judges(asked: Sequence[Record | Missing]) -> dict[str, str]:
    """The metric that each set is judged by, the first item's; ID by accuracy if there is none."""
    return {ID: ACCURACY.name} | {item.shift: item.judged_by for item in reversed(asked)}


def _shifts(asked: Sequence[Record | Missing]) -> tuple[str, ...]:
    """The shifts in suite order."""
    positions: dict[str, int] = {}
    for item in asked:
        if item.shift != ID:
            positions[item.shift] = min(item.order, positions.get(item.shift, item.order))
    return tuple(sorted(positions, key=lambda shift: (positions[shift], shift)))


def _beside(asked: Iterable[Record | Missing], shifts: Sequence[str]) -> tuple[str, ...]:
    """Those of the shifts that are no part of the mean."""
    found = {item.shift for item in asked if item.beside}
    return tuple(shift for shift in shifts if shift in found)


def _entries(
    asked: Iterable[Record | Missing], metrics: Mapping[str, str], kind: str, shifts: Sequence[str]
) -> dict[_Name, _Entry]:
    """One entry per (method, base), whether or not it has values of the metrics and kind."""
    values: dict[_Name, dict[tuple[str, Seed], float]] = defaultdict(dict)
    reasons: dict[_Name, dict[tuple[str, Seed], str]] = defaultdict(dict)
    titles: dict[_Name, str] = {}
    roles: dict[_Name, Role] = {}
    for item in asked:
        row, place = (item.method, item.base), (item.shift, item.seed)
        titles[row] = min(titles.get(row, item.title), item.title)
        roles[row] = item.role
        if isinstance(item, Missing):
            reasons[row][place] = item.reason
            continue
        reasons[row].setdefault(place, UNRECORDED)
        if (item.metric, item.kind) != (metrics[item.shift], kind):
            continue
        if values[row].setdefault(place, item.value) != item.value:
            raise InputError(agreement.conflict(item, values[row][place]))
    averaged = shifts if averageable(metrics[shift] for shift in shifts) else ()
    return {
        row: _Entry(*row, title, roles[row], values[row], reasons[row]).with_mean(averaged)
        for row, title in titles.items()
    }


def _groups(entries: Mapping[_Name, _Entry], board: Board) -> tuple[Group, ...]:
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


def _by_role(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Methods first, controls and oracles after them."""
    return tuple(sorted(rows, key=lambda row: list(MARKS).index(row.role)))


def _difference(left: _Entry, right: _Entry) -> _Entry:
    """Left minus right where both have the cell with the same seed."""
    both = left.values.keys() & right.values.keys()
    values = {place: left.values[place] - right.values[place] for place in both}
    method, title = f"{left.method} - {right.method}", f"{left.title} - {right.title}"
    return _Entry(method, left.base, title, values=values)


def _with_best(rows: Mapping[_Name, Row], scale: Scale) -> dict[_Name, Row]:
    """The rows with the best of each column marked, among the methods that lack no cell."""
    whole = {n: row for n, row in rows.items() if row.complete and row.role == "method"}
    choose = max if scale.higher_is_better else min
    columns = zip(*([cell.mean for cell in row.cells] for row in whole.values()), strict=True)
    best = [scale.text(choose(mean for mean in column if mean is not None)) for column in columns]

    def marked(row: Row) -> Row:
        means = [cell.mean for cell in row.cells]
        wins = [m is not None and scale.text(m) == b for m, b in zip(means, best, strict=True)]
        cells = (replace(c, best=win) for c, win in zip(row.cells, wins, strict=True))
        return replace(row, cells=tuple(cells))

    return {**rows, **{name: marked(row) for name, row in whole.items()}}


def _curve(
    row: tuple[Key, _Name],
    records: Sequence[Record],
    chosen: Mapping[Seed, Mapping[str, float]],
) -> Curve:
    key, name = row
    shifts, metrics = _shifts(records), _judges(records)
    over = [shift for shift in shifts if shift not in _beside(records, shifts)]
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
    return Curve(key, *name, title, _scale(metrics[ID]), tuple(points))


def _order(method: str) -> tuple[int, str]:
    """A row's place among its like; ``lp-ft+ls`` and ``lp-ft@3`` come beside ``lp-ft``."""
    family = re.split(r"[@+]|-oracle-", method)[0]
    return (ORDER.index(family) if family in ORDER else len(ORDER), method)

"""Two runs side by side: which cells changed, and which changes are regressions.

Pure: records and samples in, changes out. A change of accuracy is tested: paired by sample and seed
(`bench.stats.difference`) where both runs kept samples of the same ids and seeds, else as if the
runs had been measured on images of their own, with binomial errors and the deviation over seeds.
The second is cautious: mostly images are the same, and the error then is smaller. Over the cells
that gate, `bench.ranking.holm` bounds the probability of any false alarm by `LEVEL`. Other metrics
have no error here: they are held against the tolerance alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, variance
from typing import Literal

import numpy as np

from bench.agreement import conflict, row_name
from bench.board import ID, MEAN, OWN_SCALES, SCALES, Key, Scale, Seed, key_of
from bench.errors import InputError
from bench.metrics import ACCURACY
from bench.ranking import holm
from bench.records import Record
from bench.samples import SampleOutputs
from bench.stats import Estimate, Outcomes, difference
from bench.tables import DASH, Item, Line, Table
from bench.verdicts import Verdict

LEVEL = 0.05
"""Bound on the probability that chance alone makes any cell a significant change."""
TOLERANCE = 0.01
"""By how much a cell may be worse if nothing else is said: one point, or 0.01 nats."""

State = Literal["same", "better", "worse", "regression", "new", "vanished"]
How = Literal["paired", "unpaired", ""]
_Place = tuple[Key, str, str, str]
"""Leaderboard, row, evaluation set, metric."""


@dataclass(frozen=True)
class Measured:
    """A run's records, and its samples if it kept any."""

    records: Sequence[Record]
    samples: Sequence[SampleOutputs] = ()


@dataclass(frozen=True)
class Change:
    """A cell of either run: mean over seeds, in the metric's own unit (shares, nats).

    Attributes
    ----------
    board, row, place, metric : where it stands; `place` is a set, or the OOD mean.
    old, new : None where a run has no such cell.
    how, p_value : how it was tested and with what result; "" and None if it was not.
    gates : whether a regression here counts.
    state : ``regression`` if it gates, is worse by more than the tolerance and, if tested,
        significantly so. ``better`` and ``worse`` say nothing of significance; ``same`` is what is
        printed alike, with one digit more than in leaderboards.
    """

    board: Key
    row: str
    place: str
    metric: str
    old: float | None
    new: float | None
    how: How = ""
    p_value: float | None = None
    significant: bool = False
    gates: bool = True
    state: State = "same"

    @property
    def difference(self) -> float | None:
        """New minus old."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def loss(self) -> float:
        """By how much the new value is worse; negative if it is better, 0 if one is absent."""
        sign = -1 if _scale(self.metric).higher_is_better else 1
        return sign * (self.difference or 0.0)


@dataclass(frozen=True)
class _Cell:
    """A run's cell: values by seed on each of its sets, and who is right there, if kept."""

    role: str
    sets: tuple[str, ...]
    values: tuple[Mapping[Seed, float], ...]
    sizes: tuple[int, ...]
    outcomes: tuple[tuple[tuple[Seed, ...], Outcomes] | None, ...]

    @property
    def value(self) -> float:
        return fmean(fmean(of_set.values()) for of_set in self.values)

    @property
    def estimate(self) -> Estimate:
        """An accuracy with its variance by counts and by seeds.

        Sets of one size could be the same images, each corrupted in another way: their errors are
        added as if they went together, those of other sets as independent ones.
        """
        by_size: dict[int, float] = defaultdict(float)
        for of_set, n in zip(self.values, self.sizes, strict=True):
            p = fmean(of_set.values())
            by_size[n] += sqrt(p * (1 - p) / n + 1 / n**2) / len(self.values)
        samples = sum(error**2 for error in by_size.values())
        seeds = set.intersection(*(set(of_set) for of_set in self.values))
        by_seed = [fmean(of_set[seed] for of_set in self.values) for seed in seeds]
        spread = variance(by_seed) / len(by_seed) if len(by_seed) > 1 else 0.0
        return Estimate(
            np.asarray(self.value),
            np.asarray(samples),
            np.asarray(spread),
            len(by_seed),
            np.asarray(np.inf),
        )


def compare(
    old: Measured, new: Measured, tolerance: float = TOLERANCE, everything: bool = False
) -> tuple[Change, ...]:
    """Every cell of either run, in the order of the new one, then what vanished.

    Cells are those of leaderboards without temperature scaling, and the mean over the shifts where
    both runs have the same. Controls, what was chosen in hindsight and watermarked cells gate only
    with `everything`. Raises InputError if a run has two values for a cell.
    """
    before, after = _cells(old), _cells(new)
    found = []
    rows = list(dict.fromkeys(place[:2] for place in (*after, *before)))
    places = dict.fromkeys((*after, *before))
    for place in sorted(places, key=lambda place: rows.index(place[:2])):
        change = _change(place, before.get(place), after.get(place))
        if change is None:
            continue
        role = (after.get(place) or before[place]).role
        gates = everything or (role == "method" and not place[0][3])
        found.append(replace(change, gates=gates))
    tested = [i for i, change in enumerate(found) if change.gates and change.p_value is not None]
    p_values = np.array([found[i].p_value for i in tested], dtype=np.float64)
    for i, certain in zip(tested, holm(p_values, LEVEL) if tested else (), strict=True):
        found[i] = replace(found[i], significant=bool(certain))
    return tuple(replace(change, state=_state(change, tolerance)) for change in found)


def _cells(run: Measured) -> dict[_Place, _Cell]:
    """Cells by place, each row's mean over the shifts after its sets."""
    values: dict[_Place, dict[Seed, Record]] = defaultdict(dict)
    for record in run.records:
        if record.kind != "cell":
            continue
        place = (key_of(record), row_name(record), record.shift, record.metric)
        other = values[place].setdefault(record.seed, record)
        if other.value != record.value:
            raise InputError(conflict(record, other.value))
    right: dict[_Place, dict[Seed, SampleOutputs]] = defaultdict(dict)
    for output in run.samples:
        record = output.record
        place = (key_of(record), row_name(record), record.shift, record.metric)
        right[place][record.seed] = output
    cells = {p: _cell(by_seed, right.get(p, {})) for p, by_seed in values.items()}
    shifts: dict[_Place, list[_Place]] = defaultdict(list)
    for place, by_seed in values.items():
        (board, row, shift, metric), one = place, next(iter(by_seed.values()))
        if shift != ID and not one.beside and metric in SCALES:
            shifts[board, row, MEAN, metric].append(place)
    for (board, row, _, metric), places in shifts.items():
        of_row = [cells[place] for place in sorted(places, key=lambda place: place[2])]
        if len({frozenset(cell.values[0]) for cell in of_row}) == 1 < len(of_row):
            in_suite = max(r.shifts_in_suite for p in places for r in values[p].values())
            name = MEAN if len(of_row) == in_suite else f"mean of {len(of_row)}"
            cells[board, row, name, metric] = _Cell(
                of_row[0].role,
                tuple(cell.sets[0] for cell in of_row),
                tuple(cell.values[0] for cell in of_row),
                tuple(cell.sizes[0] for cell in of_row),
                tuple(cell.outcomes[0] for cell in of_row),
            )
    return cells


def _cell(by_seed: Mapping[Seed, Record], right: Mapping[Seed, SampleOutputs]) -> _Cell:
    one = next(iter(by_seed.values()))
    values = {seed: record.value for seed, record in by_seed.items()}
    seeds = sorted(values, key=lambda seed: -1 if seed is None else seed)
    outcomes = None
    if right.keys() == values.keys() and len({right[s].on.digest for s in seeds}) == 1 < one.n:
        stacked = np.stack([right[seed].right for seed in seeds])
        outcomes = (tuple(seeds), Outcomes(right[seeds[0]].on.digest, stacked))
    return _Cell(one.role, (one.shift,), (values,), (one.n,), (outcomes,))


def _change(place: _Place, old: _Cell | None, new: _Cell | None) -> Change | None:
    """The change of a cell, yet to be judged; None for means over different sets."""
    if old and new and old.sets != new.sets:
        return None
    if old is None or new is None:
        return Change(*place, old.value if old else None, new.value if new else None)
    how, p_value = _tested(place[3], old, new)
    return Change(*place, old.value, new.value, how, p_value)


def _tested(metric: str, old: _Cell, new: _Cell) -> tuple[How, float | None]:
    if metric != ACCURACY.name:
        return "", None
    pairs = _pairs(old, new)
    if pairs is not None:
        return "paired", float(difference([n for _, n in pairs], [o for o, _ in pairs]).p_value())
    one, other = new.estimate, old.estimate
    apart = Estimate(
        np.asarray(one.value - other.value),
        np.asarray(one.samples + other.samples),
        np.asarray(one.seeds + other.seeds),
        min((side.count for side in (one, other) if side.count > 1), default=1),
        np.asarray(np.inf),
    )
    return "unpaired", float(apart.p_value())


def _pairs(old: _Cell, new: _Cell) -> list[tuple[Outcomes, Outcomes]] | None:
    """Who is right, set by set, if samples and seeds are the same; else None."""
    pairs = []
    for one, other in zip(old.outcomes, new.outcomes, strict=True):
        if one is None or other is None or one[0] != other[0] or one[1].ids != other[1].ids:
            return None
        pairs.append((one[1], other[1]))
    return pairs


def _state(change: Change, tolerance: float) -> State:
    if change.old is None or change.new is None:
        return "new" if change.old is None else "vanished"
    # Not stricter than the arithmetic: a difference of 0.01 is 0.01 only up to rounding.
    is_beyond = change.loss > tolerance + 1e-12
    if change.gates and is_beyond and (change.significant or change.p_value is None):
        return "regression"
    _, old, new, _ = _numbers(change)
    if old == new:
        return "same"
    return "worse" if change.loss > 0 else "better"


def in_words(change: Change) -> str:
    """A change in a few words: ``vrf:e2e-ft on v2: accuracy 60.4 -> 57.1 (-3.3, p = 0.001)``."""
    title, old, new, delta = _numbers(change)
    where = f"{change.row} on {change.place}: {title}"
    if change.difference is None:
        return f"{where} {change.state}, {new if change.old is None else old}"
    said = "not tested" if change.p_value is None else f"{change.how}, p = {change.p_value:.2g}"
    return f"{where} {old} -> {new} ({delta}; {said})"


def table(changes: Iterable[Change], title: str) -> Table:
    """The changes as a table, by leaderboard."""
    by_board: dict[Key, list[Line]] = defaultdict(list)
    for change in changes:
        tested = DASH if change.p_value is None else f"{change.p_value:.2g}"
        state = change.state if change.gates else f"{change.state}, no gate"
        metric, *numbers = _numbers(change)
        items = (change.row, change.place, metric, *numbers, tested, change.how or DASH, state)
        is_bold = change.state == "regression"
        by_board[change.board].append(Line(tuple(Item(text, strong=is_bold) for text in items)))
    groups = tuple(
        (Line((Item(_board(board)),), "head"), *lines) for board, lines in by_board.items()
    )
    columns = ("Row", "On", "Metric", "Old", "New", "Difference", "p", "Test", "State")
    return Table(title, columns, "lllrrrrll", groups)


def verdicts(changes: Iterable[Change]) -> list[Verdict]:
    """The changes for JUnit and summaries; what does not gate, is new or vanished is skipped."""
    found = []
    for change in changes:
        skipped = not change.gates or change.difference is None
        state: Literal["passed", "failed", "skipped"] = "skipped" if skipped else "passed"
        if change.state == "regression":
            state = "failed"
        name = f"{change.row} on {change.place}: {_scale(change.metric).title}"
        found.append(Verdict(_board(change.board), name, state, in_words(change)))
    return found


def _numbers(change: Change) -> tuple[str, str, str, str]:
    """Title of the metric, old, new and difference as printed, with one digit more."""
    scale = _scale(change.metric)
    finer = replace(scale, decimals=scale.decimals + 1)
    old, new = (DASH if v is None else finer.text(v) for v in (change.old, change.new))
    delta = DASH if change.difference is None else finer.text(change.difference, signed=True)
    return scale.title, old, new, delta


def _board(key: Key) -> str:
    suite, model, protocol, notes = key
    return ", ".join((suite, model, protocol, *notes))


def _scale(metric: str) -> Scale:
    return (SCALES | OWN_SCALES)[metric]

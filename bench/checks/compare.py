"""Two runs side by side: which cells changed, and which changes are regressions.

Pure: records and samples in, changes out. What is judged is a change of code, so trainings of the
same seeds are taken as given: the same code would have made them again, bit by bit, and how much
another seed would differ says nothing of whether these are worse. What is left to chance is which
images are in the set: a change of accuracy is tested sample by sample, seeds averaged, where both
runs kept samples of the same ids; else with binomial errors, as if the runs had been measured on
images of their own, which is cautious. Of seeds, those count that both runs have; what the new run
lacks is told. Where they share none, the trainings are no longer the same and the deviation over
seeds counts too: `SEED_ERROR`, or what both runs show if that is more, then by Student's t.

Over the cells that gate, `bench.leaderboard.stats.ranking.holm` bounds the probability of any false
alarm by `LEVEL`: half of it for the headlines, accuracy on ID and the OOD mean, so that many shifts
do not hide a loss there; half for all others. Other metrics of the same seeds have no error here:
they are held against the tolerance alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, pvariance
from typing import Literal

import numpy as np

from bench.api.metrics import ACCURACY
from bench.core.errors import InputError
from bench.core.records import Record
from bench.leaderboard.board import ID, MEAN, OWN_SCALES, SCALES, BoardKey, Scale, Seed, board_key
from bench.leaderboard.comparability import describe_conflict, row_name
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.stats.estimates import Estimate, Outcomes, paired_difference
from bench.leaderboard.stats.ranking import holm

LEVEL = 0.05
"""Bound on the probability that chance alone makes any cell a significant loss."""
TOLERANCE = 0.01
"""By how much a cell may be worse if nothing else is said: one point, or 0.01 nats."""
SEED_ERROR = 0.015
"""The least deviation of an accuracy over seeds to count with where seeds are others: stated, a
little above what rows of `mini` have (0.2 to 1.3 points). A few seeds measure their own badly."""
SCALED = frozenset(SCALES) - {ACCURACY.name}
"""The metrics that temperature scaling moves."""

State = Literal["same", "better", "worse", "regression", "new", "vanished"]
How = Literal["paired", "unpaired", "other seeds", ""]
_Place = tuple[BoardKey, str, str, str, bool]
"""Leaderboard, row, evaluation set, metric, whether after temperature scaling."""


@dataclass(frozen=True)
class ComparedRun:
    """A run's records, and its samples if it kept any."""

    records: Sequence[Record]
    samples: Sequence[SampleOutputs] = ()


@dataclass(frozen=True)
class Change:
    """A cell of either run, in the metric's own unit (shares, nats).

    Values are means over the seeds that both runs have, or over each run's own if they share none.

    Attributes
    ----------
    board, row, place, metric, scaled : where it stands; `place` is a set, or the OOD mean, `scaled`
        whether temperatures were scaled.
    old, new : None where a run has no such cell.
    how, p_value : how it was tested and with what result, two-sided; None if it was not: "" for
        what the tolerance alone decides, "other seeds" for what nothing is known of.
    significant : whether it is a loss beyond chance, all cells that gate considered.
    gates : whether a regression here, or that the cell or seeds of it are gone, counts.
    state : ``regression`` if it gates, is worse by more than the tolerance and significantly so,
        or held against the tolerance alone. ``better`` and ``worse`` say nothing of significance;
        ``same`` is what is printed alike, with one digit more than in leaderboards.
    lost : the seeds of the old cell that the new one lacks, if they share any.
    """

    board: BoardKey
    row: str
    place: str
    metric: str
    scaled: bool
    old: float | None
    new: float | None
    how: How = ""
    p_value: float | None = None
    significant: bool = False
    gates: bool = True
    state: State = "same"
    lost: tuple[Seed, ...] = ()

    @property
    def difference(self) -> float | None:
        """New minus old."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def loss(self) -> float:
        """By how much the new value is worse; negative if it is better, 0 if one is absent."""
        sign = -1 if change_scale(self.metric).higher_is_better else 1
        return sign * (self.difference or 0.0)


@dataclass(frozen=True)
class _Cell:
    """A run's cell: values by seed on each of its sets, and who is right there, if kept."""

    role: str
    sets: tuple[str, ...]
    values: tuple[Mapping[Seed, float], ...]
    sizes: tuple[int, ...]
    samples: tuple[Mapping[Seed, SampleOutputs], ...]

    def only(self, seeds: Set[Seed]) -> _Cell:
        """The same of some of its seeds."""
        values = tuple({s: v for s, v in of_set.items() if s in seeds} for of_set in self.values)
        samples = tuple({s: o for s, o in of_set.items() if s in seeds} for of_set in self.samples)
        return replace(self, values=values, samples=samples)

    @property
    def is_headline(self) -> bool:
        """Whether it is of ID, or a mean over shifts."""
        return self.sets == (ID,) or len(self.sets) > 1

    @property
    def by_seed(self) -> Mapping[Seed, float]:
        """The mean over its sets, which all have the same seeds."""
        return {s: fmean(of_set[s] for of_set in self.values) for s in self.values[0]}

    @property
    def value(self) -> float:
        return fmean(fmean(of_set.values()) for of_set in self.values)

    @property
    def binomial(self) -> float:
        """The variance of an accuracy by counts, for trainings that are given.

        Sets of one size could be the same images, each corrupted in another way: their errors are
        added as if they went together, those of other sets as independent ones.
        """
        by_size: dict[int, float] = defaultdict(float)
        for of_set, n in zip(self.values, self.sizes, strict=True):
            p = fmean(of_set.values())
            by_size[n] += sqrt(p * (1 - p) / n + 1 / n**2) / len(self.values)
        return sum(error**2 for error in by_size.values())


def compare_runs(
    old: ComparedRun, new: ComparedRun, tolerance: float = TOLERANCE, everything: bool = False
) -> tuple[Change, ...]:
    """Every cell of either run, in the order of the new one, then what vanished.

    Cells are those of leaderboards, with temperature scaling all but accuracy, which that leaves
    alone, and the mean over the shifts where both runs have the same. Controls, what was chosen in
    hindsight and watermarked cells gate only with `everything`. Raises InputError if a run has two
    values for a cell.
    """
    before, after = _cells(old), _cells(new)
    found: list[Change] = []
    families: dict[bool, list[int]] = {True: [], False: []}
    rows = list(dict.fromkeys(place[:2] for place in (*after, *before)))
    places = dict.fromkeys((*after, *before))
    for place in sorted(places, key=lambda place: rows.index(place[:2])):
        change = _change(place, before.get(place), after.get(place))
        if change is None:
            continue
        cell = after.get(place) or before[place]
        gates = everything or (cell.role == "method" and not place[0][3])
        if gates and change.p_value is not None:
            is_first = change.metric == ACCURACY.name and cell.is_headline
            families[is_first].append(len(found))
        found.append(replace(change, gates=gates))
    for tested in families.values():
        p_values = np.array([_of_loss(found[i]) for i in tested], dtype=np.float64)
        for i, certain in zip(tested, holm(p_values, LEVEL / 2) if tested else (), strict=True):
            found[i] = replace(found[i], significant=bool(certain))
    return tuple(replace(change, state=_state(change, tolerance)) for change in found)


def _of_loss(change: Change) -> float:
    """The one-sided p-value: of the hypothesis that the cell is no worse."""
    assert change.p_value is not None
    return change.p_value / 2 if change.loss > 0 else 1 - change.p_value / 2


def _cells(run: ComparedRun) -> dict[_Place, _Cell]:
    """Cells by place, each row's mean over the shifts after its sets."""
    values: dict[_Place, dict[Seed, Record]] = defaultdict(dict)
    for record in run.records:
        if record.kind != "cell" and not (record.kind == "scaled" and record.metric in SCALED):
            continue
        scaled = record.kind == "scaled"
        place = (board_key(record), row_name(record), record.shift, record.metric, scaled)
        other = values[place].setdefault(record.seed, record)
        if other.value != record.value:
            raise InputError(describe_conflict(record, other.value))
    right: dict[_Place, dict[Seed, SampleOutputs]] = defaultdict(dict)
    for output in run.samples:
        record = output.record
        place = (board_key(record), row_name(record), record.shift, record.metric, False)
        right[place][record.seed] = output
    cells = {place: _cell(by_seed, right[place]) for place, by_seed in values.items()}
    shifts: dict[_Place, list[_Place]] = defaultdict(list)
    for place, by_seed in values.items():
        (board, row, shift, metric, scaled), one = place, next(iter(by_seed.values()))
        if shift != ID and not one.outside_mean and metric in SCALES:
            shifts[board, row, MEAN, metric, scaled].append(place)
    for (board, row, _, metric, scaled), places in shifts.items():
        of_row = [cells[place] for place in sorted(places, key=lambda place: place[2])]
        if len({frozenset(cell.values[0]) for cell in of_row}) == 1 < len(of_row):
            in_suite = max(r.shifts_in_suite for p in places for r in values[p].values())
            name = MEAN if len(of_row) == in_suite else f"mean of {len(of_row)}"
            cells[board, row, name, metric, scaled] = _Cell(
                of_row[0].role,
                tuple(cell.sets[0] for cell in of_row),
                tuple(cell.values[0] for cell in of_row),
                tuple(cell.sizes[0] for cell in of_row),
                tuple(cell.samples[0] for cell in of_row),
            )
    return cells


def _cell(by_seed: Mapping[Seed, Record], right: Mapping[Seed, SampleOutputs]) -> _Cell:
    one = next(iter(by_seed.values()))
    seeds = sorted(by_seed, key=lambda seed: -1 if seed is None else seed)
    values = {seed: by_seed[seed].value for seed in seeds}
    return _Cell(one.role, (one.shift,), (values,), (one.n,), (right,))


def _change(place: _Place, old: _Cell | None, new: _Cell | None) -> Change | None:
    """The change of a cell, yet to be judged; None for means over different sets."""
    if old and new and old.sets != new.sets:
        return None
    if old is None or new is None:
        return Change(*place, old.value if old else None, new.value if new else None)
    lost: tuple[Seed, ...] = ()
    if shared := old.by_seed.keys() & new.by_seed.keys():
        lost = tuple(seed for seed in old.by_seed if seed not in shared)
        old, new = old.only(shared), new.only(shared)
    how, p_value = _tested(place[3], old, new)
    return Change(*place, old.value, new.value, how, p_value, lost=lost)


def _tested(metric: str, old: _Cell, new: _Cell) -> tuple[How, float | None]:
    is_accuracy, same_seeds = metric == ACCURACY.name, old.by_seed.keys() == new.by_seed.keys()
    if same_seeds and not is_accuracy:
        return "", None
    pairs = _pairs(old, new) if is_accuracy else None
    samples, seeds, freedom = 0.0, 0.0, 0
    if pairs is not None:
        samples = float(paired_difference([n for _, n in pairs], [o for o, _ in pairs]).samples)
    elif is_accuracy:
        samples = old.binomial + new.binomial
    if not same_seeds:
        sides = [list(cell.by_seed.values()) for cell in (old, new)]
        shares = sum(1 / len(side) for side in sides)
        freedom = sum(len(side) - 1 for side in sides)
        spread = sum(pvariance(side) * len(side) for side in sides) / max(freedom, 1)
        if is_accuracy and spread <= SEED_ERROR**2:
            samples, freedom = samples + SEED_ERROR**2 * shares, 0
        elif not freedom:
            return "other seeds", None
        else:
            seeds = spread * shares
    estimate = Estimate(
        np.asarray(new.value - old.value),
        np.asarray(samples),
        np.asarray(seeds),
        freedom + 1,
        np.asarray(np.inf),
    )
    how: How = "other seeds" if not same_seeds else "unpaired" if pairs is None else "paired"
    return how, float(estimate.p_value())


def _pairs(old: _Cell, new: _Cell) -> list[tuple[Outcomes, Outcomes]] | None:
    """Who is right, set by set, if samples are the same; else None."""
    pairs = []
    for i in range(len(old.sets)):
        one, other = (_outcomes(cell.samples[i], cell.values[i]) for cell in (old, new))
        if one is None or other is None or one.ids != other.ids:
            return None
        pairs.append((one, other))
    return pairs


def _outcomes(kept: Mapping[Seed, SampleOutputs], seeds: Collection[Seed]) -> Outcomes | None:
    """Who is right on one set, seeds averaged; None if not all of them kept the same samples."""
    found = [kept[seed] for seed in seeds if seed in kept]
    if len(found) < len(seeds) or len({one.on.digest for one in found}) > 1:
        return None
    if len(found[0].right) < 2:
        return None
    shares = np.mean([one.right for one in found], axis=0, keepdims=True)
    return Outcomes(found[0].on.digest, shares)


def _state(change: Change, tolerance: float) -> State:
    if change.old is None or change.new is None:
        return "new" if change.old is None else "vanished"
    # Not stricter than the arithmetic: a difference of 0.01 is 0.01 only up to rounding.
    is_beyond = change.loss > tolerance + 1e-12
    if change.gates and is_beyond and (change.significant or not change.how):
        return "regression"
    printed = finer_scale(change.metric).text
    if printed(change.old) == printed(change.new):
        return "same"
    return "worse" if change.loss > 0 else "better"


def change_scale(metric: str) -> Scale:
    """How a metric is printed in leaderboards."""
    return (SCALES | OWN_SCALES)[metric]


def finer_scale(metric: str) -> Scale:
    """The same with one digit more, as changes are printed."""
    return replace(change_scale(metric), decimals=change_scale(metric).decimals + 1)

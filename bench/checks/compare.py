"""Compare two runs: which cells changed, and which changes are regressions.

The functions are pure: they take records and samples and return changes.

The comparison is about a change of code. Training runs of the same seeds are treated as fixed: the
same code would repeat them bit by bit, and the deviation over other seeds does not tell whether
these are worse. The only randomness left is the choice of images in the test set. A change of
accuracy is tested sample by sample, averaged over seeds, if both runs stored samples of the same
ids. Otherwise it is tested with binomial errors, as if the runs had been measured on different
images, which is conservative.

Only seeds that both runs have are compared; seeds that the new run lacks are reported. If the runs
share no seed, their training runs differ, and the deviation over seeds counts too: `SEED_ERROR`, or
the deviation measured in both runs if it is larger, then with Student's t.

`bench.leaderboard.stats.ranking.holm` bounds the probability of any false alarm among the gating
cells by `LEVEL`. Half of it is spent on the headlines, accuracy on ID and the OOD mean, so that
many shifts do not hide a loss there; the other half on all other cells. Other metrics with the same
seeds have no error estimate here: they are compared with the tolerance alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, pvariance
from typing import Literal

import numpy as np

from bench.api.metrics import ACCURACY, BY_CLASS
from bench.core.errors import InputError
from bench.core.records import Record
from bench.leaderboard.board import (
    FURTHER_SCALES,
    ID,
    MEAN,
    SCALES,
    BoardKey,
    Scale,
    Seed,
    board_key,
    scale_of,
)
from bench.leaderboard.comparability import describe_conflict, row_name, same_value
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.stats.estimates import Estimate, paired_difference
from bench.leaderboard.stats.outcomes import Outcomes
from bench.leaderboard.stats.ranking import holm

LEVEL = 0.05
"""Bound on the probability that chance alone makes any cell a significant loss."""
TOLERANCE = 0.01
"""By default, how much worse a cell may be: one point, or 0.01 nats."""
SEED_ERROR = 0.015
"""The least deviation of an accuracy over seeds that is assumed if the runs share no seed. It is an
assumption, slightly above that of rows of `mini` (0.2 to 1.3 points): a few seeds estimate their
deviation badly."""
SCALED = frozenset(SCALES | FURTHER_SCALES) - {ACCURACY.name} - BY_CLASS
"""The metrics that temperature scaling changes."""

State = Literal["same", "better", "worse", "regression", "new", "vanished"]
How = Literal["paired", "unpaired", "other seeds", ""]
_Place = tuple[BoardKey, str, str, str, bool]
"""Leaderboard, row, evaluation set, metric, whether after temperature scaling."""


@dataclass(frozen=True)
class ComparedRun:
    """A run's records, and its samples if it stored any."""

    records: Sequence[Record]
    samples: Sequence[SampleOutputs] = ()


@dataclass(frozen=True)
class Change:
    """The change of one cell between two runs, in the metric's own unit (fractions, nats).

    Values are means over the seeds that both runs have, or over each run's own if they share none.

    Attributes
    ----------
    board, row, place, metric, scaled : the address of the cell. `place` is an evaluation set or the
        OOD mean, `scaled` whether temperature scaling was applied.
    old, new : the values; None if the run has no such cell.
    how : the test that was used; "" if the tolerance alone decides.
    p_value : its two-sided result, None if not tested. With "other seeds" and no result, too few
        seeds are available for a test.
    significant : whether it is a loss beyond chance, corrected for all gating cells.
    gates : whether a regression here, or a missing cell or seed, makes the comparison fail.
    state : ``regression`` if the cell gates, is worse by more than the tolerance, and is either
        significant or decided by the tolerance alone. ``better`` and ``worse`` do not imply
        significance. ``same`` means equal as printed, with one digit more than in leaderboards.
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
        """How much worse the new value is; negative if it is better, 0 if one is absent."""
        sign = -1 if change_scale(self.metric).higher_is_better else 1
        return sign * (self.difference or 0.0)


@dataclass(frozen=True)
class _Cell:
    """A run's cell: for each of its sets, values and stored samples by seed."""

    role: str
    sets: tuple[str, ...]
    values: tuple[Mapping[Seed, float], ...]
    sizes: tuple[int, ...]
    samples: tuple[Mapping[Seed, SampleOutputs], ...]

    def only(self, seeds: Set[Seed]) -> _Cell:
        """Return the cell restricted to some of its seeds."""
        values = tuple({s: v for s, v in of_set.items() if s in seeds} for of_set in self.values)
        samples = tuple({s: o for s, o in of_set.items() if s in seeds} for of_set in self.samples)
        return replace(self, values=values, samples=samples)

    @property
    def is_headline(self) -> bool:
        """Whether the cell is on ID or is a mean over shifts."""
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
        """The binomial variance of an accuracy, for fixed training runs.

        Sets of equal size may hold the same images with different corruptions, so their errors are
        treated as fully correlated; errors of sets of different sizes as independent.
        """
        by_size: dict[int, float] = defaultdict(float)
        for of_set, n in zip(self.values, self.sizes, strict=True):
            p = fmean(of_set.values())
            by_size[n] += sqrt(p * (1 - p) / n + 1 / n**2) / len(self.values)
        return sum(error**2 for error in by_size.values())


def compare_runs(
    old: ComparedRun, new: ComparedRun, tolerance: float = TOLERANCE, everything: bool = False
) -> tuple[Change, ...]:
    """Return the changes of all cells of either run: those of the new run, then vanished ones.

    Cells are those of leaderboards, without and with temperature scaling (which does not change
    accuracy), and means over the shifts if both runs have the same shifts. Controls, oracles and
    watermarked cells gate only with `everything`. Raises InputError if a run has two values for a
    cell.
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
            is_headline = change.metric == ACCURACY.name and cell.is_headline
            families[is_headline].append(len(found))
        found.append(replace(change, gates=gates))
    for tested in families.values():
        p_values = np.array([_one_sided(found[i]) for i in tested], dtype=np.float64)
        for i, rejected in zip(tested, holm(p_values, LEVEL / 2) if tested else (), strict=True):
            found[i] = replace(found[i], significant=bool(rejected))
    return tuple(replace(change, state=_state(change, tolerance)) for change in found)


def _one_sided(change: Change) -> float:
    """Return the one-sided p-value of the hypothesis that the cell is not worse."""
    assert change.p_value is not None
    return change.p_value / 2 if change.loss > 0 else 1 - change.p_value / 2


def _cells(run: ComparedRun) -> dict[_Place, _Cell]:
    """Return the cells of a run by place; the means over shifts come after all sets."""
    values: dict[_Place, dict[Seed, Record]] = defaultdict(dict)
    for record in run.records:
        if record.kind != "cell" and not (record.kind == "scaled" and record.metric in SCALED):
            continue
        scaled = record.kind == "scaled"
        place = (board_key(record), row_name(record), record.shift, record.metric, scaled)
        other = values[place].setdefault(record.seed, record)
        if not same_value(other.value, record.value):
            raise InputError(describe_conflict(record, other.value))
    samples: dict[_Place, dict[Seed, SampleOutputs]] = defaultdict(dict)
    for output in run.samples:
        record = output.record
        place = (board_key(record), row_name(record), record.shift, record.metric, False)
        samples[place][record.seed] = output
    cells = {place: _cell(by_seed, samples[place]) for place, by_seed in values.items()}
    shifts: dict[_Place, list[_Place]] = defaultdict(list)
    for place, by_seed in values.items():
        (board, row, shift, metric, scaled), one = place, next(iter(by_seed.values()))
        if shift != ID and not one.outside_mean and metric in SCALES | FURTHER_SCALES:
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


def _cell(by_seed: Mapping[Seed, Record], samples: Mapping[Seed, SampleOutputs]) -> _Cell:
    one = next(iter(by_seed.values()))
    seeds = sorted(by_seed, key=lambda seed: -1 if seed is None else seed)
    values = {seed: by_seed[seed].value for seed in seeds}
    return _Cell(one.role, (one.shift,), (values,), (one.n,), (samples,))


def _change(place: _Place, old: _Cell | None, new: _Cell | None) -> Change | None:
    """Return the change of a cell, without its final state; None for means over different sets."""
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
    """Test the difference of two cells: return the test that was used and its p-value."""
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
        inverse_counts = sum(1 / len(side) for side in sides)
        freedom = sum(len(side) - 1 for side in sides)
        pooled = sum(pvariance(side) * len(side) for side in sides) / max(freedom, 1)
        if is_accuracy and pooled <= SEED_ERROR**2:
            samples, freedom = samples + SEED_ERROR**2 * inverse_counts, 0
        elif not freedom:
            return "other seeds", None
        else:
            seeds = pooled * inverse_counts
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
    """Return the outcomes of both cells, set by set; None unless they are on the same samples."""
    pairs = []
    for i in range(len(old.sets)):
        one, other = (_outcomes(cell.samples[i], cell.values[i]) for cell in (old, new))
        if one is None or other is None or one.ids != other.ids:
            return None
        pairs.append((one, other))
    return pairs


def _outcomes(samples: Mapping[Seed, SampleOutputs], seeds: Collection[Seed]) -> Outcomes | None:
    """Return the outcomes on one set, averaged over seeds; None unless all seeds have samples.

    The samples of all seeds must be the same, and at least two.
    """
    found = [samples[seed] for seed in seeds if seed in samples]
    if len(found) < len(seeds) or len({one.on.digest for one in found}) > 1:
        return None
    if len(found[0].right) < 2:
        return None
    means = np.mean([one.right for one in found], axis=0, keepdims=True)
    return Outcomes(found[0].on.digest, means)


def _state(change: Change, tolerance: float) -> State:
    if change.old is None or change.new is None:
        return "new" if change.old is None else "vanished"
    # Allow for rounding: a difference of 0.01 is not exactly 0.01 in floating point.
    is_beyond = change.loss > tolerance + 1e-12
    if change.gates and is_beyond and (change.significant or not change.how):
        return "regression"
    printed = finer_scale(change.metric).text
    if printed(change.old) == printed(change.new):
        return "same"
    return "worse" if change.loss > 0 else "better"


def change_scale(metric: str) -> Scale:
    """Return the scale on which a metric is printed in leaderboards."""
    return scale_of(metric)


def finer_scale(metric: str) -> Scale:
    """Return the same scale with one digit more, on which changes are printed."""
    return replace(change_scale(metric), decimals=change_scale(metric).decimals + 1)

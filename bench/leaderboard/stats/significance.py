"""Statistics of a leaderboard from stored samples: intervals, differences to zero-shot, ranks.

They are computed by `bench.leaderboard.stats.estimates` and `bench.leaderboard.stats.ranking` and
arranged here by row and column. The page of a report repeats these computations for any choice of
shifts, from the same stored outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from bench.api import method
from bench.api.metrics import ACCURACY
from bench.leaderboard.board import ID, Board, BoardRow, Name
from bench.leaderboard.comparability import rankable_rows, tested_pairs, trained_once
from bench.leaderboard.stats.ece_interval import Confidences, ece_interval, measured_ece
from bench.leaderboard.stats.estimates import (
    Interval,
    exact_interval,
    mcnemar,
    mean_estimate,
    paired_difference,
    wider_interval,
)
from bench.leaderboard.stats.outcomes import Linearised, Outcomes, joined
from bench.leaderboard.stats.ranking import rank
from bench.leaderboard.stats.row_samples import BINS, LEVELS, RowSamples, SamplesByRow
from bench.leaderboard.stats.selection_noise import selection_variance

ZERO_SHOT: Name = (method.ZERO_SHOT, None)
SAME = 1e-4
"""The largest difference of a recorded ECE from the ECE of the stored samples in 15 bins."""
NEARLY_SAME = 1e-3
"""The same for AUROC and AURC: stored confidences have ties that the measured ones have not."""


@dataclass(frozen=True)
class ColumnStatistics:
    """The statistics of one column, by row.

    Attributes
    ----------
    intervals : the interval of each row's value.
    differences : (value, interval) of first minus second, in fractions: every row minus zero-shot,
        and the leaderboard's difference rows.
    ranks : the best and worst possible rank of each ranked row.
    mcnemar : the exact p-values of the differences by seed, for columns of one set.
    """

    intervals: Mapping[Name, Interval]
    differences: Mapping[tuple[Name, Name], tuple[float, Interval]]
    ranks: Mapping[Name, tuple[int, int]]
    mcnemar: Mapping[tuple[Name, Name], tuple[float, ...]] = field(default_factory=dict)

    @property
    def tied(self) -> frozenset[Name]:
        """The rows tied for the best: no row is significantly better. Empty without ranks."""
        return frozenset(name for name, (first, _) in self.ranks.items() if first == 1)


@dataclass(frozen=True)
class BoardStatistics:
    """The statistics of a leaderboard.

    Attributes
    ----------
    columns : the statistics of each column; None for a column without samples of all its sets.
    sets : the evaluation sets of each column; empty if samples of one are missing, or if the
        primary metric of one is not accuracy.
    reason : why there are no ranks.
    trained_once : whether only zero-shot is compared with the others, as they have one seed.
    ece : by row, the interval of the ECE in each column.
    without_selection : rows whose intervals lack the noise of selection: they, or their base, were
        chosen on the selection split, and what another choice would have given is not known.
    further : by metric that was asked for and by row, as `ece`.
    """

    columns: tuple[ColumnStatistics | None, ...]
    sets: tuple[tuple[str, ...], ...]
    reason: str = ""
    trained_once: bool = False
    ece: Mapping[Name, tuple[Interval | None, ...]] = field(default_factory=dict)
    without_selection: tuple[Name, ...] = ()
    further: Mapping[str, Mapping[Name, tuple[Interval | None, ...]]] = field(default_factory=dict)

    @property
    def last(self) -> ColumnStatistics | None:
        """The statistics of the mean over shifts, or of ID if there are no shifts."""
        return self.columns[-1]


def comparison(
    board: Board,
    samples: SamplesByRow,
    ece: Board | None = None,
    further: Mapping[str, Board] = MappingProxyType({}),
) -> BoardStatistics | None:
    """Return the statistics of a leaderboard; None if none of its samples were stored.

    `ece` is the same leaderboard in the ECE, for the intervals of the ECE; `further` are those in
    metrics that were asked for, by metric.
    """
    if not samples:
        return None
    sets = _columns(board, samples)
    metrics_of = [{metric} for metric in board.metrics]
    if board.averaged:
        metrics_of.append({board.metrics[1 + board.shifts.index(shift)] for shift in board.over})
    ranked, reason = _ranked(board)
    columns = tuple(_column(board, names, samples, ranked) for names in sets)
    accuracy_sets = tuple(
        names if metrics <= {ACCURACY.name} else ()
        for names, metrics in zip(sets, metrics_of, strict=True)
    )
    intervals = {} if ece is None else _ece_intervals(ece, _columns(ece, samples), samples)
    lacking = _without_selection(board, samples)
    others = {name: _further_intervals(of, samples) for name, of in further.items()}
    once = trained_once(ranked)
    return BoardStatistics(columns, accuracy_sets, reason, once, intervals, lacking, others)


def _without_selection(board: Board, samples: SamplesByRow) -> tuple[Name, ...]:
    own = set[Name]()
    for name, of_row in samples.items():
        stored = [one for of_set in of_row.values() for one in of_set.values()]
        if any(one.chosen and one.redrawn is None for one in stored):
            own.add(name)
    names = [(row.method, row.base) for row in board.rows if row.role != "oracle"]
    return tuple(name for name in names if name in own or (name[1], None) in own)


def _columns(board: Board, samples: SamplesByRow) -> list[tuple[str, ...]]:
    """Return the evaluation sets of each column; empty if samples of any of them are missing."""
    sets = [_sets(label, samples) for label in (ID, *board.shifts)]
    if board.averaged:
        over = [sets[1 + board.shifts.index(shift)] for shift in board.over]
        sets.append(tuple(name for names in over for name in names) if all(over) else ())
    return sets


def pairs(board: Board) -> list[tuple[Name, Name]]:
    """Return the pairs to subtract: each row and zero-shot, and the pairs of difference rows."""
    names = [(row.method, row.base) for row in board.rows]
    found = [(name, ZERO_SHOT) for name in names if name != ZERO_SHOT and ZERO_SHOT in names]
    for group in board.groups:
        for row in group.differences:
            one, other = row.method.split(" - ")
            found.append(((one, row.base), (other, row.base)))
    return found


def _sets(label: str, samples: SamplesByRow) -> tuple[str, ...]:
    """Return the evaluation sets of a column; a merged corruption has one per severity."""
    names = list(dict.fromkeys(shift for row in samples.values() for shift in row))
    if label in names:
        return (label,)
    return tuple(name for name in names if re.fullmatch(rf"{re.escape(label)}-\d", name))


def _ranked(board: Board) -> tuple[tuple[BoardRow, ...], str]:
    """Return the rows that are ranked (`rankable_rows`), or no rows and the reason."""
    if board.notes:
        return (), f"not ranked: {', '.join(board.notes)}"
    if board.partial:
        return (), f"not ranked: {len(board.over)} of {board.shifts_in_suite} shifts"
    rows = rankable_rows(board)
    if not rows:
        return (), "not ranked: the primary metric of a set is not accuracy"
    if len({row.seeds for row in rows if not row.seed_free}) > 1:
        return (), "not ranked: rows were run with different seeds"
    return rows, ""


def _column(
    board: Board, sets: Sequence[str], samples: SamplesByRow, ranked: Sequence[BoardRow]
) -> ColumnStatistics | None:
    """Return the statistics of a column; None without sets, or if no row has samples of all."""
    by_name = {(row.method, row.base): row for row in board.rows}
    found = {name: _outcomes(row, sets, samples) for name, row in by_name.items()}
    rows = {name: outcomes for name, outcomes in found.items() if outcomes}
    if not sets or not rows:
        return None
    intervals = {name: _interval(outcomes) for name, outcomes in rows.items()}
    differences, p_values = {}, {}
    for one, other in pairs(board):
        if one in rows and other in rows:
            both = _on_common_seeds(by_name[one], by_name[other], sets, samples)
            if both is None:
                continue
            differences[one, other] = _difference(*both)
            if len(sets) == 1 and (found_p := _mcnemar(both[0][0], both[1][0])):
                p_values[one, other] = found_p
    names = [(row.method, row.base) for row in ranked]
    ranks: dict[Name, tuple[int, int]] = {}
    if names and all(name in rows for name in names):
        outcomes = [_means_over_samples(rows[name]) for name in names]
        ranges = rank(outcomes, tested=tested_pairs(ranked)).ranges
        ranks = dict(zip(names, ranges, strict=True))
    return ColumnStatistics(intervals, differences, ranks, p_values)


def difference(
    board: Board, samples: SamplesByRow, one: Name, other: Name, at: int
) -> tuple[float, Interval] | None:
    """Return one row minus another in column `at` of the leaderboard, with its interval.

    The pairs of difference rows and those with zero-shot are in `ColumnStatistics.differences`;
    this is for any other pair. None if the rows do not have samples of all sets and common seeds.
    """
    sets = _columns(board, samples)[at]
    rows = {(row.method, row.base): row for row in board.rows}
    both = _on_common_seeds(rows[one], rows[other], sets, samples) if sets else None
    return _difference(*both) if both is not None and all(both) else None


def _difference(
    one: Sequence[Outcomes | Linearised], other: Sequence[Outcomes | Linearised]
) -> tuple[float, Interval]:
    between = paired_difference(one, other)
    low, high = (float(bound) for bound in between.interval())
    return float(between.value), Interval(low, high)


def _means_over_samples(row: Sequence[Outcomes | Linearised]) -> list[Outcomes]:
    return [one for one in row if isinstance(one, Outcomes)]


def _mcnemar(one: Outcomes | Linearised, other: Outcomes | Linearised) -> tuple[float, ...]:
    """Return the exact p-value of each seed; empty if outcomes are not right or wrong."""
    if not isinstance(one, Outcomes) or not isinstance(other, Outcomes):
        return ()
    by_seed = np.broadcast_arrays(one.values, other.values)
    return tuple(
        mcnemar(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in zip(*by_seed, strict=True)
    )


def _outcomes(
    row: BoardRow, sets: Sequence[str], samples: SamplesByRow
) -> list[Outcomes | Linearised]:
    """Return a row's outcomes on each set; empty if a seed has none, or a set a single sample."""
    found = [_outcome(of_set) for of_set in _by_seed(row, sets, samples)]
    known = [outcome for outcome in found if outcome is not None]
    return known if len(known) == len(found) else []


def _on_common_seeds(
    one: BoardRow, other: BoardRow, sets: Sequence[str], samples: SamplesByRow
) -> tuple[list[Outcomes | Linearised], list[Outcomes | Linearised]] | None:
    """Return two rows' outcomes on their common seeds, to be paired; None if they share none.

    A row without seeds is paired with every seed of the other.
    """
    if not one.seed_free and not other.seed_free and one.seeds != other.seeds:
        common = tuple(seed for seed in one.seeds if seed in other.seeds)
        if not common:
            return None
        one, other = replace(one, seeds=common), replace(other, seeds=common)
    return _outcomes(one, sets, samples), _outcomes(other, sets, samples)


def _by_seed(row: BoardRow, sets: Sequence[str], samples: SamplesByRow) -> list[list[RowSamples]]:
    """Return the stored samples of a row by set and seed; empty if any are missing."""
    of_row = samples.get((row.method, row.base), {})
    if not all(of_row.get(name, {}).keys() >= set(row.seeds) for name in sets):
        return []
    return [[of_row[name][seed] for seed in row.seeds] for name in sets]


def _outcome(of_set: Sequence[RowSamples]) -> Outcomes | Linearised | None:
    """Return the outcomes of a row's seeds on one set; None if there are none, or one sample."""
    first = of_set[0]
    drawn = [one.redrawn for one in of_set if one.redrawn is not None]
    redrawn = np.mean(drawn, axis=0) if len(drawn) == len(of_set) else None
    outcomes = [one.hits for one in of_set if one.hits is not None]
    linear = [one.linear for one in of_set if one.linear is not None]
    if len(outcomes) == len(of_set) and len(outcomes[0]) > 1:
        # Sets of frames are not the same samples as frames, so they get ids of their own.
        count = len(outcomes[0])
        ids = first.ids if count == first.n else f"{first.ids} in {count} sets"
        return Outcomes(ids, np.array(outcomes), redrawn)
    if len(linear) == len(of_set):
        return joined(linear, redrawn)
    return None


def _interval(row: Sequence[Outcomes | Linearised]) -> Interval:
    """Return the interval of a row's mean.

    It is exact for one seed on one set, if the metric is a mean over samples.
    """
    (first, *others) = row
    if isinstance(first, Outcomes) and not others and len(first.values) == 1:
        right, n = int(first.values.sum()), first.values.shape[1]
        return wider_interval(exact_interval(right, n), right / n, selection_variance(row))
    low, high = (np.asarray(bound).item() for bound in mean_estimate(row).interval())
    return Interval(max(0.0, low), min(1.0, high))


def _ece_intervals(
    board: Board, sets: Sequence[tuple[str, ...]], samples: SamplesByRow
) -> dict[Name, tuple[Interval | None, ...]]:
    """Return the ECE intervals of each row, one per column.

    None where the recorded ECE is not the ECE of the stored samples in 15 bins.
    """
    return {
        (row.method, row.base): tuple(
            _ece_interval(cell.mean, _by_seed(row, names, samples))
            for cell, names in zip(row.cells, sets, strict=True)
        )
        for row in board.rows
    }


def _ece_interval(value: float | None, stored: Sequence[Sequence[RowSamples]]) -> Interval | None:
    if value is None or not stored or any(of_set[0].n < 2 for of_set in stored):
        return None
    eces = [np.abs(one.bins.confidence - one.bins.right).sum() / one.n for s in stored for one in s]
    if abs(np.mean(eces) - value) > SAME:
        return None
    confidences = [
        Confidences(
            of_set[0].ids,
            np.array([np.maximum(one.levels - 0.5, 0) / LEVELS for one in of_set]),
            np.array([one.right for one in of_set]),
        )
        for of_set in stored
    ]
    return ece_interval(confidences, BINS)


def _further_intervals(
    board: Board, samples: SamplesByRow
) -> dict[Name, tuple[Interval | None, ...]]:
    """Return the intervals of each row in the metric of `board`, one per column."""
    sets, metric = _columns(board, samples), board.scale.metric
    return {
        (row.method, row.base): tuple(
            _further_interval(metric, cell.mean, _by_seed(row, names, samples))
            for cell, names in zip(row.cells, sets, strict=True)
        )
        for row in board.rows
    }


def _further_interval(
    metric: str, value: float | None, stored: Sequence[Sequence[RowSamples]]
) -> Interval | None:
    """Return the interval of a value; None where the stored samples do not give it."""
    if value is None or not stored or any(of_set[0].n < 2 for of_set in stored):
        return None
    if metric == "adaptive-ece":
        row = []
        for seeds in stored:
            confidence = np.array([one.confidence for one in seeds])
            right = np.array([one.right for one in seeds])
            row.append(Confidences(seeds[0].ids, confidence, right))
        if abs(measured_ece(row, BINS, equal_mass=True) - value) > SAME:
            return None
        return ece_interval(row, BINS, equal_mass=True)
    if not all(metric in one.further for of_set in stored for one in of_set):
        return None
    found = mean_estimate([joined([one.further[metric] for one in s]) for s in stored])
    if abs(float(found.value) - value) > NEARLY_SAME:
        return None
    bounds = (float(np.clip(bound - found.value + value, 0, 1)) for bound in found.interval())
    return Interval(*bounds)

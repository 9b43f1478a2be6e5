"""Statistics of a leaderboard from stored samples: intervals, differences to zero-shot, ranks.

They are computed by `bench.leaderboard.stats.estimates` and `bench.leaderboard.stats.ranking` and
arranged here by row and column. The page of a report repeats these computations for any choice of
shifts, from the same stored outcomes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.api import method
from bench.api.metrics import ACCURACY
from bench.leaderboard.board import ID, Board, BoardKey, BoardRow, Name, Seed, board_key
from bench.leaderboard.comparability import rankable_rows, tested_pairs, trained_once
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.stats.ece_interval import Confidences, ece_interval
from bench.leaderboard.stats.estimates import (
    Interval,
    Outcomes,
    Resampled,
    exact_interval,
    mcnemar,
    mean_estimate,
    paired_difference,
)
from bench.leaderboard.stats.ranking import rank
from bench.leaderboard.stats.resampling import (
    Draws,
    bootstrap_values,
    outcomes_of,
    resample_counts,
    resampling_units,
)

ZERO_SHOT: Name = (method.ZERO_SHOT, None)
BINS = 15
"""The number of bins of reliability diagrams and of the ECE in protocol clean."""
LEVELS = 240
"""Steps of the confidences stored for a page: one byte each, and a whole number per bin of 15."""
SAME = 1e-4
"""The largest difference of a recorded ECE from the ECE of the stored samples in 15 bins."""


class CalibrationBins(NamedTuple):
    """Per bin of confidence: the number of samples, the sum of confidences, the number right."""

    n: NDArray[np.float64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]


@dataclass(frozen=True)
class RowSamples:
    """The outputs of a row on one evaluation set for one seed, in compact form.

    Attributes
    ----------
    ids : a digest of the manifest's ids.
    n : the number of samples.
    bits : whether each sample is right, packed.
    levels : [n], confidences c as ceil(240 c), from 0 to 240.
    bins : the reliability diagram.
    hits : outcomes in the set's primary metric; None if it is not a mean over samples.
    drawn : [1 + B], for such metrics the value and the values on B resamples, else None.
    classes : the number of classes among the set's labels and the row's predictions.

    `bench.leaderboard.stats.resampling` computes the last two.
    """

    ids: str
    n: int
    bits: bytes
    levels: NDArray[np.uint8]
    bins: CalibrationBins
    hits: NDArray[np.bool_] | None
    drawn: NDArray[np.float64] | None
    classes: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each sample is right, [n]."""
        packed = np.frombuffer(self.bits, dtype=np.uint8)
        return np.unpackbits(packed, count=self.n).astype(bool)


SamplesByRow = Mapping[Name, Mapping[str, Mapping[Seed, RowSamples]]]
"""The stored samples by row, evaluation set and seed."""


def samples_by_board(outputs: Iterable[SampleOutputs]) -> Mapping[BoardKey, SamplesByRow]:
    """Return the samples of each leaderboard in compact form."""
    found: dict[BoardKey, dict[Name, dict[str, dict[Seed, RowSamples]]]] = {}
    draws: dict[str, Draws] = {}
    for one in outputs:
        record = one.record
        row = found.setdefault(board_key(record), {}).setdefault((record.method, record.base), {})
        row.setdefault(record.shift, {})[record.seed] = _compact(one, draws)
    return found


def _compact(outputs: SampleOutputs, draws: dict[str, Draws]) -> RowSamples:
    """Return outputs in compact form; `draws` caches the resamples of each set."""
    on, resampled = outputs.on, None
    outcomes = outcomes_of(outputs)
    if outcomes is None and resampling_units(on).max() > 0:
        if on.digest not in draws:
            draws[on.digest] = resample_counts(on)
        resampled = bootstrap_values(outputs, draws[on.digest])
    right, confidence = outputs.right, outputs.confidence
    steps = np.ceil(confidence * LEVELS).clip(0, LEVELS)
    bin_of = np.maximum(np.ceil(steps / (LEVELS // BINS)) - 1, 0).astype(np.int64)
    sums = (np.bincount(bin_of, weights=w, minlength=BINS) for w in (None, confidence, right))
    bins = CalibrationBins(*(np.asarray(found, dtype=np.float64) for found in sums))
    packed, levels = np.packbits(right).tobytes(), steps.astype(np.uint8)
    classes = len(np.union1d(on.labels[on.labels >= 0], outputs.predicted))
    return RowSamples(on.ids, len(right), packed, levels, bins, outcomes, resampled, classes)


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
    """

    columns: tuple[ColumnStatistics | None, ...]
    sets: tuple[tuple[str, ...], ...]
    reason: str = ""
    trained_once: bool = False
    ece: Mapping[Name, tuple[Interval | None, ...]] = field(default_factory=dict)

    @property
    def last(self) -> ColumnStatistics | None:
        """The statistics of the mean over shifts, or of ID if there are no shifts."""
        return self.columns[-1]


def comparison(
    board: Board, samples: SamplesByRow, ece: Board | None = None
) -> BoardStatistics | None:
    """Return the statistics of a leaderboard; None if none of its samples were stored.

    `ece` is the same leaderboard in the ECE, for the intervals of the ECE.
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
    return BoardStatistics(columns, accuracy_sets, reason, trained_once(ranked), intervals)


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
    found_intervals = {name: _interval(outcomes) for name, outcomes in rows.items()}
    intervals = {name: interval for name, interval in found_intervals.items() if interval}
    differences, p_values = {}, {}
    for one, other in pairs(board):
        if one in rows and other in rows:
            both = _on_common_seeds(by_name[one], by_name[other], sets, samples)
            if both is None:
                continue
            between = paired_difference(*both)
            low, high = (float(bound) for bound in between.interval())
            differences[one, other] = float(between.value), Interval(low, high)
            if len(sets) == 1 and (found_p := _mcnemar(both[0][0], both[1][0])):
                p_values[one, other] = found_p
    names = [(row.method, row.base) for row in ranked]
    ranks: dict[Name, tuple[int, int]] = {}
    if names and all(name in rows for name in names):
        outcomes = [_without_resampled(rows[name]) for name in names]
        ranges = rank(outcomes, tested=tested_pairs(ranked)).ranges
        ranks = dict(zip(names, ranges, strict=True))
    return ColumnStatistics(intervals, differences, ranks, p_values)


def _without_resampled(row: Sequence[Outcomes | Resampled]) -> list[Outcomes]:
    return [one for one in row if isinstance(one, Outcomes)]


def _mcnemar(one: Outcomes | Resampled, other: Outcomes | Resampled) -> tuple[float, ...]:
    """Return the exact p-value of each seed; empty if outcomes are not right or wrong."""
    if not isinstance(one, Outcomes) or not isinstance(other, Outcomes):
        return ()
    by_seed = np.broadcast_arrays(one.values, other.values)
    return tuple(
        mcnemar(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in zip(*by_seed, strict=True)
    )


def _outcomes(
    row: BoardRow, sets: Sequence[str], samples: SamplesByRow
) -> list[Outcomes | Resampled]:
    """Return a row's outcomes on each set; empty if a seed has none, or a set a single sample."""
    found = [_outcome(of_set) for of_set in _by_seed(row, sets, samples)]
    known = [outcome for outcome in found if outcome is not None]
    return known if len(known) == len(found) else []


def _on_common_seeds(
    one: BoardRow, other: BoardRow, sets: Sequence[str], samples: SamplesByRow
) -> tuple[list[Outcomes | Resampled], list[Outcomes | Resampled]] | None:
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


def _outcome(of_set: Sequence[RowSamples]) -> Outcomes | Resampled | None:
    """Return the outcomes of a row's seeds on one set; None if there are none, or one sample."""
    first = of_set[0]
    outcomes = [one.hits for one in of_set if one.hits is not None]
    resampled = [one.drawn for one in of_set if one.drawn is not None]
    if len(outcomes) == len(of_set) and len(outcomes[0]) > 1:
        # Sets of frames are not the same samples as frames, so they get ids of their own.
        count = len(outcomes[0])
        ids = first.ids if count == first.n else f"{first.ids} in {count} sets"
        return Outcomes(ids, np.array(outcomes))
    if len(resampled) == len(of_set):
        values = np.array(resampled)
        return Resampled(first.ids, first.n, values[:, 0], values[:, 1:])
    return None


def _interval(row: Sequence[Outcomes | Resampled]) -> Interval | None:
    """Return the interval of a row's mean.

    For one seed on one set it is exact, or that of the basic bootstrap. None if all resamples have
    the same value, because the bootstrap then gives no information.
    """
    (first, *others) = row
    if any(isinstance(one, Resampled) and not np.ptp(one.draws) for one in row):
        return None
    if isinstance(first, Outcomes) and not others and len(first.values) == 1:
        return exact_interval(int(first.values.sum()), first.values.shape[1])
    if isinstance(first, Resampled) and not others and len(first.values) == 1:
        low, high = first.basic()
    else:
        low, high = (np.asarray(bound).item() for bound in mean_estimate(row).interval())
    return Interval(min(1.0, max(0.0, low)), max(0.0, min(1.0, high)))


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


def reliability(
    samples: Mapping[str, Mapping[Seed, RowSamples]], sets: Sequence[str]
) -> CalibrationBins:
    """Return a row's bins averaged over sets and seeds, as fractions of the samples.

    Every set counts the same; the fractions of samples add up to 1.
    """
    total: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(BINS))
    for name in sets:
        for one in samples[name].values():
            weight = 1 / (one.n * len(samples[name]) * len(sets))
            for field_name, sums in one.bins._asdict().items():
                total[field_name] += sums * weight
    return CalibrationBins(total["n"], total["confidence"], total["right"])

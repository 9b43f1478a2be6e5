"""How sure a leaderboard is: intervals, differences to zero-shot and ranks, from stored samples.

Everything is that of `bench.leaderboard.stats.estimates` and `bench.leaderboard.stats.ranking`;
here it is laid out by row and column. A report's page repeats the same for any of the shifts, from
the same bits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.api.metrics import ACCURACY
from bench.leaderboard.board import ID, Board, BoardKey, BoardRow, Name, Seed, board_key
from bench.leaderboard.comparability import rankable_rows
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

ZERO_SHOT: Name = ("zero-shot", None)
BINS = 15
"""Of reliability diagrams, as of the ECE in protocol clean."""
LEVELS = 240
"""Of confidences that are kept for a page: one byte each, and whole bins of 15."""


SAME = 1e-4
"""Largest difference of a recorded ECE from that of the samples that are kept, in 15 bins."""


class CalibrationBins(NamedTuple):
    """By bin of confidence: samples, the sum of their confidences, and how many are right."""

    n: NDArray[np.float64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]


@dataclass(frozen=True)
class RowSamples:
    """What is kept of a row on one evaluation set for one seed, in little space.

    `bits` are `n` outcomes, packed; `levels` [n] confidences c as ceil(240 c), from 0 to 240.
    `outcomes_of` are the outcomes in the metric the set is judged by; where that is no mean over
    samples, `bootstrap_values` holds its value, and that of resamples
    (`bench.leaderboard.stats.resampling`).
    """

    ids: str
    n: int
    bits: bytes
    levels: NDArray[np.uint8]
    bins: CalibrationBins
    hits: NDArray[np.bool_] | None
    drawn: NDArray[np.float64] | None

    @property
    def right(self) -> NDArray[np.bool_]:
        """[n]: whether the row is right."""
        packed = np.frombuffer(self.bits, dtype=np.uint8)
        return np.unpackbits(packed, count=self.n).astype(bool)


Kept = Mapping[Name, Mapping[str, Mapping[Seed, RowSamples]]]
"""By row, evaluation set and seed."""


def samples_by_board(outputs: Iterable[SampleOutputs]) -> Mapping[BoardKey, Kept]:
    """The samples of each leaderboard."""
    found: dict[BoardKey, dict[Name, dict[str, dict[Seed, RowSamples]]]] = {}
    draws: dict[str, Draws] = {}
    for one in outputs:
        record = one.record
        row = found.setdefault(board_key(record), {}).setdefault((record.method, record.base), {})
        row.setdefault(record.shift, {})[record.seed] = _small(one, draws)
    return found


def _small(outputs: SampleOutputs, draws: dict[str, Draws]) -> RowSamples:
    """`draws` holds the resamples of sets that were met before."""
    on, drawn = outputs.on, None
    hits = outcomes_of(outputs)
    if hits is None and resampling_units(on).max() > 0:
        if on.digest not in draws:
            draws[on.digest] = resample_counts(on)
        drawn = bootstrap_values(outputs, draws[on.digest])
    right, confidence = outputs.right, outputs.confidence
    levels = np.ceil(confidence * LEVELS).clip(0, LEVELS)
    bin_of = np.maximum(np.ceil(levels / (LEVELS // BINS)) - 1, 0).astype(np.int64)
    sums = (np.bincount(bin_of, weights=w, minlength=BINS) for w in (None, confidence, right))
    bins = CalibrationBins(*(np.asarray(found, dtype=np.float64) for found in sums))
    packed = np.packbits(right).tobytes()
    small = levels.astype(np.uint8)
    return RowSamples(on.ids, len(right), packed, small, bins, hits, drawn)


@dataclass(frozen=True)
class ColumnStatistics:
    """What is known of a column, by row: intervals, differences to zero-shot, possible ranks.

    `differences` are first minus second, (value, interval), both fractions: of every row to
    zero-shot, and of the leaderboard's difference rows. `ranks` holds ranked rows alone. `mcnemar`
    has the exact p-values of the same differences on one set, by seed.
    """

    intervals: Mapping[Name, Interval]
    differences: Mapping[tuple[Name, Name], tuple[float, Interval]]
    ranks: Mapping[Name, tuple[int, int]]
    mcnemar: Mapping[tuple[Name, Name], tuple[float, ...]] = field(default_factory=dict)

    @property
    def tied(self) -> frozenset[Name]:
        """The rows that none is significantly better than; empty if nothing is ranked."""
        return frozenset(name for name, (first, _) in self.ranks.items() if first == 1)


@dataclass(frozen=True)
class BoardStatistics:
    """A leaderboard's columns, in order; None for those without samples of all their sets.

    `sets` names the evaluation sets that each column is made of, as far as the outcomes on all of
    them are those of samples; `reason` says why there are no ranks. `ece` holds, by row, intervals
    of the ECE for each column.
    """

    columns: tuple[ColumnStatistics | None, ...]
    sets: tuple[tuple[str, ...], ...]
    reason: str = ""
    ece: Mapping[Name, tuple[Interval | None, ...]] = field(default_factory=dict)

    @property
    def last(self) -> ColumnStatistics | None:
        """That of the mean over shifts (of ID, if there are none)."""
        return self.columns[-1]


def comparison(board: Board, samples: Kept, ece: Board | None = None) -> BoardStatistics | None:
    """What is known of a leaderboard's columns; None if no samples of it were kept.

    `ece` is the same leaderboard in the ECE, for its intervals.
    """
    if not samples:
        return None
    sets = _columns(board, samples)
    metrics_of = [{metric} for metric in board.metrics]
    if board.averaged:
        metrics_of.append({board.metrics[1 + board.shifts.index(shift)] for shift in board.over})
    ranked, reason = _ranked(board)
    columns = tuple(_column(board, names, samples, ranked) for names in sets)
    live = [n if of <= {ACCURACY.name} else () for n, of in zip(sets, metrics_of, strict=True)]
    sure = {} if ece is None else _ece_intervals(ece, _columns(ece, samples), samples)
    return BoardStatistics(columns, tuple(live), reason, sure)


def _columns(board: Board, samples: Kept) -> list[tuple[str, ...]]:
    """The evaluation sets of each column; none where samples of any of them are missing."""
    sets = [_sets(label, samples) for label in (ID, *board.shifts)]
    if board.averaged:
        over = [sets[1 + board.shifts.index(shift)] for shift in board.over]
        sets.append(tuple(name for names in over for name in names) if all(over) else ())
    return sets


def pairs(board: Board) -> list[tuple[Name, Name]]:
    """The rows that are subtracted: each and zero-shot, and those of difference rows."""
    names = [(row.method, row.base) for row in board.rows]
    found = [(name, ZERO_SHOT) for name in names if name != ZERO_SHOT and ZERO_SHOT in names]
    for group in board.groups:
        for row in group.differences:
            one, other = row.method.split(" - ")
            found.append(((one, row.base), (other, row.base)))
    return found


def _sets(label: str, samples: Kept) -> tuple[str, ...]:
    """The evaluation sets of a column: a corruption's severities, where those are merged."""
    names = list(dict.fromkeys(shift for row in samples.values() for shift in row))
    if label in names:
        return (label,)
    return tuple(name for name in names if re.fullmatch(rf"{re.escape(label)}-\d", name))


def _ranked(board: Board) -> tuple[tuple[BoardRow, ...], str]:
    """The rows that are ranked (`rankable_rows`), or none and why."""
    if board.notes:
        return (), f"not ranked: {', '.join(board.notes)}"
    if board.partial:
        return (), f"not ranked: {len(board.over)} of {board.shifts_in_suite} shifts"
    rows = rankable_rows(board)
    if not rows:
        return (), "not ranked: a set is judged by another metric than accuracy"
    if len({row.seeds for row in rows if not row.seed_free}) > 1:
        return (), "not ranked: rows were run with different seeds"
    return rows, ""


def _column(
    board: Board, sets: Sequence[str], samples: Kept, ranked: Sequence[BoardRow]
) -> ColumnStatistics | None:
    """None if there are no sets, or if no row has samples of all of them."""
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
        ranges = rank([_hits(rows[name]) for name in names]).ranges
        ranks = dict(zip(names, ranges, strict=True))
    return ColumnStatistics(intervals, differences, ranks, p_values)


def _hits(row: Sequence[Outcomes | Resampled]) -> list[Outcomes]:
    return [one for one in row if isinstance(one, Outcomes)]


def _mcnemar(one: Outcomes | Resampled, other: Outcomes | Resampled) -> tuple[float, ...]:
    """The exact p-value of each seed; none where outcomes are not right or wrong."""
    if not isinstance(one, Outcomes) or not isinstance(other, Outcomes):
        return ()
    by_seed = np.broadcast_arrays(one.values, other.values)
    return tuple(
        mcnemar(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in zip(*by_seed, strict=True)
    )


def _outcomes(row: BoardRow, sets: Sequence[str], samples: Kept) -> list[Outcomes | Resampled]:
    """A row's outcomes on each of the sets; nothing if it lacks a seed on any, or one is single."""
    found = [_outcome(of_set) for of_set in _by_seed(row, sets, samples)]
    known = [outcome for outcome in found if outcome is not None]
    return known if len(known) == len(found) else []


def _on_common_seeds(
    one: BoardRow, other: BoardRow, sets: Sequence[str], samples: Kept
) -> tuple[list[Outcomes | Resampled], list[Outcomes | Resampled]] | None:
    """Two rows' outcomes on the seeds that both have, to be paired; None if there are none.

    A row without seeds goes with all of the other's.
    """
    if not one.seed_free and not other.seed_free and one.seeds != other.seeds:
        common = tuple(seed for seed in one.seeds if seed in other.seeds)
        if not common:
            return None
        one, other = replace(one, seeds=common), replace(other, seeds=common)
    return _outcomes(one, sets, samples), _outcomes(other, sets, samples)


def _by_seed(row: BoardRow, sets: Sequence[str], samples: Kept) -> list[list[RowSamples]]:
    """What is kept of a row, by set and seed; nothing if any of it is not there."""
    of_row = samples.get((row.method, row.base), {})
    if not all(of_row.get(name, {}).keys() >= set(row.seeds) for name in sets):
        return []
    return [[of_row[name][seed] for seed in row.seeds] for name in sets]


def _outcome(of_set: Sequence[RowSamples]) -> Outcomes | Resampled | None:
    """The outcomes of a row's seeds on one set; None of a single sample, or if there are none."""
    first = of_set[0]
    hits = [one.hits for one in of_set if one.hits is not None]
    drawn = [one.drawn for one in of_set if one.drawn is not None]
    if len(hits) == len(of_set) and len(hits[0]) > 1:
        # Frames and their sets are other samples, even if they are as many.
        ids = first.ids if len(hits[0]) == first.n else f"{first.ids} in {len(hits[0])} sets"
        return Outcomes(ids, np.array(hits))
    if len(drawn) == len(of_set):
        values = np.array(drawn)
        return Resampled(first.ids, first.n, values[:, 0], values[:, 1:])
    return None


def _interval(row: Sequence[Outcomes | Resampled]) -> Interval | None:
    """Exact, or the basic bootstrap's, for one seed on one set; of means otherwise.

    None where no resample differs: then the bootstrap has nothing to say.
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
    board: Board, sets: Sequence[tuple[str, ...]], samples: Kept
) -> dict[Name, tuple[Interval | None, ...]]:
    """Of each row, for each column; None where it is no ECE of 15 bins over the whole set."""
    return {
        (row.method, row.base): tuple(
            _ece_interval(cell.mean, _by_seed(row, names, samples))
            for cell, names in zip(row.cells, sets, strict=True)
        )
        for row in board.rows
    }


def _ece_interval(value: float | None, kept: Sequence[Sequence[RowSamples]]) -> Interval | None:
    if value is None or not kept or any(of_set[0].n < 2 for of_set in kept):
        return None
    gaps = [np.abs(one.bins.confidence - one.bins.right).sum() / one.n for s in kept for one in s]
    if abs(np.mean(gaps) - value) > SAME:
        return None
    confidences = [
        Confidences(
            of_set[0].ids,
            np.array([np.maximum(one.levels - 0.5, 0) / LEVELS for one in of_set]),
            np.array([one.right for one in of_set]),
        )
        for of_set in kept
    ]
    return ece_interval(confidences, BINS)


def reliability(
    samples: Mapping[str, Mapping[Seed, RowSamples]], sets: Sequence[str]
) -> CalibrationBins:
    """A row's bins over sets and seeds, each set counting the same: shares that add up to 1."""
    total: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(BINS))
    for name in sets:
        for one in samples[name].values():
            share = 1 / (one.n * len(samples[name]) * len(sets))
            for what, sums in one.bins._asdict().items():
                total[what] += sums * share
    return CalibrationBins(total["n"], total["confidence"], total["right"])

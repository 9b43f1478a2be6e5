"""How sure a leaderboard is: intervals, differences to zero-shot and ranks, from stored samples.

Everything is that of `bench.stats` and `bench.ranking`; here it is laid out by row and column. A
report's page repeats the same for any of the shifts, from the same bits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.board import ID, Board, Key, Name, Row, Seed, key_of
from bench.metrics import ACCURACY
from bench.ranking import rank
from bench.samples import SampleOutputs
from bench.standings import comparable
from bench.stats import Interval, Outcomes, difference, exact, mean

ZERO_SHOT: Name = ("zero-shot", None)
BINS = 15
"""Of reliability diagrams, as of the ECE in protocol clean."""
LEVELS = 240
"""Of confidences that are kept for a page: one byte each, and whole bins of 15."""


class Bins(NamedTuple):
    """By bin of confidence: samples, the sum of their confidences, and how many are right."""

    n: NDArray[np.float64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]


@dataclass(frozen=True)
class RowSamples:
    """What is kept of a row on one evaluation set for one seed, in little space.

    `bits` are `n` outcomes, packed; `levels` [n] confidences c as ceil(240 c), from 0 to 240.
    """

    ids: str
    n: int
    bits: bytes
    levels: NDArray[np.uint8]
    bins: Bins

    @property
    def right(self) -> NDArray[np.bool_]:
        """[n]: whether the row is right."""
        packed = np.frombuffer(self.bits, dtype=np.uint8)
        return np.unpackbits(packed, count=self.n).astype(bool)


Kept = Mapping[Name, Mapping[str, Mapping[Seed, RowSamples]]]
"""By row, evaluation set and seed."""


def kept(outputs: Iterable[SampleOutputs]) -> Mapping[Key, Kept]:
    """The samples of each leaderboard."""
    found: dict[Key, dict[Name, dict[str, dict[Seed, RowSamples]]]] = {}
    for one in outputs:
        record = one.record
        row = found.setdefault(key_of(record), {}).setdefault((record.method, record.base), {})
        row.setdefault(record.shift, {})[record.seed] = _small(one)
    return found


def _small(outputs: SampleOutputs) -> RowSamples:
    right, confidence = outputs.right, outputs.confidence
    levels = np.ceil(confidence * LEVELS).clip(0, LEVELS)
    bin_of = np.maximum(np.ceil(levels / (LEVELS // BINS)) - 1, 0).astype(np.int64)
    sums = (np.bincount(bin_of, weights=w, minlength=BINS) for w in (None, confidence, right))
    bins = Bins(*(np.asarray(found, dtype=np.float64) for found in sums))
    packed = np.packbits(right).tobytes()
    return RowSamples(outputs.on.ids, len(right), packed, levels.astype(np.uint8), bins)


@dataclass(frozen=True)
class Column:
    """What is known of a column, by row: intervals, differences to zero-shot, possible ranks.

    `differences` are first minus second, (value, interval), both fractions: of every row to
    zero-shot, and of the leaderboard's difference rows. `ranks` holds ranked rows alone.
    """

    intervals: Mapping[Name, Interval]
    differences: Mapping[tuple[Name, Name], tuple[float, Interval]]
    ranks: Mapping[Name, tuple[int, int]]

    @property
    def tied(self) -> frozenset[Name]:
        """The rows that none is better than beyond doubt; empty if nothing is ranked."""
        return frozenset(name for name, (first, _) in self.ranks.items() if first == 1)


@dataclass(frozen=True)
class Comparison:
    """A leaderboard's columns, in order; None for those without samples of accuracy.

    `sets` names the evaluation sets each column is made of; `reason` says why there are no ranks.
    """

    columns: tuple[Column | None, ...]
    sets: tuple[tuple[str, ...], ...]
    reason: str = ""

    @property
    def last(self) -> Column | None:
        """That of the mean over shifts (of ID, if there are none)."""
        return self.columns[-1]


def comparison(board: Board, samples: Kept) -> Comparison | None:
    """What is known of a leaderboard's columns; None if no samples of it were kept."""
    if not samples:
        return None
    groups = [_sets(label, samples) for label in (ID, *board.shifts)]
    judged = [metric == ACCURACY.name for metric in board.metrics]
    sets = [names if ok else () for names, ok in zip(groups, judged, strict=True)]
    if board.averaged:
        over = [sets[1 + board.shifts.index(shift)] for shift in board.over]
        sets.append(tuple(name for names in over for name in names) if all(over) else ())
    ranked, reason = _ranked(board)
    columns = tuple(_column(board, names, samples, ranked) for names in sets)
    return Comparison(columns, tuple(sets), reason)


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


def _ranked(board: Board) -> tuple[tuple[Row, ...], str]:
    """The rows that are ranked, or none and why: those of `bench.standings.comparable`."""
    if board.notes:
        return (), f"not ranked: {', '.join(board.notes)}"
    if board.partial:
        return (), f"not ranked: {len(board.over)} of {board.shifts_in_suite} shifts"
    rows = comparable(board)
    if not rows:
        return (), "not ranked: a set is judged by another metric than accuracy"
    if len({row.seeds for row in rows if not row.seed_free}) > 1:
        return (), "not ranked: rows were run with different seeds"
    return rows, ""


def _column(
    board: Board, sets: Sequence[str], samples: Kept, ranked: Sequence[Row]
) -> Column | None:
    """None if there are no sets, or if no row has samples of all of them."""
    found = {(row.method, row.base): _outcomes(row, sets, samples) for row in board.rows}
    rows = {name: outcomes for name, outcomes in found.items() if outcomes}
    if not sets or not rows:
        return None
    intervals = {name: _interval(outcomes) for name, outcomes in rows.items()}
    differences = {}
    for one, other in pairs(board):
        if one in rows and other in rows:
            between = difference(rows[one], rows[other])
            low, high = between.interval()
            differences[one, other] = float(between.value), Interval(float(low), float(high))
    names = [(row.method, row.base) for row in ranked]
    ranks: dict[Name, tuple[int, int]] = {}
    if names and all(name in rows for name in names):
        ranges = rank([rows[name] for name in names]).ranges
        ranks = dict(zip(names, ranges, strict=True))
    return Column(intervals, differences, ranks)


def _outcomes(row: Row, sets: Sequence[str], samples: Kept) -> list[Outcomes]:
    """A row's outcomes on each of the sets; nothing if it lacks a seed on any, or one is single."""
    of_row = samples.get((row.method, row.base), {})
    if not all(of_row.get(name, {}).keys() >= set(row.seeds) for name in sets):
        return []
    found = []
    for name in sets:
        of_set = [of_row[name][seed] for seed in row.seeds]
        if of_set[0].n < 2:
            return []
        found.append(Outcomes(of_set[0].ids, np.array([one.right for one in of_set])))
    return found


def _interval(row: Sequence[Outcomes]) -> Interval:
    """Exact for one seed on one set; the closed form of means otherwise."""
    if len(row) == 1 and len(row[0].values) == 1:
        return exact(int(row[0].values.sum()), row[0].values.shape[1])
    low, high = (np.asarray(bound).item() for bound in mean(row).interval())
    return Interval(max(0.0, low), min(1.0, high))


def reliability(samples: Mapping[str, Mapping[Seed, RowSamples]], sets: Sequence[str]) -> Bins:
    """A row's bins over sets and seeds, each set counting the same: shares that add up to 1."""
    total: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(BINS))
    for name in sets:
        for one in samples[name].values():
            share = 1 / (one.n * len(samples[name]) * len(sets))
            for what, sums in one.bins._asdict().items():
                total[what] += sums * share
    return Bins(total["n"], total["confidence"], total["right"])

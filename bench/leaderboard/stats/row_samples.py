"""The stored samples of rows in compact form, as statistics and pages use them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.api.metrics import FURTHER
from bench.leaderboard.board import BoardKey, Name, Seed, board_key
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.stats.further import linearised_in
from bench.leaderboard.stats.linearised import linearised, outcomes_of, sampling_units
from bench.leaderboard.stats.outcomes import Linearised

BINS = 15
"""The number of bins of reliability diagrams and of the ECE in protocol clean."""
LEVELS = 240
"""Steps of the confidences stored for a page: one byte each, and a whole number per bin of 15."""


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
    linear : for such metrics the outcomes to first order, else None.
    classes : the number of classes among the set's labels and the row's predictions.
    redrawn : as in `SampleOutputs`.
    chosen : whether the row was chosen among several candidates.
    further : the outcomes to first order in metrics that were asked for, by metric.
    confidence : [n], confidences as stored, if the adaptive ECE was asked for.

    `bench.leaderboard.stats.linearised` computes `linear`, `bench.leaderboard.stats.further`
    computes `further`.
    """

    ids: str
    n: int
    bits: bytes
    levels: NDArray[np.uint8]
    bins: CalibrationBins
    hits: NDArray[np.bool_] | None
    linear: Linearised | None
    classes: int
    redrawn: NDArray[np.float64] | None = None
    chosen: bool = False
    further: Mapping[str, Linearised] = field(default_factory=dict)
    confidence: NDArray[np.float64] | None = None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each sample is right, [n]."""
        packed = np.frombuffer(self.bits, dtype=np.uint8)
        return np.unpackbits(packed, count=self.n).astype(bool)


SamplesByRow = Mapping[Name, Mapping[str, Mapping[Seed, RowSamples]]]
"""The stored samples by row, evaluation set and seed."""


def samples_by_board(
    outputs: Iterable[SampleOutputs], metrics: Container[str] = ()
) -> Mapping[BoardKey, SamplesByRow]:
    """Return the samples of each leaderboard in compact form, for intervals in these `metrics`.

    Of a cell that several runs measured, the first samples are taken, as its first value is.
    """
    asked = [name for name in FURTHER if name in metrics]
    found: dict[BoardKey, dict[Name, dict[str, dict[Seed, RowSamples]]]] = {}
    for one in outputs:
        record = one.record
        row = found.setdefault(board_key(record), {}).setdefault((record.method, record.base), {})
        of_set = row.setdefault(record.shift, {})
        if record.seed not in of_set:
            of_set[record.seed] = _compact(one, asked)
    return found


def _compact(outputs: SampleOutputs, asked: Sequence[str]) -> RowSamples:
    """Return outputs in compact form."""
    on = outputs.on
    outcomes = outcomes_of(outputs)
    has_units = sampling_units(on).max() > 0
    linear = linearised(outputs) if outcomes is None and has_units else None
    right, confidence = outputs.right, outputs.confidence
    steps = np.ceil(confidence * LEVELS).clip(0, LEVELS)
    bin_of = np.maximum(np.ceil(steps / (LEVELS // BINS)) - 1, 0).astype(np.int64)
    sums = (np.bincount(bin_of, weights=w, minlength=BINS) for w in (None, confidence, right))
    bins = CalibrationBins(*(np.asarray(found, dtype=np.float64) for found in sums))
    packed = np.packbits(right).tobytes()
    levels = steps.astype(np.uint8)
    record, redrawn = outputs.record, outputs.redrawn
    by_fit, in_training = record.chosen_on, record.base is None and bool(record.choice)
    chosen = by_fit["candidates"] > 1 if by_fit and "candidates" in by_fit else in_training
    classes = len(np.union1d(on.labels[on.labels >= 0], outputs.predicted))
    return RowSamples(
        on.ids, len(right), packed, levels, bins, outcomes, linear, classes, redrawn, chosen,
        {name: found for name in asked if (found := linearised_in(name, outputs)) is not None},
        confidence if "adaptive-ece" in asked else None,
    )  # fmt: skip


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

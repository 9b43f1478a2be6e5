"""How long pending work takes: an estimate with a range, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench.core.store import Store
from bench.runs.costs.counts import Counts
from bench.runs.costs.rates import ENOUGH, Sample, guessed, samples_elsewhere, samples_here
from bench.runs.study.study import Study

Basis = Literal["measured", "few images", "another machine", "nothing"]
SPREADS: dict[Basis, float] = {
    "measured": 1.25,
    "few images": 2.0,
    "another machine": 3.0,
    "nothing": 10.0,
}
"""What an estimate rests on, and the factor by which it may be off if all samples agree."""
ORDER: list[Basis] = list(SPREADS)
"""From the best to the worst."""


@dataclass(frozen=True)
class TimeEstimate:
    """How many seconds the pending work takes on this machine, if it does nothing else.

    `low` to `high` is the range by the spread of the samples that it rests on; `basis` says which
    samples these are, the worst of all that were needed.
    """

    seconds: float
    low: float
    high: float
    basis: Basis

    def __add__(self, other: TimeEstimate) -> TimeEstimate:
        basis = max(self.basis, other.basis, key=ORDER.index)
        low, high = self.low + other.low, self.high + other.high
        return TimeEstimate(self.seconds + other.seconds, low, high, basis)


def estimate_time(
    studies: Sequence[Study], left: Sequence[Counts], store: Store, device: str
) -> TimeEstimate:
    """Estimate the time for pending forward passes and trainings from samples of earlier runs.

    Without samples of this machine, those of another count, such as of the one that the embedded
    model was made on; without any, a guess.
    """
    total = TimeEstimate(0.0, 0.0, 0.0, "measured")
    for study, count in zip(studies, left, strict=True):
        here, there = samples_here(store, study, device), samples_elsewhere(store, study, device)
        for images, kind in (
            (count.forwards, "forward"),
            (count.training_images, "train"),
            (count.paired_images, "train both"),
        ):
            if images and here.get(kind):
                total += of_samples(images, here[kind])
            elif images and there.get(kind):
                total += of_samples(images, there[kind], "another machine")
            elif images:
                guess = guessed(device, study.backbone)[kind]
                total += of_samples(images, guess, "nothing")
    return total


def of_samples(images: int, samples: Sequence[Sample], basis: Basis = "measured") -> TimeEstimate:
    """Return the time for a number of images by the median of samples, without those of few images.

    Examples
    --------
    >>> from bench.runs.costs.estimate import of_samples
    >>> from bench.runs.costs.rates import Sample
    >>> steady = [Sample(1000, 10.0), Sample(1000, 11.0), Sample(1000, 40.0)]
    >>> of_samples(2000, steady).seconds, of_samples(2000, steady).high  # 40 s were no quiet time
    (22.0, 80.0)
    """
    large = [sample for sample in samples if sample.images >= ENOUGH]
    if basis == "measured" and not large:
        basis = "few images"
    rates = sorted(sample.seconds / sample.images for sample in large or samples)
    middle, spread = median(rates), SPREADS[basis]
    low, high = min(rates[0], middle / spread), max(rates[-1], middle * spread)
    return TimeEstimate(images * middle, images * low, images * high, basis)

"""Simulate the intervals of the ID-OOD gap and of effective robustness: docs/statistics.md.

    python scripts/simulations/robustness.py [REPETITIONS]

A row has a true accuracy on ID and on each shift, and its training runs deviate from them together.
Samples are of equal difficulty for all runs on most samples. The baselines' line is given. The
truth of effective robustness is that of the true accuracies.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from bench.leaderboard.published.baselines import BaselineLine
from bench.leaderboard.robustness import steepness
from bench.leaderboard.stats.contrasts import weighted_sum
from bench.leaderboard.stats.outcomes import Outcomes

LINE = BaselineLine(slope=1.1, offset=-0.9, r2=1.0)
IN_COMMON, SEED_SD = 0.8, 0.01
"""Fraction of samples on which training runs share their luck; deviation of their accuracies."""


@dataclass(frozen=True)
class World:
    """True accuracies on ID and on the shifts, sizes of the sets, and the number of seeds."""

    name: str
    of_id: float
    shifts: tuple[float, ...]
    sizes: tuple[int, ...]
    seeds: int

    def row(self, rng: np.random.Generator) -> list[Outcomes]:
        """Return outcomes on ID and on each shift."""
        moved = rng.normal(0, SEED_SD, self.seeds) if self.seeds > 1 else np.zeros(1)
        pairs = zip((self.of_id, *self.shifts), self.sizes, strict=True)
        return [self._set(rng, str(i), p + moved, n) for i, (p, n) in enumerate(pairs)]

    def _set(self, rng: np.random.Generator, ids: str, p: np.ndarray, n: int) -> Outcomes:
        own = rng.random((len(p), n))
        luck = np.where(rng.random((len(p), n)) < IN_COMMON, rng.random(n), own)
        return Outcomes(ids, luck < np.clip(p, 0, 1)[:, None])


FIVE = (0.6, 0.75, 0.65, 0.4, 0.45)
WORLDS = (
    World("one shift of 300", 0.7, (0.55,), (300, 300), 1),
    World("five shifts of 1,500", 0.72, FIVE, (1500,) * 6, 1),
    World("five shifts of 1,500", 0.72, FIVE, (1500,) * 6, 3),
    World("sizes of ImageNet", 0.8, FIVE, (50_000, 10_000, 50_889, 7_500, 30_000, 18_574), 1),
    World("sizes of ImageNet", 0.8, FIVE, (50_000, 10_000, 50_889, 7_500, 30_000, 18_574), 3),
    World("95% right on ID", 0.95, (0.9,), (500, 500), 1),
    World("95% right on ID", 0.95, (0.9,), (500, 500), 3),
)


def robustness_coverage(world: World, repeats: int) -> tuple[float, float]:
    """Return how often the intervals of the gap and of effective robustness contain the truth."""
    rng, held = np.random.default_rng(31), np.zeros(2)
    ood, share = fmean(world.shifts), 1 / len(world.shifts)
    truths = (world.of_id - ood, ood - LINE.expected(world.of_id))
    for _ in range(repeats):
        row = world.row(rng)
        means = [float(one.values.mean()) for one in row]
        slope = steepness(LINE, means[0])
        values = (means[0] - fmean(means[1:]), fmean(means[1:]) - LINE.expected(means[0]))
        weights = ((1.0, *[-share] * len(world.shifts)), (-slope, *[share] * len(world.shifts)))
        for i, (truth, value, of_sets) in enumerate(zip(truths, values, weights, strict=True)):
            found = weighted_sum(row, of_sets)
            low, high = (bound - found.value + value for bound in found.interval())
            held[i] += low <= truth <= high
    gap, effective = held / repeats
    return float(gap), float(effective)


def _table(repeats: int) -> Iterator[str]:
    yield f"Coverage of nominal 95% intervals, in percent, {repeats} repetitions each."
    yield ""
    yield "| sets | seeds | ID-OOD gap | effective robustness |"
    yield "|---|--:|--:|--:|"
    for world in WORLDS:
        gap, effective = robustness_coverage(world, repeats)
        yield f"| {world.name} | {world.seeds} | {100 * gap:.1f} | {100 * effective:.1f} |"


if __name__ == "__main__":
    for line in _table(*map(int, sys.argv[1:2] or (1000,))):
        print(line, flush=True)

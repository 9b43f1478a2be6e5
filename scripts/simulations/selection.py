"""Simulate the noise of selection and the effect of finer steps: tables in docs/statistics.md.

    python scripts/simulations/selection.py [REPETITIONS]

A sample is right at all weights on the fine-tuned model, at none, from a weight t on (fine-tuning
corrects it) or up to a weight t (fine-tuning breaks it). Of two ensembles, the second corrects
samples at smaller weights and breaks them at larger ones; their t are correlated. Tuning corrects
more than it breaks in distribution, and breaks more under shift, in the proportions of `mini`. So
the expected accuracy at every weight is known exactly.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bench.leaderboard.stats.estimates import paired_difference
from bench.leaderboard.stats.outcomes import Outcomes
from bench.posthoc.redraws import choose_again, resample_shares
from bench.posthoc.selection import RULES, WEIGHTS, choose

Floats = NDArray[np.float64]

ALIKE = 0.8
"""The correlation of the two ensembles' t."""
CORRECTED = (1.5, 2.0)
"""t = u^c where tuning corrects a sample, u uniform, for each ensemble."""
BROKEN = (0.6, 0.45)
"""t = u^c where tuning breaks a sample."""
SHIFTS, TEST = 5, 1500
"""The number of shifts and of their samples."""


@dataclass(frozen=True)
class Population:
    """Fractions of samples: right at all weights, corrected by tuning, broken by it."""

    always: float
    corrected: float
    broken: float

    def accuracy(self, weight: Floats, ensemble: int) -> Floats:
        """Return the expected accuracy of an ensemble, 0 or 1, at each weight."""
        from_t = weight ** (1 / CORRECTED[ensemble])
        up_to_t = 1 - weight ** (1 / BROKEN[ensemble])
        return np.asarray(self.always + self.corrected * from_t + self.broken * up_to_t)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        """Return between which weights n samples are right: lowest and highest, each [2, n]."""
        z = rng.standard_normal((2, n))
        z[1] = ALIKE * z[0] + np.sqrt(1 - ALIKE**2) * z[1]
        u, kind = ndtr(z), rng.random(n)
        low, high = np.zeros((2, n)), np.ones((2, n))
        is_corrected = (kind >= self.always) & (kind < self.always + self.corrected)
        is_broken = (kind >= self.always + self.corrected) & (kind < sum(self._fractions))
        for ensemble in range(2):
            low[ensemble][is_corrected] = u[ensemble][is_corrected] ** CORRECTED[ensemble]
            high[ensemble][is_broken] = u[ensemble][is_broken] ** BROKEN[ensemble]
        high[:, kind >= sum(self._fractions)] = -1
        return low, high

    @property
    def _fractions(self) -> tuple[float, float, float]:
        return self.always, self.corrected, self.broken


ID, OOD = Population(0.52, 0.20, 0.06), Population(0.41, 0.08, 0.14)


def right_at(low: Floats, high: Floats, weights: Sequence[float]) -> NDArray[np.float32]:
    """Return whether samples are right at each of K weights, [K, n], from low and high [n]."""
    w = np.asarray(weights)[:, None]
    return ((low <= w) & (w <= high)).astype(np.float32)


@dataclass(frozen=True)
class Chosen:
    """The weight of one ensemble chosen on a selection split, and those chosen on resamples [R]."""

    weight: float
    redrawn: Floats


def select(
    low: Floats, high: Floats, weights: Sequence[float], rule: str, shares: NDArray[np.float32]
) -> Chosen:
    """Choose on a selection split whose samples are right from `low` [n] to `high` [n]."""
    right = right_at(low, high, weights)
    by_rule = partial(choose, rule=rule)
    best = by_rule(right.mean(axis=1).tolist(), list(weights))
    means = np.repeat(np.asarray(weights)[:, None], len(shares), axis=1)
    again = choose_again(by_rule, right @ shares.T, means, shares.shape[1])
    return Chosen(weights[best], np.asarray(weights)[again])


def coverage(n: int, rule: str, repeats: int, seed: int) -> tuple[float, float, float]:
    """Return how often the interval of second minus first has the truth, and the ratio of widths.

    First with, then without the noise of selection. The truth is the mean over selection splits of
    n samples, and over samples of the shifts.
    """
    rng, shares = np.random.default_rng(seed), resample_shares(n, "1f")
    intervals, truths = [], []
    for _ in range(repeats):
        low, high = ID.draw(rng, n)
        chosen = [select(low[e], high[e], WEIGHTS, rule, shares) for e in range(2)]
        one, other = (OOD.accuracy(np.array([c.weight]), e)[0] for e, c in enumerate(chosen))
        truths.append(other - one)
        rows: list[list[Outcomes]] = [[], []]
        plain: list[list[Outcomes]] = [[], []]
        for shift in range(SHIFTS):
            low, high = OOD.draw(rng, TEST)
            for e, c in enumerate(chosen):
                values = right_at(low[e], high[e], [c.weight])
                redrawn = right_at(low[e], high[e], c.redrawn.tolist()).mean(axis=1)
                rows[e].append(Outcomes(str(shift), values, redrawn.astype(np.float64)))
                plain[e].append(Outcomes(str(shift), values))
        found = [paired_difference(r[1], r[0]).interval() for r in (rows, plain)]
        intervals.append([(float(i.low), float(i.high)) for i in found])
    truth, bounds = np.mean(truths), np.array(intervals)
    held = ((bounds[..., 0] <= truth) & (truth <= bounds[..., 1])).mean(axis=0)
    wide = (bounds[..., 1] - bounds[..., 0]).mean(axis=0)
    return float(held[0]), float(held[1]), float(wide[0] / wide[1])


def gain_of_steps(n: int, rule: str, steps: Sequence[float], repeats: int, seed: int) -> float:
    """Return the gain in mean OOD accuracy of candidates at `steps` over 0, 0.1, ..., 1."""
    rng, gains = np.random.default_rng(seed), []
    coarse = [round(0.1 * i, 1) for i in range(11)]
    for _ in range(repeats):
        low, high = ID.draw(rng, n)
        found = []
        for weights in (steps, coarse):
            right = right_at(low[0], high[0], weights)
            best = choose(right.mean(axis=1).tolist(), list(weights), rule)
            found.append(OOD.accuracy(np.array([weights[best]]), 0)[0])
        gains.append(found[0] - found[1])
    return float(np.mean(gains))


def main(repeats: int) -> None:
    """Print both tables."""
    print("| rule | selection samples | coverage | without selection noise | width ratio |")
    print("|---|--:|--:|--:|--:|")
    for rule in RULES:
        for n in (500, 1000, 5000):
            held, plain, ratio = coverage(n, rule, repeats, seed=n)
            print(f"| {rule} | {n} | {100 * held:.1f} | {100 * plain:.1f} | {ratio:.2f} |")
    print("\n| rule | selection samples | 21 steps | 51 steps | 101 steps |")
    print("|---|--:|--:|--:|--:|")
    for rule in RULES:
        for n in (1000, 5000):
            grids = [np.linspace(0, 1, k).round(3).tolist() for k in (21, 51, 101)]
            gains = [gain_of_steps(n, rule, grid, 4 * repeats, seed=n) for grid in grids]
            print(f"| {rule} | {n} | " + " | ".join(f"{100 * g:+.2f}" for g in gains) + " |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

"""Simulate false wins between ensembles that differ by chance alone, with the noise of selection.

    python scripts/simulations/selection_ranks.py [REPETITIONS]

The model is that of `selection.py`, for six ensembles whose accuracies at every weight are equal.
Every training seed corrects and breaks samples of its own, in part; all rows and seeds choose on
the same selection split. The table is in docs/statistics.md.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from selection import BROKEN, CORRECTED, ID, OOD, SHIFTS, TEST, Floats, Population, right_at, select

from bench.leaderboard.stats.outcomes import Outcomes
from bench.leaderboard.stats.ranking import rank
from bench.posthoc.redraws import resample_counts
from bench.posthoc.selection import RULES, WEIGHTS

ROWS = 6
COMMON, OF_SEED = 0.6, 0.2
"""Parts of the variance of a sample's t: shared by all rows and seeds, by all rows of a seed."""


def draw(
    of: Population, rng: np.random.Generator, seeds: int, n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return between which weights samples are right: lowest and highest, each [rows, seeds, n]."""
    parts = (
        (COMMON, (1, 1, n)),
        (OF_SEED, (1, seeds, n)),
        (1 - COMMON - OF_SEED, (ROWS, seeds, n)),
    )
    u = ndtr(sum(np.sqrt(part) * rng.standard_normal(shape) for part, shape in parts))
    kind = np.broadcast_to(rng.random(n), u.shape)
    low, high = np.zeros(u.shape), np.ones(u.shape)
    bounds = np.cumsum((of.always, of.corrected, of.broken))
    is_corrected = (kind >= bounds[0]) & (kind < bounds[1])
    is_broken = (kind >= bounds[1]) & (kind < bounds[2])
    low[is_corrected] = u[is_corrected] ** CORRECTED[0]
    high[is_broken] = u[is_broken] ** BROKEN[0]
    high[kind >= bounds[2]] = -1
    return low, high


def false_wins(n: int, rule: str, seeds: int, repeats: int) -> tuple[float, float]:
    """Return how often any row wins, with and without the noise of selection.

    n is the number of samples of the selection split. All pairs are tested.
    """
    rng, counts = np.random.default_rng(n + seeds), resample_counts(n, "1f")
    position = {weight: k for k, weight in enumerate(WEIGHTS)}
    found = []
    for _ in range(repeats):
        low, high = draw(ID, rng, seeds, n)
        chosen = [
            [select(low[r, s], high[r, s], WEIGHTS, rule, counts) for s in range(seeds)]
            for r in range(ROWS)
        ]
        rows: list[list[Outcomes]] = [[] for _ in range(ROWS)]
        plain: list[list[Outcomes]] = [[] for _ in range(ROWS)]
        for shift in range(SHIFTS):
            low, high = draw(OOD, rng, seeds, TEST)
            for r in range(ROWS):
                values: list[NDArray[np.float32]] = []
                redrawn: list[Floats] = []
                for s, one in enumerate(chosen[r]):
                    right = right_at(low[r, s], high[r, s], WEIGHTS)
                    values.append(right[position[one.weight]])
                    again = [position[weight] for weight in one.redrawn.tolist()]
                    redrawn.append(right.mean(axis=1).astype(np.float64)[again])
                stacked = np.stack(values)
                rows[r].append(Outcomes(str(shift), stacked, np.mean(redrawn, axis=0)))
                plain[r].append(Outcomes(str(shift), stacked))
        found.append([rank(of).better.any() for of in (rows, plain)])
    with_noise, without = np.mean(found, axis=0)
    return float(with_noise), float(without)


def main(repeats: int) -> None:
    """Print the table."""
    print("| rule | selection samples | seeds | any false win | without selection noise |")
    print("|---|--:|--:|--:|--:|")
    for rule in RULES:
        for n in (1000, 5000):
            for seeds in (1, 3):
                held = [100 * part for part in false_wins(n, rule, seeds, repeats)]
                print(f"| {rule} | {n} | {seeds} | {held[0]:.1f} | {held[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)

"""Simulate intervals and ranks: tables in docs/statistics.md.

    python scripts/simulations/intervals.py [REPETITIONS [REPETITIONS_OF_RANKINGS]]

The difficulty of a sample has a part common to all rows, a part specific to the row, and noise that
is new in every training run. A row is right where the sum is below its threshold. Training runs
move the threshold, partly by the same amount on all sets. So rows agree on most samples, as trained
models do, and every true mean is known exactly.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import norm

from bench.api.metrics import adaptive_ece, ece
from bench.api.splits import single_label
from bench.leaderboard.stats.ece_interval import Confidences, ece_interval
from bench.leaderboard.stats.estimates import Moments, estimate
from bench.leaderboard.stats.ranking import FALSE_WINS, gram, pairwise, wins

SHARED, OWN, NOISE = 0.8, 0.33, 0.5
"""Standard deviations of the three parts of a sample's difficulty; together about 1."""
TOTAL = float(np.sqrt(SHARED**2 + OWN**2 + NOISE**2))
TYPES = 16
"""Number of kinds of samples, each with a fixed probability of being right for either row."""
IN_COMMON = 0.5
"""Fraction of the variance over training runs that is common to all sets."""
AT_ONCE = 500
"""Number of repetitions held in memory."""
ACCURACIES = (0.75, 0.72)
"""Accuracies of the two rows whose difference is estimated."""


@dataclass(frozen=True)
class Setting:
    """A cell of the grid; `spread` is the standard deviation over training runs, in points.

    With `free` the second row has no seeds. `over_all` compares the interval of one seed with the
    mean over all training runs, for which it is not meant.
    """

    seeds: int
    n: int
    spread: float
    sets: int
    free: bool = False
    over_all: bool = False


GRID = tuple(
    Setting(seeds, n, spread, sets, free)
    for seeds, n, spread, free, sets in product(
        (1, 3, 5), (500, 5000), (0.0, 0.3, 1.0), (False, True), (1, 4)
    )
)


def coverage(setting: Setting, repeats: int, seed: int, level: float = 0.95) -> float:
    """Return how often the interval of a difference of two rows contains the true difference.

    The true difference is the mean over all training runs; for one seed, that of the given runs.
    """
    rng, held = np.random.default_rng(seed), 0
    for start in range(0, repeats, AT_ONCE):
        shape = (min(AT_ONCE, repeats - start), 2, setting.seeds)
        found, truths = [], []
        for moved in _moves(rng, setting, shape):
            right, truth = _probabilities(rng, moved, setting)
            found.append(_drawn(rng, right, setting))
            truths.append(truth)
        low, high = estimate(found).interval(level)
        truth = np.mean(truths, axis=0)
        held += int(((low <= truth) & (truth <= high)).sum())
    return held / repeats


def _moves(
    rng: np.random.Generator, setting: Setting, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return by how much training runs move thresholds: [sets, *shape]."""
    slope = norm.pdf(norm.ppf(ACCURACIES[0])) / TOTAL
    common, own = rng.normal(size=shape), rng.normal(size=(setting.sets, *shape))
    mixed = np.sqrt(IN_COMMON) * common + np.sqrt(1 - IN_COMMON) * own
    if setting.free:
        mixed[:, :, 1] = 0
    return mixed * (setting.spread / 100 / slope)


def _probabilities(
    rng: np.random.Generator, moved: NDArray[np.float64], setting: Setting
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities of being right, and the true difference [R].

    The probabilities are by training run and type of sample: [R, 2, S, K].
    """
    shared, own = rng.normal(size=TYPES) * SHARED, rng.normal(size=(2, TYPES)) * OWN
    place = norm.ppf(ACCURACIES)[:, None] * TOTAL - shared - own  # [2, K]
    right = ndtr((place[None, :, None] + moved[..., None]) / NOISE)
    if setting.seeds == 1 and not setting.over_all:
        rows = right.mean(axis=(-2, -1))
        return right, rows[:, 0] - rows[:, 1]
    slope = norm.pdf(norm.ppf(ACCURACIES[0])) / TOTAL
    scale = setting.spread / 100 / slope * np.array([1.0, 0.0 if setting.free else 1.0])
    rows = ndtr(place / np.sqrt(NOISE**2 + scale[:, None] ** 2)).mean(axis=-1)
    return right, np.full(len(moved), rows[0] - rows[1])


def _drawn(rng: np.random.Generator, right: NDArray[np.float64], setting: Setting) -> Moments:
    """Return the moments of differences on one set of n samples.

    The counts of each vector of differences d [S] are drawn, not the samples one by one.
    """
    one, other = right[:, 0], right[:, 1]  # [R, S, K]
    if setting.free:  # the other row is right or wrong once, for all seeds
        none = np.zeros_like(one)
        cases = (
            (other[:, 0], np.stack([1 - one, one, none])),
            (1 - other[:, 0], np.stack([none, 1 - one, one])),
        )
    else:
        lost, won = (1 - one) * other, one * (1 - other)
        cases = ((np.ones_like(one[:, 0]), np.stack([lost, 1 - lost - won, won])),)
    chance = np.zeros((len(right), 3**setting.seeds))
    for start, by_sign in cases:  # by_sign [3, R, S, K]: of d = -1, 0, 1
        tree = start[:, None]  # [R, 3^s, K]
        for s in range(setting.seeds):
            tree = np.concatenate([tree * sign[:, s][:, None] for sign in by_sign], axis=1)
        chance += tree.mean(axis=-1)
    kinds = np.array(list(product((-1, 0, 1), repeat=setting.seeds)))[:, ::-1]  # [3^S, S]
    counts = rng.multinomial(setting.n, chance / chance.sum(axis=1, keepdims=True)) * 1.0
    pairs = (kinds[:, :, None] * kinds[:, None]).reshape(len(kinds), -1) * 1.0
    products = (counts @ pairs).reshape(-1, setting.seeds, setting.seeds)
    return Moments(setting.n, counts @ (kinds * 1.0), products, 1 / setting.sets)


def rankings(
    setting: Setting,
    advantages: tuple[float, ...],
    repeats: int,
    seed: int,
    untrained: int = 0,
    tested: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return `better` [R, m, m] for rows with true accuracies of 70% plus `advantages` points.

    The first `untrained` rows do not vary over seeds. `tested` [m, m] are the pairs that are
    compared; None compares all.
    """
    rng, m = np.random.default_rng(seed), len(advantages)
    betters = []
    at_once = max(1, 4_000_000 // (m * setting.seeds * setting.n))
    for start in range(0, repeats, at_once):
        moves = _moves(rng, setting, (min(at_once, repeats - start), m, setting.seeds))
        moves[:, :, :untrained] = 0
        bits = (_bits(rng, moved, advantages, setting) for moved in moves)
        found = pairwise([gram(right, 1 / setting.sets) for right in bits], m)
        betters.append(wins(found, m, FALSE_WINS, tested))
    return np.concatenate(betters)


def _bits(
    rng: np.random.Generator,
    moved: NDArray[np.float64],
    advantages: tuple[float, ...],
    setting: Setting,
) -> NDArray[np.float32]:
    """Return which rows are right: [R, m, S, n].

    Thresholds are set so that the means over training runs are exact.
    """
    count, m, seeds = moved.shape
    slope = norm.pdf(norm.ppf(ACCURACIES[0])) / TOTAL
    width = np.sqrt(TOTAL**2 + (setting.spread / 100 / slope) ** 2)
    place = norm.ppf(0.7 + np.array(advantages) / 100) * width
    shape = (count, m, seeds, setting.n)
    hard = rng.standard_normal(shape, dtype=np.float32) * np.float32(NOISE)
    hard += rng.standard_normal((count, m, 1, setting.n), dtype=np.float32) * np.float32(OWN)
    hard += rng.standard_normal((count, 1, 1, setting.n), dtype=np.float32) * np.float32(SHARED)
    return (hard < (place[:, None] + moved)[..., None]).astype(np.float32)


def false_wins(better: NDArray[np.bool_], advantages: tuple[float, ...]) -> float:
    """Return how often any row is reported as better than one that is as good or better."""
    gained = np.array(advantages)
    is_false = gained[:, None] <= gained[None, :]
    return float((better & is_false).any(axis=(1, 2)).mean())


def found_wins(better: NDArray[np.bool_], advantages: tuple[float, ...], points: float) -> float:
    """Return the fraction of pairs `points` apart that are reported as different."""
    gained = np.array(advantages)
    is_pair = np.isclose(gained[:, None] - gained[None, :], points)
    return float(better[:, is_pair].mean())


@dataclass(frozen=True)
class EceSetting:
    """A model whose true logits are `sharpness` times the predicted ones (1: calibrated).

    The `sets` are independent, with `n` samples each; half of the outcomes are common to all
    `seeds`.
    """

    n: int
    sharpness: float
    sets: int = 1
    seeds: int = 1


def ece_coverage(
    setting: EceSetting, repeats: int, seed: int, draws: int = 0, *, equal_mass: bool = False
) -> tuple[float, float]:
    """Return how often the ECE's interval, and the basic bootstrap's, contain the true ECE.

    Without `draws` there is no bootstrap; it needs one set and one seed. With `equal_mass` it is
    the adaptive ECE.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(2)
    truth = _ece_of(*_predictions(rng, EceSetting(len(IDS), setting.sharpness))[0], equal_mass)
    for _ in range(repeats):
        found = [_predictions(rng, setting) for _ in range(setting.sets)]
        row = [
            Confidences(
                str(number),
                np.array([np.exp(log_probs[:, 0]) for log_probs, _ in of_set]),
                np.array([labels == 0 for _, labels in of_set]),
            )
            for number, of_set in enumerate(found)
        ]
        low, high = ece_interval(row, 15, equal_mass=equal_mass)
        held[0] += low <= truth <= high
        if draws:
            ((log_probs, labels),) = found[0]
            rows = rng.integers(setting.n, size=(draws, setting.n))
            resampled = [_ece_of(log_probs[drawn], labels[drawn]) for drawn in rows]
            high, low = 2 * _ece_of(log_probs, labels) - np.quantile(resampled, [0.025, 0.975])
            held[1] += max(low, 0) <= truth <= high
    return float(held[0] / repeats), float(held[1] / repeats)


def _predictions(
    rng: np.random.Generator, setting: EceSetting
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Return, by seed, log-probabilities [n, 2] and labels on one set."""
    n, own, common, luck = setting.n, 0.3, rng.normal(size=setting.n), rng.random(setting.n)
    made = []
    for _ in range(setting.seeds):
        normal = np.sqrt(1 - own**2) * common + own * rng.normal(size=n)
        logit = np.abs(1.5 + normal)
        confidence = 1 / (1 + np.exp(-logit))
        chance = np.where(rng.random(n) < 0.5, luck, rng.random(n))
        labels = (chance > 1 / (1 + np.exp(-setting.sharpness * logit))).astype(np.int64)
        made.append((np.log(np.stack([confidence, 1 - confidence], axis=1)), labels))
    return made


def _ece_of(
    log_probs: NDArray[np.float64], labels: NDArray[np.int64], equal_mass: bool = False
) -> float:
    return (adaptive_ece if equal_mass else ece)(
        log_probs, single_label(IDS[: len(labels)], labels), bins=15
    )


IDS = tuple(map(str, range(1_000_000)))
NULL = (0.0,) * 8
HALVES = (0.0,) * 4 + (3.0,) * 4
JUDGED = 400
SHARP = (0.5, 0.75, 0.9, 1.0)
ECE_GRID = ((500, 1, 1), (2000, 1, 1), (10_000, 1, 1), (1500, 5, 1), (1500, 5, 3), (5000, 5, 3))
STAIRS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
RANKED = (
    Setting(1, 1000, 0.0, 4),
    Setting(3, 1000, 0.0, 4),
    Setting(3, 1000, 0.3, 4),
    Setting(3, 1000, 1.0, 4),
    Setting(5, 1000, 0.3, 4),
    Setting(5, 1000, 1.0, 4),
)


def _tables(repeats: int, ranked: int) -> Iterator[str]:
    yield f"Coverage of 95% intervals of a difference, in percent, {repeats} repetitions each."
    yield ""
    yield "| seeds | samples | seed sd | 1 set | 4 sets | 1 set, seed-free | 4 sets, seed-free |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    two = tuple(replace(s, seeds=2) for s in GRID if s.seeds == 3 and s.n == 5000)
    for row in zip(*[iter((*GRID, *two))] * 4, strict=True):
        shown = " | ".join(f"{100 * coverage(setting, repeats, seed=7):.1f}" for setting in row)
        yield f"| {row[0].seeds} | {row[0].n} | {row[0].spread} | {shown} |"
    yield ""
    yield "Interval of one seed, read as one over all runs, in percent, 5000 samples, 1 set:"
    yield ""
    yield "| seed sd | coverage |"
    yield "|--:|--:|"
    for spread in (0.3, 1.0):
        held = coverage(Setting(1, 5000, spread, 1, over_all=True), repeats, seed=7)
        yield f"| {spread} | {100 * held:.1f} |"
    yield ""
    yield f"Ranking: any false win, and wins found by difference, in percent, {ranked} repetitions."
    yield ""
    apart = (0.5, 1.0, 2.0, 4.0, 8.0)
    named = " | ".join(f"{points:g} points" for points in apart)
    yield f"| seeds | seed sd | 8 equal rows | 4 and 4 | {named} |"
    yield "|--:|--:|--:|--:|" + "--:|" * len(apart)
    for setting in RANKED:
        null = rankings(setting, NULL, ranked, seed=8)
        halves = rankings(setting, HALVES, ranked, seed=9)
        stairs = rankings(setting, STAIRS, ranked, seed=10)
        cells = [false_wins(null, NULL), false_wins(halves, HALVES)]
        cells += [found_wins(stairs, STAIRS, points) for points in apart]
        shown = " | ".join(f"{100 * cell:.1f}" for cell in cells)
        yield f"| {setting.seeds} | {setting.spread} | {shown} |"
    yield ""
    yield f"ECE of 15 bins, coverage in percent, {JUDGED} repetitions: interval (basic bootstrap)."
    yield ""
    yield "| samples | sets | seeds | true ECE 11.5% | 5.0% | 1.8% | 0, calibrated |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for n, sets, seeds in ECE_GRID:
        draws = 300 if (sets, seeds) == (1, 1) and n < 10_000 else 0
        settings = [EceSetting(n, sharpness, sets, seeds) for sharpness in SHARP]
        cells = [ece_coverage(setting, JUDGED, 11, draws) for setting in settings]
        shown = (f"{100 * a:.1f}" + (f" ({100 * b:.1f})" if draws else "") for a, b in cells)
        yield f"| {n} | {sets} | {seeds} | {' | '.join(shown)} |"


if __name__ == "__main__":
    for line in _tables(*map(int, sys.argv[1:3] or (4000, 1000))):
        print(line, flush=True)

"""Confidence intervals of the ECE: centre, bounds, seeds and sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from bench.leaderboard.stats.ece_interval import Confidences, ece_interval
from bench.leaderboard.stats.estimates import mean_estimate
from bench.leaderboard.stats.outcomes import Outcomes


def confidences(
    n: int, seed: int, *, sharpness: float = 0.6, seeds: int = 1, ids: str = "a"
) -> Confidences:
    """Return confidences of a model whose true logits are `sharpness` times its own logits."""
    rng = np.random.default_rng(seed)
    logits = np.abs(rng.normal(1.5, 1.0, (seeds, n)))
    chance = rng.random(n)  # the difficulty of a sample is the same for every seed
    right = chance < 1 / (1 + np.exp(-sharpness * logits))
    return Confidences(ids, 1 / (1 + np.exp(-logits)), right)


def ece(one: Confidences, bins: int = 15) -> float:
    values = []
    for c, r in zip(one.confidence, one.right, strict=True):
        of = np.minimum(np.ceil(c * bins).astype(int) - 1, bins - 1)
        gaps = [abs((c - r)[of == b].sum()) for b in range(bins)]
        values.append(sum(gaps) / len(c))
    return float(np.mean(values))


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 3000), st.integers(0, 99), st.floats(0.1, 1.2), st.sampled_from([1, 3]))
def test_bounds_are_ordered_and_the_value_is_rarely_far(
    n: int, seed: int, sharpness: float, seeds: int
) -> None:
    one = confidences(n, seed, sharpness=sharpness, seeds=seeds)
    low, high = ece_interval([one], 15)
    assert 0 <= low <= high <= 1
    # The ECE is biased upwards, so the interval never lies above the value.
    assert low <= ece(one)


def test_more_samples_are_surer() -> None:
    widths = [np.ptp(ece_interval([confidences(n, 0)], 15)) for n in (200, 2000, 20000)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_a_calibrated_model_may_have_no_error() -> None:
    found = [ece_interval([confidences(500, seed, sharpness=1.0)], 15) for seed in range(40)]
    assert sum(low == 0 for low, _ in found) >= 36
    assert all(high > 0 for _, high in found)
    low, _ = ece_interval([confidences(5000, 0, sharpness=0.5)], 15)
    assert low > 0.05


@pytest.mark.parametrize("seed", [0, 14, 35])
def test_an_error_that_a_calibrated_model_often_has_may_be_none(seed: int) -> None:
    one = confidences(100, seed, sharpness=0.8)
    right = np.random.default_rng(1).random((1000, 100)) < one.confidence
    by_chance = [ece(Confidences("a", one.confidence, each[None])) for each in right]
    assert ece(one) < np.quantile(by_chance, 0.975)
    assert ece_interval([one], 15).low == 0


def test_sets_and_seeds_count() -> None:
    many = [confidences(1000, k, ids=str(k)) for k in range(4)]
    alone, together = ece_interval(many[:1], 15), ece_interval(many, 15)
    assert np.ptp(together) < 0.6 * np.ptp(alone)
    same = [confidences(1000, 0, ids="a")] * 4
    assert np.ptp(ece_interval(same, 15)) == pytest.approx(np.ptp(alone), rel=1e-6)
    three = confidences(1000, 0, seeds=3)
    far = Confidences("a", three.confidence ** [[1.0], [2.0], [4.0]], three.right)
    assert np.ptp(ece_interval([far], 15)) > np.ptp(ece_interval([three], 15))


def test_one_sample_in_a_bin_and_a_model_that_is_never_wrong() -> None:
    lone = Confidences("a", np.array([[0.05, 0.5, 0.93]]), np.array([[True, False, True]]))
    low, high = ece_interval([lone], 15)
    assert 0 <= low < high <= 1
    sure = Confidences("a", np.ones((1, 50)), np.ones((1, 50), dtype=bool))
    assert ece_interval([sure], 15) == pytest.approx((0, 0.04), abs=0.001)


def folded(m: float) -> float:
    """The mean of |x| of a normal x of mean m and deviation 1, by integration."""
    return float(stats.foldnorm.mean(m)) if m < 30 else m


def unfolded(m: float) -> float:
    """The mean of x whose |x| has mean m; 0 for those that are smaller than any."""
    return float(brentq(lambda x: folded(x) - m, 0, 9)) if m > folded(0) else 0.0


def slowly(row: list[Confidences], bins: int) -> tuple[float, float]:
    """The interval as the module's text says it, sample by sample."""
    noises = []
    for one in row:
        for c, r in zip(one.confidence, one.right, strict=True):
            n, p = len(c), float(r.mean())
            least = most = mean = spread = 0.0
            terms = np.zeros(n)
            for b in range(bins):
                inside = [
                    i for i in range(n) if b / bins < c[i] <= (b + 1) / bins or (b == c[i] == 0)
                ]
                if not inside:
                    continue
                gaps = [float(c[i]) - float(r[i]) for i in inside]
                d, count = sum(gaps) / len(gaps), len(gaps)
                square = np.var(gaps, ddof=1) if count > 1 else p * (1 - p)
                s = float(np.sqrt(square / count))
                m = min(abs(d) / s, 8.0) if s > 0 else 8.0
                truth = unfolded(m)
                least += count / n * s * (folded(m) - m)
                most += count / n * s * (folded(truth) - truth)
                mean += count / n * s * np.sqrt(2 / np.pi)
                spread += (count / n * s) ** 2 * (1 - 2 / np.pi)
                terms[inside] = np.sign(d) * np.array(gaps)
            noises.append((one.ids, terms, least, most, mean, np.sqrt(spread)))
    by_set = [[noise for noise in noises if noise[0] == one.ids] for one in row]
    value = mean_estimate(
        [Outcomes(found[0][0], np.array([noise[1] for noise in found])) for found in by_set]
    )
    low = value.interval().low - np.mean([noise[3] for noise in noises])
    high = value.interval().high - np.mean([noise[2] for noise in noises])
    parts = [np.mean([noise[5] for noise in found]) / len(row) for found in by_set]
    edge = np.mean([noise[4] for noise in noises]) + 1.959964 * np.sqrt(np.sum(np.square(parts)))
    return max(0.0, low) if value.value > edge else 0.0, min(1.0, high)


@settings(deadline=None, max_examples=25)
@given(st.integers(12, 150), st.integers(0, 999), st.floats(0.05, 1.2), st.sampled_from([1, 2, 3]),
       st.integers(1, 3), st.sampled_from([5, 15]))  # fmt: skip
def test_the_interval_is_that_of_the_text(
    n: int, seed: int, sharpness: float, seeds: int, sets: int, bins: int
) -> None:
    row = [
        confidences(n + 7 * k, seed + k, sharpness=sharpness, seeds=seeds, ids=str(k))
        for k in range(sets)
    ]
    assert ece_interval(row, bins) == pytest.approx(slowly(row, bins), abs=2e-5)


def test_confidences_on_the_edges_of_bins_and_of_the_scale() -> None:
    edges = np.array([[0.0, 0.2, 0.4, 0.6, 0.8, 1.0] * 6])
    right = np.random.default_rng(4).random(edges.shape) < 0.5 * edges
    row = [Confidences("a", edges, right)]
    assert ece_interval(row, 5) == pytest.approx(slowly(row, 5), abs=2e-5)


def test_a_level_is_that_of_the_interval() -> None:
    one = confidences(300, 3, sharpness=0.3)
    widths = [float(np.ptp(ece_interval([one], 15, level))) for level in (0.5, 0.8, 0.95, 0.99)]
    assert widths == sorted(widths) and widths[0] < 0.5 * widths[-1]

"""Closed-form confidence intervals of the ECE, from confidences and correctness.

Let d_b be the mean of c - a over the n_b samples of bin b (c the confidence, a = 1 where right).
The ECE is sum_b n_b/n |d_b|. With the signs of the measured d_b held fixed, it is the mean over
samples of

    e_i = sign(d_b) (c_i - a_i),    b the bin of sample i.

Its variance is therefore that of any mean over samples, seeds and sets
(`bench.leaderboard.stats.estimates`).

The ECE is biased upwards, because |d_b| also counts noise: most where bins are small and the model
is nearly calibrated. Let s_b be the standard error of d_b. For a normal variable x of mean m and
deviation 1, the mean of |x| is

    f(m) = sqrt(2/pi) exp(-m^2 / 2) + m (1 - 2 Phi(-m)).

The bias is B(m) = sum_b n_b/n s_b (f(m_b) - m_b) at the true m_b = |d_b| / s_b, which are unknown.
The measured m_b are too large on average, so B(m) is too small. Their inverse f^-1(m_b) (0 where f
takes no such value) gives a bias that is too large. The interval uses both:

    interval = ECE - B(f^-1(m)) - t error  to  ECE - B(m) + t error.

A calibrated model has an ECE of mean sum_b n_b/n s_b sqrt(2/pi) and variance
sum_b (n_b/n)^2 s_b^2 (1 - 2/pi). If the measured ECE is at most this mean plus 1.96 standard
deviations, the interval starts at 0. In the simulations of docs/statistics.md the interval is
better than the bootstrap on small sets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bench.leaderboard.stats.estimates import LEVEL, Interval, mean_estimate
from bench.leaderboard.stats.outcomes import Floats, Outcomes


@dataclass(frozen=True)
class Confidences:
    """The confidences of a row on one set, by seed.

    Attributes
    ----------
    ids : a digest of the samples, as in `bench.leaderboard.stats.estimates.Outcomes`.
    confidence : [S, N], in [0, 1].
    right : [S, N], whether the prediction is right.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.ece_interval import Confidences
    >>> confidences, right = np.full((1, 100), 0.9), np.arange(100)[None] < 90
    >>> Confidences("1f", confidences, right).right.mean(axis=1)
    array([0.9])
    """

    ids: str
    confidence: Floats
    right: NDArray[np.bool_]


class _Noise(NamedTuple):
    """What noise does to the ECE of one seed on one set. All values are fractions.

    Attributes
    ----------
    e : [N], the samples' terms of the ECE.
    least_bias, most_bias : lower and upper estimate of the bias.
    calibrated_mean, calibrated_deviation : mean and standard deviation of the ECE that a perfectly
        calibrated model would have.
    """

    e: Floats
    least_bias: float
    most_bias: float
    calibrated_mean: float
    calibrated_deviation: float


def ece_interval(
    row: Sequence[Confidences], bins: int, level: float = LEVEL, *, equal_mass: bool = False
) -> Interval:
    """Return the interval of a row's mean ECE with `bins` bins, over sets and seeds, in [0, 1].

    Bins are those of `bench.api.metrics.ece`, with `equal_mass` those of `adaptive_ece`. Raises
    InputError if sets differ in the number of seeds.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.ece_interval import Confidences, ece_interval
    >>> confidences, right = np.full((1, 1000), 0.9), np.arange(1000)[None] < 500
    >>> low, high = ece_interval([Confidences("1f", confidences, right)], bins=15)
    >>> low < 0.4 < high  # confident at 0.9, right at 0.5
    True
    """
    found = [
        [_noise(c, r, bins, equal_mass) for c, r in zip(s.confidence, s.right, strict=True)]
        for s in row
    ]
    sets = zip(row, found, strict=True)
    mean = mean_estimate(
        [Outcomes(one.ids, np.array([n.e for n in noises])) for one, noises in sets]
    )
    every = [noise for noises in found for noise in noises]
    least_bias = float(np.mean([noise.least_bias for noise in every]))
    most_bias = float(np.mean([noise.most_bias for noise in every]))
    low = replace(mean, bias=most_bias).interval(level).low
    high = replace(mean, bias=least_bias).interval(level).high
    # Seeds share samples, and so do sets of the same ids: averaging reduces no deviation.
    by_ids: dict[str, float] = defaultdict(float)
    for one, noises in zip(row, found, strict=True):
        deviations = [noise.calibrated_deviation for noise in noises]
        by_ids[one.ids] += float(np.mean(deviations)) / len(row)
    deviation = float(np.sqrt(sum(part**2 for part in by_ids.values())))
    calibrated = np.mean([noise.calibrated_mean for noise in every])
    if mean.value <= calibrated + ndtri((1 + level) / 2) * deviation:
        low = 0.0
    return Interval(float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)))


def _folded(m: Floats) -> Floats:
    """Return the mean of |x| for a normal x of mean m >= 0 and deviation 1."""
    return np.asarray(np.sqrt(2 / np.pi) * np.exp(-m * m / 2) + m * (1 - 2 * ndtr(-m)))


GRID = np.linspace(0, 8, 4001)
"""Values of m at which f is tabulated; for larger m, f(m) is m."""


def measured_ece(row: Sequence[Confidences], bins: int, *, equal_mass: bool = False) -> float:
    """Return a row's mean ECE with `bins` bins, over sets and seeds, in [0, 1].

    Samples of equal confidence are taken in their order; the rest is as in `ece_interval`.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.ece_interval import Confidences, measured_ece
    >>> confidences, right = np.array([[0.9, 0.8, 0.7, 0.6]]), np.array([[True, True, True, False]])
    >>> round(measured_ece([Confidences("1f", confidences, right)], bins=2, equal_mass=True), 3)
    0.15
    """
    found = [
        np.abs(np.bincount(_bins_of(c, bins, equal_mass), weights=c - r)).sum() / len(r)
        for of_set in row
        for c, r in zip(of_set.confidence, of_set.right, strict=True)
    ]
    return float(np.mean(found))


def _bins_of(confidence: Floats, bins: int, equal_mass: bool) -> NDArray[np.int64]:
    """Return the bin of each sample [N]."""
    if not equal_mass:
        return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
    found, n = np.empty(len(confidence), dtype=np.int64), len(confidence)
    sizes = [n // bins + (b < n % bins) for b in range(bins)]
    found[np.argsort(confidence, kind="stable")] = np.repeat(np.arange(bins), sizes)
    return found


def _noise(
    confidence: Floats, right: NDArray[np.bool_], bins: int, equal_mass: bool = False
) -> _Noise:
    n = len(right)
    bin_of = _bins_of(confidence, bins, equal_mass)
    gap = confidence - right
    count, total, squares = (
        np.bincount(bin_of, weights=w, minlength=bins) for w in (None, gap, gap * gap)
    )
    occupied = count > 0
    count, d, squares = count[occupied], total[occupied] / count[occupied], squares[occupied]
    # A bin of one sample takes the variance of being right over the whole set.
    overall = right.mean() * (1 - right.mean())
    variance = np.where(count > 1, (squares - count * d * d) / np.maximum(count - 1, 1), overall)
    s = np.sqrt(np.maximum(variance, 0) / count)
    m = np.divide(np.abs(d), s, out=np.full(len(d), np.inf), where=s > 0)
    m = np.minimum(m, GRID[-1])
    inverse = np.interp(m, _folded(GRID), GRID)
    weight = count / n
    return _Noise(
        np.sign(total)[bin_of] * gap,
        float((weight * s * (_folded(m) - m)).sum()),
        float((weight * s * (_folded(inverse) - inverse)).sum()),
        float((weight * s).sum() * np.sqrt(2 / np.pi)),
        float(np.sqrt(((weight * s) ** 2).sum() * (1 - 2 / np.pi))),
    )

"""How sure an ECE is: closed-form intervals, from confidences and who is right.

With d_b the mean of c - a over the n_b samples of bin b (c confidence, a = 1 where right), the ECE
is sum_b n_b/n |d_b|. Around the d_b that are there it is the mean over samples of

    e_i = sign(d_b) (c_i - a_i),    b the bin of sample i,

so that its variance is that of any mean (`bench.leaderboard.stats.estimates`: seeds, sets and all).
But noise has no sign: |d_b| is too large, most where bins are small and the model is nearly
calibrated. With s_b the standard error of d_b, and |x| of a normal variable of mean m and deviation
1 being on average

    f(m) = sqrt(2/pi) exp(-m^2 / 2) + m (1 - 2 Phi(-m)),

the value is too large by B(m) = sum_b n_b/n s_b (f(m_b) - m_b) at the true m_b = |d_b| / s_b. The
measured ones are too large for it, so that B is too small; those of which f is what was measured
(0, if none is) make it too large. The interval takes both sides of that:

    interval = ECE - B(f^-1(m)) - t error  to  ECE - B(m) + t error,

from 0 on if the ECE is no larger than a calibrated model's would be: within 1.96 times the root of
sum_b (n_b/n)^2 s_b^2 (1 - 2/pi) of sum_b n_b/n s_b sqrt(2/pi). Simulated in docs/statistics.md:
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

from bench.leaderboard.stats.estimates import LEVEL, Floats, Interval, Outcomes, mean_estimate


@dataclass(frozen=True)
class Confidences:
    """A row on one set, by seed: its confidences [S, N], in [0, 1], and where it is `right` [S, N].

    `ids` is a digest of the samples, as of `bench.leaderboard.stats.estimates.Outcomes`.
    """

    ids: str
    confidence: Floats
    right: NDArray[np.bool_]


class _Noise(NamedTuple):
    """Of one seed on one set: e [N], by how much the ECE is too large at least and at most, and the
    mean and the standard deviation of a calibrated model's. All are fractions.
    """

    e: Floats
    least: float
    most: float
    chance: float
    deviation: float


def ece_interval(row: Sequence[Confidences], bins: int, level: float = LEVEL) -> Interval:
    """The interval of the mean of a row's ECE of `bins` bins over sets and seeds, in [0, 1].

    Bins are those of `bench.api.metrics.ece`. Raises InputError if sets differ in the number of
    seeds.
    """
    found = [[_noise(c, r, bins) for c, r in zip(s.confidence, s.right, strict=True)] for s in row]
    sets = zip(row, found, strict=True)
    whole = mean_estimate(
        [Outcomes(one.ids, np.array([n.e for n in noises])) for one, noises in sets]
    )
    each = [noise for noises in found for noise in noises]
    least = float(np.mean([noise.least for noise in each]))
    most = float(np.mean([noise.most for noise in each]))
    low = replace(whole, bias=most).interval(level).low
    high = replace(whole, bias=least).interval(level).high
    # Seeds share their samples, and so do sets of the same ids: their mean is no surer than one.
    shares: dict[str, float] = defaultdict(float)
    for one, noises in zip(row, found, strict=True):
        shares[one.ids] += float(np.mean([noise.deviation for noise in noises])) / len(row)
    deviation = float(np.sqrt(sum(share**2 for share in shares.values())))
    chance = np.mean([noise.chance for noise in each])
    if whole.value <= chance + ndtri((1 + level) / 2) * deviation:
        low = 0.0
    return Interval(float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)))


def _folded(m: Floats) -> Floats:
    """The mean of |x|, x normal of mean m >= 0 and deviation 1."""
    return np.asarray(np.sqrt(2 / np.pi) * np.exp(-m * m / 2) + m * (1 - 2 * ndtr(-m)))


GRID = np.linspace(0, 8, 4001)
"""Beyond, the mean of |x| is m."""


def _noise(confidence: Floats, right: NDArray[np.bool_], bins: int) -> _Noise:
    n = len(right)
    bin_of = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
    gap = confidence - right
    count, total, squares = (
        np.bincount(bin_of, weights=w, minlength=bins) for w in (None, gap, gap * gap)
    )
    there = count > 0
    count, d, squares = count[there], total[there] / count[there], squares[there]
    # A single sample's variance is that of a coin as surely right as all are.
    usual = right.mean() * (1 - right.mean())
    variance = np.where(count > 1, (squares - count * d * d) / np.maximum(count - 1, 1), usual)
    s = np.sqrt(np.maximum(variance, 0) / count)
    m = np.divide(np.abs(d), s, out=np.full(len(d), np.inf), where=s > 0)
    m = np.minimum(m, GRID[-1])
    true = np.interp(m, _folded(GRID), GRID)
    share = count / n
    return _Noise(
        np.sign(total)[bin_of] * gap,
        float((share * s * (_folded(m) - m)).sum()),
        float((share * s * (_folded(true) - true)).sum()),
        float((share * s).sum() * np.sqrt(2 / np.pi)),
        float(np.sqrt(((share * s) ** 2).sum() * (1 - 2 / np.pi))),
    )

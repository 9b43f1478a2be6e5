"""How sure a number is: intervals of cells, paired differences of rows, seeds and samples counted.

Everything here is made of outcomes, one number for each sample and seed (1 if the row is right),
and needs no model. `paired_difference` and `mean_estimate` are closed forms of sums over samples,
so that another program can repeat them (docs/statistics.md has the formulae, and what was
simulated).

A test set is a draw of n samples, a row with seeds a draw of S trainings. With d[s, i] the outcome
of seed s on sample i, or the difference of two rows' outcomes there, the two-way random-effects
model without replication is

    d[s, i] = mu + a[s] + b[i] + c[s, i],    Var(mean) = var_a / S + var_b / n + var_c / (S n).

Two unbiased estimates that overlap in nothing add up to it (`Estimate`):

    samples = mean over s != t of cov_i(d[s], d[t]) / n    estimates var_b / n
    seeds   = var_s(mean_i d[s, i]) / S                    estimates var_a / S + var_c / (S n)

The variance over samples of the seeds' mean, divided by n, would hold var_c a second time. (Model:
Searle, Casella, McCulloch, Variance Components, 1992, chapter 4; that resampling rows and columns
independently counts the interaction three times: Owen, The pigeonhole bootstrap, Annals of Applied
Statistics 1, 2007.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, ndtri, stdtrit

from bench.core.errors import InputError

Floats = NDArray[np.float64]
LEVEL = 0.95
"""Of intervals."""


class Interval(NamedTuple):
    """From `low` to `high`; both are arrays where the estimate is one."""

    low: Any
    high: Any


def exact_interval(right: int, n: int, level: float = LEVEL) -> Interval:
    """The interval of an accuracy of `right` of `n` (Clopper and Pearson, Biometrika 26, 1934).

    The bounds are quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k): covered at least with
    `level`, for independent samples. Raises InputError unless 0 <= right <= n and n > 0.
    """
    if not 0 <= right <= n or n < 1:
        raise InputError(f"exact interval: {right} right of {n} samples")
    tail = (1 - level) / 2
    low = betaincinv(right, n - right + 1, tail) if right else 0.0
    high = betaincinv(right + 1, n - right, 1 - tail) if right < n else 1.0
    return Interval(float(low), float(high))


def mcnemar(only_one: int, only_other: int, *, mid: bool = False) -> float:
    """McNemar's exact two-sided p-value (Psychometrika 12, 1947) from the discordant pairs.

    `only_one` counts the samples that only the first row has right, `only_other` those that only
    the second has. With m = only_one + only_other and X of Binomial(m, 1/2):
    min(1, 2 P(X <= min)). `mid` counts the observed value half, 2 P(X < min) + P(X = min):
    less cautious, and rarely above its level (Fagerland, Lydersen, Laake, BMC Medical Research
    Methodology 13:91, 2013). It is about one training of each row: seeds have no place in it.
    """
    fewer, m = min(only_one, only_other), only_one + only_other
    up_to, below = (float(bdtr(k, m, 0.5)) if k >= 0 else 0.0 for k in (fewer, fewer - 1))
    return min(1.0, up_to + (below if mid else up_to))


@dataclass(frozen=True)
class Outcomes:
    """A row's outcomes on one evaluation set.

    Attributes
    ----------
    ids : a digest of the manifest's ids, and of labels: what may be paired has the same.
    values : [S, n], by seed and sample: whether the row is right, or any number that is averaged.
        S is 1 for rows without seeds.
    """

    ids: str
    values: NDArray[Any]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] < 2 or not len(self.values):
            raise InputError(f"outcomes {self.values.shape}: expected [seeds, samples], 2 or more")

    def by(self, groups: NDArray[np.int64], what: str) -> Outcomes:
        """The same with groups of samples as the units that were drawn, for intervals.

        Group g of G becomes mean + G/n sum over its samples of (value - mean), so that means stay
        what they are and their variance is that of a ratio (Cochran, Sampling Techniques, 1977).
        `what` names the groups. Raises InputError if groups do not match.
        """
        n = self.values.shape[1]
        if groups.shape != (n,):
            raise InputError(f"outcomes by {what}: groups {groups.shape} of {n} samples")
        _, codes = np.unique(groups, return_inverse=True)
        mean = self.values.mean(axis=1, keepdims=True)
        off = [np.bincount(codes, weights=row) for row in self.values - mean]
        count = int(codes.max()) + 1
        whole = hashlib.sha256(codes.astype("<i8").tobytes()).hexdigest()[:16]
        return Outcomes(f"{self.ids} by {what} {whole}", mean + np.array(off) * count / n)


@dataclass(frozen=True)
class Resampled:
    """A row's values on one evaluation set, in a metric that is no mean over samples.

    Attributes
    ----------
    ids, n : as of `Outcomes`, and the number of samples.
    values : [S], by seed.
    draws : [S, B], the same of B resamples, which are the same for all rows on the same ids.
    """

    ids: str
    n: int
    values: Floats
    draws: Floats

    def basic(self, level: float = LEVEL) -> Interval:
        """The basic bootstrap interval of one seed, 2 v - v* at the quantiles of the resampled v*.

        Davison and Hinkley, Bootstrap Methods, 1997, section 5.2. Not the percentile interval: the
        worst of several groups is further off in every resample than in the sample itself, and
        reflecting takes that off where percentiles would count it twice. Bounds may lie beyond the
        range of the metric: clip them.
        """
        tail = (1 - level) / 2
        high, low = np.quantile(self.draws[0], [tail, 1 - tail])
        value = float(self.values[0])
        return Interval(float(2 * value - low), float(2 * value - high))


Row = Sequence[Outcomes | Resampled]
"""A row's outcomes by evaluation set."""


class Moments(NamedTuple):
    """Sums over the n samples of d [..., S, n]; all that an estimate is made of.

    `totals` [..., S] = sum_i d[s, i]; `products` [..., S, S] = sum_i d[s, i] d[t, i]. `weight` is
    the set's in a mean over sets.
    """

    n: int
    totals: Floats
    products: Floats
    weight: float = 1.0


def moments(values: NDArray[Any], weight: float = 1.0) -> Moments:
    """The moments of values [..., S, n]."""
    d = np.asarray(values, dtype=np.float64)
    return Moments(d.shape[-1], d.sum(axis=-1), d @ np.swapaxes(d, -1, -2), weight)


@dataclass(frozen=True)
class Estimate:
    """A mean over sets and seeds, with the variance that samples and seeds give it.

    Attributes
    ----------
    value : what is estimated, a fraction.
    samples, seeds : the two parts of its variance (see the module); `seeds` is 0 for one seed,
        so that the estimate is then one of that training only.
    count : S, the number of seeds.
    freedom : degrees of freedom of its error, infinite where the number of seeds sets no limit.
        Samples, or the groups drawn in their place, are taken to be a hundred at least.
    bias : how much too large `value` is expected to be; intervals lie around value - bias.

    All but `count` are arrays of one shape, which may be ().
    """

    value: Floats
    samples: Floats
    seeds: Floats
    count: int
    freedom: Floats
    bias: Floats | float = 0.0

    @property
    def error(self) -> Floats:
        """The standard error, sqrt(samples + seeds)."""
        return np.sqrt(self.samples + self.seeds)

    def interval(self, level: float = LEVEL) -> Interval:
        """value - bias +- t error, t a two-sided quantile of Student's t with `freedom` degrees.

        The degrees weigh S - 1 and infinity by the parts' shares of the variance. Simulated, three
        seeds are covered in 94 to 97% (docs/statistics.md); Satterthwaite's own weights, the
        squares of the shares, go down to 92%. Two seeds would be covered in 90%: there each part
        has its own quantile, as in `p_value`, and 95 to 99% are covered.
        """
        tail = (1 + level) / 2
        if self.count == 2:
            half = np.sqrt(ndtri(tail) ** 2 * self.samples + stdtrit(1, tail) ** 2 * self.seeds)
        else:
            half = stdtrit(self.freedom, tail) * self.error
        middle = self.value - self.bias
        return Interval(middle - half, middle + half)

    def p_value(self) -> Floats:
        """Two-sided, of the hypothesis that the value is 0; made for small levels.

        The smallest level p at which value^2 > z(p)^2 samples + t(p)^2 seeds, z and t (S - 1
        degrees of freedom) being two-sided quantiles: each part with its own, as Graybill and Wang
        (JASA 75, 1980) put together bounds of variances. Student's t with `freedom` degrees is a
        fair approximation at 5%, but with three seeds it is wrong up to eight times as often as it
        says at 0.1%, where corrections for many comparisons look. This is nowhere wrong more often
        than it says, and never below 0.05 where `interval` holds 0.
        """
        low, high = np.full(self.value.shape, -100.0), np.zeros(self.value.shape)
        for _ in range(50):  # bisection of log10 p
            middle = (low + high) / 2
            tail = 10**middle / 2
            wide = ndtri(tail) ** 2 * self.samples
            if self.count > 1:
                wide = wide + stdtrit(self.count - 1, tail) ** 2 * self.seeds
            is_beyond = (self.value - self.bias) ** 2 > wide
            low, high = np.where(is_beyond, low, middle), np.where(is_beyond, middle, high)
        return np.asarray(10**high)


def estimate(sets: Sequence[Moments]) -> Estimate:
    """The weighted sum over sets of their means over seeds and samples; sets are independent.

    With T = totals, w = weight and M[s] = sum over sets of w T[s] / n:

        C[s, t] = (products[s, t] - T[s] T[t] / n) / (n - 1)
        value   = mean_s M[s]
        samples = max(0, sum w^2 mean_{s != t} C[s, t] / n) + sum w^2 / n^2
        seeds   = sum_s (M[s] - value)^2 / (S - 1) / S
        freedom = (S - 1) (samples + seeds) / seeds

    For one seed C[0, 0] takes the place of the mean over s != t, seeds is 0 and freedom infinite.
    A set's w^2 / n^2 is what one more discordant pair would add (half of it in each direction:
    Agresti and Min, Statistics in Medicine 24, 2005), so that rows that never differ are not sure
    to be equal. The trainings are the same on every set: their part is taken of the mean over sets.
    """
    return _together([_of_moments(s) for s in sets])


class _Part(NamedTuple):
    """What one set adds to an estimate, its weight counted: by seed [..., S], and variances."""

    by_seed: Floats
    samples: Floats
    least: float
    bias: Floats | float = 0.0


def _of_moments(given: Moments) -> _Part:
    share = given.weight / given.n
    by_seed, samples = given.totals * share, _covariance(given) / given.n * given.weight**2
    return _Part(by_seed, samples, share**2)


def _together(parts: Sequence[_Part]) -> Estimate:
    by_seed = sum((p.by_seed for p in parts), np.zeros(()))
    count = by_seed.shape[-1]
    samples = np.maximum(sum((p.samples for p in parts), np.zeros(())), 0)
    samples = samples + sum(p.least for p in parts)
    spread = by_seed.var(axis=-1, ddof=1) / count if count > 1 else np.zeros_like(samples)
    freedom = np.full(np.shape(samples), np.inf)
    np.divide((count - 1) * (samples + spread), spread, out=freedom, where=spread > 0)
    bias = sum(p.bias for p in parts)
    return Estimate(by_seed.mean(axis=-1), samples, spread, count, freedom, bias)


def _covariance(given: Moments) -> Floats:
    """[...]: of samples between seeds, averaged over pairs of seeds; the variance of one seed."""
    n, totals, products, _ = given
    return _between_seeds((products - totals[..., :, None] * totals[..., None, :] / n) / (n - 1))


def _between_seeds(c: Floats) -> Floats:
    """[...]: the mean of covariances [..., S, S] over pairs of seeds; the variance of one seed."""
    count = c.shape[-1]
    if count == 1:
        return np.asarray(c[..., 0, 0])
    own = np.trace(c, axis1=-2, axis2=-1)
    return np.asarray((c.sum(axis=(-2, -1)) - own) / (count * (count - 1)))


def mean_estimate(row: Row) -> Estimate:
    """The plain mean of a row over evaluation sets, and over its seeds.

    The interval of one seed on one set is better taken by `exact_interval`, or by
    `Resampled.basic`.
    """
    return _together(_parts([row]))


def paired_difference(one: Row, other: Row) -> Estimate:
    """`one` minus `other` on the same samples, as the plain mean over evaluation sets.

    Rows with seeds are paired by seed; a row without seeds is the same for all of the other's. For
    one seed and one set: value = mean(d), error = sqrt(var(d) / n + 1 / n^2) with d = one - other
    by sample and var over n - 1; for k sets the mean of the values, and the sum of error^2 / k^2.
    Sets of the same ids (one set's corruptions) are averaged sample by sample first, being no
    independent draws. Of metrics that are no means over samples the covariance of the resampled
    values, which are paired too, takes the place of C / n. Raises InputError where ids or the
    numbers of seeds differ.
    """
    return _together(_parts([one, other]))


def _parts(rows: Sequence[Row]) -> list[_Part]:
    """The parts of the only row, or of the first minus the second."""
    sets = len(rows[0])
    if not sets or any(len(row) != sets for row in rows):
        raise InputError(f"rows on {sorted({len(row) for row in rows})} sets cannot be compared")
    plain = [[o for o in row if isinstance(o, Outcomes)] for row in rows]
    drawn = [[o for o in row if isinstance(o, Resampled)] for row in rows]
    parts = []
    if any(plain):
        blocks = [(v[0] if len(rows) == 1 else v[0] - v[1], w) for v, w in stack_rows(plain)]
        share = len(plain[0]) / sets
        parts = [_of_moments(moments(values, weight * share)) for values, weight in blocks]
    blocks_of: dict[str, list[list[Resampled]]] = {}
    for of_set in zip(*drawn, strict=True):
        blocks_of.setdefault(of_set[0].ids, []).append(list(of_set))
    for same in blocks_of.values():
        merged = [_merged(of_row) for of_row in zip(*same, strict=True)]
        parts.append(_of_resampled(merged, len(same) / sets))
    return parts


def _merged(sets: Sequence[Resampled]) -> Resampled:
    """The plain mean over sets of the same samples, of which the same resamples were drawn."""
    values = np.mean([one.values for one in sets], axis=0)
    return replace(sets[0], values=values, draws=np.mean([one.draws for one in sets], axis=0))


def _of_resampled(of_set: Sequence[Resampled], weight: float) -> _Part:
    """A set's part: of the only row, or of the first minus the second."""
    if len({(o.ids, o.n, o.draws.shape[1]) for o in of_set}) > 1:
        raise InputError("rows were measured on different samples: ids or labels differ")
    count = max(len(o.values) for o in of_set)
    if odd := {len(o.values) for o in of_set} - {1, count}:
        raise InputError(f"rows of {odd.pop()} and of {count} seeds cannot be paired by seed")
    shape = (count, of_set[0].draws.shape[1])
    values, *less = (np.broadcast_to(o.values, count) for o in of_set)
    draws, *fewer = (np.broadcast_to(o.draws, shape) for o in of_set)
    if less:
        values, draws = values - less[0], draws - fewer[0]
    samples = _between_seeds(np.atleast_2d(np.cov(draws))) * weight**2
    bias = weight * float(np.mean(draws.mean(axis=1) - values))
    return _Part(values * weight, samples, (weight / of_set[0].n) ** 2, bias)


def stack_rows(rows: Sequence[Sequence[Outcomes]]) -> list[tuple[Floats, float]]:
    """Rows side by side: by independent set, values [m, S, n] and the set's weight in the mean.

    Raises InputError where ids or numbers of seeds differ, or if there are no sets.
    """
    sets = len(rows[0])
    if not sets or any(len(row) != sets for row in rows):
        raise InputError(f"rows on {sorted({len(row) for row in rows})} sets cannot be compared")
    count = max(len(outcomes.values) for row in rows for outcomes in row)
    blocks: dict[str, list[Floats]] = {}
    for of_set in zip(*rows, strict=True):
        if len({(o.ids, o.values.shape[1]) for o in of_set}) > 1:
            raise InputError("rows were measured on different samples: ids or labels differ")
        if odd := {len(o.values) for o in of_set} - {1, count}:
            raise InputError(f"rows of {odd.pop()} and of {count} seeds cannot be paired by seed")
        values = [np.broadcast_to(o.values, (count, o.values.shape[1])) for o in of_set]
        blocks.setdefault(of_set[0].ids, []).append(np.array(values, dtype=np.float64))
    return [(np.mean(same, axis=0), len(same) / sets) for same in blocks.values()]

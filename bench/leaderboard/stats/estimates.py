"""Confidence intervals of cells and paired differences of rows, over samples and seeds.

Everything here is computed from outcomes, one number per sample and seed (1 if the row is right).
No model is needed. `paired_difference` and `mean_estimate` are closed forms of sums over samples,
so another program can reproduce them; docs/statistics.md has the formulae and simulations.

A test set is a random draw of n samples, and a row with seeds is a random draw of S training runs.
Let d[s, i] be the outcome of seed s on sample i, or the difference of two rows' outcomes there. The
two-way random-effects model without replication is

    d[s, i] = mu + a[s] + b[i] + c[s, i],    Var(mean) = var_a / S + var_b / n + var_c / (S n).

Two unbiased estimates, which share no term, add up to this variance (`Estimate`):

    samples = mean over s != t of cov_i(d[s], d[t]) / n    estimates var_b / n
    seeds   = var_s(mean_i d[s, i]) / S                    estimates var_a / S + var_c / (S n)

The variance over samples of the mean over seeds, divided by n, would count var_c a second time.
The model is in Searle, Casella, McCulloch, Variance Components, 1992, chapter 4. Resampling rows
and columns independently counts the interaction three times (Owen, The pigeonhole bootstrap, Annals
of Applied Statistics 1, 2007).
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
"""The confidence level of intervals."""


class Interval(NamedTuple):
    """A confidence interval from `low` to `high`; both are arrays if the estimate is an array."""

    low: Any
    high: Any


def exact_interval(right: int, n: int, level: float = LEVEL) -> Interval:
    """Return the exact interval of an accuracy of `right` out of `n` samples.

    The bounds are quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k), k = `right` (Clopper and
    Pearson, Biometrika 26, 1934). The coverage is at least `level` for independent samples. Raises
    InputError unless 0 <= right <= n and n > 0.
    """
    if not 0 <= right <= n or n < 1:
        raise InputError(
            f"exact interval: got {right} right of {n} samples, expected 0 <= right <= n and n > 0"
        )
    tail = (1 - level) / 2
    low = betaincinv(right, n - right + 1, tail) if right else 0.0
    high = betaincinv(right + 1, n - right, 1 - tail) if right < n else 1.0
    return Interval(float(low), float(high))


def mcnemar(only_one: int, only_other: int, *, mid: bool = False) -> float:
    """Return McNemar's exact two-sided p-value (Psychometrika 12, 1947) from discordant pairs.

    `only_one` counts the samples that only the first row has right, `only_other` those that only
    the second row has right. With m = only_one + only_other and X of Binomial(m, 1/2), the p-value
    is min(1, 2 P(X <= min)). With `mid` it is 2 P(X < min) + P(X = min), which is less conservative
    and rarely exceeds its level (Fagerland, Lydersen, Laake, BMC Medical Research Methodology
    13:91, 2013). The test compares one training run of each row; it does not cover seeds.
    """
    fewer, m = min(only_one, only_other), only_one + only_other
    up_to, below = (float(bdtr(k, m, 0.5)) if k >= 0 else 0.0 for k in (fewer, fewer - 1))
    return min(1.0, up_to + (below if mid else up_to))


@dataclass(frozen=True)
class Outcomes:
    """A row's outcomes on one evaluation set.

    Attributes
    ----------
    ids : a digest of the manifest's ids; outcomes with equal `ids` are of the same samples and may
        be paired.
    values : [S, n], by seed and sample: whether the row is right, or any number whose mean is the
        metric. S is 1 for rows without seeds.
    redrawn : [R], the mean over seeds with the choices made again on resamples of the selection
        split (`bench.posthoc.redraws`); None if nothing was chosen or if it is not known.
    """

    ids: str
    values: NDArray[Any]
    redrawn: Floats | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] < 2 or not len(self.values):
            raise InputError(
                f"outcomes of shape {self.values.shape}: expected [seeds, samples] with at least "
                "one seed and two samples"
            )

    def by(self, groups: NDArray[np.int64], what: str) -> Outcomes:
        """Return outcomes with groups of samples in place of samples as the units of sampling.

        Group g of G gets the value mean + G/n sum over its samples of (value - mean). Means do not
        change, and their variance is that of a ratio (Cochran, Sampling Techniques, 1977). `groups`
        [n] holds the group of each sample, `what` is the name of the grouping. Raises InputError if
        `groups` has another shape.
        """
        n = self.values.shape[1]
        if groups.shape != (n,):
            raise InputError(
                f"outcomes by {what}: expected one group per sample, ({n},), got {groups.shape}"
            )
        _, codes = np.unique(groups, return_inverse=True)
        mean = self.values.mean(axis=1, keepdims=True)
        deviations = [np.bincount(codes, weights=row) for row in self.values - mean]
        count = int(codes.max()) + 1
        digest = hashlib.sha256(codes.astype("<i8").tobytes()).hexdigest()[:16]
        ids = f"{self.ids} by {what} {digest}"
        return Outcomes(ids, mean + np.array(deviations) * count / n, self.redrawn)


@dataclass(frozen=True)
class Resampled:
    """A row's values on one evaluation set, in a metric that is not a mean over samples.

    Attributes
    ----------
    ids : as in `Outcomes`.
    n : the number of samples.
    values : [S], the value by seed.
    draws : [S, B], the values on B resamples. All rows on the same ids share the resamples.
    """

    ids: str
    n: int
    values: Floats
    draws: Floats
    redrawn: Floats | None = None

    def basic(self, level: float = LEVEL) -> Interval:
        """Return the basic bootstrap interval of a single seed.

        The bounds are 2 v - v* at the quantiles of the resampled values v* (Davison and Hinkley,
        Bootstrap Methods, 1997, section 5.2). The percentile interval would be wrong here: the
        worst of several groups is biased downwards in every resample. The basic interval removes
        this bias, the percentile interval would count it twice. Bounds may lie outside the range
        of the metric; clip them.
        """
        tail = (1 - level) / 2
        high, low = np.quantile(self.draws[0], [tail, 1 - tail])
        value = float(self.values[0])
        return Interval(float(2 * value - low), float(2 * value - high))


RowData = Sequence[Outcomes | Resampled]
"""A row's outcomes by evaluation set."""


class Moments(NamedTuple):
    """The sums over n samples of d [..., S, n] from which an estimate is computed.

    `totals` [..., S] = sum_i d[s, i]; `products` [..., S, S] = sum_i d[s, i] d[t, i]; `weight` is
    the weight of the set in a mean over sets.
    """

    n: int
    totals: Floats
    products: Floats
    weight: float = 1.0


def moments(values: NDArray[Any], weight: float = 1.0) -> Moments:
    """Return the moments of values [..., S, n]."""
    d = np.asarray(values, dtype=np.float64)
    return Moments(d.shape[-1], d.sum(axis=-1), d @ np.swapaxes(d, -1, -2), weight)


@dataclass(frozen=True)
class Estimate:
    """A mean over sets and seeds, with its variance over samples and over seeds.

    Attributes
    ----------
    value : the estimate, a fraction.
    samples, seeds : the two parts of its variance (see the module). With one seed, `seeds` is 0:
        the estimate then describes that training run only.
    count : S, the number of seeds.
    freedom : degrees of freedom of the error; infinite where the number of seeds does not limit
        them. At least a hundred samples (or groups as units) are assumed.
    bias : the expected excess of `value`; intervals are centred on value - bias.

    All but `count` are arrays of one shape, which may be ().
    """

    value: Floats
    samples: Floats
    seeds: Floats
    count: int
    freedom: Floats
    bias: Floats | float = 0.0

    def with_variance(self, more: Floats | float) -> Estimate:
        """Return the estimate with `more` variance of its samples, such as that of selection."""
        samples = self.samples + more
        freedom = _freedom(self.count, samples, self.seeds)
        return replace(self, samples=samples, freedom=freedom)

    @property
    def error(self) -> Floats:
        """The standard error, sqrt(samples + seeds)."""
        return np.sqrt(self.samples + self.seeds)

    def interval(self, level: float = LEVEL) -> Interval:
        """Return value - bias +- t error, t the quantile of Student's t with `freedom` degrees.

        The degrees of freedom weigh S - 1 and infinity by the two parts' fractions of the variance.
        In simulations the coverage with three seeds is 94 to 97% (docs/statistics.md); with
        Satterthwaite's weights, the squared fractions, it falls to 92%. With two seeds it would be
        90%. Two seeds therefore use one quantile per part, as `p_value` does, and the coverage is
        95 to 99%.
        """
        tail = (1 + level) / 2
        if self.count == 2:
            half = np.sqrt(ndtri(tail) ** 2 * self.samples + stdtrit(1, tail) ** 2 * self.seeds)
        else:
            half = stdtrit(self.freedom, tail) * self.error
        middle = self.value - self.bias
        return Interval(middle - half, middle + half)

    def p_value(self) -> Floats:
        """Return the two-sided p-value of the hypothesis that the value is 0.

        It is the smallest level p at which value^2 > z(p)^2 samples + t(p)^2 seeds. Here z and t
        (S - 1 degrees of freedom) are two-sided quantiles, one per part of the variance, as
        Graybill and Wang (JASA 75, 1980) combine bounds of variances.

        It is valid at small levels too, which corrections for many comparisons need. Student's t
        with `freedom` degrees is a fair approximation at 5%, but with three seeds its error rate at
        a level of 0.1% is up to eight times too high. This p-value never has an error rate above
        its level, and it is never below 0.05 where `interval` contains 0.
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
    """Return the weighted sum over independent sets of their means over seeds and samples.

    With T = totals, w = weight and M[s] = sum over sets of w T[s] / n:

        C[s, t] = (products[s, t] - T[s] T[t] / n) / (n - 1)
        value   = mean_s M[s]
        samples = max(0, sum w^2 mean_{s != t} C[s, t] / n) + sum w^2 / n^2
        seeds   = sum_s (M[s] - value)^2 / (S - 1) / S
        freedom = (S - 1) (samples + seeds) / seeds

    With one seed, C[0, 0] replaces the mean over s != t, seeds is 0 and freedom is infinite. The
    term w^2 / n^2 of a set is what one more discordant pair would add (half of it in each
    direction: Agresti and Min, Statistics in Medicine 24, 2005), so two rows that never differ are
    not certain to be equal. The training runs are the same on every set, so `seeds` is computed
    from the mean over sets.
    """
    return _combined([_part_of_moments(s) for s in sets])


class _Part(NamedTuple):
    """The contribution of one set to an estimate, times its weight.

    `by_seed` [..., S] adds to the value, `samples` to the variance over samples, `bias` to the
    bias; `discordant` is the variance of one more discordant pair.
    """

    by_seed: Floats
    samples: Floats
    discordant: float
    bias: Floats | float = 0.0


def _part_of_moments(of_set: Moments) -> _Part:
    weight = of_set.weight / of_set.n
    by_seed, samples = of_set.totals * weight, _covariance(of_set) / of_set.n * of_set.weight**2
    return _Part(by_seed, samples, weight**2)


def _combined(parts: Sequence[_Part]) -> Estimate:
    by_seed = sum((p.by_seed for p in parts), np.zeros(()))
    count = by_seed.shape[-1]
    samples = np.maximum(sum((p.samples for p in parts), np.zeros(())), 0)
    samples = samples + sum(p.discordant for p in parts)
    spread = by_seed.var(axis=-1, ddof=1) / count if count > 1 else np.zeros_like(samples)
    freedom = _freedom(count, samples, spread)
    bias = sum(p.bias for p in parts)
    return Estimate(by_seed.mean(axis=-1), samples, spread, count, freedom, bias)


def _freedom(count: int, samples: Floats, seeds: Floats) -> Floats:
    freedom = np.full(np.shape(samples), np.inf)
    np.divide((count - 1) * (samples + seeds), seeds, out=freedom, where=seeds > 0)
    return freedom


def _covariance(of_set: Moments) -> Floats:
    """Return [...], the covariance over samples, averaged as `_between_seeds` does."""
    n, totals, products, _ = of_set
    return _between_seeds((products - totals[..., :, None] * totals[..., None, :] / n) / (n - 1))


def _between_seeds(c: Floats) -> Floats:
    """Return [...], the mean of covariances [..., S, S] over pairs of seeds; C[0, 0] if S = 1."""
    count = c.shape[-1]
    if count == 1:
        return np.asarray(c[..., 0, 0])
    own = np.trace(c, axis1=-2, axis2=-1)
    return np.asarray((c.sum(axis=(-2, -1)) - own) / (count * (count - 1)))


def mean_estimate(row: RowData) -> Estimate:
    """Return the plain mean of a row over evaluation sets and seeds.

    For one seed on one set, prefer the intervals of `exact_interval` and `Resampled.basic`.
    """
    return _combined(_parts([row])).with_variance(selection_variance(row))


def paired_difference(one: RowData, other: RowData) -> Estimate:
    """Return `one` minus `other` on the same samples, as the plain mean over evaluation sets.

    Rows with seeds are paired by seed; a row without seeds is paired with every seed of the other.
    With one seed and one set: value = mean(d), error = sqrt(var(d) / n + 1 / n^2), where d = one -
    other by sample and var divides by n - 1. With k sets: the mean of the values, and the sum of
    error^2 / k^2.

    Sets with the same ids (corruptions of one set) are not independent draws; they are averaged
    sample by sample first. For metrics that are not means over samples, the covariance of the
    resampled values, which are paired too, replaces C / n. Raises InputError if ids or numbers of
    seeds differ.
    """
    return _combined(_parts([one, other])).with_variance(selection_variance(one, other))


def selection_variance(one: RowData, other: RowData | None = None) -> float:
    """Return the variance of a row's mean over sets, or of `one` minus `other`, due to selection.

    It is that over resamples of the selection split, which all rows share: var_r of the mean over
    sets of redrawn[r]. Rows without `redrawn` add nothing.
    """
    means = redrawn_means([one] if other is None else [one, other])
    values = means[0] if other is None else means[0] - means[1]
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def redrawn_means(rows: Sequence[RowData]) -> Floats:
    """Return the mean over sets of each row on each resample, [m, R]; 0 where nothing is known.

    R is 1 if no row has redrawn values. Rows of runs with different R keep the resamples that they
    share, which are the first ones.
    """
    sizes = [len(of.redrawn) for row in rows for of in row if of.redrawn is not None]
    size = min(sizes, default=1)
    found = np.zeros((len(rows), size))
    for mean, row in zip(found, rows, strict=True):
        for of in row:
            mean += 0 if of.redrawn is None else of.redrawn[:size] / len(row)
    return found


def _parts(rows: Sequence[RowData]) -> list[_Part]:
    """Return the parts of the only row, or of the first row minus the second."""
    sets = len(rows[0])
    if not sets or any(len(row) != sets for row in rows):
        raise InputError(f"rows on {sorted({len(row) for row in rows})} sets cannot be compared")
    outcomes = [[o for o in row if isinstance(o, Outcomes)] for row in rows]
    resampled = [[o for o in row if isinstance(o, Resampled)] for row in rows]
    parts = []
    if any(outcomes):
        blocks = [(v[0] if len(rows) == 1 else v[0] - v[1], w) for v, w in stack_rows(outcomes)]
        fraction = len(outcomes[0]) / sets
        parts = [_part_of_moments(moments(values, weight * fraction)) for values, weight in blocks]
    by_ids: dict[str, list[list[Resampled]]] = {}
    for of_set in zip(*resampled, strict=True):
        by_ids.setdefault(of_set[0].ids, []).append(list(of_set))
    for same in by_ids.values():
        merged = [_merged(of_row) for of_row in zip(*same, strict=True)]
        parts.append(_part_of_resampled(merged, len(same) / sets))
    return parts


def _merged(sets: Sequence[Resampled]) -> Resampled:
    """Return the plain mean over sets that share samples and resamples."""
    values = np.mean([one.values for one in sets], axis=0)
    return replace(sets[0], values=values, draws=np.mean([one.draws for one in sets], axis=0))


def _part_of_resampled(of_set: Sequence[Resampled], weight: float) -> _Part:
    """Return a set's part for the only row, or for the first row minus the second."""
    if len({(o.ids, o.n, o.draws.shape[1]) for o in of_set}) > 1:
        raise InputError("rows were measured on different samples: ids or labels differ")
    count = max(len(o.values) for o in of_set)
    if odd := {len(o.values) for o in of_set} - {1, count}:
        raise InputError(f"rows of {odd.pop()} and of {count} seeds cannot be paired by seed")
    shape = (count, of_set[0].draws.shape[1])
    values, *other_values = (np.broadcast_to(o.values, count) for o in of_set)
    draws, *other_draws = (np.broadcast_to(o.draws, shape) for o in of_set)
    if other_values:
        values, draws = values - other_values[0], draws - other_draws[0]
    samples = _between_seeds(np.atleast_2d(np.cov(draws))) * weight**2
    bias = weight * float(np.mean(draws.mean(axis=1) - values))
    return _Part(values * weight, samples, (weight / of_set[0].n) ** 2, bias)


def stack_rows(rows: Sequence[Sequence[Outcomes]]) -> list[tuple[Floats, float]]:
    """Stack rows: for each independent set, values [m, S, n] and its weight in the mean.

    Raises InputError if ids or numbers of seeds differ, or if there are no sets.
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

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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, ndtri, stdtrit

from bench.core.errors import InputError
from bench.leaderboard.stats.outcomes import Floats, Linearised, Outcomes, RowData
from bench.leaderboard.stats.selection_noise import selection_variance

LEVEL = 0.95
"""The confidence level of intervals."""
SEVERAL_BIASES = 1.5
"""Factor of the squared bias of a mean over sets, which averages away noise but no bias."""


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


def wider_interval(interval: Interval, value: float, variance: float) -> Interval:
    """Return an interval of `value` with more variance: halves grow as independent errors do.

    Examples
    --------
    >>> from bench.leaderboard.stats.estimates import Interval, wider_interval
    >>> found = wider_interval(Interval(0.46, 0.54), 0.5, (0.03 / 1.959964) ** 2)
    >>> [round(bound, 6) for bound in found]
    [0.45, 0.55]
    """
    if not variance:
        return interval
    more = ndtri((1 + LEVEL) / 2) ** 2 * variance
    low, high = (float(np.sqrt((bound - value) ** 2 + more)) for bound in interval)
    return Interval(max(0.0, value - low), min(1.0, value + high))


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
    selection : the variance due to choosing on one draw of the selection split
        (`bench.leaderboard.stats.selection_noise`).

    All but `count` are arrays of one shape, which may be ().
    """

    value: Floats
    samples: Floats
    seeds: Floats
    count: int
    freedom: Floats
    bias: Floats | float = 0.0
    selection: Floats | float = 0.0

    @property
    def error(self) -> Floats:
        """The standard error, sqrt(samples + seeds + selection)."""
        return np.sqrt(self.samples + self.seeds + self.selection)

    def interval(self, level: float = LEVEL) -> Interval:
        """Return value - bias +- t error, t the quantile of Student's t with `freedom` degrees.

        The degrees of freedom weigh S - 1 and infinity by the two parts' fractions of the variance.
        In simulations the coverage with three seeds is 94 to 97% (docs/statistics.md); with
        Satterthwaite's weights, the squared fractions, it falls to 92%. With two seeds it would be
        90%. Two seeds therefore use one quantile per part, as `p_value` does, and the coverage is
        95 to 99%. Half the width is then sqrt(half^2 + z^2 selection), z the normal quantile.
        """
        tail = (1 + level) / 2
        if self.count == 2:
            half = np.sqrt(ndtri(tail) ** 2 * self.samples + stdtrit(1, tail) ** 2 * self.seeds)
        else:
            half = stdtrit(self.freedom, tail) * np.sqrt(self.samples + self.seeds)
        half = np.sqrt(half**2 + ndtri(tail) ** 2 * self.selection)
        middle = self.value - self.bias
        return Interval(middle - half, middle + half)

    def p_value(self) -> Floats:
        """Return the two-sided p-value of the hypothesis that the value is 0.

        It is the smallest level p at which value^2 > z(p)^2 (samples + selection) + t(p)^2 seeds.
        Here z and t (S - 1 degrees of freedom) are two-sided quantiles, one per part of the
        variance, as Graybill and Wang (JASA 75, 1980) combine bounds of variances.

        It is valid at small levels too, which corrections for many comparisons need. Student's t
        with `freedom` degrees is a fair approximation at 5%, but with three seeds its error rate at
        a level of 0.1% is too high. This p-value never has an error rate above
        its level, and it is never below 0.05 where `interval` contains 0.
        """
        low, high = np.full(self.value.shape, -100.0), np.zeros(self.value.shape)
        for _ in range(50):  # bisection of log10 p
            middle = (low + high) / 2
            tail = 10**middle / 2
            wide = ndtri(tail) ** 2 * (self.samples + self.selection)
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

    `by_seed` [..., S] adds to the value, `samples` to the variance over samples; `unseen` is the
    variance of one more discordant pair, and of what `Linearised` does not show. `bias` is an
    allowance for a bias: biases of several sets have one direction, so they are added unsquared.
    """

    by_seed: Floats
    samples: Floats
    unseen: float
    bias: float = 0.0


def _part_of_moments(of_set: Moments) -> _Part:
    weight = of_set.weight / of_set.n
    by_seed, samples = of_set.totals * weight, _covariance(of_set) / of_set.n * of_set.weight**2
    return _Part(by_seed, samples, weight**2)


def _combined(parts: Sequence[_Part]) -> Estimate:
    by_seed = sum((p.by_seed for p in parts), np.zeros(()))
    count = by_seed.shape[-1]
    samples = np.maximum(sum((p.samples for p in parts), np.zeros(())), 0)
    biases = [p.bias for p in parts if p.bias]
    bias = sum(biases) ** 2 * (SEVERAL_BIASES if len(biases) > 1 else 1.0)
    samples = samples + sum(p.unseen for p in parts) + bias
    spread = by_seed.var(axis=-1, ddof=1) / count if count > 1 else np.zeros_like(samples)
    freedom = np.full(np.shape(samples), np.inf)
    np.divide((count - 1) * (samples + spread), spread, out=freedom, where=spread > 0)
    return Estimate(by_seed.mean(axis=-1), samples, spread, count, freedom)


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

    For one seed on one set, prefer `exact_interval` for metrics that are means over samples.
    """
    return replace(_combined(_parts([row])), selection=selection_variance(row))


def paired_difference(one: RowData, other: RowData) -> Estimate:
    """Return `one` minus `other` on the same samples, as the plain mean over evaluation sets.

    Rows with seeds are paired by seed; a row without seeds is paired with every seed of the other.
    With one seed and one set: value = mean(d), error = sqrt(var(d) / n + 1 / n^2), where d = one -
    other by sample and var divides by n - 1. With k sets: the mean of the values, and the sum of
    error^2 / k^2.

    Sets with the same ids (corruptions of one set) are not independent draws; they are averaged
    sample by sample first. For metrics that are not means over samples, d is the difference of the
    linearised values, and `unseen` and `bias` of both rows are added, and multiplied by
    mean_s var(d[s]) / (mean_s var(one[s]) + mean_s var(other[s])). Raises InputError if ids
    or numbers of seeds differ.
    """
    return replace(_combined(_parts([one, other])), selection=selection_variance(one, other))


def _parts(rows: Sequence[RowData]) -> list[_Part]:
    """Return the parts of the only row, or of the first row minus the second."""
    sets = len(rows[0])
    if not sets or any(len(row) != sets for row in rows):
        raise InputError(f"rows on {sorted({len(row) for row in rows})} sets cannot be compared")
    outcomes = [[o for o in row if isinstance(o, Outcomes)] for row in rows]
    linearised = [[o for o in row if isinstance(o, Linearised)] for row in rows]
    parts = []
    if any(outcomes):
        blocks = [(v[0] if len(rows) == 1 else v[0] - v[1], w) for v, w in stack_rows(outcomes)]
        fraction = len(outcomes[0]) / sets
        parts = [_part_of_moments(moments(values, weight * fraction)) for values, weight in blocks]
    by_ids: dict[str, list[list[Linearised]]] = {}
    for of_set in zip(*linearised, strict=True):
        by_ids.setdefault(of_set[0].ids, []).append(list(of_set))
    for same in by_ids.values():
        merged = [_merged(of_row) for of_row in zip(*same, strict=True)]
        parts.append(_part_of_linearised(merged, len(same) / sets))
    return parts


def _merged(sets: Sequence[Linearised]) -> Linearised:
    """Return the plain mean over sets that share samples."""
    arrays = zip(*((one.values, one.unseen, one.bias) for one in sets), strict=True)
    return Linearised(sets[0].ids, sets[0].n, *(np.mean(found, axis=0) for found in arrays))


def _part_of_linearised(of_set: Sequence[Linearised], weight: float) -> _Part:
    """Return a set's part for the only row, or for the first row minus the second."""
    count = max(len(o.values) for o in of_set)
    _check_paired(of_set, count)
    values, *others = (np.broadcast_to(o.values, (count, o.values.shape[1])) for o in of_set)
    d = values - others[0] if others else values
    part = _part_of_moments(moments(d, weight))
    agreement = 1.0
    if others:  # rows that agree on the samples seen are taken to agree as much on others
        own = sum(float(v.var(axis=1).mean()) for v in (values, *others))
        agreement = float(d.var(axis=1).mean()) / own if own else 0.0
    unseen = agreement * sum(float(o.unseen.mean()) for o in of_set) + 1 / of_set[0].n ** 2
    bias = agreement * sum(float(o.bias.mean()) for o in of_set)
    return part._replace(unseen=weight**2 * unseen, bias=weight * float(np.sqrt(bias)))


def _check_paired(rows: RowData, count: int) -> None:
    """Raise InputError unless outcomes of rows on one set, of 1 or `count` seeds, can be paired."""
    if len({(o.ids, o.values.shape[1]) for o in rows}) > 1:
        raise InputError("rows were measured on different samples: ids or labels differ")
    if odd := {len(o.values) for o in rows} - {1, count}:
        raise InputError(f"rows of {odd.pop()} and of {count} seeds cannot be paired by seed")


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
        _check_paired(of_set, count)
        values = [np.broadcast_to(o.values, (count, o.values.shape[1])) for o in of_set]
        blocks.setdefault(of_set[0].ids, []).append(np.array(values, dtype=np.float64))
    return [(np.mean(same, axis=0), len(same) / sets) for same in blocks.values()]

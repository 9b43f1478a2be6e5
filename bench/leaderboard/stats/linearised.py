"""A row's outcomes in the primary metric of a set, from its stored samples.

Accuracy and pm-k are means over samples or sets of frames: their outcomes are 0 or 1 and their
intervals exact. Macro-F1 and the worst region are not means. `linearised` returns numbers by sample
whose mean is the metric and whose variance is, to first order, that of the metric: the value plus n
times the influence of the sample (the infinitesimal jackknife: Efron, The Jackknife, the Bootstrap
and Other Resampling Plans, 1982, chapter 6). Rows on one set are paired by sample, as accuracies
are, and the variance over seeds and sets is that of any mean over samples.

A class or region of few samples may look certain: all of them right or all wrong. Therefore each
counts one more sample, half of it right and half wrong, as Agresti and Coull do for a proportion
(The American Statistician 52, 1998). Let T be the samples of class c that are right, S the sum of
the samples that have c as their label and of those that are predicted as c, K the number of classes
that have samples, and

    f = (2 T + 1) / (S + 1.5),    a = f / (K S),    b = (2 - 2 f) / (K S).

A sample of class y that is predicted as p has the influence b[y] if y = p, else -a[y] - a[p] (with
a[p] = 0 if no sample has label p). The additional samples have the variance
sum_c (a[c]^2 + b[c]^2) / 2.

The accuracy of the worst region, k right of n samples, has the influence (right - k/n) / n in that
region, 0 elsewhere, and ((1 - q)^2 + q^2) / (2 n^2) for the additional sample, q = (k + 1/2) /
(n + 1). The lowest of several measured accuracies is too low by chance if others are nearly as low.
Let m be the number of regions, the worst one included, that are less than 1.96 standard errors
above it. Only bounds above the value are then likely to fail: with probability up to

    1 - (1 - tail)^m,    set to 5% - 2.5% / m,

because the lower bound would have to fail in all m regions at once. With the normal quantile z of
that tail, the variance is multiplied by (z / 1.96)^2: by 1 for m = 1, by 1.45 for m = 5. What this
adds to the variance is the `bias` of `Linearised`.

With cameras as units, few of them may make up most of the variance, which is then uncertain itself.
Their effective number is (sum e^2)^2 / sum e^4, e the sum of influences of a camera. With t the
quantile of Student's t with one degree of freedom less, at least 1, the variance is multiplied by
(t / 1.96)^2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from bench.api.metrics import ACCURACY, OWN, macro_f1, pm, worst_group
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats.estimates import LEVEL
from bench.leaderboard.stats.outcomes import Floats, Linearised

LOCATION = "location"
"""The grouping whose groups are sampled as units, if a set has it: pictures of one camera."""
EDGE = float(ndtri((1 + LEVEL) / 2))
"""Regions within so many standard errors of the worst one may truly be the worst."""


def outcomes_of(outputs: SampleOutputs) -> NDArray[np.bool_] | None:
    """Return the outcomes [n'] of samples, or of sets of frames, in the set's primary metric.

    None if that metric is not a mean over them.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.linearised import outcomes_of
    >>> from bench.testing.fakes import fake_records
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {})
    >>> right, predicted = np.array([True, False]), np.array([0, 0])
    >>> outcomes_of(SampleOutputs(fake_records()[0], on, right, np.array([0.9, 0.6]), predicted))
    array([ True, False])
    """
    primary = outputs.record.primary_metric
    if primary == ACCURACY.name:
        return outputs.right
    metric = OWN.get(primary)
    if metric is None or metric.function is not pm:
        return None
    groups = outputs.on.groups
    codes, members = np.unique(groups["anchor"], return_inverse=True)
    offsets = groups["offset"]
    has_anchor = np.bincount(members[offsets == 0], minlength=len(codes)) == 1
    is_miss = (np.abs(offsets) <= metric.params["k"]) & ~outputs.right
    misses = np.bincount(members[is_miss], minlength=len(codes))
    return np.asarray(misses[has_anchor] == 0)


def sampling_units(on: EvaluationSet) -> NDArray[np.int64]:
    """Return the unit [N] each sample is drawn with: itself, or its group of `LOCATION`.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet
    >>> from bench.leaderboard.stats.linearised import sampling_units
    >>> sampling_units(EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {}))
    array([0, 1])
    """
    if LOCATION not in on.groups:
        return np.arange(len(on.labels))
    return np.unique(on.groups[LOCATION], return_inverse=True)[1].astype(np.int64)


def linearised(outputs: SampleOutputs) -> Linearised | None:
    """Return the outcomes of one seed in the set's primary metric, macro-F1 or a worst region.

    None for any other metric.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.linearised import linearised
    >>> from bench.testing.fakes import fake_records
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {})
    >>> right, predicted = np.array([True, False]), np.array([0, 0])
    >>> record = fake_records()[0].model_copy(update={"primary_metric": "macro-f1"})
    >>> one = linearised(SampleOutputs(record, on, right, np.array([0.9, 0.6]), predicted))
    >>> round(float(one.values.mean()), 2)
    0.33
    """
    metric, on = OWN.get(outputs.record.primary_metric), outputs.on
    units = sampling_units(on)
    if metric is not None and metric.function is macro_f1:
        value, influence, unseen = _macro_f1(on.labels[:, 0], outputs.predicted)
        bias = 0.0
    elif metric is not None and metric.function is worst_group:
        group, skip = metric.params["group"], metric.params["skip"]
        skipped = [code for code, name in enumerate(on.names.get(group, ())) if name in skip]
        counted = ~np.isin(on.groups[group], skipped)
        influence = np.zeros(len(units))
        value, influence[counted], unseen, bias = worst_group_influence(
            on.groups[group][counted], outputs.right[counted], units[counted]
        )
    else:
        return None
    return by_units(on, value, influence, unseen, bias)


def by_units(
    on: EvaluationSet, value: float, influence: Floats, unseen: float, bias: float = 0.0
) -> Linearised:
    """Return a metric of one seed with the influences [N] of samples summed by unit of sampling.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet
    >>> from bench.leaderboard.stats.linearised import by_units
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {})
    >>> by_units(on, 0.5, np.array([0.25, -0.25]), unseen=0.0).values
    array([[1., 0.]])
    """
    units = sampling_units(on)
    summed: Floats = np.bincount(units, weights=influence).astype(np.float64)
    by_unit = summed - float(summed.mean())
    if LOCATION in on.groups:
        unseen += _of_few(by_unit) * (float((by_unit**2).sum()) + unseen)
    values = value + len(by_unit) * by_unit
    return Linearised(on.digest, len(units), values[None], np.array([unseen]), np.array([bias]))


def _macro_f1(
    labels: NDArray[np.int64], predicted: NDArray[np.int64]
) -> tuple[float, Floats, float]:
    """Return the value, the influence of each sample [N], and the variance not seen."""
    right, size = labels == predicted, 1 + int(max(labels.max(), predicted.max()))
    labelled, guessed, hits = (
        np.bincount(chosen, minlength=size).astype(float)
        for chosen in (labels, predicted, labels[right])
    )
    both = labelled + guessed
    share = np.divide(labelled > 0, (labelled > 0).sum() * both, out=0 * both, where=both > 0)
    f1 = (2 * hits + 1) / (both + 1.5)
    lost, won = share * f1, share * (2 - 2 * f1)
    influence = np.where(right, won[labels], -lost[labels] - lost[predicted])
    return float((2 * hits * share).sum()), influence, float((lost**2 + won**2).sum()) / 2


class GroupAccuracies(NamedTuple):
    """The accuracies of G groups of N samples, to first order.

    Attributes
    ----------
    members : [N], the group of each sample, from 0 to G - 1.
    n, k : [G], the numbers of samples and of those that are right.
    influence : [N], that of a sample on the accuracy of its group.
    one_more : [G], the variance of one more sample, half of it right and half wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.linearised import group_accuracies
    >>> group_accuracies(np.array([3, 3, 7]), np.array([True, False, True])).members
    array([0, 0, 1])
    """

    members: NDArray[np.int64]
    n: NDArray[np.int64]
    k: Floats
    influence: Floats
    one_more: Floats


def group_accuracies(codes: NDArray[np.int64], right: NDArray[np.bool_]) -> GroupAccuracies:
    """Return the accuracy of each group among `codes` [N], in their order; `right` is [N].

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.linearised import group_accuracies
    >>> found = group_accuracies(np.array([3, 3, 7]), np.array([True, False, True]))
    >>> found.k / found.n, found.influence
    (array([0.5, 1. ]), array([ 0.25, -0.25,  0.  ]))
    """
    members = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    n = np.bincount(members)
    k = np.bincount(members, weights=right).astype(np.float64)
    influence = (right - (k / n)[members]) / n[members]
    q = (k + 0.5) / (n + 1)
    return GroupAccuracies(members, n, k, influence, ((1 - q) ** 2 + q**2) / (2 * n**2))


def worst_group_influence(
    codes: NDArray[np.int64], right: NDArray[np.bool_], units: NDArray[np.int64]
) -> tuple[float, Floats, float, float]:
    """Return the value, the influence of each sample [N], the variance not seen, and the bias.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.linearised import worst_group_influence
    >>> codes, right = np.array([0, 0, 1, 1]), np.array([True, True, True, False])
    >>> value, influence, *_ = worst_group_influence(codes, right, np.arange(4))
    >>> value, influence.tolist()
    (0.5, [0.0, 0.0, 0.25, -0.25])
    """
    members, n, k, influence, one_more = group_accuracies(codes, right)
    pairs, pair_of = np.unique(units * len(n) + members, return_inverse=True)
    by_unit = np.bincount(pair_of, weights=influence)
    variance = np.bincount(pairs % len(n), weights=by_unit**2) + one_more
    worst = int(np.argmin(k / n))
    above = (k / n - k[worst] / n[worst]) / np.sqrt(variance + variance[worst])
    bias = float(variance[worst] * _widening(int((above < EDGE).sum())))
    of_worst = np.where(members == worst, influence, 0.0)
    return float(k[worst] / n[worst]), of_worst, float(one_more[worst]), bias


def _of_few(by_unit: Floats) -> float:
    """Return by what fraction a variance grows if few units make up most of it."""
    squares = by_unit**2
    if not squares.any():
        return 0.0
    effective = squares.sum() ** 2 / (squares**2).sum()
    return float((stdtrit(max(effective - 1, 1), (1 + LEVEL) / 2) / EDGE) ** 2 - 1)


def _widening(regions: int) -> float:
    """Return by what fraction the variance grows if any of `regions` may be the worst."""
    tail = (1 - LEVEL) / 2
    z = ndtri((1 - 2 * tail + tail / regions) ** (1 / regions))
    return float((z / EDGE) ** 2 - 1)

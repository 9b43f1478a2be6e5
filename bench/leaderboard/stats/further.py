"""Outcomes to first order in the metrics that runs have only where they were asked for.

Balanced accuracy, the worst class, the AUROC of confidence and the AURC are not means over samples.
As for macro-F1, `linearised_in` returns numbers by sample whose mean is the metric and whose
variance is, to first order, that of the metric: the value plus n times the influence of the sample
(`bench.leaderboard.stats.linearised`). The variance over seeds and sets then is that of any mean.
Let n be the number of samples.

Balanced accuracy, k_c right of n_c samples in each of K classes: the influence of a sample of class
c is (right - k_c / n_c) / (K n_c). A class of few samples may look certain, so each counts one more
sample, half of it right and half wrong, of variance ((1 - q)^2 + q^2) / (2 n_c^2 K^2), where
q = (k_c + 1/2) / (n_c + 1). The worst class is treated as the worst region is. As
classes are many and small, its bias is at least so large that the interval reaches the lowest exact
upper bound (Clopper and Pearson) of the m classes that may be the worst, with tails of 2.5% / m:
those whose accuracy is at most the exact upper bound, with a tail of 2.5%, of the lowest one.

AUROC A, with p right and m wrong samples: V of a right sample is the fraction of the wrong ones
with a lower confidence, V of a wrong sample the fraction of the right ones with a higher one, where
equal confidences count half. The influences are (V - A) / p and (V - A) / m (DeLong, DeLong and
Clarke-Pearson, Biometrics 44, 1988). One more sample of each kind adds the variance
((1 - A)^2 + A^2) (1 / p^2 + 1 / m^2) / 2.

AURC, with risks s_k among the k most confident samples: the influence of the sample of rank r, with
error 1 if it is wrong and 0 if not, is (s_r - AURC + sum_{k >= r} (error - s_k) / k) / n. It is
the derivative of the mean over samples of wrong-above / all-above, two sums over the samples that
are at least as confident. One more sample at any rank, half of it wrong, adds the variance 1 / n^2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from bench.api.metrics import BY_CLASS, selective_risks
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.stats.estimates import LEVEL
from bench.leaderboard.stats.linearised import (
    EDGE,
    by_units,
    group_accuracies,
    sampling_units,
    worst_group_influence,
)
from bench.leaderboard.stats.outcomes import Floats, Linearised


def linearised_in(metric: str, outputs: SampleOutputs) -> Linearised | None:
    """Return the outcomes of one seed in `metric`, to first order.

    None for any other metric than those of the module, and where it is not defined.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.further import linearised_in
    >>> from bench.testing.fakes import fake_records
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {})
    >>> right, predicted = np.array([True, False]), np.array([0, 0])
    >>> one = SampleOutputs(fake_records()[0], on, right, np.array([0.9, 0.6]), predicted)
    >>> [float(linearised_in(name, one).values.mean()) for name in ("balanced", "auroc", "aurc")]
    [0.5, 1.0, 0.25]
    """
    on, right, confidence = outputs.on, outputs.right, outputs.confidence
    if metric in BY_CLASS:
        labels = on.labels[:, 0]
        if on.labels.shape[1] > 1 or (labels < 0).any():
            return None
        if metric == "worst-class":
            return by_units(on, *_worst_class(labels, right, sampling_units(on)))
        return by_units(on, *_balanced(labels, right))
    if metric == "auroc" and right.any() and not right.all():
        return by_units(on, *_auroc(confidence, right))
    return by_units(on, *_aurc(confidence, right)) if metric == "aurc" else None


def _balanced(labels: NDArray[np.int64], right: NDArray[np.bool_]) -> tuple[float, Floats, float]:
    """Return the value, the influence of each sample [N], and the variance not seen."""
    of = group_accuracies(labels, right)
    unseen = float(of.one_more.sum()) / len(of.n) ** 2
    return float((of.k / of.n).mean()), of.influence / len(of.n), unseen


def _worst_class(
    labels: NDArray[np.int64], right: NDArray[np.bool_], units: NDArray[np.int64]
) -> tuple[float, Floats, float, float]:
    """Return the value, the influence of each sample [N], the variance not seen, and the bias."""
    value, influence, unseen, bias = worst_group_influence(labels, right, units)
    _, n, k, *_ = group_accuracies(labels, right)
    tail, worst = (1 - LEVEL) / 2, int(np.argmin(k / n))
    may_be = k / n <= _upper(k, n, tail)[worst]
    above = float(_upper(k, n, tail / may_be.sum())[may_be].min()) - value
    seen = float((influence**2).sum())
    return value, influence, unseen, max(bias, (above / EDGE) ** 2 - seen - unseen)


def _upper(k: Floats, n: NDArray[np.int64], tail: float) -> Floats:
    """Return the exact upper bound of each accuracy, k right of n."""
    bounds = betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail)
    return np.where(k < n, bounds, 1.0)


def _auroc(confidence: Floats, right: NDArray[np.bool_]) -> tuple[float, Floats, float]:
    """Return the value, the influence of each sample [N], and the variance not seen."""
    positives, negatives = np.sort(confidence[right]), np.sort(confidence[~right])
    placements = np.where(
        right,
        _fraction_below(negatives, confidence),
        1 - _fraction_below(positives, confidence),
    )
    value = float(placements[right].mean())
    influence = (placements - value) / np.where(right, len(positives), len(negatives))
    spread = ((1 - value) ** 2 + value**2) / 2
    return value, influence, spread * (1 / len(positives) ** 2 + 1 / len(negatives) ** 2)


def _fraction_below(others: Floats, values: Floats) -> Floats:
    """Return the fraction of sorted `others` below each value; equal ones count half."""
    sides = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    return np.asarray(sides / (2 * len(others)))


def _aurc(confidence: Floats, right: NDArray[np.bool_]) -> tuple[float, Floats, float]:
    """Return the value, the influence of each sample [N], and the variance not seen."""
    n = len(right)
    risks, rank = selective_risks(confidence, right), np.arange(1, n + 1)
    value = float(risks.mean())
    order = np.argsort(-confidence, kind="stable")
    from_here = np.cumsum((1 / rank)[::-1])[::-1]
    own = risks - value - np.cumsum((risks / rank)[::-1])[::-1]
    # Samples of equal confidence have the mean of their ranks' terms.
    _, level, count = np.unique(confidence, return_inverse=True, return_counts=True)
    weight, rest = (np.bincount(level[order], weights=t) / count for t in (from_here, own))
    influence = (rest[level] + ~right * weight[level]) / n
    return value, influence, 1 / n**2

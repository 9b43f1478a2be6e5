"""How OSE, VRF and temperature scaling are put together: for the estimators and for the methods.

The single formulas are in `bench.posthoc.functional`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.errors import unknown_name
from bench.posthoc.functional import (
    TEMPERATURES,
    Floats,
    log_softmax,
    mix,
    sigmoid_weight,
)
from bench.posthoc.neighbors import kth_distance
from bench.posthoc.remarks import remark
from bench.posthoc.selection import WEIGHTS


def fit_temperatures(
    criterion: str, labels: NDArray[np.int64], *logits: Floats
) -> tuple[float, ...]:
    """Return a temperature > 0 for each of several models, fitted on held-out data.

    Parameters
    ----------
    criterion : ``nll``, ``confidence`` or ``none`` (1 for all), see `TEMPERATURES`.
    labels : [N], in [0, C).
    logits : [N, C] of each model.

    Raises InputError for another criterion.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.ensembles import fit_temperatures
    >>> logits = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])  # 1 of 4 is wrong
    >>> [round(t, 1) for t in fit_temperatures("nll", np.array([0, 0, 1, 1]), logits, logits / 2)]
    [8.2, 4.1]
    """
    if criterion not in TEMPERATURES:
        raise unknown_name("criterion", criterion, TEMPERATURES)
    return tuple(TEMPERATURES[criterion](one, labels) for one in logits)


def scaled_log_probs(scores: Floats, temperature: float) -> Floats:
    """Return log softmax(scores / T), [N, C]: temperature scaling of logits or log-probabilities.

    Guo et al., ICML 2017, section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.ensembles import scaled_log_probs
    >>> np.exp(scaled_log_probs(np.log([[0.8, 0.2]]), 2.0)).round(2)
    array([[0.67, 0.33]])
    """
    return log_softmax(scores if temperature == 1 else scores / temperature)


def average_logits(logits_zs: Floats, logits_ft: Floats, alpha: float) -> Floats:
    """Return (1 - alpha) f_zs + alpha f_ft, [N, C], in the precision of the zero-shot logits.

    WiSE-FT's output-space ensemble (Wortsman et al., CVPR 2022, section 3 and figure 10).

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.ensembles import average_logits
    >>> average_logits(np.array([[4.0, 0.0]]), np.array([[0.0, 2.0]]), 0.25)
    array([[3. , 0.5]])
    """
    weight = logits_zs.dtype.type(alpha)
    return (1 - weight) * logits_zs + weight * logits_ft


@dataclass(frozen=True)
class LogProbPair:
    """Log-probabilities [N, C] of the zero-shot and the fine-tuned model on the same samples.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.ensembles import LogProbPair
    >>> zs, ft = np.log([[0.8, 0.2]]), np.log([[0.4, 0.6]])
    >>> np.exp(LogProbPair.of(zs, ft).average(0.5)).round(2)
    array([[0.6, 0.4]])
    """

    zs: Floats
    ft: Floats

    @classmethod
    def of(
        cls, logits_zs: Floats, logits_ft: Floats, temperatures: tuple[float, float] = (1.0, 1.0)
    ) -> LogProbPair:
        """Return the log-probabilities softmax(logits / T) of both models."""
        return cls(*map(scaled_log_probs, (logits_zs, logits_ft), temperatures))

    def average(self, weight: ArrayLike) -> Floats:
        """Return the log of the averaged probabilities, [N, C].

        `weight` is the weight on the fine-tuned model in [0, 1]: one number for all samples (OSE;
        Zhu et al., NeurIPS 2024, equation 1), or [N] (VRF; step 3).
        """
        return mix(self.zs, self.ft, weight)


def distance_to_kth(queries: Floats, reference: Floats, k: int) -> NDArray[np.float32]:
    """Return the distance of features [N, D] to the k-th nearest of reference features [V, D], [N].

    Both are normalised here, so it is in [0, 2]. It is infinite if there are no references: with an
    infinite distance to V, VRF's weight is 0, so if fine-tuning corrected no training sample, the
    zero-shot model is used (Zhu et al., NeurIPS 2024, equation 3 and step 2).

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.ensembles import distance_to_kth
    >>> distance_to_kth(np.eye(3), np.eye(3)[:2], k=1).round(2)
    array([0.  , 0.  , 1.41], dtype=float32)
    """
    if not len(reference):
        return np.full(len(queries), np.inf, dtype=np.float32)
    return kth_distance(queries, reference, k)


B_GRID = (0.05, 0.1, 0.2, 0.4)
"""Values of b to choose from, on plain distances.

The published (a, b), on squared distances, are (1.5, 0.6), (1.1, 0.6) and (0.3, 0.3). With
d = sqrt(d2) and slope dd = dd2 / 2d they become (1.2, 0.24), (1.0, 0.29) and (0.55, 0.27).
"""


class WeightCandidate(NamedTuple):
    """A pair (a, b) of VRF and its mean weight on the selection split, in [0, 1].

    Examples
    --------
    >>> from bench.posthoc.ensembles import WeightCandidate
    >>> WeightCandidate(a=0.5, b=0.1, weight=0.4).weight
    0.4
    """

    a: float
    b: float
    weight: float


def weight_candidates(
    distance: Floats, a_grid: Sequence[float] | None = None, b_grid: Sequence[float] = B_GRID
) -> list[WeightCandidate]:
    """Return the pairs (a, b) to choose from, with their mean weights at distances [N].

    With an `a_grid`, all pairs. Without one, for each b those a for which the mean weight is 0,
    0.02, ..., 1 (0 and 1 to within 1e-6), so that VRF has no finer steps than other ensembles.
    If distances are infinite, because V is empty, every weight is 0 and a = 0 stands for all; that
    is remarked (`bench.posthoc.remarks`).

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.ensembles import weight_candidates
    >>> found = weight_candidates(np.linspace(0.2, 0.8, 7), b_grid=[0.1])
    >>> len(found), found[25]
    (51, WeightCandidate(a=0.5, b=0.1, weight=0.5))
    """
    if np.isinf(distance).any():
        remark(
            "The failure set V is empty, as fine-tuning corrected no training sample: every weight "
            "is 0, and the classifier is the zero-shot one."
        )
    if a_grid is None:
        pairs = [(a, b) for b in b_grid for a in _offsets(distance, b)]
    else:
        pairs = list(product(a_grid, b_grid))
    means = (float(sigmoid_weight(distance, a, b).mean()) for a, b in pairs)
    return [
        WeightCandidate(a, b, round(mean, 6)) for (a, b), mean in zip(pairs, means, strict=True)
    ]


NEARLY, QUANTILES = 1e-6, 4096
"""How close the mean weights come to 0 and 1, and the number of distances they are solved for."""


def _offsets(distance: Floats, b: float) -> list[float]:
    """Return, for each mean weight of `WEIGHTS`, the a that gives it, to six decimals.

    The mean weight increases with a, so a is found by bisection. Of many distances, the means of
    equal parts of the sorted ones are used, which changes the mean weight by less than 1e-4.
    """
    if not np.isfinite(distance).all():
        return [0.0]
    parts = np.array_split(np.sort(distance.astype(np.float64)), min(QUANTILES, len(distance)))
    d = np.array([part.mean() for part in parts])
    share = np.array([len(part) for part in parts]) / len(distance)
    target = np.clip(WEIGHTS, NEARLY, 1 - NEARLY)
    low = np.full(len(target), d[0] - 20 * b)
    high = np.full(len(target), d[-1] + 20 * b)
    for _ in range(50):
        a = (low + high) / 2
        mean = share @ sigmoid_weight(d[:, None] - a, 0.0, b)
        low, high = np.where(mean < target, a, low), np.where(mean < target, high, a)
    return [round(float(one), 6) for one in high]

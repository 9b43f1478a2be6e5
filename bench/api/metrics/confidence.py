"""Metrics of confidence as a score: whether it is higher where the prediction is right.

The confidence of a sample is its largest probability. Both metrics depend on the order of
confidences alone. Samples of equal confidence have no order: all of their orders count the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.api.metrics.labels import correct
from bench.api.metrics.metric import LogProbs
from bench.api.splits import Manifest
from bench.core.errors import CellError


def auroc(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the area under the ROC curve of confidence for being right, in [0, 1].

    The probability that a right prediction has a higher confidence than a wrong one, where equal
    confidences count half (Hendrycks and Gimpel, A Baseline for Detecting Misclassified and
    Out-of-Distribution Examples, ICLR 2017). 0.5 is chance. Raises CellError if all
    predictions are right or all are wrong: it is not defined then.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import auroc
    >>> from bench.api.splits import single_label
    >>> log_probs = np.log([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3]])
    >>> auroc(log_probs, single_label("abcd", [0, 0, 0, 1]))  # the wrong one is third
    0.6666666666666666
    """
    right, confidence = correct(log_probs, manifest), log_probs.max(axis=1)
    if right.all() or not right.any():
        which = "right" if right.all() else "wrong"
        raise CellError(
            f"auroc: all {len(right)} predictions are {which}, expected right and wrong ones"
        )
    _, level, count = np.unique(confidence, return_inverse=True, return_counts=True)
    middle_rank = (np.cumsum(count) - (count - 1) / 2)[level]
    positives, negatives = int(right.sum()), int((~right).sum())
    above = middle_rank[right].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def aurc(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the area under the risk-coverage curve, in [0, 1]; lower is better.

    (1/N) sum_k r_k, where r_k is the fraction of wrong predictions among the k most confident
    samples (Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers, ICLR 2019). It falls with the error rate and with a better order.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import aurc
    >>> from bench.api.splits import single_label
    >>> log_probs = np.log([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3]])
    >>> round(aurc(log_probs, single_label("abcd", [0, 0, 0, 1])), 3)  # (0 + 0 + 1/3 + 1/4) / 4
    0.146
    """
    return float(selective_risks(log_probs.max(axis=1), correct(log_probs, manifest)).mean())


def selective_risks(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the fraction of wrong predictions among the k most confident, for k = 1, ..., N: [N].

    Where it depends on the order of samples of equal confidence, it is the mean over their orders.
    `confidence` [N] is any score that rises with it.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import selective_risks
    >>> selective_risks(np.array([0.9, 0.9, 0.5]), np.array([True, False, True])).round(3)
    array([0.5  , 0.5  , 0.333])
    """
    order = np.argsort(-confidence, kind="stable")
    _, level, count = np.unique(confidence, return_inverse=True, return_counts=True)
    share = (np.bincount(level, weights=~right) / count)[level]
    return np.asarray(np.cumsum(share[order]) / np.arange(1, len(right) + 1))

"""Proper scores of all probabilities: the negative log-likelihood and the Brier score."""

from __future__ import annotations

import numpy as np

from bench.api.metrics.labels import best_label
from bench.api.metrics.metric import LogProbs
from bench.api.splits import Manifest
from bench.core.errors import CellError


def nll(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the mean negative log-likelihood of the most probable acceptable label, in nats, >= 0.

    The mean is over the samples that have an acceptable label. Raises CellError if none has one.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import nll
    >>> from bench.api.splits import single_label
    >>> round(nll(np.log([[0.5, 0.5]] * 2), single_label("ab", [0, 1])), 3)  # log 2
    0.693
    """
    rows = np.flatnonzero(manifest.first >= 0)
    if not len(rows):
        raise CellError("nll: none of the samples has a correct class, expected at least one")
    of_label = log_probs[rows, best_label(log_probs, manifest)[rows]]
    return float(max(0.0, -of_label.mean(dtype=np.float64)))


def brier(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the multi-class Brier score in [0, 2]: mean of sum_c (p_c - y_c)^2 (Brier, 1950).

    y is one-hot at the most probable acceptable label. For a sample without one, it is one-hot at
    an additional class of probability 0.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import brier
    >>> from bench.api.splits import single_label
    >>> round(brier(np.log([[0.8, 0.2]] * 2), single_label("ab", [0, 1])), 2)
    0.68
    """
    error = np.exp(log_probs)
    is_known = manifest.first >= 0
    rows = np.flatnonzero(is_known)
    error[rows, best_label(log_probs, manifest)[rows]] -= 1
    of_sample = np.square(error, out=error).sum(axis=1, dtype=np.float64) + ~is_known
    return float(of_sample.mean())

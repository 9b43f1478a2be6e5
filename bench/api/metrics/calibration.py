"""Metrics of calibration: how far confidence is from accuracy."""

from __future__ import annotations

import numpy as np

from bench.api.metrics.labels import best_label, correct
from bench.api.metrics.metric import LogProbs
from bench.api.splits import Manifest
from bench.posthoc.calibration_error import Edges, adaptive_calibration_error, calibration_error


def ece(
    log_probs: LogProbs,
    manifest: Manifest,
    *,
    bins: int,
    batch: int | None = None,
    edges: Edges = "upper",
) -> float:
    """Return the expected calibration error in [0, 1]: sum_b n_b/N |acc_b - conf_b|.

    Guo et al., ICML 2017, equation 3. Confidence is the largest probability; bin b of `bins` is
    ((b-1)/bins, b/bins]. `batch` and `edges` as in `bench.posthoc.calibration_error`; use them only
    for comparisons with CaRot's tables (docs/methods.md section 11).

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import ece
    >>> from bench.api.splits import single_label
    >>> round(ece(np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1]), bins=15), 2)
    0.15
    """
    confidence = np.exp(log_probs.max(axis=1).astype(np.float64))
    right = correct(log_probs, manifest)
    return calibration_error(confidence, right, bins=bins, batch=batch, edges=edges)


def adaptive_ece(log_probs: LogProbs, manifest: Manifest, *, bins: int) -> float:
    """Return the ECE over `bins` bins of equal mass, in [0, 1] (Nguyen and O'Connor, EMNLP 2015).

    Each bin has N / bins samples, up to one, in the order of confidence; the rest is as in `ece`.
    Mukhoti et al., NeurIPS 2020, report it as AdaECE. Samples of equal confidence are not ordered:
    `bench.posthoc.calibration_error.adaptive_calibration_error` says how they count.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import adaptive_ece
    >>> from bench.api.splits import single_label
    >>> log_probs = np.log([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    >>> round(adaptive_ece(log_probs, single_label("abcd", [0, 0, 0, 1]), bins=2), 3)
    0.15
    """
    confidence = np.exp(log_probs.max(axis=1).astype(np.float64))
    return adaptive_calibration_error(confidence, correct(log_probs, manifest), bins=bins)


def classwise_ece(log_probs: LogProbs, manifest: Manifest, *, bins: int) -> float:
    """Return the mean over classes of the ECE of a class's own probability, in [0, 1].

    (1/C') sum_c sum_b n_bc/N |y_bc - p_bc|, where bin b of class c has the n_bc samples whose
    probability of c is in ((b-1)/bins, b/bins], p_bc is the mean of these probabilities and y_bc
    the fraction of these samples that are of class c (Kull et al., NeurIPS 2019). A
    sample with several acceptable labels is of the most probable one; a sample without one is of no
    class. Most probabilities are small, so it is smaller the more classes there are: only values on
    one set of classes can be compared.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import classwise_ece
    >>> from bench.api.splits import single_label
    >>> log_probs, manifest = np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1])
    >>> round(classwise_ece(log_probs, manifest, bins=15), 2)
    0.15
    """
    label, classes = best_label(log_probs, manifest), log_probs.shape[1]
    errors = [
        calibration_error(np.exp(log_probs[:, c].astype(np.float64)), label == c, bins=bins)
        for c in range(classes)
    ]
    return float(np.mean(errors))

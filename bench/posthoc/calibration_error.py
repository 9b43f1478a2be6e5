"""The expected calibration error of confidences, over bins of equal width or of equal mass."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError

Edges = Literal["upper", "lower"]


def calibration_error(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    *,
    bins: int,
    batch: int | None = None,
    edges: Edges = "upper",
) -> float:
    """Return the expected calibration error in [0, 1]: sum_b n_b/N |acc_b - conf_b|.

    Parameters
    ----------
    confidence : [N], in [0, 1].
    right : [N], whether each prediction is right.
    bins : the number of bins of equal width.
    batch : None for bins over the whole set. Otherwise the error is computed for each batch of
        `batch` samples in their order and averaged, weighted by size. The result is never below the
        error of the whole set, and 0.02 to 0.05 even for a perfectly calibrated model.
    edges : ``upper``: bins are ((b-1)/bins, b/bins]. ``lower``: they are [(b-1)/bins, b/bins) in
        float32, and confidences of exactly 1 have a bin of their own, as in torchmetrics.

    CaRot's evaluator has 10 bins, ``lower`` and batches of 512 (MLAI-Yonsei/CaRot c3e8bdc,
    ``eval_single_dataset`` in ``src/models/eval.py``).

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.calibration_error import calibration_error
    >>> confidence, right = np.array([0.95, 1.0]), np.array([True, False])
    >>> round(calibration_error(confidence, right, bins=10), 3)
    0.475
    >>> round(calibration_error(confidence, right, bins=10, edges="lower"), 3)
    0.525
    """
    _check_counts(bins=bins, batch=1 if batch is None else batch)
    inner = np.arange(1, bins) / bins
    if edges == "upper":
        bin_of, count = np.searchsorted(inner, confidence, side="left"), bins
    else:
        confidence = confidence.astype(np.float32)
        limits = np.append(inner, 1).astype(np.float32)
        bin_of, count = np.searchsorted(limits, confidence, side="right"), bins + 1
    if batch is not None:
        bin_of += np.arange(len(confidence)) // batch * count
    # n_b |acc_b - conf_b| of each bin, or of each bin of each batch.
    gap = np.bincount(bin_of, weights=right - confidence)
    return float(np.abs(gap).sum() / len(confidence))


def adaptive_calibration_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], *, bins: int
) -> float:
    """Return the calibration error over `bins` bins of equal mass, in [0, 1].

    It is sum_b n_b/N |acc_b - conf_b| over bins of N / bins samples in the order of confidence; the
    first N mod bins bins have one sample more. Confidences [N] and `right` [N] are as in
    `calibration_error`. Samples of equal confidence have no order: each counts as right with the
    fraction of them that is right, so the result does not depend on the order of the samples.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.calibration_error import adaptive_calibration_error
    >>> confidence, right = np.array([0.9, 0.9, 0.6, 0.5]), np.array([True, False, True, True])
    >>> round(adaptive_calibration_error(confidence, right, bins=2), 3)
    0.425
    """
    _check_counts(bins=bins)
    _, level, count = np.unique(confidence, return_inverse=True, return_counts=True)
    share = (np.bincount(level, weights=right) / count)[level]
    gap = (share - confidence)[np.argsort(confidence, kind="stable")]
    sums = [abs(float(part.sum())) for part in np.array_split(gap, min(bins, len(gap)))]
    return sum(sums) / len(gap)


def _check_counts(**counts: int) -> None:
    """Raise InputError if one of the numbers is not a whole number from 1 on."""
    for name, value in counts.items():
        if not isinstance(value, int | np.integer) or value is True or not 1 <= value < 2**31:
            raise InputError(f"{name}={value!r}: expected a whole number from 1 on")

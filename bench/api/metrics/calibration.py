"""Metrics of calibration: how far confidence is from accuracy."""

from __future__ import annotations

import numpy as np

from bench.api.metrics.labels import correct
from bench.api.metrics.metric import LogProbs
from bench.api.splits import Manifest
from bench.posthoc.calibration_error import Edges, calibration_error


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

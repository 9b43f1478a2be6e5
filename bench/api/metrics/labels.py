"""Which class of a sample counts: whether a prediction is right, and the label of a score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.api.metrics.metric import LogProbs
from bench.api.splits import Manifest


def correct(log_probs: LogProbs, manifest: Manifest) -> NDArray[np.bool_]:
    """Return whether each sample's top-1 class is acceptable: bool [N]. Ties go to the lowest.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import correct
    >>> from bench.api.splits import single_label
    >>> correct(np.log([[0.9, 0.1]] * 2), single_label("ab", [0, 1]))
    array([ True, False])
    """
    predicted = log_probs.argmax(axis=1)[:, None]
    return np.asarray((manifest.labels == predicted).any(axis=1))


def best_label(log_probs: LogProbs, manifest: Manifest) -> NDArray[np.int64]:
    """Return each sample's most probable acceptable label [N]; -1 if it has none.

    Ties go to the label listed first.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics.labels import best_label
    >>> from bench.api.splits import Manifest
    >>> manifest = Manifest(("a", "b"), np.array([[0, 1], [-1, -1]]))
    >>> best_label(np.log([[0.2, 0.8]] * 2), manifest)
    array([ 1, -1])
    """
    labels = manifest.labels
    values = np.take_along_axis(log_probs, np.maximum(labels, 0), axis=1)
    # Padding (-1) must rank below an acceptable label of probability 0.
    rank = np.where(labels < 0, -np.inf, np.nan_to_num(values))
    best = rank.argmax(axis=1)[:, None]
    return np.asarray(np.take_along_axis(labels, best, axis=1)[:, 0])

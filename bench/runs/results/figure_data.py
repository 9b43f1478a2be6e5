"""The data of VRF's figures for a row on one evaluation set.

A figure is measured like a metric: its record has a number as value and the figure in `data`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from bench.api.method import Prediction
from bench.api.metrics import correct
from bench.api.splits import Manifest
from bench.core.hashing import NOT_KEYED
from bench.posthoc.functional import distance_bins, weight_histogram

BINS = 40
"""Number of bins of distance and of weight; fine enough to be merged when the figure is plotted."""


@dataclass(frozen=True)
class Figure:
    """A named figure; `function` returns (number, data) and does not enter the key."""

    kind: ClassVar[str] = "Figure"

    name: str
    title: str = field(metadata=NOT_KEYED)
    function: Callable[[Prediction, Manifest], tuple[float, dict[str, Any]]] = field(
        metadata=NOT_KEYED, repr=False
    )
    version: int = 1


def _accuracy_by_distance(
    prediction: Prediction, manifest: Manifest
) -> tuple[float, dict[str, Any]]:
    """Correct samples of both endpoints by distance to the failure set (VRF, figure 2).

    The number is the fraction of samples in a bin: samples at an infinite distance are in none. The
    data are ``edges`` [B + 1] and, per bin, ``n``, ``hits_zs`` and ``hits_ft`` [B].
    """
    assert prediction.endpoints is not None and prediction.distance is not None
    edges = np.linspace(0, prediction.reach, BINS + 1)
    right_zs, right_ft = (correct(log_probs, manifest) for log_probs in prediction.endpoints)
    counts = distance_bins(prediction.distance, right_zs, right_ft, edges)
    data = {name: counts_.tolist() for name, counts_ in counts._asdict().items()}
    return float(counts.n.sum() / len(manifest)), {"edges": edges.tolist()} | data


def _weight(prediction: Prediction, manifest: Manifest) -> tuple[float, dict[str, Any]]:
    """Distribution of the weights on the fine-tuned model.

    The number is the mean weight. The data are ``edges`` [B + 1] and, per bin, ``n`` [B].
    """
    weight = np.broadcast_to(np.asarray(prediction.weight), len(manifest))
    edges = np.linspace(0, 1, BINS + 1)
    n = weight_histogram(weight, edges).tolist()
    return float(weight.mean()), {"edges": edges.tolist(), "n": n}


FIGURES = (
    Figure("accuracy-by-distance", "Accuracy of both endpoints by distance", _accuracy_by_distance),
    Figure("weight", "Distribution of w", _weight),
)
"""All figures that runs record."""

"""The data of VRF's figures for a row on one evaluation set.

A figure is measured like a metric: its record has a number as value and the figure in `data`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.api.method import Prediction
from bench.api.metrics import correct
from bench.api.splits import Manifest
from bench.core.errors import InputError
from bench.core.hashing import NOT_KEYED
from bench.posthoc.functional import Floats

BINS = 40
"""Number of bins of distance and of weight; fine enough to be merged when the figure is plotted."""


class DistanceBins(NamedTuple):
    """Number of samples per distance bin, and of those each endpoint classifies correctly.

    `n`, `hits_zs` (zero-shot) and `hits_ft` (fine-tuned) are int64 [B]. They are counts rather than
    accuracies, so that several sets can be added.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.runs.results.figure_data import DistanceBins
    >>> first, second = DistanceBins(np.array([3]), np.array([1]), np.array([2])), [[5], [1], [4]]
    >>> DistanceBins(*map(np.add, first, second))
    DistanceBins(n=array([8]), hits_zs=array([2]), hits_ft=array([6]))
    """

    n: NDArray[np.int64]
    hits_zs: NDArray[np.int64]
    hits_ft: NDArray[np.int64]


def distance_bins(
    distance: Floats,
    correct_zs: NDArray[np.bool_],
    correct_ft: NDArray[np.bool_],
    edges: ArrayLike,
) -> DistanceBins:
    """Count correct samples of both endpoints by distance to the failure set.

    The data of VRF's figure 2 (NeurIPS 2024).

    Parameters
    ----------
    distance : [N], the distance of each sample to the failure set.
    correct_zs, correct_ft : bool [N], whether each endpoint classifies the sample correctly.
    edges : [B + 1], increasing. Bin i is [edges[i], edges[i + 1]); the last bin includes its right
        edge. Samples outside all bins, such as those at infinite distance, are not counted.

    Raises InputError for edges that do not increase, arrays of different lengths or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.runs.results.figure_data import distance_bins
    >>> correct_zs, correct_ft = np.array([False, True]), np.array([True, True])
    >>> distance_bins(np.array([0.1, 0.7]), correct_zs, correct_ft, edges=[0, 0.5, 1])
    DistanceBins(n=array([1, 1]), hits_zs=array([0, 1]), hits_ft=array([1, 1]))
    """
    if not len(distance) == len(correct_zs) == len(correct_ft):
        lengths = f"{len(distance)}, {len(correct_zs)} and {len(correct_ft)}"
        raise InputError(f"distance bins: arrays of {lengths} samples, expected equal lengths")
    counted = (distance, distance[correct_zs], distance[correct_ft])
    return DistanceBins(*(_histogram(values, edges, "distance") for values in counted))


def weight_histogram(weight: Floats, edges: ArrayLike) -> NDArray[np.int64]:
    """Return the number of weights [N] on the fine-tuned model in each bin, int64 [B].

    `edges` are as in `distance_bins`. Raises InputError for edges that do not increase or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.runs.results.figure_data import weight_histogram
    >>> weight_histogram(np.array([0.1, 0.2, 0.9]), edges=[0, 0.5, 1])
    array([2, 1])
    """
    return _histogram(weight, edges, "weight")


def _histogram(values: Floats, edges: ArrayLike, what: str) -> NDArray[np.int64]:
    bounds = np.asarray(edges, dtype=np.float64)
    if bounds.ndim != 1 or len(bounds) < 2 or not (np.diff(bounds) > 0).all():
        raise InputError(f"{what} bins: edges must be at least two increasing numbers")
    if np.isnan(values).any():
        raise InputError(f"{what} bins: a {what} is NaN")
    return np.histogram(values, bounds)[0].astype(np.int64)


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

"""The fixed reference classifier of the `adversarial` filter: ridge regression on random patches.

The features are integers small enough for exact sums, so they do not depend on the number of
threads. Only the ridge solution has rounding errors, and it is rounded to remove them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PATCH, _STRIDE, _FILTERS, _CELLS = 6, 2, 48, 2
_RIDGE = 1e-2
_SEED = 9_176
_CHUNK = 100


def _features(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return rectified random patch responses, pooled over 2 x 2 cells: integers [N, F]."""
    rng = np.random.default_rng(_SEED)
    filters = rng.integers(-8, 9, (_PATCH * _PATCH * 3, _FILTERS)).astype(np.float32)
    parts = [_pooled(images[i : i + _CHUNK], filters) for i in range(0, len(images), _CHUNK)]
    return np.concatenate(parts)


def _pooled(images: NDArray[np.uint8], filters: NDArray[np.float32]) -> NDArray[np.float64]:
    pixels = np.asarray(images, np.float32) - 128
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (_PATCH, _PATCH), axis=(1, 2))
    windows = windows[:, ::_STRIDE, ::_STRIDE]
    n, rows, columns = windows.shape[:3]
    response = np.maximum(windows.reshape(n * rows * columns, -1) @ filters, 0)
    half = rows // _CELLS
    grid = response.reshape(n, rows, columns, _FILTERS)[:, : half * _CELLS, : half * _CELLS]
    pooled = grid.reshape(n, _CELLS, half, _CELLS, half, _FILTERS).sum((2, 4), dtype=np.float64)
    return np.asarray(np.floor(pooled.reshape(n, -1) / 512))


def fit(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fit ridge weights [F + 1, C] to images [N, 32, 32, 3] and labels [N] in 0 .. C-1."""
    x = _with_bias(_features(images))
    targets = np.eye(int(labels.max()) + 1)[labels]
    gram = x.T @ x
    weights = np.linalg.solve(gram + _RIDGE * np.diag(np.diag(gram)), x.T @ targets)
    return np.asarray(np.round(weights * 2**32))


def predict(weights: NDArray[np.float64], images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the label [N] with the highest score for each image."""
    return np.asarray((_with_bias(_features(images)) @ weights).argmax(1))


def _with_bias(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hstack([x, np.ones((len(x), 1))])

"""Vectors made ready for a search, and the distance in which every search ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError


def gaps(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the distance of each row of `one` to that of `other`.

    FAISS computes squared distances as |x|^2 + |y|^2 - 2 x.y. For close pairs, cancellation causes
    errors of up to 5e-4 in their root. The norm of the difference has no such errors.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.neighbors.vectors import gaps
    >>> gaps(np.eye(2, dtype=np.float32), np.zeros((2, 2), dtype=np.float32))
    array([1., 1.])
    """
    return np.asarray(np.linalg.norm(one.astype(np.float64) - other, axis=-1))


def prepared(vectors: NDArray[np.floating], normalize: bool) -> NDArray[np.float32]:
    """Return vectors [n, D] as contiguous float32, as FAISS requires, normalised if asked.

    Raises InputError for entries that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.neighbors.vectors import prepared
    >>> prepared(np.array([[3.0, 4.0]]), normalize=True)
    array([[0.6, 0.8]], dtype=float32)
    """
    ready = np.ascontiguousarray(vectors, dtype=np.float32)
    if not np.isfinite(ready).all():
        raise InputError("neighbours: features contain NaN or infinity, expected finite numbers")
    if not normalize:
        return ready
    unit: NDArray[np.float32] = ready / lengths(ready)
    return unit


SMALLEST = 1e-15
"""A length whose square float32 holds with all its digits, as it does that of its inverse."""


def lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what normalising divides each vector [n, D] by, [n, 1]: 1 for a zero vector.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.neighbors.vectors import lengths
    >>> lengths(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32))
    array([[5.],
           [1.]], dtype=float32)
    """
    with np.errstate(over="ignore"):
        norms = np.asarray(np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
    odd = ~((norms > SMALLEST) & (norms < 1 / SMALLEST))[:, 0]  # squares beyond float32's range
    norms[odd] = np.linalg.norm(vectors[odd].astype(np.float64), axis=1, keepdims=True)
    norms[norms == 0] = 1
    return norms

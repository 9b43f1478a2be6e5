"""The k-th nearest neighbour, by FAISS or by bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.posthoc.neighbors.bounds import LARGEST_K, ROWS, RUN, by_bounds, has_fast_bf16
from bench.posthoc.neighbors.vectors import gaps, prepared

BLOCK = 2**22
"""Number of neighbours in memory at a time (12 bytes each); limits the memory for large k."""

GPU_MAX_K = 2048
"""Largest k of FAISS's GPU kernels; for larger k, the search runs on the CPU."""

GPU_SCRATCH = 256 * 2**20
"""Bytes that FAISS holds on a GPU for its own use; 1.5 GB by default."""

LARGE = 2**36
"""Products of two numbers from which `by_bounds` saves more than importing torch takes."""


def kth_distance(
    queries: NDArray[np.floating],
    reference: NDArray[np.floating],
    k: int,
    normalize: bool = True,
) -> NDArray[np.float32]:
    """Return the plain L2 distance of each query to its k-th nearest reference vector.

    This is VRF's d(x) (NeurIPS 2024, step 2). The official code uses FAISS's *squared* distances
    (docs/methods.md section 9, item 3).

    Parameters
    ----------
    queries : [M, D], finite.
    reference : [V, D], finite, V >= 1.
    k : in [1, V]; 1 is the nearest neighbour.
    normalize : divide every vector by its L2 norm first; a zero vector stays zero. Distances are
        then in [0, 2].

    Returns float32 [M]. On one machine, the same input gives the same bits. Raises InputError for
    an empty reference, vectors of different lengths, entries that are not finite, or k out of
    range.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.neighbors import kth_distance
    >>> reference = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> kth_distance(np.array([[3.0, 0.0], [1.0, 1.0]]), reference, k=2).round(3)
    array([1.414, 0.765], dtype=float32)
    """
    if queries.ndim != 2 or reference.ndim != 2 or queries.shape[1] != reference.shape[1]:
        raise InputError(
            f"neighbours: queries {queries.shape} and reference {reference.shape} do not match, "
            "expected [M, D] and [V, D]"
        )
    if len(reference) == 0:
        raise InputError("neighbours: the reference set is empty, expected at least one vector")
    if not 1 <= k <= len(reference):
        raise InputError(f"neighbours: k = {k}, expected 1 to {len(reference)}")
    products, most = len(queries) * reference.size, min(LARGEST_K, len(reference) // RUN)
    if k <= most and products >= LARGE and has_fast_bf16():
        found = by_bounds(queries, reference, k, normalize)
        if found is not None:
            return found
    return _by_faiss(queries, reference, k, normalize)


SPARE = 4
"""Neighbours beyond the k-th that are looked at, since FAISS orders them by rounded distances."""


def _by_faiss(
    queries: NDArray[np.floating], reference: NDArray[np.floating], k: int, normalize: bool
) -> NDArray[np.float32]:
    points = prepared(reference, normalize)
    index = _index(points, k)
    distances = np.empty(len(queries), dtype=np.float32)
    last = min(k + SPARE, len(points))
    first = max(0, k - 1 - SPARE)
    rows = max(1, min(BLOCK // last, ROWS))
    for start in range(0, len(queries), rows):
        block = prepared(queries[start : start + rows], normalize)
        near = index.search(block, last)[1][:, first:]
        found = np.stack([gaps(block, points[column]) for column in near.T], axis=1)
        distances[start : start + rows] = np.sort(found, axis=1)[:, k - 1 - first]
    return distances


def _index(points: NDArray[np.float32], k: int) -> Any:
    import faiss  # takes 0.3 s, so only imported when needed

    index: Any = faiss.IndexFlatL2(points.shape[1])
    if faiss.get_num_gpus() > 0 and k + SPARE <= GPU_MAX_K:
        resources = faiss.StandardGpuResources()
        resources.setTempMemory(GPU_SCRATCH)
        index = faiss.index_cpu_to_gpu(resources, _own_gpu(), index)
    index.add(points)
    return index


def _own_gpu() -> int:
    """Return the number of this process's GPU, on which what torch does not use is given back."""
    import torch

    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    return torch.cuda.current_device()

"""Exact nearest neighbours: with FAISS, or by a bound in bfloat16 where that is faster.

Both end in one function that computes the distance from the vectors in float64, so that the search
which was used shows in no digit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError

BLOCK = 2**22
"""Number of neighbours in memory at a time (12 bytes each); limits the memory for large k."""

GPU_MAX_K = 2048
"""Largest k of FAISS's GPU kernels; for larger k, the search runs on the CPU."""

GPU_SCRATCH = 256 * 2**20
"""Bytes that FAISS holds on a GPU for its own use; 1.5 GB by default."""


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

    For large inputs, processors that multiply bfloat16 are used as `_by_bounds` says.

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
    products = len(queries) * reference.size
    if k <= LARGEST_K and products >= LARGE and has_fast_bf16():
        found = _by_bounds(queries, reference, k, normalize)
        if found is not None:
            return found
    return _by_faiss(queries, reference, k, normalize)


SPARE = 4
"""Neighbours beyond the k-th that are looked at, since FAISS orders them by rounded distances."""


def _by_faiss(
    queries: NDArray[np.floating], reference: NDArray[np.floating], k: int, normalize: bool
) -> NDArray[np.float32]:
    points = _prepared(reference, normalize)
    index = _index(points, k)
    distances = np.empty(len(queries), dtype=np.float32)
    last = min(k + SPARE, len(points))
    first = max(0, k - 1 - SPARE)
    rows = max(1, min(BLOCK // last, ROWS))
    for start in range(0, len(queries), rows):
        block = _prepared(queries[start : start + rows], normalize)
        near = index.search(block, last)[1][:, first:]
        gaps = np.stack([_norms(block, points[column]) for column in near.T], axis=1)
        distances[start : start + rows] = np.sort(gaps, axis=1)[:, k - 1 - first]
    return distances


def _norms(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the distance of each row of `one` to that of `other`.

    FAISS computes squared distances as |x|^2 + |y|^2 - 2 x.y. For close pairs, cancellation causes
    errors of up to 5e-4 in their root. The norm of the difference has no such errors.
    """
    return np.asarray(np.linalg.norm(one.astype(np.float64) - other, axis=-1))


@cache
def has_fast_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware.

    Examples
    --------
    >>> from bench.posthoc.neighbors import has_fast_bf16
    >>> has_fast_bf16() in (True, False)
    True
    """
    import torch

    known = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in known)


LARGE = 2**36
"""Products of two numbers from which `_by_bounds` saves more than importing torch takes."""

LARGEST_K = 512
"""Of larger k, the runs whose maxima bound the k-th similarity would be too short."""

CHUNK, ROWS = 8192, 2048
"""Reference vectors and queries whose products are in memory at a time."""

MOST = 2**23
"""Pairs kept for a closer look; there are more only among thousands of near-equal points."""

U = 2.0**-8 / (1 - 2.0**-8) / 2
"""Bound of the relative error of a number that was rounded to the nearest bfloat16."""

ADDED = 2.0**-23
"""Bound of the relative error of an addition or a conversion in float32, however it is rounded."""

RUN = 64
"""References of which one maximum is kept. In the first chunk they are fewer if k is large."""


def _by_bounds(
    queries: NDArray[np.floating], reference: NDArray[np.floating], k: int, normalize: bool
) -> NDArray[np.float32] | None:
    """Return `kth_distance` from bfloat16 products: only what `_candidates` leaves is looked at.

    Of those, products in float32 decide which are nearer than the k-th, except for the ones within
    their error of it; these are put in order by their distance in float64. None if `_candidates`
    cannot tell.
    """
    distances = np.empty(len(queries), dtype=np.float32)
    middle = np.mean([_prepared(part, normalize).mean(axis=0) for part in _chunks(reference)], 0)
    near = _Near.of(reference, normalize)
    for start in range(0, len(queries), ROWS):
        block = _prepared(queries[start : start + ROWS], normalize)
        chunks = (_prepared(part, normalize) - middle for part in _chunks(reference))
        candidates = _candidates(block - middle, chunks, k)
        if candidates is None:
            return None
        for i, (query, index) in enumerate(zip(block, candidates, strict=True)):
            distances[start + i] = _kth_of(query, near.at(index), k)
    return distances


def _candidates(
    queries: NDArray[np.float32], chunks: Iterable[NDArray[np.float32]], k: int
) -> list[NDArray[np.int64]] | None:
    """Return, for each query, the numbers of the references that may be among its k nearest.

    Both are given relative to the mean of the references, which changes no distance and makes them
    short: x [M, D] and, in chunks, y [n, D]. The nearest y has the largest t = x.y - |y|^2 / 2. Let
    r be its approximation: x and y rounded to bfloat16, x' and y', the square as two bfloat16
    numbers in two further columns, all added in float32 and then rounded. Before that last step r
    differs from t by at most e: |x - x'| |y'| + |x| |y - y'| (Cauchy and Schwarz), with these norms
    as they are, U^2 |y|^2 for what two numbers lack of the square, and `ADDED` for each addition.
    The last rounding keeps the order, and changes r by U |r| at most.

    The references are split into runs. If B is the k-th largest of the runs' maxima of r, then k
    points have r >= B, so t >= B - U |B| - e: the k-th largest t is no smaller. Each of the k
    nearest hence has, before the last rounding, at least T = B - U |B| - 2e, and r >= T - U |T|.
    Points below that are passed over. B grows from chunk to chunk.

    None if too many points are too close to each other to tell, or numbers are too large.
    """
    import torch

    x = torch.from_numpy(queries)
    width = x.shape[1]
    x_low = torch.nn.functional.pad(x, (0, 2), value=1.0).bfloat16()
    long_x, error_x = x.norm(dim=1), (x - x_low[:, :width].float()).norm(dim=1)
    error = torch.zeros(len(x))
    best = torch.full((len(x), k), -np.inf, dtype=torch.bfloat16)
    kept: list[tuple[Any, Any, Any]] = []
    first = 0
    for y in map(torch.from_numpy, chunks):
        y_low = torch.cat([y.bfloat16(), *_two_parts(-0.5 * y.norm(dim=1).square())], dim=1)
        long_y = float(y.norm(dim=1).max())
        error_y = float((y - y_low[:, :width].float()).norm(dim=1).max())
        sizes = (long_x + 1) * (long_y + error_y) + long_y**2
        rounded = error_x * (long_y + error_y) + long_x * error_y + U**2 * long_y**2
        error = error.maximum(rounded + (width + 2) * ADDED * sizes)
        if not bool(error.isfinite().all()):
            return None
        # Runs of later chunks may be longer, as the first chunk's bound holds for them.
        length = RUN if first else max(4, min(RUN, CHUNK // (4 * k)))
        runs = -(-len(y) // length)
        r = x_low @ y_low.T
        if absent := runs * length - len(y):
            r = torch.nn.functional.pad(r, (0, absent), value=-np.inf)
        r = r.view(len(x), length, runs)
        maxima = r.amax(dim=1)
        best = torch.cat([best, maxima], dim=1).topk(k, dim=1).values
        floor = _floor(best[:, -1].float(), error)
        row, run = (maxima >= floor[:, None]).nonzero(as_tuple=True)
        values = r[row, :, run]
        which, place = (values >= floor[row, None]).nonzero(as_tuple=True)
        kept.append((row[which], first + place * runs + run[which], values[which, place].float()))
        if sum(len(rows) for rows, _, _ in kept) > MOST:
            return None
        first += len(y)
    row, index, value = (torch.cat(parts) for parts in zip(*kept, strict=True))
    left = (value >= _floor(best[:, -1].float(), error)[row]) & (value > -np.inf)
    row, order = row[left].sort(stable=True)
    counts = row.bincount(minlength=len(x)).tolist()
    return [part.numpy() for part in torch.split(index[left][order], counts)]


def _two_parts(numbers: Any) -> tuple[Any, Any]:
    """Return numbers [n] as the sums of two columns of bfloat16, [n, 1] each."""
    high = numbers.bfloat16()
    return high[:, None], (numbers - high.float()).bfloat16()[:, None]


def _floor(best: Any, error: Any) -> Any:
    """Return the r below which a point is none of the k nearest; see `_candidates`."""
    t = best - U * best.abs() - 2 * error
    return t - U * t.abs()


@dataclass(frozen=True)
class _Near:
    """Reference vectors [n, D] as they are, what divides each, and half its square after that."""

    raw: NDArray[np.float32]
    divisor: NDArray[np.float32]
    half_square: NDArray[np.float64]

    @classmethod
    def of(cls, reference: NDArray[np.floating], normalize: bool) -> _Near:
        raw = np.ascontiguousarray(reference, dtype=np.float32)
        divisor = np.ones(len(raw), dtype=np.float32)
        half = np.empty(len(raw))
        for start, part in zip(range(0, len(raw), CHUNK), _chunks(raw), strict=True):
            rows = slice(start, start + len(part))
            if normalize:
                divisor[rows] = _lengths(part)[:, 0]
            ready = part / divisor[rows, None]
            half[rows] = np.einsum("nd,nd->n", ready, ready, dtype=np.float64) / 2
        return cls(raw, divisor, half)

    def at(self, index: NDArray[np.int64]) -> _Near:
        return _Near(self.raw[index], self.divisor[index], self.half_square[index])


def _chunks(reference: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    return (reference[i : i + CHUNK] for i in range(0, len(reference), CHUNK))


def _kth_of(query: NDArray[np.float32], near: _Near, k: int) -> float:
    """Return the k-th smallest distance of a query [D] to points [n, D]."""
    t = near.raw @ query / near.divisor - near.half_square
    kth = np.partition(t, -k)[-k]
    longest = float(near.half_square.max())
    error = 2 * (len(query) + 4) * ADDED * (math.sqrt(2 * longest * float(query @ query)) + longest)
    closer = t > kth + error
    tied = ~closer & (t >= kth - error)
    points = near.raw[tied] / near.divisor[tied, None]
    return float(np.sort(_norms(query, points))[k - 1 - closer.sum()])


def _prepared(vectors: NDArray[np.floating], normalize: bool) -> NDArray[np.float32]:
    """Return vectors as contiguous float32, as FAISS requires, normalised if asked."""
    ready = np.ascontiguousarray(vectors, dtype=np.float32)
    if not np.isfinite(ready).all():
        raise InputError("neighbours: features contain NaN or infinity, expected finite numbers")
    if not normalize:
        return ready
    unit: NDArray[np.float32] = ready / _lengths(ready)
    return unit


SMALLEST = 1e-15
"""A length whose square float32 holds with all its digits, as it does that of its inverse."""


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what normalising divides each vector by, [n, 1]: 1 for a zero vector."""
    with np.errstate(over="ignore"):
        norms = np.asarray(np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
    odd = ~((norms > SMALLEST) & (norms < 1 / SMALLEST))[:, 0]  # squares beyond float32's range
    norms[odd] = np.linalg.norm(vectors[odd].astype(np.float64), axis=1, keepdims=True)
    norms[norms == 0] = 1
    return norms


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

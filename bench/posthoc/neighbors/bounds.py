"""Exact neighbours from products in bfloat16 and a proven bound of their error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.posthoc.neighbors.vectors import gaps, lengths, prepared


@cache
def has_fast_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware.

    Examples
    --------
    >>> from bench.posthoc.neighbors.bounds import has_fast_bf16
    >>> has_fast_bf16() in (True, False)
    True
    """
    import torch

    known = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in known)


LARGEST_K = 2048
"""Of larger k, or of fewer than `RUN` references for each, FAISS is as fast."""

CHUNK, ROWS = 8192, 1024
"""Reference vectors and queries whose products are in memory at a time."""

MOST = 2**23
"""Pairs kept for a closer look; there are more only among thousands of near-equal points."""

ROUND = 2**14
"""Most queries of a round, in which each chunk of the reference is made ready once."""

U = 2.0**-8
"""Bound of the error of a number that was rounded to the nearest bfloat16, relative to either."""

ADDED = 2.0**-23
"""Bound of the relative error of an addition or a conversion in float32, however it is rounded."""

RUN = 64
"""References of which one maximum is kept; fewer until k are known."""

STALE = 1.25
"""The bound is renewed when this many times as many references are known as the last time."""


def by_bounds(
    queries: NDArray[np.floating], reference: NDArray[np.floating], k: int, normalize: bool
) -> NDArray[np.float32] | None:
    """Return `kth_distance` from bfloat16 products: only what `_Round` leaves is looked at.

    Of that, products in float32 decide which are nearer than the k-th, except for the ones within
    their error of it; these are put in order by their distance in float64. None if too many points
    are too close to each other to tell, or numbers are too large.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.neighbors.bounds import by_bounds
    >>> by_bounds(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]), 2, normalize=False)
    array([5.], dtype=float32)
    """
    distances = np.empty(len(queries), dtype=np.float32)
    middle = np.mean([prepared(part, normalize).mean(axis=0) for part in _chunks(reference)], 0)
    near = _Near.of(reference, normalize)
    start, size = 0, max(ROWS, min(ROUND, MOST // (4 * k) // ROWS * ROWS))
    while start < len(queries):
        block = prepared(queries[start : start + size], normalize)
        this = _Round(block - middle, k)
        if all(this.add(prepared(part, normalize) - middle) for part in _chunks(reference)):
            for i, (query, (index, closer)) in enumerate(zip(block, this.undecided(), strict=True)):
                distances[start + i] = _kth_of(query, near.at(index), k - closer)
            start += size
        elif size > ROWS:
            size = max(ROWS, size // 2)
        else:
            return None
    return distances


class _Round:
    """The references that may be the k-th nearest of queries x [M, D], from products in bfloat16.

    All vectors are given relative to the mean of the references, which changes no distance and
    makes them short. The nearest y has the largest t = x.y - |y|^2 / 2 + c, with any constant c; it
    makes most t positive. Let r be its approximation: x and y rounded to bfloat16, x' and y', the
    rest as two bfloat16 numbers in two further columns, all added in float32 and then rounded.
    Before that last step r differs from t by at most e: |x - x'| |y'| + |x| |y - y'| (Cauchy and
    Schwarz), with these norms as they are, U^2 | |y|^2 / 2 - c | for what two numbers lack of the
    rest, and `ADDED` for each addition. The last rounding keeps the order, and changes r by U |r|
    at most.

    The references are split into runs. If B is the k-th largest of the runs' maxima of r, then k
    points have r >= B, so t >= B - U |B| - e: the k-th largest t is no smaller. Each of the k
    nearest hence has, before the last rounding, at least T = B - U |B| - 2e, and r >= T - U |T|.
    Points below that are passed over. B grows from chunk to chunk.

    At last, let R be the k-th largest r of the points that are left. The k-th largest t lies
    between R - U |R| - e and R + U |R| + e, by the same argument from both sides. A point whose
    own bounds are above is nearer than the k-th, one whose own are below is not; only those between
    have to be looked at.

    Numbers r are compared as the 16-bit integers that have the same bits, and so the same order if
    they are not negative; negative ones are turned around first where that matters.
    """

    def __init__(self, queries: NDArray[np.float32], k: int) -> None:
        import torch

        x = torch.from_numpy(queries)
        self.k, self.width, self.first, self.known = k, x.shape[1], 0, 0
        self.low = torch.nn.functional.pad(x, (0, 2), value=1.0).bfloat16()
        self.long = x.norm(dim=1)
        self.rounded = (x - self.low[:, : self.width].float()).norm(dim=1)
        self.error = torch.zeros(len(x))
        self.best = np.full((len(x), k), LEAST, dtype=np.int16)
        self.bound = np.full(len(x), LEAST, dtype=np.int16)
        self.waiting: list[list[NDArray[np.int16]]] = [[] for _ in range(0, len(x), ROWS)]
        self.kept: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]] = []
        self.products = torch.empty(min(ROWS, len(x)) * CHUNK, dtype=torch.bfloat16)
        self.constant = 0.0

    def add(self, references: NDArray[np.float32]) -> bool:
        """Look at a chunk of references [n, D]; False if there are too many near-equal points."""
        import torch

        y = torch.from_numpy(references)
        squares = y.norm(dim=1).square() / 2
        if not self.first:
            self.constant = float(squares.max())
        rest = self.constant - squares
        y_low = torch.cat([y.bfloat16(), *_two_parts(rest)], dim=1)
        long_y = float(y.norm(dim=1).max())
        error_y = float((y - y_low[:, : self.width].float()).norm(dim=1).max())
        further = float(rest.abs().max())
        sizes = (self.long + 1) * (long_y + error_y) + 2 * further + long_y**2 + self.constant
        rounded = self.rounded * (long_y + error_y) + self.long * error_y + U**2 * further
        self.error = self.error.maximum(rounded + (self.width + 4) * ADDED * sizes)
        if not bool(self.error.isfinite().all()):
            return False
        last, self.first = self.first, self.first + len(y)
        renew = self.first >= STALE * self.known or self.known < self.k
        for place, start in enumerate(range(0, len(self.low), ROWS)):
            rows = slice(start, min(start + ROWS, len(self.low)))
            r = self.products[: (rows.stop - start) * len(y)].view(-1, len(y))
            torch.mm(self.low[rows], y_low.T, out=r)
            ints = r.view(torch.int16)
            if (self.floor(rows) < 0).any():
                ints ^= (ints >> 15) & 0x7FFF
            self._raise_bound(place, rows, ints, renew)
            flat = np.flatnonzero(ints.numpy() >= self.floor(rows)[:, None])
            row, index = np.divmod(flat, len(y))
            value = ints.numpy().reshape(-1)[flat]
            self.kept.append(
                ((start + row).astype(np.int32), (last + index).astype(np.int32), value)
            )
            if sum(len(row) for row, _, _ in self.kept) > MOST:
                return False
        if renew:
            self.known = self.first
            row, index, value = self._left()
            left = value >= self.floor(slice(None))[row]
            self.kept = [(row[left], index[left], value[left])]
        return True

    def floor(self, rows: slice) -> NDArray[np.int16]:
        """Return the integers below which a point is none of the k nearest of some queries.

        It falls if a chunk has a larger error than those before.
        """
        b = self.bound[rows]
        floor = _floor(_value_of(b), self.error[rows].numpy())
        return np.where(b == LEAST, LEAST, _integer_below(floor))

    def _left(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]:
        """Return the numbers of queries and of references, and r, of all pairs that are kept."""
        row, index, value = zip(*self.kept, strict=True)
        return np.concatenate(row), np.concatenate(index), np.concatenate(value)

    def _raise_bound(self, place: int, rows: slice, ints: Any, renew: bool) -> None:
        """Take the runs' maxima of some queries; now and then, find B from them."""
        size = ints.shape[1]
        length = RUN if self.known >= self.k else max(1, min(RUN, size // (4 * self.k)))
        runs = size // length
        if runs:  # of a short last chunk the points beyond the last run are left out
            maxima = ints[:, : runs * length].reshape(len(ints), runs, length).amax(dim=2)
            self.waiting[place].append(maxima.numpy())
        if renew:
            found = np.concatenate([self.best[rows], *self.waiting[place]], axis=1)
            self.waiting[place].clear()
            self.best[rows] = np.partition(found, -self.k, axis=1)[:, -self.k :]
            self.bound[rows] = self.best[rows].min(axis=1)

    def undecided(self) -> Iterator[tuple[NDArray[np.int32], int]]:
        """Yield, for each query, the references to look at, and how many others are nearer.

        The k-th nearest of all is the (k - nearer)-th nearest of those.
        """
        row, index, integers = self._left()
        order = np.argsort(row, kind="stable")
        index, value = index[order], _value_of(integers[order])
        ends = np.cumsum(np.bincount(row, minlength=len(self.low)))
        for start, stop, error in zip((0, *ends), ends, self.error.tolist(), strict=False):
            r = value[start:stop]
            kth = float(np.partition(r, -self.k)[-self.k])
            spread = U * np.abs(r) + error
            around = U * abs(kth) + error
            closer = r - spread > kth + around
            between = ~closer & (r + spread >= kth - around)
            yield index[start:stop][between], int(closer.sum())


LEAST = np.int16(-(2**15))
"""Below all numbers, once negative ones are turned around."""


def _value_of(integers: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return the bfloat16 numbers of ordered integers, as float32."""
    bits = np.where(integers < 0, integers ^ np.int16(0x7FFF), integers)
    return (bits.astype(np.int32) << 16).view(np.float32)


def _integer_below(numbers: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return ordered integers of the largest bfloat16 numbers that are not above `numbers`.

    Of 0 it is that of -0, as both are the same number.
    """
    bits = numbers.view(np.int32)
    negative = (((bits ^ 0x7FFFFFFF) + 1) >> 16) - 1
    return np.where(bits < 0, negative, (bits - (bits == 0)) >> 16).astype(np.int16)


def _two_parts(numbers: Any) -> tuple[Any, Any]:
    """Return numbers [n] as the sums of two columns of bfloat16, [n, 1] each."""
    high = numbers.bfloat16()
    return high[:, None], (numbers - high.float()).bfloat16()[:, None]


def _floor(best: NDArray[np.float32], error: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the r below which a point is none of the k nearest; see `_Round`."""
    t = best - U * np.abs(best) - 2 * error
    return np.asarray(t - U * np.abs(t), dtype=np.float32)


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
                divisor[rows] = lengths(part)[:, 0]
            ready = part / divisor[rows, None]
            half[rows] = np.einsum("nd,nd->n", ready, ready, dtype=np.float64) / 2
        return cls(raw, divisor, half)

    def at(self, index: NDArray[np.int32]) -> _Near:
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
    return float(np.sort(gaps(query, points))[k - 1 - closer.sum()])

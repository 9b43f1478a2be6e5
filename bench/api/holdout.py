"""Which samples of a training split are held out to choose on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api.manifest import Manifest


def holdout(
    manifest: Manifest, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows kept, rows held out), each ascending; stratified by first label.

    Of a class with n samples, round(n * fraction) are held out, but at least one is held out
    (if n > 1) and one kept. They are those whose ids have the smallest hashes with `seed`, so
    that adding a sample moves at most one other of its class.
    """
    count = np.bincount(manifest.first)
    quota = np.minimum(np.maximum(np.rint(count * fraction).astype(np.int64), 1), count - 1)
    order = np.lexsort((_hashes(manifest.ids, seed), manifest.first))
    ordered = manifest.first[order]
    start = np.cumsum(count) - count
    rank = np.arange(len(order)) - start[ordered]
    held = np.zeros(len(order), dtype=bool)
    held[order] = rank < quota[ordered]
    return np.flatnonzero(~held), np.flatnonzero(held)


def _hashes(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    digests = (
        hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()[:8]
        for name in ids
    )
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)

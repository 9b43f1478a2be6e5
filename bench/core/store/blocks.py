"""Blocks of rows, in which features are computed and stored."""

from __future__ import annotations

from collections.abc import Iterable

BLOCK = 1024
"""Rows per block of features. Blocks are decoded and stored as units; a kill loses at most one."""


def rows_in(blocks: Iterable[int], size: int) -> int:
    """Return the number of rows in `blocks` of a split of `size` rows.

    The last block of a split may have fewer than `BLOCK` rows.

    Examples
    --------
    >>> from bench.core.store import rows_in
    >>> rows_in([0, 2], size=2500)
    1476
    """
    return sum(min(BLOCK, size - b * BLOCK) for b in blocks)


def block_count(size: int) -> int:
    """Return the number of blocks of a split of `size` rows.

    Examples
    --------
    >>> from bench.core.store import block_count
    >>> block_count(2500)
    3
    """
    return -(-size // BLOCK)

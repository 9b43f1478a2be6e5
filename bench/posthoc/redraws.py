"""The choice made again on resamples of the selection split: how much it owes to those samples.

All seeds and rows of a run choose on one selection split, a random draw of n samples. The bootstrap
draws n of them again, with replacement, and the same rule chooses again, from the same candidates
and fits. The resamples depend on the split alone, so that all rows share them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 200
"""The standard deviation over so many resamples is known to about 5%."""


def resample_shares(size: int, split: str) -> NDArray[np.float32]:
    """Return the share of each of `size` samples in each resample, [R, N]; rows add up to 1.

    `split` is the split's fingerprint, in hexadecimal digits.

    Examples
    --------
    >>> from bench.posthoc.redraws import resample_shares
    >>> shares = resample_shares(10, split="1f2e")
    >>> shares.shape, float(shares.sum(axis=1).max().round(3))
    ((200, 10), 1.0)
    """
    drawn = np.random.Generator(np.random.Philox(key=int(split[:16], 16)))
    shares = np.empty((RESAMPLES, size), dtype=np.float32)
    for row in shares:
        row[:] = np.bincount(drawn.integers(0, size, size), minlength=size) / size
    return shares


def choose_again(
    choose: Callable[[Sequence[float], Sequence[float]], int],
    accuracies: NDArray[np.floating],
    weights: NDArray[np.floating],
    size: int,
) -> list[int]:
    """Return the candidate that `choose` takes in each resample, [R].

    `accuracies` and `weights` [K, R] are those of the candidates in each resample, as
    `bench.posthoc.selection.choose` takes them; a resample has `size` samples.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.redraws import choose_again
    >>> from bench.posthoc.selection import choose
    >>> accuracies, weights = np.array([[0.7, 0.8], [0.8, 0.8]]), np.array([[0.1, 0.1], [0.9, 0.9]])
    >>> choose_again(choose, accuracies, weights, size=10)
    [1, 0]
    """
    # Whole numbers of samples, as sums of shares are not exact, and ties must remain ties.
    accuracies = (accuracies.astype(np.float64) * size).round() / size
    return [
        choose(accuracies[:, r].tolist(), weights[:, r].tolist())
        for r in range(accuracies.shape[1])
    ]

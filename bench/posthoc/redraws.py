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


def resample_counts(size: int, split: str) -> NDArray[np.float64]:
    """Return how often each of `size` samples is in each resample, [R, N]; rows add up to N.

    `split` is the split's fingerprint, in hexadecimal digits. Products of these counts with hits
    are exact, so ties between candidates remain ties; shares of N would be rounded.

    Examples
    --------
    >>> from bench.posthoc.redraws import resample_counts
    >>> counts = resample_counts(10, split="1f2e")
    >>> counts.shape, set(counts.sum(axis=1).tolist())
    ((200, 10), {10.0})
    """
    drawn = np.random.Generator(np.random.Philox(key=int(split[:16], 16)))
    counts = np.empty((RESAMPLES, size), dtype=np.float64)
    for row in counts:
        row[:] = np.bincount(drawn.integers(0, size, size), minlength=size)
    return counts


def choose_again(
    choose: Callable[[Sequence[float], Sequence[float]], int],
    accuracies: NDArray[np.floating],
    weights: NDArray[np.floating],
) -> list[int]:
    """Return the candidate that `choose` takes in each resample, [R].

    `accuracies` and `weights` [K, R] are those of the candidates in each resample, as
    `bench.posthoc.selection.choose` takes them; accuracies that are equal must be so bit for bit.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.redraws import choose_again
    >>> from bench.posthoc.selection import choose
    >>> accuracies, weights = np.array([[0.7, 0.8], [0.8, 0.8]]), np.array([[0.1, 0.1], [0.9, 0.9]])
    >>> choose_again(choose, accuracies, weights)
    [1, 0]
    """
    return [
        choose(accuracies[:, r].tolist(), weights[:, r].tolist())
        for r in range(accuracies.shape[1])
    ]

"""Outcomes by seed and sample: what estimates are computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """A row's outcomes on one evaluation set.

    Attributes
    ----------
    ids : a digest of the manifest's ids; outcomes with equal `ids` are of the same samples and may
        be paired.
    values : [S, n], by seed and sample: whether the row is right, or any number whose mean is the
        metric. S is 1 for rows without seeds.
    redrawn : [R], the mean over seeds with the choices made again on resamples of the selection
        split (`bench.posthoc.redraws`); None if nothing was chosen or if it is not known.
    """

    ids: str
    values: NDArray[Any]
    redrawn: Floats | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] < 2 or not len(self.values):
            raise InputError(
                f"outcomes of shape {self.values.shape}: expected [seeds, samples] with at least "
                "one seed and two samples"
            )

    def by(self, groups: NDArray[np.int64], what: str) -> Outcomes:
        """Return outcomes with groups of samples in place of samples as the units of sampling.

        Group g of G gets the value mean + G/n sum over its samples of (value - mean). Means do not
        change, and their variance is that of a ratio (Cochran, Sampling Techniques, 1977). `groups`
        [n] holds the group of each sample, `what` is the name of the grouping. Raises InputError if
        `groups` has another shape.
        """
        n = self.values.shape[1]
        if groups.shape != (n,):
            raise InputError(
                f"outcomes by {what}: expected one group per sample, ({n},), got {groups.shape}"
            )
        _, codes = np.unique(groups, return_inverse=True)
        mean = self.values.mean(axis=1, keepdims=True)
        deviations = [np.bincount(codes, weights=row) for row in self.values - mean]
        count = int(codes.max()) + 1
        digest = hashlib.sha256(codes.astype("<i8").tobytes()).hexdigest()[:16]
        ids = f"{self.ids} by {what} {digest}"
        return Outcomes(ids, mean + np.array(deviations) * count / n, self.redrawn)


@dataclass(frozen=True)
class Linearised:
    """A row's outcomes on one evaluation set, in a metric that is not a mean over samples.

    Attributes
    ----------
    ids : as in `Outcomes`.
    n : the number of samples.
    values : [S, U], by seed and unit of sampling (a sample, or a group of them): numbers whose mean
        is the metric, and whose variance over U is, to first order, that of the metric.
    unseen : [S], a variance that `values` do not show, because classes or regions are small.
    bias : [S], the square of an allowance for a bias of unknown size, because a region may be the
        worst one by chance. `bench.leaderboard.stats.linearised` has the formulae of both.
    """

    ids: str
    n: int
    values: Floats
    unseen: Floats
    bias: Floats
    redrawn: Floats | None = None


def joined(seeds: Sequence[Linearised], redrawn: Floats | None = None) -> Linearised:
    """Return the outcomes of several seeds on one set as those of a row."""
    arrays = zip(*((one.values, one.unseen, one.bias) for one in seeds), strict=True)
    values, unseen, bias = (np.concatenate(found) for found in arrays)
    return Linearised(seeds[0].ids, seeds[0].n, values, unseen, bias, redrawn)


RowData = Sequence[Outcomes | Linearised]
"""A row's outcomes by evaluation set."""

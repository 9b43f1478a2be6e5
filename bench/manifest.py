"""What is known of a split's samples besides their pixels, in the split's one canonical order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.errors import InputError


@dataclass(frozen=True)
class Manifest:
    """Sample ids, label sets and groups; every stored output aligns to it row by row.

    Attributes
    ----------
    ids : N unique strings.
    labels : int64 [N, L]. Row i lists the correct classes of sample i in the split's own label
        space; rows with fewer than L correct classes are filled up with -1. L is 1 except for
        multi-label frames.
    groups : group name (region, camera, video) -> int64 [N].
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or len(self.labels) != len(self.ids):
            raise InputError(
                f"manifest: labels {self.labels.shape} do not match {len(self.ids)} ids"
            )
        if len(self.labels) and self.labels[:, 0].min() < 0:
            raise InputError("manifest: every sample needs at least one label")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def first(self) -> NDArray[np.int64]:
        """int64 [N]: each sample's first label, its only one outside multi-label frames."""
        return self.labels[:, 0]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Manifest:
        """The manifest of the samples `rows`, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return Manifest(
            tuple(self.ids[i] for i in index),
            self.labels[index],
            {name: values[index] for name, values in self.groups.items()},
        )


def single_label(ids: Sequence[str], labels: Sequence[int] | NDArray[np.int64]) -> Manifest:
    """The manifest of a split with one label per sample."""
    return Manifest(tuple(ids), np.asarray(labels, dtype=np.int64).reshape(-1, 1))

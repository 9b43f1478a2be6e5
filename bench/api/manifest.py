"""What is known of a split's samples besides their pixels, in the split's one canonical order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, unknown


@dataclass(frozen=True)
class Manifest:
    """Sample ids, label sets and groups; every stored output aligns to it row by row.

    Attributes
    ----------
    ids : N unique strings.
    labels : int64 [N, L]. Row i lists the correct classes of sample i in the split's own label
        space; rows with fewer than L correct classes are filled up with -1. L is 1 except for
        multi-label frames. A row of -1 alone is a sample that no class of the space is right for,
        such as a cow where the task knows none: whatever is said of it is wrong.
    groups : group name (region, camera) -> int64 [N], the samples' codes. Videos have two: a
        frame's ``anchor`` is the code of the set it belongs to, one set around each annotated
        frame; its ``offset`` counts the frames from there: 0 for the anchor itself, which is in
        its set once, and anything from 1 to 10 for a neighbour if that is all that is known. A
        frame in two sets is two samples.
    names : group name -> what the codes 0, 1, ... stand for; not of every group.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or len(self.labels) != len(self.ids):
            raise InputError(
                f"manifest: labels {self.labels.shape} do not match {len(self.ids)} ids"
            )
        if (self.labels < -1).any() or ((self.labels[:, :1] < 0) & (self.labels >= 0)).any():
            raise InputError("manifest: labels are class indices, filled up with -1 at the end")
        for name, codes in self.groups.items():
            if codes.shape != (len(self.ids),):
                raise InputError(f"manifest: group {name} {codes.shape} of {len(self.ids)} ids")
        for name, names in self.names.items():
            codes = self.group(name)
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(names):
                raise InputError(f"manifest: group {name} has codes beyond its {len(names)} names")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def first(self) -> NDArray[np.int64]:
        """int64 [N]: each sample's first label, its only one outside multi-label frames; or -1."""
        return self.labels[:, 0]

    @property
    def ids_digest(self) -> str:
        """32 hex digits that name the ids in their order: equal where samples can be paired."""
        digest = hashlib.sha256()
        for name in self.ids:
            digest.update(name.encode() + b"\0")
        return digest.hexdigest()[:32]

    def group(self, name: str) -> NDArray[np.int64]:
        """int64 [N]: the samples' codes in a group. Raises InputError if there is none."""
        if name not in self.groups:
            raise unknown("group of samples", name, self.groups)
        return self.groups[name]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Manifest:
        """The manifest of the samples `rows`, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return Manifest(
            tuple(self.ids[i] for i in index),
            self.labels[index],
            {name: values[index] for name, values in self.groups.items()},
            self.names,
        )


def single_label(ids: Sequence[str], labels: Sequence[int] | NDArray[np.int64]) -> Manifest:
    """The manifest of a split with one label per sample."""
    return Manifest(tuple(ids), np.asarray(labels, dtype=np.int64).reshape(-1, 1))

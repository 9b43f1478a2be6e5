"""One set of samples divided into several by shares: by class, by hashes of names, whole groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api.splits import Manifest, name_hashes
from bench.core.errors import InputError

Rows = NDArray[np.int64]


def divided(
    manifest: Manifest,
    shares: Mapping[str, float],
    seed: int,
    group: str | None = None,
    classes: Sequence[str] = (),
) -> dict[str, Rows]:
    """Return {part: its rows, ascending}: all samples, divided in `shares` by first label.

    In each class, samples are taken in the order of the hashes of their ids with `seed`, so that an
    added sample moves at most one other across each border between parts. With `group`, the name of
    a group of the manifest, whole groups are taken, each as one of its most frequent class. Errors
    name the `classes`, if they are given.

    Raises InputError unless every part has samples of every class.

    Examples
    --------
    >>> from bench.api.parts import divided
    >>> from bench.api.splits import single_label
    >>> manifest = single_label([f"{i}.png" for i in range(20)], [0] * 10 + [1] * 10)
    >>> parts = divided(manifest, {"train": 0.6, "selection": 0.2, "test": 0.2}, seed=0)
    >>> [len(rows) for rows in parts.values()], manifest.first[parts["test"]]
    ([12, 4, 4], array([0, 0, 1, 1]))
    """
    labels = manifest.first
    if group is None:
        units, names = np.arange(len(manifest)), manifest.ids
    else:
        codes, units = np.unique(manifest.group(group), return_inverse=True)
        known = manifest.names.get(group)
        names = tuple(str(code) if known is None else known[code] for code in codes.tolist())
    sizes = np.bincount(units)
    counts = np.zeros((len(sizes), int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (units, labels), 1)
    hashes = name_hashes(names, seed)
    part_of = np.zeros(len(sizes), dtype=np.int64)
    strata = counts.argmax(axis=1)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        ordered = members[np.argsort(hashes[members], kind="stable")]
        ends = _ends(sizes[ordered], list(shares.values()))
        part_of[ordered] = np.searchsorted(ends, np.arange(len(ordered)), side="right")
    rows = {part: np.flatnonzero(part_of[units] == i) for i, part in enumerate(shares)}
    _check_classes(labels, rows, group, classes)
    return rows


def _ends(sizes: Rows, shares: list[float]) -> Rows:
    """Return how many of the units, of these sizes in order, are in front of each border.

    A unit belongs to the part in which its middle lies. If there are enough, each part has one.
    """
    middles = np.cumsum(sizes) - sizes / 2
    borders = np.cumsum(shares)[:-1] * sizes.sum()
    ends: Rows = np.searchsorted(middles, borders + 1e-9, side="right").astype(np.int64)
    if len(sizes) > len(ends):
        for i in range(len(ends)):
            ends[i] = max(ends[i], (ends[i - 1] if i else 0) + 1)
        for i in reversed(range(len(ends))):
            ends[i] = min(ends[i], (ends[i + 1] if i + 1 < len(ends) else len(sizes)) - 1)
    return ends


def _check_classes(
    labels: Rows, rows: Mapping[str, Rows], group: str | None, classes: Sequence[str]
) -> None:
    present = np.unique(labels)
    for part, own in rows.items():
        missing = np.setdiff1d(present, labels[own])
        if len(missing):
            index = int(missing[0])
            name = repr(classes[index]) if classes else str(index)
            count = int((labels == index).sum())
            groups = "" if group is None else f", or they lie in too few groups of {group!r}"
            raise InputError(
                f"{part} gets no image of class {name}, which has {count}: expected at least "
                f"{len(rows)} of each class, one for each part{groups}; add images or change the "
                "shares or the seed"
            )

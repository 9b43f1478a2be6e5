"""How the items of a plan that can be computed now become jobs.

A training is a job, with all weights that it gives. The features of a split are one, for all
encoders, so that images are decoded once; a large split is given to several workers, who share its
blocks by claims (`bench.core.store.claims`). Fits and cells are small: each worker gets several, in
the order of their splits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from bench.runs.items import (
    CellItem,
    FitItem,
    ScaleItem,
    WeightsItem,
    WorkItem,
    by_split,
)

T = TypeVar("T")


def groups_of(
    items: Sequence[WorkItem], blocks: Mapping[str, int], slots: int, least: int
) -> list[Sequence[WorkItem]]:
    """Return groups of items that can be computed now, the most urgent first.

    `blocks` is the number of missing blocks of features by key, `slots` that of free workers, and
    `least` that of the fits, or packs of cells, that are worth a job. A group of features stands
    there once for each worker that should share it.
    """
    trainings: dict[str, list[WorkItem]] = {}
    for item in items:
        if isinstance(item, WeightsItem):
            trainings.setdefault(item.made_by, []).append(item)
    found: list[Sequence[WorkItem]] = list(trainings.values())
    found += _parts([i for i in items if isinstance(i, FitItem | ScaleItem)], slots, least // 4)
    cells = [item for item in items if isinstance(item, CellItem)]
    packs: dict[str, list[CellItem]] = {}
    for cell in sorted(cells, key=lambda cell: cell.shift.split.fingerprint):
        packs.setdefault(cell.pack, []).append(cell)
    for part in _parts(list(packs.values()), slots, least):
        found.append([cell for pack in part for cell in pack])
    features = by_split(items)
    found += features
    free = slots - len(found)
    for group in sorted(features, key=lambda g: -_most_blocks(g, blocks)):
        more = min(free, _most_blocks(group, blocks) - 1)
        if more > 0:
            found += [group] * more
            free -= more
    return found


def _most_blocks(group: Sequence[WorkItem], blocks: Mapping[str, int]) -> int:
    return max(blocks.get(item.key, 0) for item in group)


def _parts(items: Sequence[T], count: int, least: int) -> list[Sequence[T]]:
    """Return `items` in at most `count` parts of at least `least`, in order."""
    size = max(1, least, math.ceil(len(items) / max(1, count)))
    return [items[i : i + size] for i in range(0, len(items), size)]

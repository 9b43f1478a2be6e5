"""Forward a random share of a run's images again, and compare with the stored features.

``bench check`` recomputes everything that follows from features and weights. Whether the features
are those of the images and of the checkpoints, only forward passes tell. The share is drawn anew
each time, so that nobody can prepare for it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.checks.differences import Difference
from bench.core.errors import DataError, InputError
from bench.core.progress import Progress
from bench.core.store import BLOCK, Store
from bench.runs.items import FeaturesItem
from bench.runs.plan import Plan
from bench.runs.results.forwarded import Rows, forward_again
from bench.runs.session import Session, engine_of

AT_LEAST = 8
"""Images of each set that are forwarded, however small the share."""
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}
"""The largest distance of two features of an image, by their length, that is no difference.

Another device rounds otherwise; features of other weights or images differ by far more.
"""
ON_CPU = 3e-5
"""The tolerance in fp32 of features made and compared on CPUs.

Those of the embedded model, a ViT-B/32 and a ResNet-50 were apart by at most 7e-7 between kernels
for SSE4, AVX2 and AVX-512, and by nothing between batches of 16 and 32, and one thread and two.
"""
FACTOR = 5e-4
"""The largest part by which all features may be longer or shorter than those forwarded again.

Rounding has no common direction: in bf16 it was 1.2e-4 between the kernels above.
"""


def parse_share(text: str) -> float:
    """Return a share from ``1%`` or ``0.01``. Raises InputError unless it is in (0, 1].

    Examples
    --------
    >>> from bench.checks.resample import parse_share
    >>> parse_share("1%"), parse_share("0.5")
    (0.01, 0.5)
    """
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?|\.\d{1,9})(%?)", text.strip())
    share = float(found[1]) / (100 if found[2] else 1) if found else math.nan
    if not 0 < share <= 1:
        raise InputError(f"--resample {text:.40}: expected a share of the images, such as 1%")
    return share


def resample(
    session: Session, plans: Sequence[Plan], store: Store, share: float, progress: Progress
) -> tuple[int, list[Difference]]:
    """Forward a random `share` of the images of each set through its encoders.

    Returns the number of features compared, and where they differ from the stored ones. Features
    that are not stored any more are left out. Raises InputError if there are none at all, as in a
    run of `bench score`.
    """
    rng = np.random.default_rng()
    compared, found = 0, list[Difference]()
    for plan in plans:
        by_split: dict[str, list[FeaturesItem]] = defaultdict(list)
        for item in plan.of(FeaturesItem):
            if not store.blocks(item.key, item.split.size):
                by_split[item.split.fingerprint].append(item)
        engine = None
        for items in by_split.values():
            split = items[0].split
            count = min(split.size, max(AT_LEAST, math.ceil(share * split.size)))
            rows = np.sort(rng.choice(split.size, count, replace=False))
            engine = engine or engine_of(session, plan.study, store)
            with progress.task(f"forward {count} images of {split.name} again", 1):
                again = forward_again(engine, split, rows, [item.encoder for item in items])
            for item, features in zip(items, again, strict=True):
                compared += count
                on_cpu = engine.hardware == "cpu" == store.device(item.key)
                tolerance = TOLERANCE[plan.study.precision]
                if on_cpu and plan.study.precision == "fp32":
                    tolerance = ON_CPU
                stored = _stored(store, item, rows)
                found += _differences(item, rows, features, stored, tolerance)
    if not compared:
        raise InputError(
            "--resample: no features of this run are stored, so there is nothing to compare: leave "
            "the option out"
        )
    return compared, found


def _stored(store: Store, item: FeaturesItem, rows: Rows) -> NDArray[np.float32]:
    """The stored features of some rows; only their blocks are read."""
    parts = []
    for block in np.unique(rows // BLOCK):
        data = store.read_block(item.key, int(block), item.split.size)
        if data is None:
            raise DataError(f"features {item.key} of {item.split.name} are damaged: run it again")
        parts.append(data[rows[rows // BLOCK == block] - block * BLOCK])
    return np.concatenate(parts)


def _differences(
    item: FeaturesItem,
    rows: Rows,
    features: NDArray[np.float32],
    stored: NDArray[np.float32],
    tolerance: float,
) -> Iterator[Difference]:
    """Yield where stored features of `rows` are not those forwarded again, both [rows, D]."""
    place = f" {item.split.name}, encoder {item.key[:8]}"
    again, there = features.astype(np.float64), stored.astype(np.float64)
    apart = np.linalg.norm(again - there, axis=1) / (np.linalg.norm(there, axis=1) + 1e-12)
    wrong = np.flatnonzero(~(apart <= tolerance))
    if len(wrong):
        told = f"features of {len(wrong)} of {len(rows)} images, such as number {rows[wrong[0]]}"
        yield Difference("features", place, told, f"others (apart by {apart[wrong[0]]:.2g})")
        return
    factor = float((again * there).sum() / ((again * again).sum() + 1e-24))
    if not abs(factor - 1) <= FACTOR:
        told = f"features of {len(rows)} images forwarded again"
        yield Difference("features", place, told, f"ones {factor:.4f} times as long")

"""Images of evaluation sets that are byte-for-byte copies of others: counted, named as caveats.

Copies are found by hashes of the stored bytes (`Split.contents`): of files, of images in shards and
in columns, and of the pixels of arrays. Sets of more than `HASHED_BYTES` and rendered images have
none, and nothing is said of them. Suite files refuse one file in two sets before (see
`bench.data.suites.from_yaml`); copies are other files with the same content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bench.api.dataset import Suite
from bench.api.splits import Split
from bench.core.errors import shortened


def naming_copies(suite: Suite) -> Suite:
    """Return the suite with a caveat on each set that has copies of images of an earlier set.

    The selection split is compared with the training images, the ID test set with both, and a shift
    with all three.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.registry import find_dataset
    >>> from bench.data.copies import naming_copies
    >>> suite = find_dataset("mini")().suite(None, Path("cache"))
    >>> naming_copies(suite).test.caveats
    ()
    """
    train, selection = suite.task.train, suite.task.selection
    known = {"training": train}
    if selection.fingerprint not in (train.fingerprint, suite.test.fingerprint):
        selection = _compared(selection, known)
        known["selection"] = selection
    test = _compared(suite.test, known)
    if selection.fingerprint == test.fingerprint:
        selection = test
    known["test"] = test
    shifts = tuple(replace(s, split=_compared(s.split, known)) for s in suite.shifts)
    return replace(suite, task=replace(suite.task, selection=selection), test=test, shifts=shifts)


def _compared(split: Split, others: Mapping[str, Split]) -> Split:
    """Return a split with a caveat on each of the `others`, {their images: split}, it copies."""
    if split.contents is None:
        return split
    caveats = list(split.caveats)
    for images, other in others.items():
        if other.contents is None or other.fingerprint == split.fingerprint:
            continue
        rows = np.flatnonzero(np.isin(split.contents(), other.contents()))
        if len(rows):
            first = min(split.load().manifest.ids[row] for row in rows.tolist())
            caveats.append(
                f"{split.name}: {len(rows):,} of {split.size:,} images are byte-for-byte copies of "
                f"{images} images, such as {shortened(first, 120, keep_end=True)}"
            )
    return replace(split, caveats=tuple(dict.fromkeys(caveats)))

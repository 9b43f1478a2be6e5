"""Classes of which a split has no sample: named as a caveat.

Labels that count from 1 instead of 0 are valid as long as the last class has no sample, but all of
them are wrong. What shows it is that nothing has the label 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.api.splits import Split
from bench.core.errors import shortened

NAMED = 3
"""Number of missing classes that are named."""


def naming_missing(split: Split, classes: Sequence[str]) -> Split:
    """Return the split with a caveat on those of its `classes` of which it has no image.

    Opens the split, unless it is absent.

    Examples
    --------
    >>> from bench.api.splits import Loaded, Split, single_label
    >>> from bench.data.missing_classes import naming_missing
    >>> manifest = single_label(["a", "b"], [0, 2])
    >>> split = Split("pets/test", "1f0c", 2, lambda: Loaded([], manifest))
    >>> naming_missing(split, ["cat", "dog", "fox"]).caveats
    ("pets/test: no image has the class 'dog'",)
    """
    if split.absent:
        return split
    found = missing_classes(split.name, split.load().manifest.labels, classes, "image")
    return replace(split, caveats=tuple(dict.fromkeys((*split.caveats, *found))))


def missing_classes(
    name: str, labels: NDArray[np.integer], classes: Sequence[str], what: str
) -> tuple[str, ...]:
    """Return the caveat on the `classes` that no label has; `what` is one sample in words.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.data.missing_classes import missing_classes
    >>> missing_classes("pets/test", np.array([1, 1]), ["cat", "dog"], "sample")[0]
    "pets/test: no sample has the class 'cat' (label 0); do its labels count from 1 instead of 0?"
    """
    missing = np.setdiff1d(np.arange(len(classes)), labels).tolist()
    if not missing:
        return ()
    names = [f"{classes[index]!r:.50}" for index in missing[:NAMED]]
    if missing[0] == 0:
        others = len(missing) - 1
        more = f" and {others:,} other{'s' if others > 1 else ''}" if others else ""
        text = f"the class {names[0]} (label 0){more}; do its labels count from 1 instead of 0?"
    elif len(missing) == 1:
        text = f"the class {names[0]}"
    elif len(missing) <= NAMED:
        text = f"the {len(missing)} classes {', '.join(names)}"
    else:
        text = f"{len(missing):,} of {len(classes):,} classes, such as {', '.join(names)}"
    return (f"{shortened(name, 60, keep_end=True)}: no {what} has {text}",)

"""Renderer of the splits of `mini` from seeds: 20 classes at 32 pixels, with five shifts.

Importing this module needs only NumPy. On one machine, the same (split, size, seed) gives the same
bits for any number of threads and whatever was rendered before.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

from bench.data.mini import reference
from bench.data.mini.fields import atlas
from bench.data.mini.paint import SIZE, Batch, Index, Look, paint
from bench.data.mini.words import OBJECTS

__all__ = ["ADVERSARIAL", "CLASSES", "DEV_SEEDS", "OBJECTNET", "RENDITION", "SEEDS", "SIZE",
           "SPLITS", "TEMPLATES", "VERSION", "render"]  # fmt: skip

VERSION = 1  # increase this number whenever any pixel may change
CLASSES: tuple[str, ...] = OBJECTS[:20]
TEMPLATES: tuple[str, ...] = (
    "a photo of a {}.",
    "a picture of a {}.",
    "a photo of the {}.",
    "an image of a {}.",
)


def _classes(*names: str) -> tuple[int, ...]:
    return tuple(sorted(CLASSES.index(name) for name in names))


RENDITION = _classes("star", "heart", "house", "tree", "fish", "moon", "umbrella", "flower",
                     "bell", "boat", "bird", "hat")  # fmt: skip
ADVERSARIAL = _classes("arrow", "house", "tree", "fish", "cup", "key", "car", "umbrella",
                       "mushroom", "boat", "hammer", "bottle")  # fmt: skip
OBJECTNET: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("animal", _classes("bird", "fish")),
    ("arrow", _classes("arrow")),
    ("bell", _classes("bell")),
    ("drinkware", _classes("bottle", "cup")),
    ("hardware", _classes("hammer", "key")),
    ("hat", _classes("hat")),
    ("heart", _classes("heart")),
    ("house", _classes("house")),
    ("lamp", _classes("lamp")),
    ("mushroom", _classes("mushroom")),
    ("plant", _classes("flower", "tree")),
    ("star", _classes("star")),
    ("umbrella", _classes("umbrella")),
    ("vehicle", _classes("boat", "car")),
)

SPLITS: dict[str, int] = {
    "train": 3000,
    "val": 1000,
    "test": 2000,
    "v2": 1500,
    "sketch": 1500,
    "rendition": 1500,
    "adversarial": 1500,
    "objectnet": 1500,
}
SEEDS: dict[str, int] = {name: 770_001 + 101 * i for i, name in enumerate(SPLITS)}
DEV_SEEDS: dict[str, int] = {name: 11 + i for i, name in enumerate(SPLITS)}

_ID = Look(bias=0.7)
_LOOKS: dict[str, Look] = {
    "train": _ID,
    "val": _ID,
    "test": _ID,
    "v2": Look(rotation=0.32, scale=(0.55, 0.9), perspective=0.11, bias=0.6, clutter=(0, 2.5),
               occluders=(0, 0.9), noise=(0.02, 0.09)),
    "sketch": Look(style="sketch", rotation=0.3, perspective=0.1, wobble=0.06),
    "rendition": Look(style="art", rotation=0.35, perspective=0.1, wobble=0.05),
    "adversarial": Look(rotation=0.5, scale=(0.5, 0.88), perspective=0.15, bias=0.25,
                        clutter=(2, 5), occluders=(0.5, 1.8), noise=(0.03, 0.1)),
    "objectnet": Look(rotation=0.9, scale=(0.6, 0.95), perspective=0.2, noise=(0.02, 0.06)),
}  # fmt: skip
_FAMILIAR, _FRESH = 5, 6  # seeds of the drawings: of train, val and test; of all shifts
_VARIANTS = 16
_BEND = 0.07
_POOL = 8 / 3  # adversarial images are selected from a pool this many times larger
_REFERENCE_SEED, _REFERENCE_SIZE = 40_961, 2000
_CHUNK = 250  # images painted at once: small enough for the caches


def draw(names: tuple[str, ...], identity: Index, look: Look, drawings: int, seed: int) -> Batch:
    """Render images of the classes `names[identity[i]]`, each with a random variant of a drawing.

    `drawings` is the seed of the variants, `seed` that of everything else. The position of a class
    in `names` determines its preferred colours and scenes.
    """
    sheet = atlas(names, _VARIANTS, _BEND, drawings)
    parts = []
    for start in range(0, len(identity), _CHUNK):
        rng = np.random.default_rng([seed, start])
        chosen = identity[start : start + _CHUNK]
        fields = sheet[chosen, rng.integers(0, _VARIANTS, len(chosen))]
        parts.append(paint(rng, fields, chosen, look))
    return Batch(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.colours for part in parts]),
        np.concatenate([part.scenes for part in parts]),
    )


def _shuffled(n: int, classes: int, seed: int) -> Index:
    """Return labels [n] in 0 .. classes-1 in random order, balanced up to rounding."""
    return np.random.default_rng([seed, n, classes]).permutation(np.arange(n) % classes)


@lru_cache(maxsize=1)
def _reference() -> NDArray[np.float64]:
    """Return the fixed reference, fitted on images like those of `train` with another seed."""
    labels = _shuffled(_REFERENCE_SIZE, len(ADVERSARIAL), _REFERENCE_SEED)
    identity = np.array(ADVERSARIAL)[labels]
    batch = draw(CLASSES, identity, _LOOKS["train"], _FAMILIAR, _REFERENCE_SEED)
    return reference.fit(batch.images, labels)


def _adversarial(size: int, seed: int) -> tuple[NDArray[np.uint8], Index]:
    """Return a balanced choice from a pool, preferring images that the reference gets wrong."""
    classes = np.array(ADVERSARIAL)
    labels = _shuffled(ceil(size * _POOL), len(classes), seed)
    pool = draw(CLASSES, classes[labels], _LOOKS["adversarial"], _FRESH, seed).images
    wrong = reference.predict(_reference(), pool) != labels
    ranked = np.argsort(~wrong, kind="stable")  # the wrong ones first, each part in its old order
    place = np.empty(len(labels), np.int64)
    for c in range(len(classes)):
        mine = ranked[labels[ranked] == c]
        place[mine] = np.arange(len(mine)) * len(classes) + c
    kept = np.sort(np.argsort(place)[:size])
    return pool[kept], labels[kept]


def render(
    split: str, *, size: int | None = None, seed: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Render a split: RGB images uint8 [N, 32, 32, 3] and labels int64 [N].

    Labels are in the label space of the split: task classes, positions in RENDITION or ADVERSARIAL,
    or indices into OBJECTNET. `size` and `seed` default to SPLITS and SEEDS. Raises ValueError for
    an unknown split or a size below 1.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; mini has {', '.join(SPLITS)}")
    n = SPLITS[split] if size is None else size
    if n < 1:
        raise ValueError(f"size must be at least 1, got {n}")
    start = SEEDS[split] if seed is None else seed
    if split == "adversarial":
        return _adversarial(n, start)
    groups = members(split)
    labels = _shuffled(n, len(groups), start)
    turn = np.random.default_rng([start, 1]).random(n)
    chosen = [groups[c][int(t * len(groups[c]))] for c, t in zip(labels, turn, strict=True)]
    identity = np.array(chosen, np.int64)
    drawings = _FAMILIAR if split in ("train", "val", "test") else _FRESH
    return draw(CLASSES, identity, _LOOKS[split], drawings, start).images, labels


def members(split: str) -> tuple[tuple[int, ...], ...]:
    """Return the task classes of each label of a split."""
    if split == "objectnet":
        return tuple(members for _, members in OBJECTNET)
    subsets = {"rendition": RENDITION, "adversarial": ADVERSARIAL}
    return tuple((c,) for c in subsets.get(split, range(len(CLASSES))))

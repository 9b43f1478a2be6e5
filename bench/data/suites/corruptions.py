"""Shifts made from clean test images: 15 common corruptions at five severities.

This module applies the pixel functions of `bench.data.suites.distortions` to images, splits and
suites. See docs/corruptions.md.

Larger images are reduced to a shorter side of `WORKING_SIDE` pixels, similar to ImageNet-C's, then
corrupted and enlarged to their old size. The random generator of each image is seeded by (kind,
severity, seed, sample id). The result therefore does not depend on order, batching, workers or
subsets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from bench.api.dataset import Shift, Suite
from bench.api.splits import Images, Loaded, Split
from bench.core.errors import InputError, unknown_name
from bench.core.hashing import key_of
from bench.data.readers.decoding import as_rgb
from bench.data.suites.distortions import DISTORTIONS, to_image, to_pixels

VERSION = 2
"""Increase this number whenever the same arguments would give other pixels. It enters every
fingerprint."""

SEVERITIES = (1, 2, 3, 4, 5)
WORKING_SIDE = 256
SEED = 0
"""The seed of the corruptions of ``SUITE+corruptions``."""


def corrupt(image: Image.Image, kind: str, severity: int, seed: int, sample_id: str) -> Image.Image:
    """Return a corrupted RGB copy of `image` with the same size.

    Equal arguments give equal pixels. An image of another mode is converted to RGB first (see
    `bench.data.readers.decoding.as_rgb`). Raises InputError for an unknown `kind` or a `severity`
    outside 1 to 5.

    Examples
    --------
    >>> from PIL import Image
    >>> from bench.data.suites.corruptions import corrupt
    >>> image = Image.new("RGB", (32, 32), "white")
    >>> foggy = corrupt(image, "fog", severity=3, seed=0, sample_id="a.png")
    >>> foggy.size, foggy == image
    ((32, 32), False)
    """
    check_corruption(kind, severity)
    pixels = to_pixels(_reduced(as_rgb(image, sample_id)))
    rng = np.random.default_rng(int(key_of(kind, severity, seed, sample_id), 16))
    result = to_image(DISTORTIONS[kind](pixels, severity, rng))
    return result if result.size == image.size else result.resize(image.size, Resampling.BICUBIC)


def _reduced(image: Image.Image) -> Image.Image:
    """Return `image` with a shorter side of at most WORKING_SIDE pixels."""
    scale = WORKING_SIDE / min(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Resampling.BICUBIC)


def check_corruption(kind: str, severity: int) -> None:
    """Raise InputError for an unknown `kind` or severity; it lists the nearest kinds first.

    Examples
    --------
    >>> from bench.data.suites.corruptions import check_corruption
    >>> check_corruption("fogg", 3)
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown corruption 'fogg': did you mean 'fog'? valid: ...
    """
    if kind not in DISTORTIONS:
        raise unknown_name("corruption", kind, DISTORTIONS)
    if severity not in SEVERITIES:
        raise InputError(f"corruption {kind}: severity must be 1, 2, 3, 4 or 5, got {severity}")


@dataclass(frozen=True)
class CorruptedImages:
    """Images that are corrupted when they are read; `ids` are their sample ids, in order.

    Examples
    --------
    >>> from PIL import Image
    >>> from bench.data.suites.corruptions import CorruptedImages
    >>> clean, ids = [Image.new("RGB", (32, 32))], ("a.png",)
    >>> CorruptedImages(clean, ids, "snow", severity=1, seed=0)[0].size
    (32, 32)
    """

    images: Images
    ids: tuple[str, ...]
    kind: str
    severity: int
    seed: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        image, name = self.images[index], self.ids[index]
        return corrupt(image, self.kind, self.severity, self.seed, name)


def corrupted_split(split: Split, kind: str, severity: int, seed: int, name: str) -> Split:
    """Return the split `name`: the corrupted images of `split` with its manifest.

    Raises InputError as `check_corruption` does.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.registry import find_dataset
    >>> from bench.data.suites.corruptions import corrupted_split
    >>> split = find_dataset("mini")().suite(None, Path("cache")).test
    >>> corrupted_split(split, "fog", severity=3, seed=0, name="mini/fog-3").size
    2000
    """
    check_corruption(kind, severity)

    def load() -> Loaded:
        clean = split.load()
        ids = clean.manifest.ids
        return Loaded(CorruptedImages(clean.images, ids, kind, severity, seed), clean.manifest)

    mark = key_of("corrupted", VERSION, split.fingerprint, kind, severity, seed)
    return Split(name, mark, split.size, load, caveats=split.caveats)


# Whole suites


def parse_corruptions(name: str) -> tuple[str, tuple[int, ...]]:
    """Split the name ``SUITE+corruptions[=SEVERITY]`` into (suite, severities).

    Other names have no severities. Raises InputError for a severity outside 1 to 5.

    Examples
    --------
    >>> from bench.data.suites.corruptions import parse_corruptions
    >>> parse_corruptions("cifar10+corruptions"), parse_corruptions("mini+corruptions=3")
    (('cifar10', (1, 2, 3, 4, 5)), ('mini', (3,)))
    """
    found = re.fullmatch(r"(.+)\+corruptions(?:=(.*))?", name)
    if found is None:
        return name, ()
    suite, severity = found.groups()
    if severity is not None and severity not in map(str, SEVERITIES):
        raise InputError(f"suite {name}: severity must be 1, 2, 3, 4 or 5, got {severity!r}")
    return suite, SEVERITIES if severity is None else (int(severity),)


def with_corruptions(suite: Suite, severities: Sequence[int]) -> Suite:
    """Return the suite ``NAME+corruptions``: its shifts are corruptions of the ID test images.

    Shifts have names such as ``fog-3``. Alpha curves are off by default because evaluating every
    alpha on so many shifts is expensive.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.registry import find_dataset
    >>> from bench.data.suites.corruptions import with_corruptions
    >>> suite = with_corruptions(find_dataset("mini")().suite(None, Path("cache")), [3])
    >>> suite.name, suite.shifts[0].name, len(suite.shifts)
    ('mini+corruptions=3', 'gaussian_noise-3', 15)
    """
    suffix = "" if tuple(severities) == SEVERITIES else f"={','.join(map(str, severities))}"
    shifts = []
    for kind in DISTORTIONS:
        for severity in severities:
            name = f"{kind}-{severity}"
            split = corrupted_split(suite.test, kind, severity, SEED, f"{suite.name}/{name}")
            shifts.append(Shift(name, split))
    name = f"{suite.name}+corruptions{suffix}"
    return replace(suite, name=name, shifts=tuple(shifts), all_shifts=(), lacking={}, curves=False)


def describe_corruptions(severities: Sequence[int]) -> dict[str, str]:
    """Return {shifts of a corruption: its description} for the shifts of `with_corruptions`.

    Examples
    --------
    >>> from bench.data.suites.corruptions import describe_corruptions
    >>> describe_corruptions([3])["fog-3"]
    'White mist of uneven density.'
    """
    numbers = f"{severities[0]}..{severities[-1]}" if len(severities) > 1 else f"{severities[0]}"
    return {
        f"{kind}-{numbers}": (function.__doc__ or "").splitlines()[0].partition(";")[0]
        for kind, function in DISTORTIONS.items()
    }

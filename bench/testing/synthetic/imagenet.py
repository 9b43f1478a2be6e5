"""ImageNet, V2, Sketch, A and R: one or two images per class, in class folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.core.hashing import key_of
from bench.data.suites.imagenet import imagenet_classes, imagenet_subset
from bench.testing.synthetic._pictures import pixels, save

TWICE = 20
"""Every 20th class has two training images, so that some can be held out."""
ENTITY30 = {"source_val": 120, "target_val": 120}
"""Counts of Entity-30, which uses these images: 4 sub-classes of each of its 30 classes."""


def make_imagenet(root: Path) -> dict[str, dict[str, int]]:
    """Write the five sets; see `bench.testing.synthetic`."""
    names = imagenet_classes()
    wnids, prompts = names.keys, names.prompts
    every, a, r = range(len(wnids)), imagenet_subset("a"), imagenet_subset("r")
    counts: dict[str, dict[str, int]] = {"imagenet": {}}
    train = ((i, f"{wnids[i]}/{wnids[i]}_{10026 + n}") for i in every for n in _copies(i))
    counts["imagenet"]["train"] = _write(root / "imagenet/train", train, ".JPEG")
    val = ((i, f"{wnids[i]}/ILSVRC2012_val_{1 + 37 * i:08d}") for i in every)
    counts["imagenet"]["val"] = _write(root / "imagenet/val", val, ".JPEG")
    v2 = ((i, f"{i}/{key_of('v2', i)}") for i in every)
    folder = root / "imagenetv2-matched-frequency-format-val"
    counts["imagenet-v2"] = {"test": _write(folder, v2, ".jpeg")}
    sketch = ((i, f"{wnids[i]}/sketch_{i % 50}") for i in every)
    counts["imagenet-sketch"] = {"test": _write(root / "sketch", sketch, ".JPEG", grey=True)}
    wrong = ((i, f"{wnids[i]}/0.000{i:03d}_{prompts[i]} _ {prompts[-i]}_0.865662") for i in a)
    counts["imagenet-a"] = {"test": _write(root / "imagenet-a", wrong, ".jpg")}
    art = ((i, f"{wnids[i]}/{('art', 'cartoon', 'toy')[i % 3]}_{i % 7}") for i in r)
    counts["imagenet-r"] = {"test": _write(root / "imagenet-r", art, ".jpg")}
    for folder in (root / "imagenet-a", root / "imagenet-r"):
        (folder / "README.txt").write_text("The archive has a text here.\n", encoding="utf-8")
    return counts | {"entity-30": ENTITY30}


def _copies(index: int) -> range:
    return range(1 if index % TWICE else 2)


def _write(root: Path, images: Iterable[tuple[int, str]], suffix: str, grey: bool = False) -> int:
    """Write one image per (class, name without suffix); returns the number of images."""
    count = 0
    for label, name in images:
        array = pixels(label, f"{root.name}/{name}")
        save(root / f"{name.replace(',', '')}{suffix}", array[:, :, 0] if grey else array)
        count += 1
    return count

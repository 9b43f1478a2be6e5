"""DTD, Food-101, SUN397 and Stanford Cars in miniature: a few classes of each."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.paths import write_atomic
from bench.testing.synthetic._pictures import pixels, save

_TEXTURES = ("banded", "bumpy", "polka-dotted", "woven")
_FOODS = ("apple_pie", "french_onion_soup", "ramen", "waffles")
_SCENES = ("/a/abbey", "/a/apse/indoor", "/b/bow_window/outdoor", "/z/zen_garden")
_CARS = ("Acura TL Sedan 2012", "Audi 100 Wagon 1994", "Ram C/V Cargo Van Minivan 2012")
_PARTITIONS = 10


def make_transfer(root: Path) -> dict[str, dict[str, int]]:
    """Write the sets below `root`; returns {set: {split: number of images}}.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic.transfer import make_transfer
    >>> make_transfer(Path("data"))["dtd"]
    {'train': 12, 'val': 12, 'test': 12}
    """
    return {
        "dtd": _dtd(root / "dtd" / "dtd"),
        "food-101": _food(root / "food-101"),
        "sun397": _sun(root / "SUN397"),
        "stanford-cars": _cars(root / "stanford_cars"),
    }


def _lines(path: Path, lines: Iterable[str]) -> None:
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode(), durable=False)


def _dtd(root: Path) -> dict[str, int]:
    """Write DTD: nine images per class; every partition has three per class in each split."""
    images = [
        [f"{texture}/{texture}_{10 * c + i:04}.jpg" for i in range(9)]
        for c, texture in enumerate(_TEXTURES)
    ]
    for label, of_class in enumerate(images):
        for image in of_class:
            save(root / "images" / image, pixels(label, f"dtd {image}"))
    counts = {}
    for part in range(1, _PARTITIONS + 1):
        for turn, role in enumerate(("train", "val", "test")):
            rows = [(part - 1 + 3 * turn + i) % 9 for i in range(3)]
            listed = sorted(of_class[row] for of_class in images for row in rows)
            _lines(root / "labels" / f"{role}{part}.txt", listed)
            counts[role] = len(listed)
    return counts


def _food(root: Path) -> dict[str, int]:
    split: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for label, food in enumerate(_FOODS):
        names = [f"{food}/{1000 * label + 37 * i}" for i in range(9)]
        for name in names:
            save(root / "images" / f"{name}.jpg", pixels(label, f"food-101 {name}"))
        split["train"][food], split["test"][food] = names[3:], names[:3]
    _lines(root / "meta" / "classes.txt", _FOODS)
    for role, of_class in split.items():
        written = json.dumps(of_class).encode()
        write_atomic(root / "meta" / f"{role}.json", written, durable=False)
        listed = [name for names in of_class.values() for name in names]
        _lines(root / "meta" / f"{role}.txt", listed)
    return {role: sum(map(len, of_class.values())) for role, of_class in split.items()}


def _sun(root: Path) -> dict[str, int]:
    """Write SUN397: nine images per class; a partition trains on five and tests on three."""
    images = [[f"{scene}/sun_{_letters(9 * c + i)}.jpg" for i in range(9)]
              for c, scene in enumerate(_SCENES)]  # fmt: skip
    for label, of_class in enumerate(images):
        for image in of_class:
            save(root / image.lstrip("/"), pixels(label, f"sun397 {image}"))
    _lines(root / "ClassName.txt", _SCENES)
    for part in range(1, _PARTITIONS + 1):
        for kind, first, count in (("Training", 0, 5), ("Testing", 5, 3)):
            rows = [(part - 1 + first + i) % 9 for i in range(count)]
            listed = [of_class[row] for of_class in images for row in rows]
            _lines(root / f"{kind}_{part:02}.txt", listed)
    classes = len(_SCENES)
    return {"all": 9 * classes, "train": 5 * classes, "test": 3 * classes}


def _letters(number: int) -> str:
    """Return fifteen letters, as in SUN397's file names."""
    rng = np.random.default_rng(number)
    return "a" + "".join(chr(ord("a") + i) for i in rng.integers(0, 26, 14))


def _cars(root: Path) -> dict[str, int]:
    counts = {"train": 6 * len(_CARS), "test": 3 * len(_CARS)}
    for role, count in counts.items():
        labels = [(5 * i) % len(_CARS) for i in range(count)]
        names = [f"{i + 1:05}.jpg" for i in range(count)]
        for label, name in zip(labels, names, strict=True):
            save(root / f"cars_{role}" / name, pixels(label, f"cars {role} {name}"))
        known = None if role == "test" else labels
        _matlab(root / "devkit" / f"cars_{role}_annos.mat", _annotations(names, known))
        if role == "test":
            _matlab(root / "cars_test_annos_withlabels.mat", _annotations(names, labels))
    classes = np.empty((1, len(_CARS)), dtype=object)
    classes[0] = _CARS
    _matlab(root / "devkit" / "cars_meta.mat", {"class_names": classes})
    return counts


def _annotations(names: Sequence[str], labels: Sequence[int] | None) -> dict[str, Any]:
    """Return the struct of boxes, classes from 1 and file names; without classes for None."""
    boxes = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]
    fields = [*boxes, *([] if labels is None else ["class"]), "fname"]
    rows = np.empty((1, len(names)), dtype=[(field, object) for field in fields])
    for i, name in enumerate(names):
        own = [] if labels is None else [np.uint8(labels[i] + 1)]
        rows[0, i] = (*map(np.uint8, (1, 1, 24, 20)), *own, name)
    return {"annotations": rows}


def _matlab(path: Path, variables: dict[str, Any]) -> None:
    """Write a MATLAB 5 file whose description, 116 bytes, has no date."""
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, variables)
    title = b"MATLAB 5.0 MAT-file, synthetic".ljust(116)
    write_atomic(path, title + file.getvalue()[116:], durable=False)

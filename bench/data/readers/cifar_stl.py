"""The binary files of CIFAR-10, CIFAR-100, CIFAR-10.2 and STL-10, read as torchvision reads them.

CIFAR's batches are pickles, for which `bench.data.readers.pickles` is a safe reader. Checked are
what the files hold, not their checksums. Every function raises InputError that names the file and
what was expected of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import InputError
from bench.data.readers.arrays import Arrays, Pixels, check_labels, read_objects
from bench.data.readers.pickles import read_pickle

CIFAR_SIDE = 32
STL_SIDE = 96
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
"""In the order of the labels 0 to 9, as `batches.meta` has them."""
STL_CLASSES = (
    *("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
)
"""In the order of the labels 1 to 10, as `class_names.txt` has them."""


# CIFAR-10 and CIFAR-100


def cifar_batches(folder: Path, files: Sequence[str]) -> Arrays:
    """Images of CIFAR-10: the batches `files` of ``cifar-10-batches-py``, one after another."""
    names = _names(folder / "batches.meta", "label_names", 10)
    return _batches([folder / file for file in files], "labels", names)


def cifar100(folder: Path, file: str) -> Arrays:
    """Images of CIFAR-100 with their fine labels: `file` is train or test of ``cifar-100-python``.

    The names of its 100 classes are written with underscores, as in the file `meta`.
    """
    names = _names(folder / "meta", "fine_label_names", 100)
    return _batches([folder / file], "fine_labels", names)


def _names(path: Path, key: str, count: int) -> tuple[str, ...]:
    names = _dictionary(path).get(key)
    if not isinstance(names, list) or len(set(map(str, names))) != count:
        raise InputError(f"{path} has no {key!r}: expected {count} class names")
    return tuple(map(str, names))


def _batches(paths: Sequence[Path], key: str, names: tuple[str, ...]) -> Arrays:
    labels = []
    for path in paths:
        batch = _dictionary(path)
        count = len(_rows(path, batch))
        labels.append(check_labels(batch.get(key), len(names), path))
        if len(labels[-1]) != count:
            raise InputError(
                f"{path} has {len(labels[-1]):,} labels for {count:,} images: expected one each"
            )
    pixels = partial(_batch_pixels, tuple(paths))
    return Arrays(pixels, np.concatenate(labels), names, tuple(paths), "cifar batches")


def _batch_pixels(paths: Sequence[Path]) -> Pixels:
    rows = np.concatenate([_rows(path, _dictionary(path)) for path in paths])
    return rows.reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).transpose(0, 2, 3, 1)


def _dictionary(path: Path) -> dict[str, Any]:
    found = read_pickle(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} holds {type(found).__name__}: expected a dictionary of CIFAR")
    return found


def _rows(path: Path, batch: dict[str, Any]) -> Pixels:
    rows = batch.get("data")
    width = 3 * CIFAR_SIDE**2
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (width,):
        raise InputError(f"{path} has no 'data' of CIFAR: expected uint8 [N, {width}]")
    return rows


# CIFAR-10.2


def cifar102(path: Path) -> Arrays:
    """Images of CIFAR-10.2: ``cifar102_test.npz``, or the older ``cifar102_test.npy``, a pickle."""
    found = _cifar102(path)
    names = tuple(map(str, np.asarray(found["label_names"])))
    labels = check_labels(found["labels"], len(names), path)
    images = found["images"]
    wanted = (len(labels), CIFAR_SIDE, CIFAR_SIDE, 3)
    if not isinstance(images, np.ndarray) or (images.dtype, images.shape) != (np.uint8, wanted):
        raise InputError(f"{path} has no images of CIFAR-10.2: expected uint8 {list(wanted)}")
    return Arrays(partial(_cifar102_pixels, path), labels, names, (path,), "cifar-10.2")


def _cifar102_pixels(path: Path) -> Pixels:
    images: Pixels = _cifar102(path)["images"]
    return images


def _cifar102(path: Path) -> dict[str, Any]:
    keys = ("images", "labels", "label_names")
    if path.suffix == ".npz":
        return {key: read_objects(path, key) for key in keys}
    found = read_objects(path, "")
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict):
        inside: dict[str, Any] = found[0]
        if set(keys) <= set(inside):
            return inside
    raise InputError(f"{path} is no CIFAR-10.2: expected a dictionary with {', '.join(keys)}")


# STL-10


def stl10(folder: Path, split: str) -> Arrays:
    """Images of STL-10: ``train`` or ``test`` of ``stl10_binary``, the labels counted from 0."""
    images, labels = folder / f"{split}_X.bin", folder / f"{split}_y.bin"
    try:
        size = images.stat().st_size
        given = np.fromfile(labels, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    expected = len(given) * 3 * STL_SIDE**2
    if size != expected or not size:
        raise InputError(
            f"{images} has {size:,} bytes: expected {expected:,} for the {len(given):,} labels of "
            f"{labels.name}"
        )
    found = check_labels(given.astype(np.int64) - 1, len(STL_CLASSES), f"{labels} (minus 1)")
    return Arrays(partial(_stl_pixels, images), found, STL_CLASSES, (images, labels), "stl-10")


def _stl_pixels(path: Path) -> Pixels:
    """Columns, not rows, of pixels stand one after another in the file."""
    try:
        flat: Pixels = np.memmap(path, np.uint8, mode="r")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return flat.reshape(-1, 3, STL_SIDE, STL_SIDE).transpose(0, 3, 2, 1)

"""Readers of the binary files of CIFAR-10, CIFAR-100, CIFAR-10.2 and STL-10.

They return the same images and labels as torchvision. CIFAR's batches are pickles, which are read
safely by `bench.data.readers.pickles`. Shapes, dtypes and labels are checked here; checksums are
not. Every function raises InputError that names the file and what was expected in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import InputError
from bench.core.foreign.files import TABLE, open_regular, read_bounded, reading, reading_form
from bench.data.readers.arrays import Arrays, Pixels, check_labels
from bench.data.readers.npy import read_objects
from bench.data.readers.pickles import read_pickle

CIFAR_SIDE = 32
STL_SIDE = 96
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
"""In the order of the labels 0 to 9, as in `batches.meta`."""
STL_CLASSES = (
    *("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
)
"""In the order of the labels 1 to 10, as in `class_names.txt`."""


# CIFAR-10 and CIFAR-100


def cifar_batches(folder: Path, files: Sequence[str]) -> Arrays:
    """Return CIFAR-10 images: the batches `files` of ``cifar-10-batches-py``, concatenated.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.cifar_stl import cifar_batches
    >>> from bench.testing.synthetic.cifar import make_cifar
    >>> _ = make_cifar(Path("data"))
    >>> arrays = cifar_batches(Path("data/cifar-10-batches-py"), ["test_batch"])
    >>> arrays.pixels().shape, arrays.classes[:2]
    ((50, 32, 32, 3), ('airplane', 'automobile'))
    """
    names = _names(folder / "batches.meta", "label_names", 10)
    return _batches([folder / file for file in files], "labels", names)


def cifar100(folder: Path, file: str) -> Arrays:
    """Return CIFAR-100 images with fine labels.

    `file` is ``train`` or ``test`` of ``cifar-100-python``. The 100 class names are written with
    underscores, as in the file ``meta``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.cifar_stl import cifar100
    >>> from bench.testing.synthetic.cifar import make_cifar
    >>> _ = make_cifar(Path("data"))
    >>> cifar100(Path("data/cifar-100-python"), "test").labels.shape
    (200,)
    """
    names = _names(folder / "meta", "fine_label_names", 100)
    return _batches([folder / file], "fine_labels", names)


def _names(path: Path, key: str, count: int) -> tuple[str, ...]:
    names = _dictionary(path).get(key)
    if not isinstance(names, list) or len(set(map(str, names))) != count:
        raise InputError(
            f"{path} has no valid {key!r}: expected {count} class names; unpack the archive again"
        )
    return tuple(map(str, names))


def _batches(paths: Sequence[Path], key: str, names: tuple[str, ...]) -> Arrays:
    labels = []
    for path in paths:
        batch = _dictionary(path)
        count = len(_rows(path, batch))
        labels.append(check_labels(batch.get(key), len(names), path))
        if len(labels[-1]) != count:
            raise InputError(
                f"{path} has {len(labels[-1]):,} labels for {count:,} images: expected one label "
                "per image; unpack the archive again"
            )
    pixels = partial(_batch_pixels, tuple(paths))
    return Arrays(pixels, np.concatenate(labels), names, tuple(paths), "cifar batches")


def _batch_pixels(paths: Sequence[Path]) -> Pixels:
    rows = np.concatenate([_rows(path, _dictionary(path)) for path in paths])
    return rows.reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).transpose(0, 2, 3, 1)


def _dictionary(path: Path) -> dict[str, Any]:
    found = read_pickle(path)
    if not isinstance(found, dict):
        raise InputError(
            f"{path} holds a {type(found).__name__}: expected the dictionary of a CIFAR file; "
            "unpack the archive again"
        )
    return found


def _rows(path: Path, batch: dict[str, Any]) -> Pixels:
    rows = batch.get("data")
    width = 3 * CIFAR_SIDE**2
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (width,):
        raise InputError(
            f"{path} has no valid 'data': expected CIFAR images as uint8 [N, {width}]; unpack the "
            "archive again"
        )
    return rows


# CIFAR-10.2


def cifar102(path: Path) -> Arrays:
    """Return CIFAR-10.2 images from ``cifar102_test.npz`` or the older ``.npy`` file, a pickle.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.cifar_stl import cifar102
    >>> from bench.testing.synthetic.cifar import make_cifar
    >>> _ = make_cifar(Path("data"))
    >>> cifar102(Path("data/CIFAR-10.2/cifar102_test.npz")).pixels().shape
    (20, 32, 32, 3)
    """
    found = _cifar102(path)
    with reading_form(path, "a list of class names as label_names"):
        names = tuple(map(str, np.asarray(found["label_names"])))
    labels = check_labels(found["labels"], len(names), path)
    images = found["images"]
    wanted = (len(labels), CIFAR_SIDE, CIFAR_SIDE, 3)
    if not isinstance(images, np.ndarray) or (images.dtype, images.shape) != (np.uint8, wanted):
        raise InputError(
            f"{path} has no valid 'images': expected uint8 {list(wanted)}, as in CIFAR-10.2; get "
            "the file again"
        )
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
    raise InputError(
        f"{path} is not a CIFAR-10.2 file: expected a dictionary with {', '.join(keys)}; get the "
        "file again"
    )


# STL-10


def stl10(folder: Path, split: str) -> Arrays:
    """Return STL-10 images: ``train`` or ``test`` of ``stl10_binary``, with labels from 0.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.cifar_stl import stl10
    >>> from bench.testing.synthetic.cifar import make_cifar
    >>> _ = make_cifar(Path("data"))
    >>> stl10(Path("data/stl10_binary"), "test").pixels().shape
    (20, 96, 96, 3)
    """
    images, labels = folder / f"{split}_X.bin", folder / f"{split}_y.bin"
    with reading(images), open_regular(images) as file:
        size = file.seek(0, os.SEEK_END)
    with reading(labels):
        stored_labels = np.frombuffer(read_bounded(labels, TABLE), dtype=np.uint8)
    expected = len(stored_labels) * 3 * STL_SIDE**2
    if size != expected or not size:
        raise InputError(
            f"{images} has {size:,} bytes: expected {expected:,} for the {len(stored_labels):,} "
            f"labels of {labels.name}; unpack the archive again"
        )
    from_zero = stored_labels.astype(np.int64) - 1
    found = check_labels(from_zero, len(STL_CLASSES), f"{labels} (labels minus 1)")
    return Arrays(partial(_stl_pixels, images), found, STL_CLASSES, (images, labels), "stl-10")


def _stl_pixels(path: Path) -> Pixels:
    """Return the images uint8 [N, 96, 96, 3]; the file stores each channel column by column."""
    try:
        flat: Pixels = np.memmap(path, np.uint8, mode="r")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return flat.reshape(-1, 3, STL_SIDE, STL_SIDE).transpose(0, 3, 2, 1)

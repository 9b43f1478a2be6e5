"""CIFAR-10 with its shifts CIFAR-10.1, CIFAR-10.2 and STL-10, and CIFAR-100, in miniature."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.core.paths import write_atomic
from bench.data.readers.cifar_stl import CIFAR10_CLASSES as CLASSES
from bench.data.readers.cifar_stl import CIFAR_SIDE, STL_CLASSES, STL_SIDE
from bench.testing.synthetic._pictures import pixels

_BATCH, _TEST, _SHIFT = 4, 5, 2
"""Images per class in a training batch, in the test set and in a shift."""
_TRAIN_100, _TEST_100 = 4, 2


def make_cifar(root: Path) -> dict[str, dict[str, int]]:
    """Write the sets below `root`; returns {set: {split: number of images}}.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic.cifar import make_cifar
    >>> make_cifar(Path("data"))["cifar-10.1"]
    {'test': 20}
    """
    _cifar10(root / "cifar-10-batches-py")
    _cifar100(root / "cifar-100-python")
    size = _SHIFT * len(CLASSES)
    images, labels = _make_images("cifar-10.1", size, len(CLASSES), CIFAR_SIDE)
    _save(root / "CIFAR-10.1" / "cifar10.1_v6_data.npy", lambda file: np.save(file, images))
    numbers = labels.astype(np.int32)
    _save(root / "CIFAR-10.1" / "cifar10.1_v6_labels.npy", lambda file: np.save(file, numbers))
    images, labels = _make_images("cifar-10.2", size, len(CLASSES), CIFAR_SIDE)
    _save(
        root / "CIFAR-10.2" / "cifar102_test.npz",
        lambda file: np.savez(file, images=images, labels=labels, label_names=np.array(CLASSES)),
    )
    test = _stl10(root / "stl10_binary")
    return {
        "cifar-10": {"train": 5 * _BATCH * len(CLASSES), "test": _TEST * len(CLASSES)},
        "cifar-10.1": {"test": size},
        "cifar-10.2": {"test": size},
        "stl-10": {"test": test, "test_without_monkey": test * 9 // 10},
        "cifar-100": {"train": 100 * _TRAIN_100, "test": 100 * _TEST_100},
    }


def _make_images(
    of: str, size: int, classes: int, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return (images uint8 [N, side, side, 3], labels int64 [N]): balanced classes, shuffled."""
    labels = np.arange(size) % classes
    order = np.random.default_rng(size).permutation(size)
    pictures = [pixels(int(c), f"{of} {i}", side, side) for i, c in enumerate(labels[order])]
    return np.stack(pictures), labels[order]


def _save(path: Path, write: Callable[[io.BytesIO], None]) -> None:
    file = io.BytesIO()
    write(file)
    write_atomic(path, file.getvalue(), durable=False)


def _cifar10(folder: Path) -> None:
    for number in range(1, 6):
        _batch(
            folder / f"data_batch_{number}",
            f"training batch {number} of 5",
            _BATCH * len(CLASSES),
            {"labels": CLASSES},
        )
    _batch(folder / "test_batch", "testing batch 1 of 1", _TEST * len(CLASSES), {"labels": CLASSES})
    meta = {
        "num_cases_per_batch": _BATCH * len(CLASSES),
        "label_names": list(CLASSES),
        "num_vis": 3 * CIFAR_SIDE**2,
    }
    _dump(folder / "batches.meta", meta)


def _cifar100(folder: Path) -> None:
    fine = [f"fine_class_{i:02}" for i in range(100)]
    coarse = [f"coarse_class_{i:02}" for i in range(20)]
    names = {"fine_labels": fine, "coarse_labels": coarse}
    _batch(folder / "train", "training batch 1 of 1", 100 * _TRAIN_100, names)
    _batch(folder / "test", "testing batch 1 of 1", 100 * _TEST_100, names)
    _dump(folder / "meta", {"fine_label_names": fine, "coarse_label_names": coarse})


def _batch(path: Path, title: str, size: int, names: Mapping[str, Sequence[str]]) -> None:
    """Write a batch: rows of 1,024 red, 1,024 green and 1,024 blue values.

    `names` is {key of the labels: class names}.
    """
    images, labels = _make_images(title, size, len(next(iter(names.values()))), CIFAR_SIDE)
    batch = {
        "data": images.transpose(0, 3, 1, 2).reshape(size, -1),
        "batch_label": title,
        "filenames": [f"synthetic_s_{i:06}.png" for i in range(size)],
        **{key: [int(c) % len(classes) for c in labels] for key, classes in names.items()},
    }
    _dump(path, batch)


def _stl10(folder: Path) -> int:
    """Write the test set of STL-10; returns its number of images."""
    size = _SHIFT * len(STL_CLASSES)
    images, labels = _make_images("stl-10", size, len(STL_CLASSES), STL_SIDE)
    columns = images.transpose(0, 3, 2, 1)
    write_atomic(folder / "test_X.bin", columns.tobytes(), durable=False)
    write_atomic(folder / "test_y.bin", (labels + 1).astype(np.uint8).tobytes(), durable=False)
    write_atomic(folder / "class_names.txt", "\n".join(STL_CLASSES).encode(), durable=False)
    return size


# Pickles in the form that Python 2 writes


class _Python2(pickle._Pickler):
    """Write text and bytes as strings of Python 2, as in CIFAR's own files."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def _string(self, value: str | bytes) -> None:
        raw = value.encode("ascii") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)  # type: ignore[attr-defined]
        self.memoize(value)  # type: ignore[attr-defined]

    dispatch[str] = _string
    dispatch[bytes] = _string


def _dump(path: Path, value: dict[str, Any]) -> None:
    file = io.BytesIO()
    _Python2(file, protocol=2).dump(value)
    old = file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    write_atomic(path, old, durable=False)

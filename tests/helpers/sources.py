"""For tests: the same images as class folders, arrays, shards or a Hugging Face data set."""

from __future__ import annotations

import importlib
import importlib.util
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Labelled = tuple[NDArray[np.uint8], list[int]]
"""uint8 [N, H, W, 3] and N class indices."""


def has_hub() -> bool:
    """Return whether the package datasets is installed; a folder of that name does not count."""
    found = importlib.util.find_spec("datasets")
    return found is not None and found.origin is not None


def hub() -> Any:
    """Return the package datasets; skip the test without it."""
    if not has_hub():
        pytest.skip("the package datasets is not installed")
    return importlib.import_module("datasets")


def labelled(seed: int, count: int, classes: int, side: int = 8) -> Labelled:
    """Return noise that is brighter from class to class; classes are balanced and shuffled."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    images = rng.integers(0, 150, (count, side, side, 3)) + 100 * labels.reshape(-1, 1, 1, 1) // 2
    return images.clip(0, 255).astype(np.uint8), labels.tolist()


def png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def as_folder(root: Path, data: Labelled, classes: Sequence[str]) -> None:
    for number, (image, label) in enumerate(zip(*data, strict=True)):
        path = root / classes[label] / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))


def as_arrays(path: Path, data: Labelled, keys: Sequence[str], layout: str) -> None:
    images = data[0] if layout == "channels-last" else data[0].transpose(0, 3, 1, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = dict(np.load(path)) if path.exists() else {}
    np.savez(path, **known, **{keys[0]: images, keys[1]: np.array(data[1])})


def as_shards(paths: Sequence[Path], data: Labelled) -> None:
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as archive:
            for row in range(number, len(data[1]), len(paths)):
                members = {"png": png(data[0][row]), "cls": str(data[1][row]).encode()}
                for kind, content in members.items():
                    info = tarfile.TarInfo(f"{row:05d}.{kind}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))


def as_rows(data: Labelled, classes: Sequence[str], image: str, label: str) -> Any:
    """Return a `datasets.Dataset`; skip the test without the package."""
    datasets = hub()
    columns = {image: datasets.Image(), label: datasets.ClassLabel(names=list(classes))}
    images = [{"bytes": png(one), "path": None} for one in data[0]]
    return datasets.Dataset.from_dict(
        {image: images, label: data[1]}, features=datasets.Features(columns)
    )

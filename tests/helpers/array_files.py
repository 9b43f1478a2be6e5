"""For tests: random arrays in files, read back as images or refused with an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.data.readers.arrays import Arrays, array_split


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return uniform random pixels, uint8."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, *arrays: Any, **members: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **members)
    else:
        np.save(path, *arrays)
    return path


def pixels(arrays: Arrays, cache: Path) -> NDArray[np.uint8]:
    """Return all images of a split as the reader returns them."""
    images = array_split("t", arrays, cache).load().images
    return np.stack([np.asarray(images[i]) for i in range(len(images))])


def refused(call: Callable[[], object], *parts: object) -> None:
    """Assert that `call` raises an InputError of one line that contains `parts`."""
    with pytest.raises(InputError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert str(part) in text, text

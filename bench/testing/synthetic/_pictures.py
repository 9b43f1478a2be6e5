"""The images of synthetic copies: the class determines the colours, the sample adds noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.core.hashing import key_of


def pixels(label: int, sample: str, width: int = 24, height: int = 20) -> NDArray[np.uint8]:
    """Return an image, uint8 [height, width, 3]; images of one class look alike."""
    of_class = np.random.default_rng(label)
    of_sample = np.random.default_rng(int(key_of("synthetic", sample), 16))
    base = of_class.integers(40, 216, (1, 1, 3)) + of_class.integers(-40, 40, (4, 4, 3))
    grid = np.kron(base, np.ones((-(-height // 4), -(-width // 4), 1)))[:height, :width]
    noisy = grid + of_sample.normal(0, 12, (height, width, 3))
    return np.asarray(noisy.clip(0, 255), dtype=np.uint8)


def save(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an image in the format of its file name; equal arrays give identical files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)

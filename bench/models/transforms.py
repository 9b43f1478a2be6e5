"""From images to tensors: CLIP's evaluation transform and its random crop, seeded per sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.api.splits import Images
from bench.api.trainer import random_generator

if TYPE_CHECKING:
    from torch import Tensor

RATIO = (3 / 4, 4 / 3)
"""Aspect of the training crop: that of open_clip and of the wise-ft code."""


@dataclass(frozen=True)
class EvalImages:
    """Images as tensors [3, H, W], through open_clip's own evaluation transform."""

    images: Images
    transform: Any

    def __getitem__(self, index: int) -> Tensor:
        tensor: Tensor = self.transform(self.images[index])
        return tensor


@dataclass(frozen=True)
class TrainImages:
    """Dataset indexed by (epoch, sample, template): the sample's random crop in that epoch, its
    label, and the number of its caption's template as it was given.

    The crop depends on (seed, epoch, sample) only, never on batches, workers or ranks, so that a
    training is reproducible however it is run.
    """

    images: Images
    labels: Any
    size: int
    finish: Any
    seed: int
    min_area: float = 0.9
    flip: bool = False

    def __getitem__(self, item: tuple[int, int, int]) -> tuple[Tensor, int, int]:
        from PIL.Image import Resampling, Transpose

        epoch, sample, template = item
        image = self.images[sample]
        rng = random_generator(self.seed, epoch, sample, 4)
        left, top, width, height = crop_box(image.width, image.height, rng, self.min_area)
        box = (left, top, left + width, top + height)
        cropped = image.crop(box).resize((self.size, self.size), Resampling.BICUBIC)
        if self.flip and rng.random() < 0.5:
            cropped = cropped.transpose(Transpose.FLIP_LEFT_RIGHT)
        return self.finish(cropped.convert("RGB")), int(self.labels[sample]), template


def crop_box(
    width: int, height: int, rng: np.random.Generator, min_area: float
) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a random resized crop, distributed as torchvision's.

    Ten tries for an area in [min_area, 1] and a log-uniform aspect in RATIO that fit; else the
    largest centre crop whose aspect is in RATIO.
    """
    for _ in range(10):
        area = width * height * rng.uniform(min_area, 1.0)
        aspect = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, w, h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (width - w) // 2, (height - h) // 2, w, h


def evaluation_transform(preprocess: Any) -> Any:
    """open_clip's evaluation transform for a preprocessing configuration."""
    from open_clip.transform import image_transform_v2

    return image_transform_v2(preprocess, is_train=False)


def tensor_transform(preprocess: Any) -> Any:
    """RGB PIL image of the model's size -> normalised tensor [3, H, W]."""
    from torchvision.transforms import Compose, Normalize, ToTensor

    return Compose([ToTensor(), Normalize(preprocess.mean, preprocess.std)])


def input_size(preprocess: Any) -> int:
    """The model's input size in pixels (square)."""
    size = preprocess.size
    return int(size if isinstance(size, int) else size[0])

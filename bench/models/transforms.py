"""Image transforms: CLIP's evaluation transform, and random crops seeded per sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.api.splits import Images
from bench.api.trainer import random_generator
from bench.data.readers.decoding import as_rgb

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from torch import Tensor

RATIO = (3 / 4, 4 / 3)
"""Range of aspect ratios of training crops, as in open_clip and the wise-ft code."""


@dataclass(frozen=True)
class EvalImages:
    """A dataset of images as tensors [3, H, W] after open_clip's evaluation transform.

    The images are made RGB first (see `bench.data.readers.decoding.as_rgb`).

    Examples
    --------
    >>> import torch
    >>> from PIL import Image
    >>> from bench.models.transforms import EvalImages
    >>> images = EvalImages([Image.new("L", (4, 2))], lambda image: torch.tensor(image.size))
    >>> images[0]
    tensor([4, 2])
    """

    images: Images
    transform: Any

    def __getitem__(self, index: int) -> Tensor:
        image = as_rgb(self.images[index], f"{index} of the split")
        tensor: Tensor = self.transform(image)
        return tensor


@dataclass(frozen=True)
class TrainImages:
    """A training dataset that is indexed by (epoch, sample, template).

    An item is (the sample's random crop in that epoch, its label, the template index unchanged).
    The crop depends only on (seed, epoch, sample), not on batches, workers or ranks, so training
    does not depend on how it is distributed. Images are made RGB before they are resized.

    Attributes
    ----------
    images : the images of the split.
    labels : [N], the label of each image.
    size : side of the square crops in pixels.
    finish : transform from a cropped RGB image to a tensor (see `byte_tensor`).
    seed : the training seed.
    min_area : smallest area of a crop, as a fraction of the image.
    flip : whether to mirror each crop with probability 1/2.

    Examples
    --------
    >>> import torch
    >>> from PIL import Image
    >>> from bench.models.transforms import TrainImages
    >>> pictures, finish = [Image.new("RGB", (40, 30))], lambda image: torch.tensor(image.size)
    >>> images = TrainImages(pictures, labels=[3], size=32, finish=finish, seed=0)
    >>> images[(0, 0, 5)]  # epoch 0, sample 0, template 5
    (tensor([32, 32]), 3, 5)
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
        image = as_rgb(self.images[sample], f"{sample} of the split")
        rng = random_generator(self.seed, epoch, sample, 4)
        left, top, width, height = crop_box(image.width, image.height, rng, self.min_area)
        box = (left, top, left + width, top + height)
        cropped = image.crop(box).resize((self.size, self.size), Resampling.BICUBIC)
        if self.flip and rng.random() < 0.5:
            cropped = cropped.transpose(Transpose.FLIP_LEFT_RIGHT)
        return self.finish(cropped), int(self.labels[sample]), template


def crop_box(
    width: int, height: int, rng: np.random.Generator, min_area: float
) -> tuple[int, int, int, int]:
    """Sample (left, top, width, height) of a crop as torchvision's ``RandomResizedCrop`` does.

    Makes up to ten attempts with an area in [min_area, 1] and a log-uniform aspect ratio in RATIO.
    If none fits into the image, returns the largest centre crop with an aspect ratio in RATIO.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.models.transforms import crop_box
    >>> left, top, width, height = crop_box(400, 300, np.random.default_rng(0), min_area=0.9)
    >>> 0.9 * 400 * 300 <= width * height <= 400 * 300 + 400
    True
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
    """Return open_clip's evaluation transform for a preprocessing configuration.

    Examples
    --------
    >>> from PIL import Image
    >>> from open_clip.transform import PreprocessCfg
    >>> from bench.models.transforms import evaluation_transform
    >>> transform = evaluation_transform(PreprocessCfg(size=32))
    >>> transform(Image.new("RGB", (60, 40))).shape
    torch.Size([3, 32, 32])
    """
    from open_clip.transform import image_transform_v2

    return image_transform_v2(preprocess, is_train=False)


def byte_tensor(image: PILImage) -> Tensor:
    """Return an RGB image as uint8 [3, H, W], a quarter of what its normalised pixels take.

    Examples
    --------
    >>> from PIL import Image
    >>> from bench.models.transforms import byte_tensor
    >>> byte_tensor(Image.new("RGB", (2, 1), (7, 8, 9)))[:, 0, 0]
    tensor([7, 8, 9], dtype=torch.uint8)
    """
    from torchvision.transforms.functional import pil_to_tensor

    tensor: Tensor = pil_to_tensor(image)
    return tensor


def normalisation(preprocess: Any) -> Callable[[Tensor], Tensor]:
    """Return a function from uint8 images [B, 3, H, W] to normalised ones, on their device.

    Its bits are those of torchvision's ``ToTensor`` and ``Normalize``. Divisors are tensors, since
    a GPU multiplies by the inverse of a number.

    Examples
    --------
    >>> import torch
    >>> from open_clip.transform import PreprocessCfg
    >>> from bench.models.transforms import normalisation
    >>> normalise = normalisation(PreprocessCfg(size=2, mean=(0.5,) * 3, std=(0.5,) * 3))
    >>> normalise(torch.zeros((1, 3, 2, 2), dtype=torch.uint8)).unique()
    tensor([-1.])
    """
    import torch

    values = [torch.tensor(v, dtype=torch.float32) for v in (preprocess.mean, preprocess.std)]

    def normalise(pixels: Tensor) -> Tensor:
        mean, std = (value.view(-1, 1, 1).to(pixels.device) for value in values)
        most = torch.tensor(255.0, device=pixels.device)
        return pixels.float().div_(most).sub_(mean).div_(std)

    return normalise


def input_size(preprocess: Any) -> int:
    """Return the side of the model's square input in pixels.

    Examples
    --------
    >>> from open_clip.transform import PreprocessCfg
    >>> from bench.models.transforms import input_size
    >>> input_size(PreprocessCfg(size=224)), input_size(PreprocessCfg(size=(336, 336)))
    (224, 336)
    """
    size = preprocess.size
    return int(size if isinstance(size, int) else size[0])

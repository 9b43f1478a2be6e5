"""Shifts made from clean test images: ten common corruptions of five severities each.

The set, the idea and the strengths follow Hendrycks & Dietterich, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations", ICLR 2019 (ImageNet-C, CIFAR-10-C). The code
is our own and so are the images: numbers on them are not numbers on the published archives.

Three things differ on purpose. Strength depends on the image's shorter side: constants are given
for 32 pixels (near CIFAR-10-C) and for 224 (near ImageNet-C), with geometric interpolation in
between. A larger image is corrupted at a shorter side of `WORKING_SIDE` pixels, as ImageNet-C was,
and enlarged again. Randomness belongs to the image: its generator is seeded by (kind, severity,
seed, sample id), so that no order, block, worker or subset changes the result.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from bench.dataset import Images, Loaded, Split
from bench.errors import InputError, unknown
from bench.keys import key_of

VERSION = 1
"""Raised whenever the same arguments would give other pixels; enters every fingerprint."""

SEVERITIES = (1, 2, 3, 4, 5)
WORKING_SIDE = 256

Pixels = NDArray[np.float32]
"""float32 [H, W, C] in [0, 1]; C is 1 (grey) or 3 (RGB)."""

Strengths = tuple[float, float, float, float, float]
Corruption = Callable[[Pixels, int, np.random.Generator], Pixels]


def corrupt(image: Image.Image, kind: str, severity: int, seed: int, sample_id: str) -> Image.Image:
    """A corrupted copy of `image`, of the same size; equal arguments give equal pixels.

    L, RGB and RGBA keep their mode (alpha is left alone), any other mode becomes RGB. Raises
    InputError for an unknown `kind` or a `severity` outside 1 to 5.
    """
    check(kind, severity)
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    colours = image.convert("RGB") if image.mode == "RGBA" else image
    pixels = _pixels(_reduced(colours))
    rng = np.random.default_rng(int(key_of(kind, severity, seed, sample_id), 16))
    result = _image(CORRUPTIONS[kind](pixels, severity, rng))
    if result.size != image.size:
        result = result.resize(image.size, Resampling.BICUBIC)
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result


def check(kind: str, severity: int) -> None:
    """Raise InputError for an unknown `kind` (nearest valid names first) or severity."""
    if kind not in CORRUPTIONS:
        raise unknown("corruption", kind, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise InputError(f"corruption {kind}: severity {severity} must be 1, 2, 3, 4 or 5")


@dataclass(frozen=True)
class CorruptedImages:
    """`images`, corrupted as they are read; `ids` are their sample ids, in the same order."""

    images: Images
    ids: tuple[str, ...]
    kind: str
    severity: int
    seed: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        image, name = self.images[index], self.ids[index]
        return corrupt(image, self.kind, self.severity, self.seed, name)


def corrupted(split: Split, kind: str, severity: int, seed: int, name: str) -> Split:
    """The split `name`: the images of `split` corrupted, with its manifest.

    Raises InputError as `check` does.
    """
    check(kind, severity)

    def load() -> Loaded:
        clean = split.load()
        ids = clean.manifest.ids
        return Loaded(CorruptedImages(clean.images, ids, kind, severity, seed), clean.manifest)

    mark = key_of("corrupted", VERSION, split.fingerprint, kind, severity, seed)
    return Split(name, mark, split.size, load)


# Pixels and images


def _reduced(image: Image.Image) -> Image.Image:
    """`image`, its shorter side at most WORKING_SIDE pixels."""
    scale = WORKING_SIDE / min(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Resampling.BICUBIC)


def _pixels(image: Image.Image) -> Pixels:
    """An L or RGB image as pixels."""
    array = np.asarray(image, dtype=np.float32) / np.float32(255)
    return array[..., None] if array.ndim == 2 else array


def _image(pixels: Pixels) -> Image.Image:
    """Pixels, clipped to [0, 1] and rounded, as an L or RGB image."""
    array = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def _strength(x: Pixels, severity: int, small: Strengths, large: Strengths) -> float:
    """The constant for this image: `small` holds for 32 pixels and below, `large` from 224 on."""
    position = math.log(min(x.shape[:2]) / 32) / math.log(224 / 32)
    low, high = small[severity - 1], large[severity - 1]
    return float(low * (high / low) ** min(max(position, 0.0), 1.0))


def _convolved(x: Pixels, kernel: Pixels) -> Pixels:
    """`x` convolved with an odd-sized square `kernel` [K, K] (normalised here), edges mirrored."""
    half = kernel.shape[0] // 2
    padded = np.pad(x, ((half, half), (half, half), (0, 0)), mode="symmetric")
    rows, columns = padded.shape[:2]
    weights = np.fft.rfft2((kernel / kernel.sum()).astype(np.float32), s=(rows, columns))
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * weights[..., None]
    full = np.fft.irfft2(spectrum, s=(rows, columns), axes=(0, 1))
    return full[2 * half :, 2 * half :].astype(np.float32)


# The corruptions


def gaussian_noise(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Sensor noise in dim light: independent normal noise of the given standard deviation."""
    sd = _strength(x, severity, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))
    return x + np.float32(sd) * rng.standard_normal(x.shape, dtype=np.float32)


def shot_noise(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Photon counting: a Poisson number of photons, of which white has the given mean."""
    photons = _strength(x, severity, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3))
    return (rng.poisson(x * photons) / photons).astype(np.float32)


def impulse_noise(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Bit errors: the given share of values becomes 0 or 1, each half the time."""
    share = _strength(x, severity, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))
    draw = rng.random(x.shape, dtype=np.float32)
    ones = (draw < share / 2).astype(np.float32)
    return np.where(draw < share, ones, x)


def defocus_blur(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A lens out of focus: every point becomes a disc of the given radius in pixels."""
    radius = _strength(x, severity, (0.7, 0.9, 1.1, 1.4, 1.8), (3, 4, 6, 8, 10))
    half = math.ceil(radius)
    axis = np.arange(-half, half + 1, dtype=np.float32)
    distance = np.hypot(axis[:, None], axis[None, :])
    return _convolved(x, np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32))


def motion_blur(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A moving camera: every point becomes a line of the given length in a random direction."""
    length = _strength(x, severity, (2, 2.7, 3.5, 4.5, 6), (7, 12, 18, 26, 32))
    half = math.ceil(length / 2) + 1
    angle = rng.uniform(0, math.pi)
    steps = np.linspace(-length / 2, length / 2, 8 * math.ceil(length))
    rows, columns = half + steps * math.sin(angle), half + steps * math.cos(angle)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    for down in (0, 1):
        for right in (0, 1):
            weights = (1 - abs(rows - top - down)) * (1 - abs(columns - left - right))
            np.add.at(kernel, (top + down, left + right), weights)
    return _convolved(x, kernel)


def fog(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """White mist of uneven density (1 / f^1.5 noise), mixed in with the given weight."""
    weight = _strength(x, severity, (0.2, 0.5, 0.75, 1.0, 1.5), (1.5, 2.0, 2.3, 2.6, 3.0))
    height, width = x.shape[:2]
    rows, columns = np.fft.fftfreq(height) * height, np.fft.rfftfreq(width) * width
    frequency = np.maximum(np.hypot(rows[:, None], columns[None, :]), 1)
    white = np.fft.rfft2(rng.standard_normal((height, width)))
    mist = np.fft.irfft2(white / frequency**1.5, s=(height, width))
    mist = (mist - mist.min()) / max(float(np.ptp(mist)), 1e-9)
    peak = float(x.max())
    hazy: Pixels = (x + weight * mist[..., None]).astype(np.float32)
    return hazy * np.float32(peak / (peak + weight))


def brightness(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Overexposure: the value of HSV rises by the given amount, hue and saturation stay."""
    amount = _strength(x, severity, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
    value = x.max(axis=2, keepdims=True)
    raised = np.minimum(value + np.float32(amount), 1)
    bright: Pixels = np.where(value > 0, x * (raised / np.maximum(value, 1e-6)), raised)
    return bright


def contrast(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Low contrast: the distance to each channel's mean shrinks by the given factor."""
    factor = _strength(x, severity, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))
    mean: Pixels = x.mean(axis=(0, 1), keepdims=True)
    return mean + np.float32(factor) * (x - mean)


def pixelate(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Enlargement of too small an image: reduced to the given factor of its size and back."""
    factor = _strength(x, severity, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25))
    image = _image(x)
    width, height = (max(1, round(side * factor)) for side in image.size)
    small = image.resize((width, height), Resampling.BOX)
    return _pixels(small.resize(image.size, Resampling.BOX))


def jpeg_compression(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Lossy storage: JPEG of the given quality."""
    quality = _strength(x, severity, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7))
    file = io.BytesIO()
    _image(x).save(file, "JPEG", quality=round(quality))
    with Image.open(file) as image:
        return _pixels(image)


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            gaussian_noise,
            shot_noise,
            impulse_noise,
            defocus_blur,
            motion_blur,
            fog,
            brightness,
            contrast,
            pixelate,
            jpeg_compression,
        )
    }
)
"""Every corruption by name."""

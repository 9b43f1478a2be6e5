"""The 15 common corruptions as pure functions of pixels, at five severities each.

Kinds, constants and formulas follow Hendrycks & Dietterich, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations", ICLR 2019. The code is our own;
docs/corruptions.md lists the differences. The tables of constants are copied from the authors'
repository, hendrycks/robustness at commit 8190fe3: `small` from
ImageNet-C/create_c/make_cifar_c.py, for images of 32 pixels, and `large` from make_imagenet_c.py in
the same folder, for 224 pixels. The first line of each docstring, up to a semicolon, is shown to
users.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

SMALL, LARGE = 32, 224
"""The image sides, in pixels, that the two tables of constants were made for."""

Pixels = NDArray[np.float32]
"""float32 [H, W, 3] in [0, 1], or a field [H, W]."""

Distortion = Callable[[Pixels, int, np.random.Generator], Pixels]
"""(pixels, severity 1 to 5, random generator) -> pixels of the same shape, not yet clipped."""

Constants = Sequence[Sequence[float]]
"""The constants of a corruption for each severity."""


# Pixels, fields and constants


def to_pixels(image: Image.Image) -> Pixels:
    """Convert an RGB image to pixels."""
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def to_image(pixels: Pixels) -> Image.Image:
    """Convert pixels to an RGB image, clipping to [0, 1] and rounding."""
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def constants(x: Pixels, severity: int, small: Constants, large: Constants) -> list[float]:
    """Return the constants for an image, which depend on its shorter side.

    These are `small` up to 32 pixels and `large` from 224 pixels on. In between, each constant is
    interpolated over the logarithm of the side: geometrically, as suits a radius in pixels or a
    number of photons, but linearly if one of the two values is 0.
    """
    position = math.log(min(x.shape[:2]) / SMALL) / math.log(LARGE / SMALL)
    fraction = min(max(position, 0.0), 1.0)
    return [
        float(low * (high / low) ** fraction if low and high else low + (high - low) * fraction)
        for low, high in zip(small[severity - 1], large[severity - 1], strict=True)
    ]


def _column(*values: float) -> Constants:
    """Return the table of a corruption with a single constant."""
    return [(value,) for value in values]


def _convolved(x: Pixels, kernel: Pixels) -> Pixels:
    """Convolve `x` with a square `kernel` [K, K] of odd size; normalise it, mirror the edges."""
    half = kernel.shape[0] // 2
    padded = np.pad(x, ((half, half), (half, half), (0, 0)), mode="symmetric")
    rows, columns = padded.shape[:2]
    weights = np.fft.rfft2((kernel / kernel.sum()).astype(np.float32), s=(rows, columns))
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * weights[..., None]
    full = np.fft.irfft2(spectrum, s=(rows, columns), axes=(0, 1))
    return full[2 * half :, 2 * half :].astype(np.float32)


def _blurred(x: Pixels, sigma: float) -> Pixels:
    """Blur each channel of `x` with a Gaussian of `sigma` pixels."""
    from scipy.ndimage import gaussian_filter

    blurred: Pixels = gaussian_filter(x, (sigma, sigma, 0), mode="nearest")
    return blurred


def _smear(x: Pixels, radius: float, sigma: float, angle: float) -> Pixels:
    """Smear every point of `x` to one side with half a Gaussian along a line.

    The line is 2 `radius` pixels long, and the Gaussian has a standard deviation of `sigma` pixels.
    `angle` is in radians, with 0 to the right.
    """
    length = 2 * math.ceil(radius)
    steps = np.arange(length + 1)
    half = length + 1
    rows, columns = half + steps * math.sin(angle), half + steps * math.cos(angle)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    fading = np.exp(-0.5 * (steps / sigma) ** 2)
    for down in (0, 1):
        for right in (0, 1):
            near = (1 - abs(rows - top - down)) * (1 - abs(columns - left - right))
            np.add.at(kernel, (top + down, left + right), near * fading)
    return _convolved(x, kernel)


def _frequencies(height: int, width: int) -> NDArray[np.float64]:
    """Return the frequency of each coefficient of a real FFT, in cycles per pixel."""
    rows, columns = np.fft.fftfreq(height), np.fft.rfftfreq(width)
    frequencies: NDArray[np.float64] = np.hypot(rows[:, None], columns[None, :])
    return frequencies


def _power_noise(height: int, width: int, power: float, rng: np.random.Generator) -> Pixels:
    """Return a field of 1 / f^`power` noise with mean 0 and standard deviation 1."""
    frequency = np.maximum(_frequencies(height, width), 1 / max(height, width))
    white = np.fft.rfft2(rng.standard_normal((height, width)))
    noise = np.fft.irfft2(white / frequency**power, s=(height, width))
    noise -= noise.mean()
    scaled: Pixels = (noise / max(float(noise.std()), 1e-12)).astype(np.float32)
    return scaled


# Noise


def gaussian_noise(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Sensor noise in dim light: independent normal noise with the given standard deviation."""
    small = _column(0.04, 0.06, 0.08, 0.09, 0.10)
    large = _column(0.08, 0.12, 0.18, 0.26, 0.38)
    (sd,) = constants(x, severity, small, large)
    return x + np.float32(sd) * rng.standard_normal(x.shape, dtype=np.float32)


def shot_noise(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Photon noise: Poisson photon counts, where white has the given mean count."""
    small, large = _column(500, 250, 100, 75, 50), _column(60, 25, 12, 5, 3)
    (photons,) = constants(x, severity, small, large)
    return (rng.poisson(x * photons) / photons).astype(np.float32)


def impulse_noise(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Bit errors: the given fraction of values is set to 0 or 1 with equal probability."""
    small = _column(0.01, 0.02, 0.03, 0.05, 0.07)
    large = _column(0.03, 0.06, 0.09, 0.17, 0.27)
    (fraction,) = constants(x, severity, small, large)
    draw = rng.random(x.shape, dtype=np.float32)
    ones = (draw < fraction / 2).astype(np.float32)
    return np.where(draw < fraction, ones, x)


# Blur


def defocus_blur(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A lens out of focus: every point becomes a disc.

    Constants: (radius of the disc, sigma of the Gaussian at its edge) in pixels.
    """
    from scipy.ndimage import gaussian_filter

    small = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)]
    large = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)]
    radius, edge = constants(x, severity, small, large)
    reach = 1 if radius <= 8 else 2
    half = math.ceil(radius) + reach
    axis = np.arange(-half, half + 1)
    disc = (np.hypot(axis[:, None], axis[None, :]) <= radius + 1e-6).astype(np.float32)
    return _convolved(x, gaussian_filter(disc, edge, radius=reach, mode="constant"))


def glass_blur(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Frosted glass: nearby pixels are swapped between two Gaussian blurs.

    Constants: (sigma of the blurs, largest distance d of a swap, number of rounds). The original
    swaps pixels one after the other. In each of its rounds a pixel is swapped twice, once in its
    own turn and once in that of another pixel, each time by -d, ..., d - 1 pixels in both
    directions. Here each pixel takes the value of a pixel at a normal distance of the same
    variance.
    """
    small = [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)]
    large = [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)]
    sigma, far, rounds = constants(x, severity, small, large)
    sd = math.sqrt(2 * rounds * ((2 * far) ** 2 - 1) / 12)
    height, width = x.shape[:2]
    moves = np.rint(sd * rng.standard_normal((2, height, width))).astype(int)
    rows = np.clip(np.arange(height)[:, None] + moves[0], 0, height - 1)
    columns = np.clip(np.arange(width)[None, :] + moves[1], 0, width - 1)
    return _blurred(_blurred(x, sigma)[rows, columns], sigma)


def motion_blur(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A moving camera: every point is smeared within 45 degrees of the horizontal.

    Constants: (radius, sigma) of `_smear`, in pixels.
    """
    small = [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)]
    large = [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)]
    radius, sigma = constants(x, severity, small, large)
    return _smear(x, radius, sigma, rng.uniform(-math.pi / 4, math.pi / 4))


def zoom_blur(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """An approaching camera: the mean of the image and enlarged copies.

    Constants: (end, step) of the scales, as in ``numpy.arange(1, end, step)``.
    """
    small = [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)]
    large = [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)]
    end, step = constants(x, severity, small, large)
    image = to_image(x)
    width, height = image.size
    total = x.copy()
    zooms = np.arange(1, end, step)
    for zoom in zooms:
        left, top = width * (1 - 1 / zoom) / 2, height * (1 - 1 / zoom) / 2
        box = (left, top, width - left, height - top)
        total += to_pixels(image.resize(image.size, Resampling.BILINEAR, box))
    return total / np.float32(len(zooms) + 1)


# Weather


def snow(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Falling flakes in front of a whitened image.

    Constants: (mean and standard deviation of the noise that becomes flakes, its enlargement, the
    threshold of a flake, radius and sigma of the motion blur in pixels, weight of the image against
    its whitened version).
    """
    small = [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ]
    large = [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ]
    mean, sd, zoom, least, radius, sigma, weight = constants(x, severity, small, large)
    height, width = x.shape[:2]
    shape = (math.ceil(height / zoom), math.ceil(width / zoom))
    noise = rng.normal(mean, sd, shape).astype(np.float32)
    layer = np.asarray(Image.fromarray(noise).resize((width, height), Resampling.BILINEAR))
    flakes = np.where(layer < least, 0, np.clip(layer, 0, 1))[..., None].astype(np.float32)
    angle = rng.uniform(-3 * math.pi / 4, -math.pi / 4)
    flakes = _smear(flakes, radius, sigma, angle)
    grey = x @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32)
    white = np.maximum(x, 1.5 * grey + np.float32(0.5))
    snowy: Pixels = weight * x + (1 - weight) * white + flakes + flakes[::-1, ::-1]
    return snowy.astype(np.float32)


def frost(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A frozen window pane in front of the image.

    Constants: (weight of the image, weight of the pane). The original uses crops of five
    photographs. Here the pane is bluish 1 / f noise with bright ridges, with the brightness and
    contrast of those photographs.
    """
    small = [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)]
    large = [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)]
    own, pane = constants(x, severity, small, large)
    height, width = x.shape[:2]
    smooth, rough = (_power_noise(height, width, power, rng) for power in (1.2, 1.0))
    ice = (smooth + 0.8 - abs(rough)) / np.float32(1.17)
    grey = rng.uniform(0.48, 0.81) + rng.uniform(0.07, 0.17) * ice
    tint = np.array([0.89, 1.02, 1.09], dtype=np.float32)
    frozen = np.clip(grey[..., None] * tint, 0, 1)
    frosted: Pixels = (own * x + pane * frozen).astype(np.float32)
    return frosted


def fog(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """White mist of uneven density.

    Constants: (weight of the mist, decay of its detail with each octave). The original uses a
    corner of a plasma fractal of 256 pixels. Here the mist is noise with the spectrum of such a
    fractal.
    """
    small: Constants = [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)]
    large: Constants = [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)]
    weight, decay = constants(x, severity, small, large)
    height, width = x.shape[:2]
    mist = _power_noise(max(height, 256), max(width, 256), 1 + math.log2(decay), rng)
    mist = ((mist - mist.min()) / np.ptp(mist))[:height, :width]
    peak = float(x.max())
    hazy: Pixels = (x + weight * mist[..., None]).astype(np.float32)
    return hazy * np.float32(peak / (peak + weight))


def brightness(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Overexposure: the HSV value increases by the given amount at equal hue and saturation."""
    small, large = _column(0.05, 0.1, 0.15, 0.2, 0.3), _column(0.1, 0.2, 0.3, 0.4, 0.5)
    (amount,) = constants(x, severity, small, large)
    value = x.max(axis=2, keepdims=True)
    raised = np.minimum(value + np.float32(amount), 1)
    bright: Pixels = np.where(value > 0, x * (raised / np.maximum(value, 1e-6)), raised)
    return bright


# Digital


def contrast(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Low contrast: the distance to each channel's mean is multiplied by the given factor."""
    small, large = _column(0.75, 0.5, 0.4, 0.3, 0.15), _column(0.4, 0.3, 0.2, 0.1, 0.05)
    (factor,) = constants(x, severity, small, large)
    mean: Pixels = x.mean(axis=(0, 1), keepdims=True)
    return mean + np.float32(factor) * (x - mean)


def elastic_transform(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A stretched sheet: a random affine map, then local displacements.

    Constants, as fractions of the side: (factor of the displacements, sigma of the Gaussian that
    smooths them, largest displacement of the three points that define the affine map).
    """
    from scipy.ndimage import map_coordinates

    small = [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
             (0.1, 0.03, 0.03)]  # fmt: skip
    # For images of 224 pixels the authors multiply these fractions by 244.
    large = [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
             (0.12, 0.01, 0.02)]  # fmt: skip
    height, width = x.shape[:2]
    wide = [tuple(value * 244 / LARGE for value in row) for row in large]
    factor, sigma, far = (v * min(x.shape[:2]) for v in constants(x, severity, small, wide))
    third = max(1, min(height, width) // 3)
    centre = np.array([height // 2, width // 2])
    points = centre + third * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + rng.uniform(-far, far, points.shape)
    ones = np.ones((3, 1))
    back = np.linalg.solve(np.hstack([moved, ones]), points)  # from the result to the source
    places = np.indices((height, width), dtype=np.float64)
    low_pass = np.exp(-2 * (math.pi * sigma * _frequencies(height, width)) ** 2)
    for axis in (0, 1):
        noise = np.fft.rfft2(rng.uniform(-1, 1, (height, width)))
        places[axis] += factor * np.fft.irfft2(noise * low_pass, s=(height, width))
    sources = np.tensordot(back[:2].T, places, axes=1) + back[2][:, None, None]
    channels = [map_coordinates(x[..., c], sources, order=1, mode="mirror") for c in range(3)]
    return np.stack(channels, axis=2)


def pixelate(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Low resolution: the image is reduced by the given factor and enlarged again."""
    small, large = _column(0.95, 0.9, 0.85, 0.75, 0.65), _column(0.6, 0.5, 0.4, 0.3, 0.25)
    (factor,) = constants(x, severity, small, large)
    image = to_image(x)
    width, height = (max(1, int(side * factor)) for side in image.size)
    reduced = image.resize((width, height), Resampling.BOX)
    return to_pixels(reduced.resize(image.size, Resampling.BOX))


def jpeg_compression(x: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Lossy compression: JPEG with the given quality."""
    small, large = _column(80, 65, 58, 50, 40), _column(25, 18, 15, 10, 7)
    (quality,) = constants(x, severity, small, large)
    file = io.BytesIO()
    to_image(x).save(file, "JPEG", quality=round(quality))
    with Image.open(file, formats=["JPEG"]) as image:
        return to_pixels(image)


DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            gaussian_noise,
            shot_noise,
            impulse_noise,
            defocus_blur,
            glass_blur,
            motion_blur,
            zoom_blur,
            snow,
            frost,
            fog,
            brightness,
            contrast,
            elastic_transform,
            pixelate,
            jpeg_compression,
        )
    }
)
"""All corruptions by name, in the paper's order."""

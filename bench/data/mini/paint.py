"""Painting of batches of objects in three styles: photo, sketch and art (NumPy, seeded).

All functions work on a batch of N images at once, as float32 arrays [N, SIZE, SIZE(, 3)] with
colours in 0..1. Frame coordinates run from -1 to 1. No matrix products are used because their last
bits may depend on the number of BLAS threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.mini.fields import EXTENT, GRID
from bench.data.mini.words import COLOURS, SCENES

SIZE = 32
Array = NDArray[np.float32]
Index = NDArray[np.int64]
Rng = np.random.Generator
Range = tuple[float, float]

# fmt: off
_COLOURS: Array = np.array([
    [.85, .12, .10], [.95, .52, .10], [.95, .85, .15], [.20, .62, .20],  # red orange yellow green
    [.10, .60, .60], [.15, .30, .85], [.50, .20, .70], [.95, .55, .75],  # teal blue purple pink
    [.45, .28, .14], [.08, .08, .10], [.94, .94, .94], [.52, .52, .54],  # brown black white grey
], np.float32)
# per scene: colour at the top, at the bottom, waves per frame along x and y, their height, grain
_SCENES: Array = np.array([
    [.40, .65, .95, .80, .90, 1.0, 0.6, 0.9, .05, .02],  # sky
    [.20, .50, .70, .05, .25, .50, 0.7, 4.5, .08, .03],  # sea
    [.35, .60, .25, .20, .45, .12, 5.5, 1.5, .07, .07],  # grass
    [.90, .80, .55, .75, .60, .38, 1.6, 2.6, .05, .06],  # sand
    [.95, .96, 1.0, .80, .85, .95, 0.8, 0.7, .04, .02],  # snow
    [.02, .03, .15, .14, .10, .28, 0.5, 0.6, .03, .05],  # night
    [.62, .30, .22, .50, .22, .16, 3.0, 5.0, .10, .04],  # bricks
    [.66, .48, .30, .50, .34, .20, 0.4, 6.0, .08, .03],  # wood
], np.float32)
# fmt: on
_AXIS: Array = ((np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1).astype(np.float32)
_X, _Y = _AXIS[None, None, :], _AXIS[None, :, None]
_PIXEL = 2 / SIZE


@dataclass(frozen=True)
class Look:
    """Appearance of the images of a split.

    Values are uniform in their ranges; angles are in radians, sizes in half frames. `bias` is the
    probability that an object has one of the two preferred colours of its class, and the same for
    scenes: this is the spurious cue that fine-tuning picks up.
    """

    style: Literal["photo", "sketch", "art"] = "photo"
    rotation: float = 0.25
    scale: Range = (0.6, 0.92)
    perspective: float = 0.08
    wobble: float = 0.03
    bias: float = 0.0
    clutter: Range = (0, 2)
    occluders: Range = (0, 0.6)
    noise: Range = (0.02, 0.08)


@dataclass(frozen=True)
class Batch:
    """Painted images uint8 [N, SIZE, SIZE, 3]; indices into COLOURS and SCENES [N], -1 for none."""

    images: NDArray[np.uint8]
    colours: Index
    scenes: Index


def _u(rng: Rng, n: int, low: float, high: float, *shape: int) -> Array:
    """Return uniform numbers [N, *shape], or [N, 1, 1] without a shape."""
    out = rng.random((n, *(shape or (1, 1))), dtype=np.float32)
    return out * np.float32(high - low) + np.float32(low)


def _normal(rng: Rng, n: int, scale: float, *shape: int) -> Array:
    return rng.standard_normal((n, *(shape or (1, 1))), dtype=np.float32) * np.float32(scale)


def _chance(rng: Rng, n: int, probability: float) -> Array:
    """Return 1 with this probability, otherwise 0: [N, 1, 1]."""
    return (rng.random((n, 1, 1)) < probability).astype(np.float32)


def _mix(a: Array, b: Array, weight: Array) -> Array:
    """Blend images [N, S, S, 3] or colours [N, 1, 1, 3]: a + (b - a) * weight [N, S, S]."""
    return a + (b - a) * weight[..., None]


def _waves(rng: Rng, n: int, low: float, high: float, count: int = 2) -> Array:
    """Return a smooth random field in -1..1: the mean of plane waves (cycles per frame)."""
    total = np.zeros((n, SIZE, SIZE), np.float32)
    for _ in range(count):
        angle = _u(rng, n, 0, 2 * np.pi)
        k = _u(rng, n, low, high) * np.float32(np.pi)
        total += np.cos(k * (np.cos(angle) * _X + np.sin(angle) * _Y) + _u(rng, n, 0, 2 * np.pi))
    return total / np.float32(count)


def _cover(distance: Array, softness: Array) -> Array:
    """Return the fraction of a pixel inside an edge at a signed distance (frame units)."""
    return np.clip(np.float32(0.5) - distance / (softness * np.float32(_PIXEL)), 0, 1)


def _blob(rng: Rng, n: int, low: float, high: float) -> Array:
    """Return the coverage of a random box or ellipse of half-size low..high in the frame."""
    angle = _u(rng, n, 0, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    x, y = _X - _u(rng, n, -1, 1), _Y - _u(rng, n, -1, 1)
    rx, ry = _u(rng, n, low, high), _u(rng, n, low, high)
    a, b = np.abs(c * x + s * y) / rx, np.abs(c * y - s * x) / ry
    box = np.maximum(a, b)
    radius = np.where(_chance(rng, n, 0.5) > 0, box, np.sqrt(a * a + b * b))
    return _cover((radius - 1) * np.minimum(rx, ry), np.float32(1.2) + 0 * rx)


def _stroke(rng: Rng, n: int, width: float, reach: float) -> Array:
    """Return the coverage of a random straight stroke of half-length up to `reach`."""
    angle = _u(rng, n, 0, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    x, y = _X - _u(rng, n, -1, 1), _Y - _u(rng, n, -1, 1)
    along = np.maximum(np.abs(c * x + s * y) - _u(rng, n, 0.2 * reach, reach), 0)
    across = c * y - s * x
    distance = np.sqrt(along * along + across * across) - np.float32(width)
    return _cover(distance, np.float32(1.2) + 0 * angle)


def _place(rng: Rng, fields: Array, look: Look) -> tuple[Array, Array, Array]:
    """Return signed distances of body and marks, [N, S, S] each, and the scale [N, 1, 1]."""
    n = len(fields)
    scale = _u(rng, n, *look.scale)
    angle = _u(rng, n, -look.rotation, look.rotation)
    room = np.maximum(1 - scale, 0.05) * np.float32(0.9)
    x = (_X - room * _u(rng, n, -1, 1)) / scale
    y = (_Y - room * _u(rng, n, -1, 1)) / scale
    depth = 1 + _normal(rng, n, look.perspective) * x + _normal(rng, n, look.perspective) * y
    x, y = x / np.maximum(depth, 0.4), y / np.maximum(depth, 0.4)
    c, s = np.cos(angle), np.sin(angle)
    flip = 1 - 2 * _chance(rng, n, 0.5)
    u = np.asarray((c * x + s * y) * flip, np.float32)
    v = np.asarray(c * y - s * x, np.float32)
    bend = _normal(rng, n, look.wobble)
    u += bend * np.sin(_u(rng, n, 2, 6) * v + _u(rng, n, 0, 2 * np.pi))
    v += bend * np.sin(_u(rng, n, 2, 6) * u + _u(rng, n, 0, 2 * np.pi))
    sampled = _sample(fields, u, v) * scale[..., None]
    return sampled[..., 0], sampled[..., 1], scale


def _sample(fields: Array, u: Array, v: Array) -> Array:
    """Sample fields [N, GRID, GRID, 2] bilinearly at u, v [N, S, S]: [N, S, S, 2]."""
    half = np.float32((GRID - 1) / (2 * EXTENT))
    gu = np.clip((u + np.float32(EXTENT)) * half, 0, GRID - 1.001)
    gv = np.clip((v + np.float32(EXTENT)) * half, 0, GRID - 1.001)
    iu, iv = np.floor(gu), np.floor(gv)
    fu, fv = (gu - iu)[..., None], (gv - iv)[..., None]
    start = (np.arange(len(fields)) * GRID * GRID)[:, None, None]
    flat = fields.reshape(-1, 2)
    at = start + iv.astype(np.int64) * GRID + iu.astype(np.int64)
    top = flat[at] + (flat[at + 1] - flat[at]) * fu
    bottom = flat[at + GRID] + (flat[at + GRID + 1] - flat[at + GRID]) * fu
    return np.asarray(top + (bottom - top) * fv, np.float32)


def _colour(rng: Rng, index: Index, jitter: float = 0.06) -> Array:
    """Return named colours with jitter: [N, 1, 1, 3]."""
    n = len(index)
    shade = _COLOURS[index][:, None, None] + _normal(rng, n, jitter, 1, 1, 3)
    return np.asarray(np.clip(shade, 0, 1), np.float32)


def _any_colour(rng: Rng, n: int) -> Array:
    return _u(rng, n, 0, 1, 1, 1, 3)


def _preferred(rng: Rng, identity: Index, kinds: int, bias: float, step: int) -> Index:
    """Return [N] kinds: one of two tied to the class with probability `bias`, otherwise any."""
    n = len(identity)
    tied = (identity * step + rng.integers(0, 2, n) * (kinds // 2 - 1)) % kinds
    return np.where(rng.random(n) < bias, tied, rng.integers(0, kinds, n))


def _backdrop(rng: Rng, scene: Index) -> Array:
    """Return the gradient, waves and grain of scenes: [N, S, S, 3]."""
    n = len(scene)
    row = _SCENES[scene][:, None, None]
    blend = np.clip((_Y + 1) / 2 + _normal(rng, n, 0.2) + _normal(rng, n, 0.3) * _X, 0, 1)
    top = row[..., 0:3] + _normal(rng, n, 0.06, 1, 1, 3)
    bottom = row[..., 3:6] + _normal(rng, n, 0.06, 1, 1, 3)
    kx = row[..., 6] * _u(rng, n, 0.7, 1.4) * np.float32(np.pi)
    ky = row[..., 7] * _u(rng, n, 0.7, 1.4) * np.float32(np.pi)
    wave = np.cos(kx * _X + _u(rng, n, 0, 6.28)) + np.cos(ky * _Y + _u(rng, n, 0, 6.28))
    texture = row[..., 8] * wave + row[..., 9] * _normal(rng, n, 1, SIZE, SIZE)
    return np.asarray(_mix(top, bottom, blend) + texture[..., None], np.float32)


def _scatter(rng: Rng, image: Array, count: Range, low: float, high: float) -> Array:
    """Paint a random number of coloured blobs over the image, in place."""
    wanted = np.floor(_u(rng, len(image), *count) + _u(rng, len(image), 0, 1))[:, 0, 0]
    for k in range(int(np.ceil(count[1]))):
        some = np.flatnonzero(wanted > k)
        shade = _any_colour(rng, len(some))
        image[some] = _mix(image[some], shade, _blob(rng, len(some), low, high))
    return image


def _quantise(image: Array) -> NDArray[np.uint8]:
    return np.asarray(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _photo(rng: Rng, fields: Array, identity: Index, look: Look) -> Batch:
    n = len(fields)
    colour = _preferred(rng, identity, len(COLOURS), look.bias, step=5)
    scene = _preferred(rng, identity, len(SCENES), look.bias, step=3)
    body, marks, scale = _place(rng, fields, look)
    softness = _u(rng, n, 1.0, 2.2)
    image = _scatter(rng, _backdrop(rng, scene), look.clutter, 0.12, 0.4)
    shade = _colour(rng, colour)
    ripple = 1 + _u(rng, n, 0, 0.2) * _waves(rng, n, 1, 5)
    rim = 1 - _u(rng, n, 0, 0.5) * np.clip(1 + body / (np.float32(0.2) * scale), 0, 1)
    painted = shade * (ripple * rim)[..., None]
    contrast = np.where(shade.mean(-1) > 0.5, 0.0, 1.0).astype(np.float32)[..., None]
    painted = _mix(painted, shade + (contrast - shade) * np.float32(0.55), _cover(marks, softness))
    image = _mix(image, painted, np.maximum(_cover(body, softness), _cover(marks, softness)))
    image = _scatter(rng, image, look.occluders, 0.1, 0.35)
    light = _u(rng, n, 0.65, 1.2) + _normal(rng, n, 0.2) * _X + _normal(rng, n, 0.2) * _Y
    image = image * light[..., None] + _normal(rng, n, 0.03, 1, 1, 3)
    noise = _u(rng, n, *look.noise)[..., None] * _normal(rng, n, 1, SIZE, SIZE, 3)
    return Batch(_quantise(image + noise), colour, scene)


def _sketch(rng: Rng, fields: Array, look: Look) -> Batch:
    n = len(fields)
    body, marks, _ = _place(rng, fields, look)
    width = _u(rng, n, 0.03, 0.075)
    ink = np.maximum(
        _cover(np.abs(body) - width, np.float32(1.2) + 0 * width),
        _cover(np.abs(marks) - np.float32(0.7) * width, np.float32(1.2) + 0 * width),
    )
    ink = ink * np.clip(1.5 + _u(rng, n, 0, 4) * (_waves(rng, n, 1, 4) + 0.5), 0, 1)  # gaps
    angle = _u(rng, n, 0, np.pi)
    k = _u(rng, n, 5, 9) * np.float32(np.pi)
    hatch = np.clip(np.cos(k * (np.cos(angle) * _X + np.sin(angle) * _Y)), 0, 1)
    inside = _cover(body, np.float32(1.2) + 0 * width)
    ink = np.maximum(ink, _chance(rng, n, 0.5) * _u(rng, n, 0.3, 0.8) * hatch * inside)
    for _ in range(3):  # stray strokes
        stray = _chance(rng, n, 0.4) * _u(rng, n, 0.3, 1) * _stroke(rng, n, 0.03, 0.5)
        ink = np.maximum(ink, stray)
    paper = _u(rng, n, 0.8, 1.0, 1, 1, 1) + _normal(rng, n, 0.03, 1, 1, 3)
    pencil = _u(rng, n, 0.0, 0.35, 1, 1, 1) + _normal(rng, n, 0.04, 1, 1, 3)
    image = _mix(paper, pencil, ink * _u(rng, n, 0.7, 1)) + _normal(rng, n, 0.03, SIZE, SIZE, 1)
    none = np.full(n, -1)
    return Batch(_quantise(image), none, none)


def _pattern(rng: Rng, n: int) -> Array:
    """Return stripes, checks, dots or nothing: [N, S, S] in 0..1."""
    angle = _u(rng, n, 0, np.pi)
    k = _u(rng, n, 1.5, 5) * np.float32(np.pi)
    c, s = np.cos(angle), np.sin(angle)
    a, b = np.cos(k * (c * _X + s * _Y)), np.cos(k * (c * _Y - s * _X))
    kind = rng.integers(0, 4, n)[:, None, None]
    wave = np.choose(kind, [a, a * b * 2, a + b - 1, np.full_like(a, -1)])
    return np.asarray(np.clip(0.5 + 3 * wave, 0, 1), np.float32)


def _art(rng: Rng, fields: Array, look: Look) -> Batch:
    n = len(fields)
    colour = rng.integers(0, len(COLOURS), n)
    body, marks, _ = _place(rng, fields, look)
    sharp = _u(rng, n, 1.0, 1.4)
    image = _mix(_any_colour(rng, n), _any_colour(rng, n), _pattern(rng, n))
    shade = _colour(rng, colour, 0.1)
    strength = _u(rng, n, 0.2, 0.8) * _chance(rng, n, 0.7)
    painted = _mix(shade, _any_colour(rng, n), _pattern(rng, n) * strength)
    painted = _mix(painted, _any_colour(rng, n), _cover(marks, sharp))
    image = _mix(image, painted, np.maximum(_cover(body, sharp), _cover(marks, sharp)))
    line = _cover(np.abs(body) - _u(rng, n, 0.03, 0.08), sharp) * _chance(rng, n, 0.6)
    image = _mix(image, _chance(rng, n, 0.25)[..., None] * np.float32(0.95), line)
    levels = rng.integers(2, 6, n)[:, None, None, None].astype(np.float32)
    image = np.where(
        _chance(rng, n, 0.7)[..., None] > 0, np.round(np.clip(image, 0, 1) * levels) / levels, image
    )
    coarse = image.reshape(n, SIZE // 2, 2, SIZE // 2, 2, 3).mean((2, 4))
    mosaic = coarse.repeat(2, 1).repeat(2, 2)
    image = np.where(_chance(rng, n, 0.2)[..., None] > 0, mosaic, image)
    return Batch(_quantise(image + _normal(rng, n, 0.02, SIZE, SIZE, 3)), colour, np.full(n, -1))


def paint(rng: Rng, fields: Array, identity: Index, look: Look) -> Batch:
    """Paint one object per image from fields [N, GRID, GRID, 2] and class indices [N]."""
    if look.style == "sketch":
        return _sketch(rng, fields, look)
    if look.style == "art":
        return _art(rng, fields, look)
    return _photo(rng, fields, identity, look)

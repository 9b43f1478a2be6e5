"""Signed distance fields of drawings, whose edges stay sharp at any scale, as in vector fonts.

A variant is a design bent by a smooth random warp. An atlas holds the variants of many classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.data.mini.parts import Array, Drawing, Part
from bench.data.mini.shapes import DESIGNS

GRID = 44  # cells of a field along each side
EXTENT = 1.3  # the field covers -EXTENT .. EXTENT
FAR = 1.0  # distance reported where a drawing has no marks


def _to_segments(points: Array, a: Array, b: Array) -> Array:
    """Return the distance [n] of `points` [n, 2] to the nearest of the segments `a`-`b` [s, 2]."""
    along = b - a
    length = np.maximum((along**2).sum(1), np.float32(1e-9))
    dx = points[:, :1] - a[:, 0]
    dy = points[:, 1:] - a[:, 1]
    t = np.clip((dx * along[:, 0] + dy * along[:, 1]) / length, 0, 1)
    distance = (dx - t * along[:, 0]) ** 2 + (dy - t * along[:, 1]) ** 2
    return np.asarray(np.sqrt(distance.min(1)), np.float32)


def _inside(points: Array, a: Array, b: Array) -> NDArray[np.bool_]:
    """Return which `points` [n, 2] lie inside the polygon with edges `a`-`b` (even-odd rule)."""
    y = points[:, 1:]
    rise = np.where(b[:, 1] == a[:, 1], np.float32(1), b[:, 1] - a[:, 1])
    x = a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise
    crosses = ((a[:, 1] > y) != (b[:, 1] > y)) & (points[:, :1] < x)
    return np.asarray(crosses.sum(1) % 2 == 1)


def signed_distance(part: Part, points: Array) -> Array:
    """Return the distance [n] of `points` [n, 2] to the edge of the part, negative inside."""
    if part.width > 0:
        return _to_segments(points, part.points[:-1], part.points[1:]) - np.float32(part.width)
    a, b = part.points, np.roll(part.points, -1, axis=0)
    distance = _to_segments(points, a, b)
    return np.where(_inside(points, a, b), -distance, distance)


def fields(drawing: Drawing, bend: Callable[[Array], Array]) -> Array:
    """Return signed distances [GRID, GRID, 2] of the bent drawing's body and marks."""
    axis = np.linspace(-EXTENT, EXTENT, GRID, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis), 2).reshape(-1, 2)
    body = np.full(len(points), FAR, np.float32)
    marks = body.copy()
    for part in drawing:
        distance = signed_distance(replace(part, points=bend(part.points)), points)
        if part.role == "mark":
            marks = np.minimum(marks, distance)
        else:
            body = np.maximum(body, -distance) if part.role == "cut" else np.minimum(body, distance)
    return np.stack([body, marks], 1).reshape(GRID, GRID, 2)


def _bend(rng: np.random.Generator, strength: float) -> Callable[[Array], Array]:
    """Return a smooth random warp: stretch, shear and one slow wave along each axis."""
    stretch = np.eye(2) + rng.normal(0, strength, (2, 2)) * [[1.2, 0.8], [0.8, 1.2]]
    wave = rng.uniform(1.5, 4.0, (2, 2)) * rng.choice([-1, 1], (2, 2))
    phase = rng.uniform(0, 2 * np.pi, 2)
    height = rng.normal(0, 0.7 * strength, 2)

    def bend(points: Array) -> Array:
        # written out, because a matrix product may depend on the number of BLAS threads
        x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
        bent = [
            stretch[i, 0] * x
            + stretch[i, 1] * y
            + height[i] * np.sin(wave[i, 0] * x + wave[i, 1] * y + phase[i])
            for i in range(2)
        ]
        return np.stack(bent, 1).astype(np.float32)

    return bend


@lru_cache(maxsize=8)
def atlas(names: tuple[str, ...], variants: int, strength: float, seed: int) -> Array:
    """Return fields of bent drawings of each class: [len(names), variants, GRID, GRID, 2]."""
    out = np.empty((len(names), variants, GRID, GRID, 2), np.float32)
    for c, name in enumerate(names):
        for v in range(variants):
            rng = np.random.default_rng([seed, sum(map(ord, name)), len(name), v])
            designs = DESIGNS[name]
            out[c, v] = fields(designs[v % len(designs)], _bend(rng, strength))
    out.setflags(write=False)
    return out

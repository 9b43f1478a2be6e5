"""Parts of drawings: polygons and strokes.

A drawing is a tuple of parts in a frame from -1 to 1 (x to the right, y down). Filled parts form
the body. Cuts are removed from the body. Marks are drawn on top in a second colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
XY = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """A closed polygon (`width` 0) or a stroke of half-width `width`; `points` [n, 2]."""

    points: Array
    width: float = 0.0
    role: Literal["body", "cut", "mark"] = "body"


Drawing = tuple[Part, ...]


def poly(*points: XY) -> Part:
    """Return a filled polygon."""
    return Part(np.asarray(points, np.float32))


def line(width: float, *points: XY) -> Part:
    """Return a stroke along `points`."""
    return Part(np.asarray(points, np.float32), width / 2)


def _curve(x: float, y: float, rx: float, ry: float, start: float, end: float, n: int) -> Array:
    turn = np.radians(np.linspace(start, end, n))
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1).astype(np.float32)


def disc(x: float, y: float, rx: float, ry: float | None = None) -> Part:
    """Return a filled ellipse."""
    return Part(_curve(x, y, rx, rx if ry is None else ry, 0, 340, 18))


def sector(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Part:
    """Return a filled sector of an ellipse between two angles in degrees (clockwise, 0 = right)."""
    return Part(_curve(x, y, rx, ry, start, end, 14))


def arc(width: float, x: float, y: float, rx: float, ry: float, start: float, end: float) -> Part:
    """Return a stroke along an ellipse between two angles in degrees."""
    return Part(_curve(x, y, rx, ry, start, end, 14), width / 2)


def cut(part: Part) -> Part:
    """Return the same part, to be removed from the body."""
    return replace(part, role="cut")


def mark(part: Part) -> Part:
    """Return the same part, to be drawn on top in the second colour."""
    return replace(part, role="mark")

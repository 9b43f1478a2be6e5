"""The embedded suite `mini`: rendered images that mirror ImageNet and its shifts one by one.

`micro` is the same suite at a tenth of its size, for tests and experiments. docs/mini.md explains
how it was made and what its numbers mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.api import registry
from bench.api.dataset import Card, LabelMap, Shift, Suite, Task
from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import InputError
from bench.core.hashing import key_of
from bench.core.store import Store
from bench.data.mini import render

if TYPE_CHECKING:
    from PIL.Image import Image

SHIFTS = {
    "v2": LabelMap(),
    "sketch": LabelMap(),
    "rendition": LabelMap(tuple((c,) for c in render.RENDITION)),
    "adversarial": LabelMap(tuple((c,) for c in render.ADVERSARIAL)),
    "objectnet": LabelMap(tuple(classes for _, classes in render.OBJECTNET)),
}
_STEPS = {"epochs": 8, "batch_size": 128, "warmup": 0.1}
_PROBE = {"lr": 3e-2, "epochs": 80, "batch_size": 128, "warmup": 0.1}
_PROBED = {f"probe.{name}": value for name, value in _PROBE.items()}
_TEACHER = {"period": 4}  # 48 updates of the teacher, close to the published 51
DEFAULTS: dict[str, dict[str, Any]] = {
    "e2e-ft": {"lr": 1e-3, **_STEPS},
    "ema": {"lr": 1e-3, "decay": 0.99, **_STEPS},
    "l2-sp": {"lr": 1e-3, "pull": 0.01, **_STEPS},
    "ftp": {"lr": 1e-3, "radius_lr": 1.0, **_STEPS},
    "ldifs": {"lr": 1e-3, **_STEPS},
    "lipsum-ft": {"lr": 1e-3, **_STEPS},
    "linear": _PROBE,
    "linear-lbfgs": {"max_iter": 2000},
    "lp-ft": {"lr": 1e-4, **_STEPS, **_PROBED},
    "lp-ft-raw": {"lr": 5e-4, **_STEPS, **_PROBED, "probe.lr": 3e-3},
    "lp-ft-sgd": {"lr": 1e-3, **_STEPS, **_PROBED, "warmup": 0},
    "flyp": {"lr": 2e-3, **_STEPS},
    "carot": {"lr": 2e-3, **_STEPS, **_TEACHER},
    "carot-slides": {"lr": 1e-3, **_STEPS, **_TEACHER},
}
"""Hyper-parameters chosen and frozen on development seeds (docs/mini.md)."""


@dataclass(frozen=True)
class _Pictures:
    """Images of a uint8 array [N, H, W, 3]."""

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Image:
        from PIL import Image

        return Image.fromarray(self.pixels[index])


def _split(suite: str, name: str, size: int, seed: int, cache: Path) -> Split:
    mark = key_of("embedded", render.VERSION, name, size, seed)

    def load() -> Loaded:
        pixels, labels = _rendered(name, size, seed, mark, cache)
        ids = [f"{name}-{i:05d}" for i in range(size)]
        return Loaded(_Pictures(pixels), single_label(ids, labels))

    return Split(f"{suite}/{name}", mark, size, load)


def _rendered(
    name: str, size: int, seed: int, mark: str, cache: Path
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the pixels and labels of a split: rendered once, then read from the cache."""
    store = Store(cache)
    with store.lock("renders", mark):
        arrays = store.read_arrays("renders", mark)
        if arrays is None:
            pixels, labels = render.render(name, size=size, seed=seed)
            arrays = {"pixels": pixels, "labels": labels}
            store.write_arrays("renders", mark, arrays)
    return arrays["pixels"].astype(np.uint8), arrays["labels"].astype(np.int64)


@registry.dataset
class Mini:
    """The embedded suite: 20 classes, five shifts and its own tiny CLIP."""

    name: ClassVar[str] = "mini"
    scale: ClassVar[int] = 1
    seeds: ClassVar[dict[str, int]] = render.SEEDS
    notes: ClassVar[tuple[str, ...]] = ()
    card: ClassVar[Card] = Card(
        title="mini: drawings of objects, made by a program, and five shifts, with a tiny CLIP",
        source="bench's own generator, bench/data/mini/render.py; nothing is downloaded",
        licence="Apache-2.0",
        shifts={
            "v2": "same recipe as ID, rendered from new templates; slightly harder",
            "sketch": "line drawings of all classes",
            "rendition": "art styles; some classes only",
            "adversarial": "cluttered images that a fixed reference gets wrong; some classes only",
            "objectnet": "unusual poses without colour and scene cues; many-to-one labels",
        },
        citation="docs/mini.md of bench",
    )

    def found(self, data: Path | None) -> bool:
        """Return True: the suite is rendered and needs no data."""
        return True

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite; its splits are rendered into `cache` when they are first opened."""
        sizes = {name: count // self.scale for name, count in render.SPLITS.items()}
        if missing := {"train", "val", "test", *SHIFTS} - sizes.keys():
            raise InputError(f"the generator cannot render the splits {', '.join(sorted(missing))}")
        splits = {
            name: _split(self.name, name, size, self.seeds[name], cache)
            for name, size in sizes.items()
        }
        task = Task(self.name, render.CLASSES, render.TEMPLATES, splits["train"], splits["val"])
        shifts = tuple(Shift(name, splits[name], labels) for name, labels in SHIFTS.items())
        return Suite(
            name=self.name,
            task=task,
            test=splits["test"],
            shifts=shifts,
            model="tiny",
            pretrained="embedded",
            defaults=DEFAULTS,
            curves=True,
            notes=self.notes,
        )


@registry.dataset
class Micro(Mini):
    """A tenth of `mini`, rendered from the development seeds of the generator."""

    name: ClassVar[str] = "micro"
    scale: ClassVar[int] = 10
    seeds: ClassVar[dict[str, int]] = render.DEV_SEEDS
    notes: ClassVar[tuple[str, ...]] = ("micro suite",)

"""Fake models, stored outputs and records, for the contract suite and for tests of methods.

`FakeOutputs` computes outputs from tiny linear encoders and heads. Their weights are generated from
the recipe, so every recipe has weights, and a method runs in milliseconds without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import LabelMap
from bench.api.method import LabelledOutputs, Models
from bench.api.recipe_parts import encoder_of, head_of, normalizes
from bench.api.recipes import (
    Backbone,
    Classifier,
    Encoder,
    External,
    Head,
    Imported,
    Merged,
    Pretrained,
    Recipe,
    TextHead,
    Tuned,
)
from bench.api.registry import find_method
from bench.api.trainer import GradientTrainer
from bench.core.hashing import key_of
from bench.core.records import Record
from bench.posthoc.ensembles import distance_to_kth

Matrix = NDArray[np.float64]
Rows = NDArray[np.int64]
SHAPE = CLASSES, WIDTH = 6, 8
PIXELS, SIZE = 16, 40

IDENTITY = LabelMap()
SUBSET = LabelMap(((3,), (0,), (4,)))
MANY_TO_ONE = LabelMap(((4,), (0, 2), (5, 1, 3)))


def fake_models(tuned: bool = True, seed: int = 0) -> Models:
    """Return models over a fake backbone; pass ``tuned=False`` for methods that have no base.

    Examples
    --------
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> models.base.start == models.zero_shot, models.base.seed
    (True, 0)
    """
    backbone = Backbone("fake", "none", "tag:fake")
    names = tuple(f"class {i}" for i in range(CLASSES))
    zero_shot = Classifier(Pretrained(backbone), TextHead(backbone, names, ("a {}",)))
    base = Tuned(zero_shot, GradientTrainer(), "fake-train", seed) if tuned else zero_shot
    return Models(zero_shot, base, "fake-train", "fake-selection", seed)


class FakeOutputs:
    """Outputs on an evaluation split of N samples, without labels.

    Parameters
    ----------
    seed : determines the samples.
    size : N.
    labels : the label map of the split.
    rows : [N], a permutation that reorders the samples; None keeps the order.

    Attributes
    ----------
    asked : the recipes whose outputs were read.

    Examples
    --------
    >>> from bench.testing.fakes import FakeOutputs, fake_models
    >>> models, outputs = fake_models(), FakeOutputs(size=5)
    >>> outputs.features(models.base).shape, outputs.scores(models.zero_shot).shape
    ((5, 8), (5, 6))
    """

    def __init__(
        self,
        seed: int = 0,
        size: int = SIZE,
        labels: LabelMap = IDENTITY,
        rows: Rows | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        truth = rng.integers(CLASSES, size=size)
        pixels = _centres()[truth] + rng.normal(size=(size, PIXELS))
        order = np.arange(size) if rows is None else rows
        self._truth, self._pixels, self._map = truth[order], pixels[order], labels
        self._cache: dict[tuple[str, Recipe], NDArray[np.float32]] = {}
        self.asked: set[Recipe] = set()

    def features(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return the features [N, D] of the recipe's encoder."""
        return self._once("features", recipe, lambda: self._pixels @ _encoder(recipe))

    def distance(
        self, recipe: Recipe, train: LabelledOutputs, rows: NDArray[np.bool_], k: int
    ) -> NDArray[np.float32]:
        """Return the distances [N] to the k-th nearest of the training samples `rows`."""
        return distance_to_kth(self.features(recipe), train.features(recipe)[rows], k)

    def logits(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return the logits [N, C] over the task's classes."""

        def compute() -> Matrix:
            features = self._pixels @ _encoder(recipe)
            return (_unit(features) if normalizes(recipe) else features) @ _head(recipe).T

        return self._once("logits", recipe, compute)

    def scores(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return the logits after the label map, [N, C']."""
        return self._once("scores", recipe, lambda: self._map.project(self.logits(recipe)))

    def project(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the label map to scores: [N, C] -> [N, C']."""
        return self._map.project(scores)

    def altered(self) -> bool:
        """Whether a returned array was modified."""
        before, self._cache = self._cache, {}
        return any(
            not np.array_equal(array, getattr(self, kind)(recipe))
            for (kind, recipe), array in before.items()
        )

    def _once(
        self, kind: str, recipe: Recipe, compute: Callable[[], NDArray[Any]]
    ) -> NDArray[np.float32]:
        self.asked.add(recipe)
        if (kind, recipe) not in self._cache:
            self._cache[kind, recipe] = compute().astype(np.float32)
        return self._cache[kind, recipe]


class FakeLabelledOutputs(FakeOutputs):
    """Outputs on training or selection data, with labels.

    Examples
    --------
    >>> from bench.testing.fakes import FakeLabelledOutputs, fake_models
    >>> models, outputs = fake_models(), FakeLabelledOutputs(size=200)
    >>> right = [outputs.correct(recipe).mean() for recipe in (models.zero_shot, models.base)]
    >>> bool(right[0] < right[1])  # fine-tuning helps
    True
    """

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels [N], over the task's classes."""
        return self._truth

    def correct(self, recipe: Recipe) -> NDArray[np.bool_]:
        """Return [N]: whether the recipe's top-1 class is the label."""
        return np.asarray(self.logits(recipe).argmax(axis=1) == self._truth)


FAKE_ROWS: Mapping[str, Sequence[float]] = MappingProxyType(
    {"zero-shot": (0.6, 0.5, 0.4), "e2e-ft": (0.8, 0.5, 0.3), "vrf:e2e-ft": (0.78, 0.57, 0.45)}
)
"""Invented accuracies of three rows on ID and on two shifts."""


def fake_records(
    rows: Mapping[str, Sequence[float]] = FAKE_ROWS, shifts: Sequence[str] = ("v2", "sketch")
) -> list[Record]:
    """Return invented records of accuracies on 1,000 samples, to try leaderboards and reports.

    `rows` has the accuracies on ID and on each of `shifts` by the name of the row, METHOD or
    METHOD:BASE.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records({"zero-shot": (0.6, 0.4)}, shifts=["sketch"]))
    >>> board.columns, board.rows[0].cells[0].mean
    (('ID', 'sketch', 'OOD mean'), 0.6)
    """
    found = []
    for row, values in rows.items():
        method, _, base = row.partition(":")
        cell: dict[str, Any] = {"suite": "fake", "model": "fake/none", "method": method}
        cell |= {"base": base or None, "title": find_method(method).title}
        for order, (shift, value) in enumerate(zip(("id", *shifts), values, strict=True)):
            cell |= {"seed": None if method == "zero-shot" else 0, "shifts_in_suite": len(shifts)}
            place = {"shift": shift, "order": order}
            found.append(Record(**cell, **place, metric="top1", value=value, n=1000))
    return found


def _noise(value: Any, shape: tuple[int, int]) -> Matrix:
    """Return standard normal numbers that depend only on the value's key."""
    return np.random.default_rng(int(key_of(value), 16)).normal(size=shape)


def _unit(vectors: Matrix) -> Matrix:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _centres() -> Matrix:
    return 1.5 * _noise("class centres", (CLASSES, PIXELS))


def _encoder(recipe: Recipe | Encoder) -> Matrix:
    """Return the encoder's weights [P, D].

    Training changes the weights a little. Merging is exact, because the model is linear.
    """
    match encoder_of(recipe):
        case Tuned() as tuned:
            return _encoder(tuned.start) + 0.2 * _noise(tuned, (PIXELS, WIDTH))
        case Merged() as merged:
            return _blend(merged, _encoder)
        case other:
            return _noise(other, (PIXELS, WIDTH))


def _head(recipe: Recipe | Head) -> Matrix:
    """Return the head's weights [C, D]: the class centres with noise, less for a trained head."""
    head = head_of(recipe)
    match head:
        case Merged():
            return _blend(head, _head)
        case Tuned() | Imported() | External():
            encoder, error = _encoder(head), 0.1
        case TextHead():
            encoder, error = _encoder(Pretrained(head.backbone)), 0.3
    return 10 * _unit(_unit(_centres() @ encoder) + error * _noise((head, "head"), SHAPE))


def _blend(merged: Merged, weights_of: Callable[[Any], Matrix]) -> Matrix:
    """Return the weighted average of the parts' weights; with weights by tensor, the mean."""
    parts = [weights_of(part) for part in merged.parts]
    factors: list[Any] = list(merged.weights or np.full(len(parts), 1 / len(parts)))
    if merged.fishers:
        fishers = [np.square(_noise(fisher, parts[0].shape)) for fisher in merged.fishers]
        factors = [w * f for w, f in zip(merged.weights, fishers, strict=True)]
    total = sum(factor * part for factor, part in zip(factors, parts, strict=True))
    return np.asarray(total / sum(factors))

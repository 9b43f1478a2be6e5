"""Outputs of a split, read from the store: features as stored, logits computed when needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import IDENTITY, LabelMap
from bench.api.recipe_parts import encoder_of, features_key, head_of
from bench.api.recipes import External, Head, Recipe
from bench.api.splits import Split
from bench.core.store import BLOCK, MissingOutput, Store
from bench.models.heads import LinearHead, load_head

Array = NDArray[np.generic]


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    found = array.view()
    found.setflags(write=False)
    return found


@dataclass
class ArrayCache:
    """Least-recently-used cache of arrays, up to `budget` bytes, shared by all outputs of a run."""

    budget: int = 4 << 30
    held: OrderedDict[str, Array] = field(default_factory=OrderedDict)
    heads: dict[Head, LinearHead] = field(default_factory=dict)

    def get(self, key: str, make: Callable[[], Array]) -> Array:
        """Return the array cached under `key`; call `make` for it if there is none.

        It is read-only: a method that changed it in place would change other rows' numbers.
        """
        if key not in self.held:
            self.held[key] = _read_only(make())
        self.held.move_to_end(key)
        while sum(a.nbytes for a in self.held.values()) > self.budget and len(self.held) > 1:
            self.held.popitem(last=False)
        return self.held[key]

    def head(self, head: Head, store: Store) -> LinearHead:
        """Return the head. It is read once, since its file also holds the encoder's weights."""
        if head not in self.heads:
            self.heads[head] = load_head(head, store)
        return self.heads[head]


@dataclass(frozen=True)
class StoredOutputs:
    """Outputs of one split as methods see them (`bench.api.method.Outputs`), without labels."""

    store: Store
    cache: ArrayCache
    split: Split
    precision: str
    label_map: LabelMap = IDENTITY

    def features(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return raw embeddings, float32 [N, D]. Raises MissingOutput if the store lacks them."""
        encoder = encoder_of(recipe)
        if isinstance(encoder, External):
            return self.given(encoder, "features")
        key = features_key(encoder, self.split.fingerprint, self.precision)

        def make() -> Array:
            found = self.store.read_features(key, self.split.size)
            if found is None:
                raise MissingOutput(f"features {key} of {self.split.name}")
            return found

        return self.cache.get(key, make)  # type: ignore[return-value]

    def logits(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return logits over the task's classes, float32 [N, C]."""
        head = head_of(recipe)
        if isinstance(head, External):
            return self.given(head, "logits")
        return self.cache.head(head, self.store).logits(self.features(recipe))

    def given(self, recipe: External, kind: str) -> NDArray[Any]:
        """Return an external array of the split's file. Raises CellError if the file lacks it."""
        if self.split.given is None:
            raise MissingOutput(f"{recipe.model}.{kind} of {self.split.name}")
        make = partial(self.split.given, recipe.model, kind)
        return self.cache.get(f"{self.split.fingerprint} {recipe.model}.{kind}", make)

    def scores(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return logits projected by the label map, float32 [N, C']."""
        return self.project(self.logits(recipe))

    def project(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project scores [N, C] by the label map to float32 [N, C']."""
        return self.label_map.project(scores)


@dataclass(frozen=True)
class LabelledStoredOutputs(StoredOutputs):
    """Outputs of a split with labels (`bench.api.method.LabelledOutputs`)."""

    read_labels: Callable[[], NDArray[np.int64]] = field(kw_only=True)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels, int64 [N]. The split is opened when they are first read."""
        return _read_only(self.read_labels())

    def correct(self, recipe: Recipe) -> NDArray[np.bool_]:
        """Return whether top-1 is the label, bool [N]; works in blocks to avoid an [N, C] array."""
        found = head_of(recipe)
        if isinstance(found, External):
            return self.given(found, "correct")
        head = self.cache.head(found, self.store)
        features, labels = self.features(recipe), self.labels
        is_correct = np.empty(len(features), dtype=np.bool_)
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            is_correct[rows] = head.logits(features[rows]).argmax(axis=1) == labels[rows]
        return is_correct

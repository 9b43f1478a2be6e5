"""A split's outputs, read from the store: features as stored, logits computed when needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import IDENTITY, LabelMap
from bench.api.recipes import External, Head, Recipe, encoder_of, features_key, head_of
from bench.api.splits import Split
from bench.core.store import BLOCK, MissingOutput, Store
from bench.models.heads import LinearHead, load_head

Array = NDArray[np.generic]


@dataclass
class ArrayCache:
    """The most recently used arrays, up to `budget` bytes; shared by all outputs of a run."""

    budget: int = 4 << 30
    held: OrderedDict[str, Array] = field(default_factory=OrderedDict)
    heads: dict[Head, LinearHead] = field(default_factory=dict)

    def get(self, key: str, make: Callable[[], Array]) -> Array:
        """The array under `key`, made if it is not held."""
        if key not in self.held:
            self.held[key] = make()
        self.held.move_to_end(key)
        while sum(a.nbytes for a in self.held.values()) > self.budget and len(self.held) > 1:
            self.held.popitem(last=False)
        return self.held[key]

    def head(self, head: Head, store: Store) -> LinearHead:
        """The head, read once: it lies in one file with its encoder."""
        if head not in self.heads:
            self.heads[head] = load_head(head, store)
        return self.heads[head]


@dataclass(frozen=True)
class StoredOutputs:
    """Outputs of one split for methods (`bench.api.method.Outputs`), without any label."""

    store: Store
    cache: ArrayCache
    split: Split
    precision: str
    label_map: LabelMap = IDENTITY

    def features(self, recipe: Recipe) -> NDArray[np.float32]:
        """Raw embeddings float32 [N, D]. Raises MissingOutput if they are not in the store."""
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
        """float32 [N, C] over the task's classes."""
        head = head_of(recipe)
        if isinstance(head, External):
            return self.given(head, "logits")
        return self.cache.head(head, self.store).logits(self.features(recipe))

    def given(self, recipe: External, kind: str) -> NDArray[Any]:
        """An array computed elsewhere. Raises CellError if the split's file lacks it."""
        if self.split.given is None:
            raise MissingOutput(f"{recipe.model}.{kind} of {self.split.name}")
        make = partial(self.split.given, recipe.model, kind)
        return self.cache.get(f"{self.split.fingerprint} {recipe.model}.{kind}", make)

    def scores(self, recipe: Recipe) -> NDArray[np.float32]:
        """float32 [N, C']: logits through the label map."""
        return self.project(self.logits(recipe))

    def project(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, C] -> float32 [N, C'] through the label map."""
        return self.label_map.project(scores)


@dataclass(frozen=True)
class LabelledStoredOutputs(StoredOutputs):
    """Outputs of a split with labels (`bench.api.method.LabelledOutputs`)."""

    read_labels: Callable[[], NDArray[np.int64]] = field(kw_only=True)

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [N]; the split is opened only when they are asked for."""
        return self.read_labels()

    def correct(self, recipe: Recipe) -> NDArray[np.bool_]:
        """bool [N]: top-1 is the label; a block at a time, so that no [N, C] array exists."""
        found = head_of(recipe)
        if isinstance(found, External):
            return self.given(found, "correct")
        head = self.cache.head(found, self.store)
        features, labels = self.features(recipe), self.labels
        hits = np.empty(len(features), dtype=np.bool_)
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            hits[rows] = head.logits(features[rows]).argmax(axis=1) == labels[rows]
        return hits

"""Outputs of a split, read from the store: features as stored, logits computed when needed.

A training set has a million samples, so what is asked of one (which samples are classified
correctly, the features of some) is found block by block.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import IDENTITY, LabelMap
from bench.api.method import LabelledOutputs
from bench.api.recipe_parts import encoder_of, features_key, head_of
from bench.api.recipes import Encoder, External, Head, Recipe
from bench.api.splits import Split
from bench.core.errors import CellError
from bench.core.hashing import key_of
from bench.core.store import BLOCK, MissingOutput, Store
from bench.models.heads import LinearHead, load_head
from bench.posthoc.ensembles import distance_to_kth

DISTANCES = "distances"
"""The kind of stored distances to samples of a training set."""
VERSION = 1
"""Version of the search for them; raised when it would find others."""
WAIT = 0.2
"""Seconds after which it is looked again for distances that another run computes."""

Array = NDArray[np.generic]


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    found = array.view()
    found.setflags(write=False)
    return found


@dataclass
class ArrayCache:
    """Least-recently-used cache of arrays, up to `budget` bytes, shared by all outputs of a run."""

    budget: int = 1 << 30
    held: OrderedDict[tuple[str, str], Array] = field(default_factory=OrderedDict)
    heads: dict[Head, LinearHead] = field(default_factory=dict)
    measured: str = ""

    def get(self, split: str, key: str, make: Callable[[], Array]) -> Array:
        """Return the array of a split that is cached under `key`; `make` it if there is none.

        It is read-only: a method that changed it in place would change other rows' numbers.
        """
        place = (split, key)
        if place not in self.held:
            self.held[place] = _read_only(make())
        self.held.move_to_end(place)
        while sum(a.nbytes for a in self.held.values()) > self.budget and len(self.held) > 1:
            self.held.popitem(last=False)
        return self.held[place]

    def measure(self, split: str) -> None:
        """Take note that a split is measured now: the arrays of the one before leave the memory."""
        if split != self.measured:
            for place in [place for place in self.held if place[0] == self.measured]:
                del self.held[place]
            self.measured = split

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
            return self._given(encoder, "features")
        key = self._key(encoder)

        def make() -> Array:
            found = self.store.read_features(key, self.split.size)
            if found is None:
                raise MissingOutput(f"features {key} of {self.split.name}")
            return found

        return self.cache.get(self.split.fingerprint, key, make)  # type: ignore[return-value]

    def _key(self, encoder: Encoder | External) -> str:
        """Return what identifies the features of an encoder on this split."""
        if isinstance(encoder, External):
            return f"{self.split.fingerprint} {encoder.model}.features"
        return features_key(encoder, self.split.fingerprint, self.precision)

    def blocks(self, recipe: Recipe) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield the embeddings by blocks, with their rows. Raises MissingOutput as `features`."""
        encoder, size = encoder_of(recipe), self.split.size
        for block, start in enumerate(range(0, size, BLOCK)):
            rows = slice(start, min(start + BLOCK, size))
            if isinstance(encoder, External):
                yield rows, self._file(encoder, "features")("features", rows)
                continue
            found = self.store.read_block(self._key(encoder), block, size)
            if found is None:
                raise MissingOutput(f"features of {self.split.name}, block {block}")
            yield rows, found

    def some_features(self, recipe: Recipe, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the embeddings of the samples that `rows` marks, bool [N]; no others are held."""
        found: NDArray[np.float32] | None = None
        first = 0
        for place, block in self.blocks(recipe):
            wanted = block[rows[place]]
            if found is None:
                found = np.empty((int(rows.sum()), block.shape[1]), dtype=np.float32)
            found[first : first + len(wanted)] = wanted
            first += len(wanted)
        if found is None:
            raise RuntimeError(f"{self.split.name} has no samples")
        return found

    def distance(
        self, recipe: Recipe, train: LabelledOutputs, rows: NDArray[np.bool_], k: int
    ) -> NDArray[np.float32]:
        """Return distances to training samples (`bench.api.method.Outputs`), stored or computed.

        Another run on the same store that computes them just now is waited for.
        """
        if not isinstance(train, StoredOutputs):
            raise CellError(f"distance: {type(train).__name__} has no stored features")
        encoder, marks = encoder_of(recipe), hashlib.sha256(np.packbits(rows).tobytes()).hexdigest()
        key = key_of(DISTANCES, VERSION, self._key(encoder), train._key(encoder), marks, k)
        while (found := self._stored_distance(key)) is None:
            with self.store.claims.held([f"{DISTANCES}-{key}"]) as mine:
                if not mine:
                    time.sleep(WAIT)
                    continue
                with self.store.files.looking_again():
                    found = self._stored_distance(key)
                if found is None:  # else another run has just stored it
                    reference = train.some_features(recipe, rows)
                    found = distance_to_kth(self.features(recipe), reference, k)
                    self.store.write_arrays(DISTANCES, key, {"distance": found})
                return found
        return found

    def _stored_distance(self, key: str) -> NDArray[np.float32] | None:
        """Return stored distances; None if there are none, or not one of each sample, 0 or more."""
        found: Any = (self.store.read_arrays(DISTANCES, key) or {}).get("distance")
        is_good = found is not None and len(found) == self.split.size and (found >= 0).all()
        return found if is_good else None

    def logits(self, recipe: Recipe) -> NDArray[np.float32]:
        """Return logits over the task's classes, float32 [N, C]."""
        head = head_of(recipe)
        if isinstance(head, External):
            return self._given(head, "logits")
        return self.cache.head(head, self.store).logits(self.features(recipe))

    def _given(self, recipe: External, kind: str) -> NDArray[Any]:
        """Return an external array of the split's file. Raises CellError if the file lacks it."""
        make = partial(self._file(recipe, kind), kind, slice(None))
        return self.cache.get(self.split.fingerprint, f"{recipe.model}.{kind}", make)

    def _file(self, recipe: External, kind: str) -> Callable[[str, slice], NDArray[Any]]:
        """Return what reads a model's arrays of the split's file: (kind, rows) -> array."""
        if self.split.given is None:
            raise MissingOutput(f"{recipe.model}.{kind} of {self.split.name}")
        return partial(self.split.given, recipe.model)

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
        """Return whether top-1 is the label, bool [N]."""
        found = head_of(recipe)
        if isinstance(found, External):
            return self._given(found, "correct")
        head = self.cache.head(found, self.store)
        labels = self.labels
        is_correct = np.empty(len(labels), dtype=np.bool_)
        for rows, features in self.blocks(recipe):
            is_correct[rows] = head.logits(features).argmax(axis=1) == labels[rows]
        return is_correct

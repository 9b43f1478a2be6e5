"""Linear heads as arrays: logits = W normalise(f) + b. NumPy only, so reports need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.api.recipes import (
    External,
    Fisher,
    Head,
    Imported,
    Merged,
    TextHead,
    Tuned,
    normalizes,
    weights_key,
)
from bench.core.errors import InputError
from bench.core.store import MissingOutput, Store


@dataclass(frozen=True)
class LinearHead:
    """`weight` float32 [C, D], `bias` float32 [C]; `normalize`: features are L2-normalised."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    normalize: bool

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, D] -> [N, C]. Raises InputError if D differs from the head's.

        Classes with equal rows, those of one name, have equal logits, so that the first is the
        winner: a product of matrices may round equal columns differently.
        """
        if features.shape[1] != self.weight.shape[1]:
            raise InputError(
                f"head takes {self.weight.shape[1]}-dimensional features, got {features.shape[1]}"
            )
        if self.normalize:
            norms = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.maximum(norms, 1e-12)
        logits = features @ self.weight.T + self.bias
        for later, first in self._twins:
            logits[:, later] = logits[:, first]
        return logits

    @cached_property
    def _twins(self) -> list[tuple[int, int]]:
        """(class, the first one with the same row) of all that are not the first."""
        seen: dict[bytes, int] = {}
        rows = np.column_stack([self.weight, self.bias])
        firsts = [seen.setdefault(row.tobytes(), index) for index, row in enumerate(rows)]
        return [(index, first) for index, first in enumerate(firsts) if first != index]


def load_head(head: Head, store: Store) -> LinearHead:
    """The head of a recipe from stored weights; a merge is interpolated here.

    Raises MissingOutput if they are not in the store, InputError if they were imported.
    """
    if isinstance(head, Merged):
        parts = [load_head(part, store) for part in head.parts]  # type: ignore[arg-type]
        shares = [_stored(fisher, store) for fisher in head.fishers]
        weight = _merged([p.weight for p in parts], [s[0] for s in shares], head)
        bias = _merged([p.bias for p in parts], [s[1] for s in shares], head)
        return LinearHead(weight, bias, normalizes(head))
    return LinearHead(*_stored(head, store), normalizes(head))


def _stored(
    recipe: TextHead | Tuned | Imported | External | Fisher, store: Store
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    key = weights_key(recipe)
    arrays = store.read_arrays("weights", key)
    if arrays is None:
        raise (
            import_lost(recipe) if isinstance(recipe, Imported) else MissingOutput(f"weights {key}")
        )
    weight, bias = (arrays[name].astype(np.float32) for name in ("head.weight", "head.bias"))
    return weight, bias


def import_lost(recipe: Imported) -> InputError:
    """The error for imported weights that are not in the store: nothing can make them again."""
    return InputError(
        f"the imported weights of the file with SHA-256 {recipe.digest[:8]}... are not in the "
        "cache any more: run bench import again"
    )


def _merged(
    parts: Sequence[NDArray[np.float32]], fishers: Sequence[NDArray[np.float32]], how: Merged
) -> NDArray[np.float32]:
    """As `bench.models.weights.interpolate` and `fisher_interpolate` do, on arrays."""
    scaled = [np.float32(w) for w in how.weights]
    if not fishers:
        total = sum((w * p for w, p in zip(scaled, parts, strict=True)), np.float32(0))
        return np.asarray(total)
    floored = [np.maximum(f, np.float32(how.floor)) for f in fishers]
    worth = [w * f for w, f in zip(scaled, floored, strict=True)]
    total = sum((c * p for c, p in zip(worth, parts, strict=True)), np.float32(0))
    return np.asarray(total / sum(worth, np.float32(0)))

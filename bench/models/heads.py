"""Linear heads as NumPy arrays: logits = W normalise(f) + b. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.api.recipe_parts import normalizes, weights_key
from bench.api.recipes import BlankHead, External, Fisher, Head, Imported, Merged, TextHead, Tuned
from bench.core.errors import InputError
from bench.core.store import MissingOutput, Store


@dataclass(frozen=True)
class LinearHead:
    """A linear head.

    Attributes
    ----------
    weight, bias : float32 [C, D] and float32 [C].
    normalize : whether features are L2-normalised first.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.models.heads import LinearHead
    >>> head = LinearHead(2 * np.eye(2, dtype=np.float32), np.zeros(2, np.float32), normalize=True)
    >>> head.logits(np.array([[3.0, 4.0]], dtype=np.float32))
    array([[1.2, 1.6]], dtype=float32)
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    normalize: bool

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits [N, C] of features [N, D].

        Classes with equal rows, such as classes with the same name, get exactly equal logits, so
        ties go to the first. (A matrix product may round equal columns differently.) Raises
        InputError if D differs from the head's.
        """
        if features.shape[1] != self.weight.shape[1]:
            raise InputError(
                f"the head takes {self.weight.shape[1]}-dimensional features, got "
                f"{features.shape[1]} dimensions"
            )
        if self.normalize:
            norms = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.maximum(norms, 1e-12)
        logits = features @ self.weight.T + self.bias
        for later, first in self._duplicates:
            logits[:, later] = logits[:, first]
        return logits

    @cached_property
    def _duplicates(self) -> list[tuple[int, int]]:
        """Pairs (class, first class with the same row) of all classes that are not the first."""
        first_index: dict[bytes, int] = {}
        rows = np.column_stack([self.weight, self.bias])
        firsts = [first_index.setdefault(row.tobytes(), index) for index, row in enumerate(rows)]
        return [(index, first) for index, first in enumerate(firsts) if first != index]


def load_head(head: Head, store: Store) -> LinearHead:
    """Return the head of a recipe from stored weights. Merges are interpolated here.

    Raises MissingOutput if weights are not in the store, or InputError if they were imported.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.api.recipe_parts import weights_key
    >>> from bench.core.store import Store
    >>> from bench.models.heads import load_head
    >>> from bench.testing.fakes import fake_models
    >>> models, store = fake_models(), Store(Path("store"))
    >>> arrays = {"head.weight": np.ones((6, 8)), "head.bias": np.zeros(6)}
    >>> store.write_arrays("weights", weights_key(models.base), arrays)
    >>> load_head(models.base, store).weight.shape
    (6, 8)
    """
    if isinstance(head, Merged):
        parts = [load_head(part, store) for part in head.parts]  # type: ignore[arg-type]
        if head.by_tensor is not None:
            states = [{"head.weight": part.weight, "head.bias": part.bias} for part in parts]
            of = head.by_tensor.of(states)
            weight, bias = (_weighted([s[n] for s in states], of[n]) for n in states[0])
            return LinearHead(weight, bias, normalizes(head))
        fishers = [_stored(fisher, store) for fisher in head.fishers]
        weight = _merged([p.weight for p in parts], [f[0] for f in fishers], head)
        bias = _merged([p.bias for p in parts], [f[1] for f in fishers], head)
        return LinearHead(weight, bias, normalizes(head))
    if isinstance(head, BlankHead):
        zeros = np.zeros((head.classes, head.width), np.float32)
        return LinearHead(zeros, np.zeros(head.classes, np.float32), normalizes(head))
    return LinearHead(*_stored(head, store), normalizes(head))


def _stored(
    recipe: TextHead | Tuned | Imported | External | Fisher, store: Store
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    arrays = store.read_arrays("weights", weights_key(recipe))
    if arrays is None:
        raise weights_lost(recipe)
    weight, bias = (arrays[name].astype(np.float32) for name in ("head.weight", "head.bias"))
    return weight, bias


def weights_lost(
    recipe: TextHead | Tuned | Imported | External | Fisher,
) -> MissingOutput | InputError:
    """Return the error for weights that are not in the store: imported ones are not recomputed.

    Examples
    --------
    >>> from bench.api.recipes import Backbone, Imported
    >>> from bench.models.heads import weights_lost
    >>> released = Imported(Backbone("ViT-B-32", "openai", "tag:openai"), "1f" * 32, 1000, True)
    >>> str(weights_lost(released))[:50]
    'the imported weights of the file with SHA-256 1f1f'
    """
    if not isinstance(recipe, Imported):
        return MissingOutput(f"weights {weights_key(recipe)}")
    return InputError(
        f"the imported weights of the file with SHA-256 {recipe.digest[:8]}... are no longer in "
        "the cache: run bench import again"
    )


def _weighted(
    parts: Sequence[NDArray[np.float32]], weights: Sequence[float]
) -> NDArray[np.float32]:
    pairs = zip(weights, parts, strict=True)
    return np.asarray(sum((np.float32(w) * p for w, p in pairs), np.float32(0)))


def _merged(
    parts: Sequence[NDArray[np.float32]], fishers: Sequence[NDArray[np.float32]], how: Merged
) -> NDArray[np.float32]:
    """Merge arrays as `bench.models.weights.interpolate` and `fisher_interpolate` merge tensors."""
    if not fishers:
        return _weighted(parts, how.weights)
    weights = [np.float32(w) for w in how.weights]
    floored = [np.maximum(f, np.float32(how.floor)) for f in fishers]
    factors = [w * f for w, f in zip(weights, floored, strict=True)]
    total = sum((c * p for c, p in zip(factors, parts, strict=True)), np.float32(0))
    return np.asarray(total / sum(factors, np.float32(0)))

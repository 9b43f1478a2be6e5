"""Recipes: frozen, hashable values that say how an encoder, a head or a classifier comes to be.

A classifier is an (encoder, head) pair. `encoder_of` and `head_of` reduce any recipe to the
weights it really needs, so that recipes which share an encoder share its features: zero-shot and
a linear probe have one encoder, and a merge with weight 1 on one part *is* that part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, TypeVar

from bench.api.trainer import Keep
from bench.core.errors import InputError
from bench.core.hashing import NOT_KEYED, key_of

if TYPE_CHECKING:
    from bench.api.trainer import Trainer


@dataclass(frozen=True)
class Backbone:
    """A CLIP model: open_clip name plus pretrained tag or checkpoint file.

    `digest` identifies the weights (SHA-256 of a file, or ``tag:NAME``); it enters keys in place
    of `pretrained`, so that moving a checkpoint recomputes nothing.
    """

    kind: ClassVar[str] = "Backbone"

    model: str
    pretrained: str = field(metadata=NOT_KEYED)
    digest: str

    def __str__(self) -> str:
        """How reports name it: a file by its name and digest, never by where it lies."""
        if self.digest.startswith("tag:") or self.pretrained == "embedded":
            return f"{self.model}/{self.pretrained}"
        return f"{self.model}/{PurePath(self.pretrained).name}@{self.digest[:8]}"


@dataclass(frozen=True)
class Pretrained:
    """The image tower of a backbone, as released."""

    kind: ClassVar[str] = "Pretrained"

    backbone: Backbone


@dataclass(frozen=True)
class TextHead:
    """The zero-shot head of a backbone: one weight row per class, zero bias.

    Row = exp(logit_scale) * mean over templates of the normalised text embedding, normalised
    again (wise-ft ``src/models/zeroshot.py``). `precision` is that of the text tower's forward.
    """

    kind: ClassVar[str] = "TextHead"

    backbone: Backbone
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    normalize: bool = True
    precision: str = "fp32"


@dataclass(frozen=True)
class Imported:
    """A released classifier: its weights were read from a file and lie in the store.

    Attributes
    ----------
    backbone : whose image tower it was made from.
    digest : SHA-256 of the file.
    classes : number of classes of its head.
    normalize : whether its head takes L2-normalised features.
    trained_on : in words, what it was trained on; empty if on nothing after the pretraining.
    unseen : fingerprints of selection splits that are known to be no part of that.
    """

    kind: ClassVar[str] = "Imported"

    backbone: Backbone
    digest: str
    classes: int
    normalize: bool
    trained_on: str = field(default="", metadata=NOT_KEYED)
    unseen: tuple[str, ...] = field(default=(), metadata=NOT_KEYED)


@dataclass(frozen=True)
class External:
    """A classifier of which outputs alone are known, computed elsewhere.

    `model` is its name in the files that hold them. What the outputs are is said by the
    fingerprints of their splits, which are digests of those files. With a `seed` it is another
    training of the model, whose outputs nobody has.
    """

    kind: ClassVar[str] = "External"

    model: str
    seed: int | None = None


@dataclass(frozen=True)
class Classifier:
    """An untrained (encoder, head) pair; with a `TextHead` it is the zero-shot classifier."""

    kind: ClassVar[str] = "Classifier"

    encoder: Pretrained | Imported | External
    head: TextHead | Imported | External


@dataclass(frozen=True)
class Tuned:
    """`start` trained by `trainer` on the training split whose fingerprint is `train`.

    `selection` is the fingerprint of the selection split for trainers that choose on it. `keep`
    says which weights along the way are meant, None for the last: recipes that differ in it alone
    come out of one training.
    """

    kind: ClassVar[str] = "Tuned"

    start: Recipe
    trainer: Trainer
    train: str
    seed: int
    selection: str | None = None
    keep: Keep | None = None

    @property
    def training(self) -> Tuned:
        """The training that this comes out of: the same recipe, keeping its last weights."""
        return replace(self, keep=None)


@dataclass(frozen=True)
class Fisher:
    """The diagonal of a classifier's Fisher information, entry by entry of its weights.

    Mean over the first `samples` training samples, in a random order, of the squared gradient of
    the log-likelihood of a label drawn from the classifier.
    """

    kind: ClassVar[str] = "Fisher"

    of: Recipe
    train: str
    samples: int


@dataclass(frozen=True)
class Merged:
    """Linear interpolation of the weights of `parts`; make it with `merge`.

    With `fishers`, one per part, each entry of the weights also counts by its Fisher information,
    but by no less than `floor`.
    """

    kind: ClassVar[str] = "Merged"

    parts: tuple[Recipe | Encoder | Head, ...]
    weights: tuple[float, ...]
    fishers: tuple[Fisher, ...] = ()
    floor: float = 0.0


T = TypeVar("T")
R = TypeVar("R", "Recipe", "Encoder", "Head", "Recipe | Encoder | Head")
Recipe = Classifier | Tuned | Merged | Imported | External
Encoder = Pretrained | Tuned | Merged | Imported | External
Head = TextHead | Tuned | Merged | Imported | External


def merge(
    parts: Sequence[T],
    weights: Sequence[float],
    fishers: Sequence[Fisher] = (),
    floor: float = 0.0,
) -> T | Merged:
    """The weighted sum of `parts`, reduced: zero-weight parts go, equal parts become one.

    Raises InputError unless the weights are finite and sum to 1.
    """
    if len(parts) != len(weights) or not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-9):
        raise InputError(f"merge weights {tuple(weights)} must be one per part and sum to 1")
    if fishers:
        whole = [t for t in zip(parts, weights, fishers, strict=True) if t[1] != 0.0]
        if len({part for part, _, _ in whole}) > 1:
            kept_parts, kept_weights, kept_fishers = zip(*whole, strict=True)
            return Merged(kept_parts, kept_weights, kept_fishers, floor)
        return whole[0][0]
    total: dict[T, float] = {}
    for part, weight in zip(parts, weights, strict=True):
        total[part] = total.get(part, 0.0) + weight
    kept = {part: weight for part, weight in total.items() if weight != 0.0}
    if len(kept) == 1:
        return next(iter(kept))
    return Merged(tuple(kept), tuple(kept.values()))  # type: ignore[arg-type]


def encoder_of(recipe: Recipe | Encoder) -> Encoder:
    """The image tower that `recipe` needs, in its simplest form."""
    match recipe:
        case Classifier():
            return recipe.encoder
        case Tuned():
            return recipe if recipe.trainer.tunes_encoder else encoder_of(recipe.start)
        case Merged():
            parts = [encoder_of(part) for part in recipe.parts]  # type: ignore[arg-type]
            return merge(parts, recipe.weights, recipe.fishers, recipe.floor)
        case Pretrained() | Imported() | External():
            return recipe


def head_of(recipe: Recipe | Head) -> Head:
    """The linear head that `recipe` needs, in its simplest form."""
    match recipe:
        case Classifier():
            return recipe.head
        case Merged():
            parts = [head_of(part) for part in recipe.parts]  # type: ignore[arg-type]
            return merge(parts, recipe.weights, recipe.fishers, recipe.floor)
        case Tuned() | TextHead() | Imported() | External():
            return recipe


def backbone_of(recipe: Recipe | Encoder | Head) -> Backbone:
    """The backbone at the root of `recipe`; InputError if a merge mixes two."""
    match recipe:
        case Pretrained() | TextHead() | Imported():
            return recipe.backbone
        case Classifier():
            return backbone_of(recipe.encoder)
        case Tuned():
            return backbone_of(recipe.start)
        case Merged():
            roots = {backbone_of(part) for part in recipe.parts}
            if len(roots) > 1:
                names = ", ".join(sorted(map(str, roots)))
                raise InputError(f"cannot merge weights of different backbones: {names}")
            return roots.pop()
        case External():
            raise InputError(f"outputs of {recipe.model!r} say nothing of a backbone")


def normalizes(recipe: Recipe | Head) -> bool:
    """Whether the head of `recipe` takes L2-normalised features; InputError if a merge mixes."""
    match recipe:
        case TextHead() | Imported():
            return recipe.normalize
        case Classifier():
            return normalizes(recipe.head)
        case Tuned():
            own = recipe.trainer.normalize
            return normalizes(recipe.start) if own is None else own
        case Merged():
            kinds = {normalizes(part) for part in recipe.parts}  # type: ignore[arg-type]
            if len(kinds) > 1:
                raise InputError("cannot merge a head on normalised features with one on raw ones")
            return kinds.pop()
        case External():
            raise InputError(f"outputs of {recipe.model!r} say nothing of features")


def is_tuned(recipe: Recipe) -> bool:
    """Whether `recipe` was fine-tuned, here or elsewhere."""
    return is_seeded(recipe) or isinstance(recipe, Imported | External)


def needs_outputs(recipe: Recipe | Encoder | Head) -> bool:
    """Whether anything in `recipe` is known by its outputs alone."""
    match recipe:
        case External():
            return True
        case Classifier():
            return needs_outputs(recipe.encoder)
        case Tuned():
            return needs_outputs(recipe.start)
        case Merged():
            return any(needs_outputs(part) for part in recipe.parts)
        case _:
            return False


def is_seeded(recipe: Recipe | Encoder | Head) -> bool:
    """Whether any training, and so a seed, went into `recipe`."""
    match recipe:
        case Tuned():
            return True
        case Merged():
            return any(is_seeded(part) for part in recipe.parts)
        case _:
            return False


def reseeded(recipe: R, seed: int) -> R:
    """The same recipe with another seed in every training. InputError if one was elsewhere."""
    match recipe:
        case Tuned():
            own = seed if recipe.trainer.is_random else recipe.seed
            return replace(recipe, start=reseeded(recipe.start, seed), seed=own)
        case Merged():
            parts = tuple(reseeded(part, seed) for part in recipe.parts)
            return replace(recipe, parts=parts)
        case Imported():
            raise InputError("an imported classifier was trained once: there are no other seeds")
        case External():
            return replace(recipe, seed=seed)
        case _:
            return recipe


PREPROCESS = 1
"""Version of the image pipeline (decode, resize, crop, normalise); raised when pixels change."""


@lru_cache(maxsize=100_000)
def weights_key(recipe: TextHead | Tuned | Imported | External | Fisher) -> str:
    """Key of a head's, a tuned or imported classifier's weights, or of their Fisher information."""
    is_read = isinstance(recipe, TextHead | Imported)
    return key_of("weights", recipe, 0 if is_read else PREPROCESS)


@lru_cache(maxsize=100_000)
def features_key(encoder: Encoder, fingerprint: str, precision: str) -> str:
    """Key of an encoder's features on the split with that fingerprint."""
    return key_of("features", encoder, fingerprint, precision, PREPROCESS)

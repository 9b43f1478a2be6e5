"""Recipes: frozen, hashable values that describe how an encoder, head or classifier is made.

A classifier is an (encoder, head) pair. `encoder_of` and `head_of` reduce a recipe to the weights
it needs, so that recipes with the same encoder share its features. For example, zero-shot and a
linear probe have the same encoder, and a merge with weight 1 on one part is that part.
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
    """A CLIP model.

    Attributes
    ----------
    model : the open_clip model name.
    pretrained : the pretrained tag or the path of a checkpoint file. It is not part of keys.
    digest : identifies the weights: SHA-256 of a file, or ``tag:NAME``. It enters keys instead of
        `pretrained`, so nothing is recomputed if a checkpoint file is moved.
    """

    kind: ClassVar[str] = "Backbone"

    model: str
    pretrained: str = field(metadata=NOT_KEYED)
    digest: str

    def __str__(self) -> str:
        """The name in reports. A file appears by its name and digest, without its folder."""
        if self.digest.startswith("tag:") or self.pretrained == "embedded":
            return f"{self.model}/{self.pretrained}"
        return f"{self.model}/{PurePath(self.pretrained).name}@{self.digest[:8]}"


@dataclass(frozen=True)
class Pretrained:
    """The pretrained image tower of a backbone."""

    kind: ClassVar[str] = "Pretrained"

    backbone: Backbone


@dataclass(frozen=True)
class TextHead:
    """The zero-shot head of a backbone: one weight row per class, zero bias.

    A class's row is exp(logit_scale) times the normalised mean, over templates, of the normalised
    text embeddings (wise-ft ``src/models/zeroshot.py``).

    Attributes
    ----------
    backbone : the CLIP model with the text tower.
    classnames, templates : each class name is inserted into each template.
    normalize : whether the head takes L2-normalised features.
    precision : ``fp32`` or ``bf16``, of the text tower's forward pass.
    """

    kind: ClassVar[str] = "TextHead"

    backbone: Backbone
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    normalize: bool = True
    precision: str = "fp32"


@dataclass(frozen=True)
class Imported:
    """A released classifier. Its weights were read from a file and are in the store.

    Attributes
    ----------
    backbone : the CLIP model from whose image tower it was made.
    digest : SHA-256 of the file.
    classes : number of classes of its head.
    normalize : whether its head takes L2-normalised features.
    trained_on : description of its fine-tuning data; empty if it was not fine-tuned.
    unseen : fingerprints of selection splits that are known not to be part of that data.
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
    """A classifier whose outputs were computed elsewhere; its weights are not known.

    The outputs are identified by the fingerprints of their splits, which are digests of the files.

    Attributes
    ----------
    model : its name in the files that hold the outputs.
    seed : None for the supplied outputs. A seed stands for another training run of the model, for
        which no outputs exist.
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
    """The result of training `start` with `trainer`.

    Attributes
    ----------
    start : the recipe that training starts from.
    trainer : the trainer with its hyper-parameters.
    train : fingerprint of the training split.
    seed : the training seed.
    selection : fingerprint of the selection split, for trainers that choose on it; else None.
    keep : which weights along the training run are meant; None for the last. Recipes that differ
        only in `keep` come from one training run.
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
        """The training run that produces these weights: the same recipe with `keep` None."""
        return replace(self, keep=None)


@dataclass(frozen=True)
class Fisher:
    """The diagonal of a classifier's Fisher information, one value per entry of its weights.

    It is the mean squared gradient of the log-likelihood of a label sampled from the classifier's
    prediction.

    Attributes
    ----------
    of : the classifier.
    train : fingerprint of the training split.
    samples : number of training samples, taken in a fixed random order.
    """

    kind: ClassVar[str] = "Fisher"

    of: Recipe
    train: str
    samples: int


@dataclass(frozen=True)
class Merged:
    """Linear interpolation of the weights of `parts`. Create it with `merge`.

    Attributes
    ----------
    parts : the recipes to merge.
    weights : one weight per part.
    fishers : empty, or one per part: each entry of a part's weights is also weighted by its Fisher
        information.
    floor : the smallest Fisher value used; smaller ones are raised to it.
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
    """Return the weighted sum of `parts` in its simplest form.

    Parts with weight 0 are dropped and equal parts are combined; a single remaining part is
    returned as it is. `fishers` and `floor` are those of `Merged`. Raises InputError unless there
    is one finite weight per part and the weights sum to 1.
    """
    if len(parts) != len(weights) or not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-9):
        raise InputError(f"merge weights {tuple(weights)} must be one per part and sum to 1")
    if fishers:
        used = [t for t in zip(parts, weights, fishers, strict=True) if t[1] != 0.0]
        if len({part for part, _, _ in used}) > 1:
            used_parts, used_weights, used_fishers = zip(*used, strict=True)
            return Merged(used_parts, used_weights, used_fishers, floor)
        return used[0][0]
    total: dict[T, float] = {}
    for part, weight in zip(parts, weights, strict=True):
        total[part] = total.get(part, 0.0) + weight
    nonzero = {part: weight for part, weight in total.items() if weight != 0.0}
    if len(nonzero) == 1:
        return next(iter(nonzero))
    return Merged(tuple(nonzero), tuple(nonzero.values()))  # type: ignore[arg-type]


def encoder_of(recipe: Recipe | Encoder) -> Encoder:
    """Return the image tower that `recipe` needs, in its simplest form."""
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
    """Return the linear head that `recipe` needs, in its simplest form."""
    match recipe:
        case Classifier():
            return recipe.head
        case Merged():
            parts = [head_of(part) for part in recipe.parts]  # type: ignore[arg-type]
            return merge(parts, recipe.weights, recipe.fishers, recipe.floor)
        case Tuned() | TextHead() | Imported() | External():
            return recipe


def backbone_of(recipe: Recipe | Encoder | Head) -> Backbone:
    """Return the backbone that `recipe` starts from.

    Raises InputError for a merge of different backbones and for external outputs.
    """
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
            raise InputError(
                f"{recipe.model!r} is known by its outputs only: its backbone is unknown"
            )


def normalizes(recipe: Recipe | Head) -> bool:
    """Whether the head of `recipe` takes L2-normalised features.

    Raises InputError for a merge of heads that differ in this, and for external outputs.
    """
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
            raise InputError(
                f"{recipe.model!r} is known by its outputs only: whether its head normalises "
                "features is unknown"
            )


def is_tuned(recipe: Recipe) -> bool:
    """Whether `recipe` was fine-tuned, here or elsewhere."""
    return is_seeded(recipe) or isinstance(recipe, Imported | External)


def needs_outputs(recipe: Recipe | Encoder | Head) -> bool:
    """Whether any part of `recipe` is known by its outputs only."""
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
    """Whether `recipe` includes a training run, and so depends on a seed."""
    match recipe:
        case Tuned():
            return True
        case Merged():
            return any(is_seeded(part) for part in recipe.parts)
        case _:
            return False


def reseeded(recipe: R, seed: int) -> R:
    """Return the same recipe with another seed in every training run.

    Raises InputError if it includes an imported classifier.
    """
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
"""Version of the image pipeline (decode, resize, crop, normalise).

Must be raised when the resulting pixels change.
"""


@lru_cache(maxsize=100_000)
def weights_key(recipe: TextHead | Tuned | Imported | External | Fisher) -> str:
    """Return the store key of the weights of a head or classifier, or of a Fisher information."""
    is_read = isinstance(recipe, TextHead | Imported)
    return key_of("weights", recipe, 0 if is_read else PREPROCESS)


@lru_cache(maxsize=100_000)
def features_key(encoder: Encoder, fingerprint: str, precision: str) -> str:
    """Return the store key of an encoder's features on the split with that fingerprint."""
    return key_of("features", encoder, fingerprint, precision, PREPROCESS)

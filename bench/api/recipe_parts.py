"""What recipes consist of: their encoder, head, backbone and seeds, and the keys in the store."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from bench.api.recipes import (
    Backbone,
    BlankHead,
    Classifier,
    Encoder,
    External,
    Fisher,
    Head,
    Imported,
    Merged,
    Pretrained,
    Recipe,
    TextHead,
    Tuned,
    merge,
    merge_tensors,
)
from bench.core.errors import InputError
from bench.core.hashing import CanonicalText, key_of

R = TypeVar("R", "Recipe", "Encoder", "Head", "Recipe | Encoder | Head")
P = TypeVar("P", "Encoder", "Head")


def encoder_of(recipe: Recipe | Encoder) -> Encoder:
    """Return the image tower that `recipe` needs, in its simplest form.

    Examples
    --------
    A head trained alone leaves the encoder as it was.

    >>> from bench.api.recipe_parts import encoder_of
    >>> from bench.models.training.trainers import HeadTrainer
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> probe = models.tuned(models.zero_shot, HeadTrainer())
    >>> encoder_of(probe) == models.zero_shot.encoder, encoder_of(models.base) == models.base
    (True, True)
    """
    match recipe:
        case Classifier():
            return recipe.encoder
        case Tuned():
            return recipe if recipe.trainer.tunes_encoder else encoder_of(recipe.start)
        case Merged():
            return _merged_again(recipe, [encoder_of(p) for p in recipe.parts])  # type: ignore[arg-type]
        case Pretrained() | Imported() | External():
            return recipe


def head_of(recipe: Recipe | Head) -> Head:
    """Return the linear head that `recipe` needs, in its simplest form.

    Examples
    --------
    >>> from bench.api.recipe_parts import head_of
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> head_of(models.zero_shot).templates, head_of(models.base) == models.base
    (('a {}',), True)
    """
    match recipe:
        case Classifier():
            return recipe.head
        case Merged():
            return _merged_again(recipe, [head_of(p) for p in recipe.parts])  # type: ignore[arg-type]
        case Tuned() | TextHead() | BlankHead() | Imported() | External():
            return recipe


def _merged_again(recipe: Merged, parts: list[P]) -> P | Merged:
    """Return the merge of the encoders or heads `parts` as `recipe` merges classifiers."""
    if recipe.by_tensor is not None:
        return merge_tensors(parts, recipe.by_tensor)
    return merge(parts, recipe.weights, recipe.fishers, recipe.floor)


def stored_parts(recipe: Encoder | Head | Fisher) -> tuple[str, ...]:
    """Return the keys of the stored weights that an encoder or head is read from; often none.

    Examples
    --------
    >>> from bench.api.recipe_parts import stored_parts, weights_key
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> stored_parts(models.base) == (weights_key(models.base),)
    True
    """
    match recipe:
        case Merged():
            every = (*recipe.parts, *recipe.fishers)
            return tuple(key for part in every for key in stored_parts(part))  # type: ignore[arg-type]
        case Tuned() | Imported() | TextHead() | Fisher():
            return (weights_key(recipe),)
        case _:
            return ()


def backbone_of(recipe: Recipe | Encoder | Head) -> Backbone:
    """Return the backbone that `recipe` starts from.

    Raises InputError for a merge of different backbones and for external outputs.

    Examples
    --------
    >>> from bench.api.recipe_parts import backbone_of
    >>> from bench.testing.fakes import fake_models
    >>> str(backbone_of(fake_models().base))
    'fake/none'
    """
    match recipe:
        case Pretrained() | TextHead() | BlankHead() | Imported():
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

    Examples
    --------
    >>> from bench.api.recipe_parts import normalizes
    >>> from bench.models.training.trainers import HeadTrainer
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> raw = HeadTrainer(start="random", normalized=False)
    >>> normalizes(models.base), normalizes(models.tuned(models.zero_shot, raw))
    (True, False)
    """
    match recipe:
        case TextHead() | Imported():
            return recipe.normalize
        case BlankHead():
            return False
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
    """Whether `recipe` was fine-tuned, here or elsewhere.

    Examples
    --------
    >>> from bench.api.recipe_parts import is_tuned
    >>> from bench.api.recipes import External
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> is_tuned(models.zero_shot), is_tuned(models.base), is_tuned(External("e2e-ft"))
    (False, True, True)
    """
    return is_seeded(recipe) or isinstance(recipe, Imported | External)


def needs_outputs(recipe: Recipe | Encoder | Head) -> bool:
    """Whether any part of `recipe` is known by its outputs only.

    Examples
    --------
    >>> from bench.api.recipe_parts import needs_outputs
    >>> from bench.api.recipes import External
    >>> from bench.testing.fakes import fake_models
    >>> needs_outputs(fake_models().base), needs_outputs(External("e2e-ft"))
    (False, True)
    """
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
    """Whether `recipe` includes a training run, and so depends on a seed.

    Examples
    --------
    >>> from bench.api.recipe_parts import is_seeded
    >>> from bench.api.recipes import merge
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> is_seeded(models.zero_shot), is_seeded(merge((models.zero_shot, models.base), (0.5, 0.5)))
    (False, True)
    """
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

    Examples
    --------
    >>> from bench.api.recipe_parts import reseeded
    >>> from bench.testing.fakes import fake_models
    >>> reseeded(fake_models(seed=0).base, 1) == fake_models(seed=1).base
    True
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


PREPROCESS = 2
"""Version of the image pipeline (decode, make RGB, crop, resize, normalise).

Must be raised when the resulting pixels change.
"""


@lru_cache(maxsize=100_000)
def weights_key(recipe: TextHead | Tuned | Imported | External | Fisher) -> str:
    """Return the store key of the weights of a head or classifier, or of a Fisher information.

    Examples
    --------
    >>> from bench.api.recipe_parts import weights_key
    >>> from bench.testing.fakes import fake_models
    >>> models, other = fake_models(seed=0), fake_models(seed=1)
    >>> weights_key(models.base) == weights_key(other.base)
    False
    >>> weights_key(models.zero_shot.head) == weights_key(other.zero_shot.head)
    True
    """
    is_read = isinstance(recipe, TextHead | Imported)
    return key_of("weights", recipe, 0 if is_read else PREPROCESS)


@lru_cache(maxsize=100_000)
def features_key(encoder: Encoder, fingerprint: str, precision: str) -> str:
    """Return the store key of an encoder's features on the split with that fingerprint.

    Examples
    --------
    >>> from bench.api.recipe_parts import features_key
    >>> from bench.testing.fakes import fake_models
    >>> encoder = fake_models().zero_shot.encoder
    >>> features_key(encoder, "fake-train", "fp32") == features_key(encoder, "fake-train", "bf16")
    False
    """
    return key_of("features", _text_of(encoder), fingerprint, precision, PREPROCESS)


@lru_cache(maxsize=256)
def _text_of(encoder: Encoder) -> CanonicalText:
    """The text of an encoder in keys, which is the same on every split, and may be long."""
    return CanonicalText.of(encoder)

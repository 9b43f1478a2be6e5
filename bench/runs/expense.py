"""What a row costs, as far as it does not depend on the machine: images, not seconds."""

from __future__ import annotations

from collections.abc import Iterator

from bench.api.method import Choice, Method, Models
from bench.api.recipes import (
    Classifier,
    Encoder,
    External,
    Fisher,
    Head,
    Imported,
    Merged,
    Recipe,
    Tuned,
    encoder_of,
)
from bench.api.trainer import epochs


def expense(method: Method, models: Models, choice: Choice, train: int) -> dict[str, int] | None:
    """Encoders that a test image is run through, and images that trainings of towers see.

    Repeats are counted; a training of which several checkpoints are used counts once, up to the
    last of them. Heads on stored features see no image. `train` is the size of the training split.
    None where a part was made elsewhere, so that nobody knows.
    """
    recipes = method.needs(models, choice)
    parts = [part for recipe in recipes for part in _parts(recipe)]
    if any(isinstance(part, Imported | External) for part in parts):
        return None
    keeps: dict[Tuned, list[Tuned]] = {}
    for part in parts:
        if isinstance(part, Tuned) and part.trainer.tunes_encoder:
            keeps.setdefault(part.training, []).append(part)
    seen = sum(train * epochs(t.trainer, [p.keep for p in same]) for t, same in keeps.items())
    return {"encoders": len({encoder_of(r) for r in recipes}), "training_images": seen}


def _parts(recipe: Recipe | Encoder | Head | Fisher) -> Iterator[object]:
    """Everything a recipe is made of, itself included."""
    yield recipe
    match recipe:
        case Classifier():
            yield from _parts(recipe.encoder)
        case Tuned():
            yield from _parts(recipe.start)
        case Fisher():
            yield from _parts(recipe.of)
        case Merged():
            for part in (*recipe.parts, *recipe.fishers):
                yield from _parts(part)

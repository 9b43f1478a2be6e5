"""The cost of work in counts that do not depend on the machine: images instead of seconds.

`pending_counts` counts what a plan still has to do: training runs, forward passes, decoded images.
`row_cost` counts what one row costs on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.api.method import Choice, Method, Models
from bench.api.recipe_parts import encoder_of
from bench.api.recipes import (
    Classifier,
    Encoder,
    External,
    Fisher,
    Head,
    Imported,
    Merged,
    Recipe,
    TextHead,
    Tuned,
)
from bench.api.trainer import epochs_needed
from bench.core.store import Store, rows_in
from bench.runs.costs.pending import pending
from bench.runs.items import CellItem, FeaturesItem, FitItem, ScaleItem, WeightsItem, WorkItem
from bench.runs.plan import Plan

TUNING, TUNING_BOTH = 3.0, 5.0
"""Roughly the forward passes that take as long as a training step of an image, with its backward
pass and update: for the image tower alone, and for both towers."""


@dataclass(frozen=True)
class Forwards:
    """Pending forward passes on one split.

    `encoders` counts the encoders to run, `merges` the merged ones among them. `decodes` counts
    images to decode, once for all encoders; `forwards` counts images times encoders.
    """

    split: str
    encoders: int
    merges: int
    decodes: int
    forwards: int


@dataclass(frozen=True)
class Counts:
    """Counts of pending work; `total` counts all items of the plan by kind, done or not.

    `training_images` are the images seen by training runs of the image tower alone, counted once
    per epoch; `paired_images` are those seen by training runs of both towers.
    """

    text_heads: int
    fishers: int
    trainings: int
    training_images: int
    paired_images: int
    splits: tuple[Forwards, ...]
    fits: int
    cells: int
    total: Mapping[str, int]

    @property
    def forwards(self) -> int:
        """Number of forward passes (images times encoders) on all splits."""
        return sum(f.forwards for f in self.splits)

    @property
    def decodes(self) -> int:
        """Number of images to decode on all splits; encoders share decoded images."""
        return sum(f.decodes for f in self.splits)

    @property
    def work(self) -> float:
        """All pending work that takes long, in forward passes of an image."""
        return self.forwards + TUNING * self.training_images + TUNING_BOTH * self.paired_images


def pending_counts(plan: Plan, store: Store) -> Counts:
    """Count the pending work of a plan."""
    kinds: dict[str, tuple[type[WorkItem], ...]] = {
        "weights": (WeightsItem,),
        "features": (FeaturesItem,),
        "fits": (FitItem, ScaleItem),
        "cells": (CellItem,),
    }
    total = {name: len(plan.of(*kind)) for name, kind in kinds.items()}
    return counts_of(list(pending(plan, store).values()), store, total)


def counts_of(todo: Sequence[WorkItem], store: Store, total: Mapping[str, int]) -> Counts:
    """Count the work of pending items; `total` is that of their plan."""
    weights = [i for i in todo if isinstance(i, WeightsItem)]
    tuned: dict[Tuned, list[WeightsItem]] = {}
    for weight in weights:
        if isinstance(weight.recipe, Tuned):
            tuned.setdefault(weight.recipe.training, []).append(weight)
    heads = [i for i in weights if isinstance(i.recipe, TextHead)]
    by_split: dict[str, list[FeaturesItem]] = {}
    for item in todo:
        if isinstance(item, FeaturesItem):
            by_split.setdefault(item.split.name, []).append(item)
    return Counts(
        text_heads=len(heads),
        fishers=sum(isinstance(i.recipe, Fisher) for i in weights),
        trainings=len(tuned),
        training_images=_training_images(tuned, both=False),
        paired_images=_training_images(tuned, both=True),
        splits=tuple(_forwards(name, items, store) for name, items in by_split.items()),
        fits=sum(isinstance(i, FitItem | ScaleItem) for i in todo),
        cells=sum(isinstance(i, CellItem) for i in todo),
        total=total,
    )


def _training_images(tuned: Mapping[Tuned, Sequence[WeightsItem]], both: bool) -> int:
    """Images seen by training runs of the image tower alone or of `both` towers; 0 for heads."""
    seen = 0
    for training, items in tuned.items():
        trainer = training.trainer
        if trainer.tunes_encoder and trainer.tunes_text == both:
            keeps = [item.recipe.keep for item in items if isinstance(item.recipe, Tuned)]
            seen += items[0].train.size * epochs_needed(trainer, keeps)
    return seen


def _forwards(name: str, items: list[FeaturesItem], store: Store) -> Forwards:
    missing = [store.blocks(item.key, item.split.size) for item in items]
    size = items[0].split.size
    return Forwards(
        split=name,
        encoders=len(items),
        merges=sum(isinstance(item.encoder, Merged) for item in items),
        decodes=rows_in(set().union(*missing), size),
        forwards=sum(rows_in(set(blocks), size) for blocks in missing),
    )


def row_cost(method: Method, models: Models, choice: Choice, train: int) -> dict[str, int] | None:
    """Count the ``encoders`` that run on a test image and the ``training_images`` of a row.

    Training images are counted once per epoch. A training run that provides several checkpoints
    counts once, up to the last of them. Heads are trained on stored features and see no image.
    `train` is the size of the training split. Returns None if a part is external: its cost is
    unknown.
    """
    recipes = method.needs(models, choice)
    parts = [part for recipe in recipes for part in parts_of(recipe)]
    if any(isinstance(part, Imported | External) for part in parts):
        return None
    keeps: dict[Tuned, list[Tuned]] = {}
    for part in parts:
        if isinstance(part, Tuned) and part.trainer.tunes_encoder:
            keeps.setdefault(part.training, []).append(part)
    seen = sum(
        train * epochs_needed(t.trainer, [p.keep for p in same]) for t, same in keeps.items()
    )
    return {"encoders": len({encoder_of(r) for r in recipes}), "training_images": seen}


def parts_of(recipe: Recipe | Encoder | Head | Fisher) -> Iterator[object]:
    """Yield every part of a recipe, itself included."""
    yield recipe
    match recipe:
        case Classifier():
            yield from parts_of(recipe.encoder)
        case Tuned():
            yield from parts_of(recipe.start)
        case Fisher():
            yield from parts_of(recipe.of)
        case Merged():
            for part in (*recipe.parts, *recipe.fishers):
                yield from parts_of(part)

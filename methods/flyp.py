"""FLYP: fine-tuning with the pretraining loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.models.training.trainers import ContrastiveTrainer


@method
@dataclass(frozen=True)
class FinetuneLikePretrain(Method):
    """Contrastive fine-tuning of both towers on images and captions of their classes.

    Goyal et al., "Finetune like you pretrain: Improved finetuning of zero-shot vision models",
    CVPR 2023, and its official code (locuslab/FLYP ``src/models/flyp_loss.py``). A caption is a
    template filled with the class name. The head is rebuilt from the tuned text tower, with all
    templates and the tuned logit scale.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> find_method("flyp")().recipe(fake_models()).trainer.tunes_text
    True
    """

    kind: ClassVar[str] = "FinetuneLikePretrain"
    name: ClassVar[str] = "flyp"
    title: ClassVar[str] = "FLYP"
    summary: ClassVar[str] = "Both towers trained with the contrastive loss on images and captions."
    equation: ClassVar[str] = "min of (CE(s U V^T, I) + CE(s V U^T, I)) / 2 over the batch"
    source: ClassVar[str] = "Goyal et al., CVPR 2023; locuslab/FLYP src/models/flyp_loss.py"
    year: ClassVar[int | None] = 2023
    venue: ClassVar[str] = "CVPR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2212.00638"
    position: ClassVar[int] = 90
    colour: ClassVar[str | None] = "#a83880"
    shape: ClassVar[str | None] = "diamond"
    is_common_base: ClassVar[bool] = True

    trainer: ContrastiveTrainer = field(default=ContrastiveTrainer())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot model, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

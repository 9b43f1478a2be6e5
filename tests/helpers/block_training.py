"""For tests: a training run of a small tower with blocks, and what happens when it is killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_training import CLASSES, SIDE, training
from torch import Tensor, nn

import bench.models.training.checkpoints
from bench.api.trainer import GradientTrainer
from bench.models.training.loop import Training
from bench.models.training.networks import ImageClassifier

QUICK: dict[str, Any] = {"lr": 0.01, "batch_size": 16, "epochs": 2, "warmup": 0.2}


class Tower(nn.Module):
    """Pixels -> stem -> two blocks, one with dropout -> an embedding [B, 4]."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Linear(3 * SIDE * SIDE, 6)
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Dropout(dropout)), nn.Linear(6, 4)
        )

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.blocks(self.stem(images.flatten(1)))
        return embeddings


def build(text: Any = None, dropout: float = 0.2) -> ImageClassifier:
    torch.manual_seed(3)
    weight = torch.rand(CLASSES, 4)
    return ImageClassifier(Tower(dropout), weight, torch.zeros(CLASSES), normalize=True, text=text)


def block_training(store: Path, progress: Any = None, **options: Any) -> Training:
    run = training(store) if progress is None else training(store, progress)
    return replace(run, build=lambda trainer: build(**options))


def tuned(trainer: GradientTrainer, store: Path, **options: Any) -> dict[str, Tensor]:
    return trainer.train(block_training(store, **options))


def resumed(
    trainer: GradientTrainer, place: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> dict[str, Tensor]:
    """The weights of a run that was killed after its fourth step and continued."""
    monkeypatch.setattr(bench.models.training.checkpoints, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(bench.models.training.checkpoints, "CHECKPOINT_SHARE", 1e9)
    steps: list[int] = []

    def kill(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(trainer, place, progress=kill, **options)
    return tuned(trainer, place, **options)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)

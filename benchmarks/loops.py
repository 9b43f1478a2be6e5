"""Trainings of bench and the bare loops that the programs beside this one measure them against."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api.trainer import GradientTrainer
from bench.core.store import Store
from bench.models.training import checkpoints
from bench.models.training.loop import Training
from bench.models.training.networks import ImageClassifier

CLASSES = 10


@dataclass(frozen=True)
class Preloaded:
    """In place of training images: pixels [N, 3, H, W] that are decoded already."""

    pixels: Tensor
    min_area: float = 0.9
    flip: bool = False

    def __getitem__(self, item: tuple[int, int, int]) -> tuple[Tensor, int, int]:
        _, sample, template = item
        return self.pixels[sample], sample % CLASSES, template


def classifier(tower: nn.Module, width: int) -> ImageClassifier:
    """Return a tower with a head of zeros."""
    head = torch.zeros(CLASSES, width)
    return ImageClassifier(tower, head, torch.zeros(CLASSES), normalize=True)


def bench_training(
    build: Callable[[], ImageClassifier],
    images: Any,
    size: int,
    device: torch.device,
    workers: int = 0,
    micro_batch: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    finish: Callable[[Tensor], Tensor] = lambda pixels: pixels,
    **settings: Any,
) -> dict[str, Tensor]:
    """Train as bench does, but for checkpoints; return the tuned weights, on the CPU."""
    trainer = GradientTrainer(epochs=1, warmup=0, **settings)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(checkpoints, "CHECKPOINT_SECONDS", math.inf),
    ):
        training = Training(
            build=lambda _: build(),
            images=images,
            stored=lambda split: (torch.empty(0), torch.empty(0)),
            size=size,
            classes=CLASSES,
            seed=0,
            key="key",
            store=Store(Path(folder)),
            device=device,
            workers=workers,
            progress=progress,
            micro_batch=micro_batch,
            finish=finish,
        )
        return trainer.train(training)


def bare_training(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    precision: str,
    stepped: Callable[[], None] = lambda: None,
) -> None:
    """Train with nothing but the steps: forward, loss, backward, clipping, AdamW."""
    model = model.train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-5, weight_decay=0.1, fused=True)
    for pixels, labels in batches:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(pixels.to(device, non_blocking=True))
        cross_entropy(logits.float(), labels.to(device)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        stepped()

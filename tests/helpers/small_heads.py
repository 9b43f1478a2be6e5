"""For tests: a training split of stored features, and the accuracy of a head on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench.core.store import Store
from bench.models.training.loop import Training
from bench.models.training.networks import ImageClassifier

N, C, D = 60, 4, 6
"""Samples, classes and dimensions."""


def features() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % C
    centres = torch.randn((C, D), generator=generator)
    return centres[labels] + 0.7 * torch.randn((N, D), generator=generator), labels


def training(store: Path, trainer: Any) -> Training:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn((C, D), generator=generator)

    def build(_: Any) -> ImageClassifier:
        return ImageClassifier(nn.Identity(), weight, torch.zeros(C), trainer.normalize)

    return Training(
        build=build,
        images=None,
        stored=lambda split: features(),
        size=N,
        classes=C,
        seed=0,
        key="key",
        store=Store(store),
        device=torch.device("cpu"),
        workers=0,
        progress=lambda done, total: None,
    )


def accuracy(weights: dict[str, Tensor], normalized: bool) -> float:
    x, y = features()
    x = normalize(x, dim=1) if normalized else x
    logits = x @ weights["head.weight"].T + weights["head.bias"]
    return float((logits.argmax(dim=1) == y).float().mean())

"""For tests: a training run on a few random pictures, in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bench.api.trainer import GradientTrainer
from bench.core.store import Store
from bench.models.training.loop import Training
from bench.models.training.networks import ImageClassifier
from bench.models.transforms import TrainImages

SIZE, CLASSES, SIDE = 50, 3, 8


class Pictures:
    def __init__(self) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (SIZE, 9, 9, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, dtype=np.float32) / 255).permute(2, 0, 1)


def build() -> ImageClassifier:
    generator = torch.Generator().manual_seed(3)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 5), nn.Dropout(0.2))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
    weight = torch.rand((CLASSES, 5), generator=generator)
    return ImageClassifier(encoder, weight, torch.zeros(CLASSES), normalize=True)


def training(store: Path, progress: Any = lambda done, total: None, workers: int = 0) -> Training:
    labels = np.arange(SIZE) % CLASSES
    images = TrainImages(Pictures(), labels, SIDE, to_tensor, seed=1)
    return Training(
        build=lambda trainer: build(),
        images=images,
        stored=lambda split: (torch.empty(0), torch.empty(0)),
        size=SIZE,
        classes=CLASSES,
        seed=1,
        key="key",
        store=Store(store),
        device=torch.device("cpu"),
        workers=workers,
        progress=progress,
    )


QUICK = GradientTrainer(lr=0.01, batch_size=16, epochs=3, warmup=0.2)

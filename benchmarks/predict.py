"""Measure forward passes over JPEGs against the model and the decoder alone.

    python benchmarks/predict.py [--images 256] [--model ViT-B-32] [--repeats 3]

Printed are medians of CPU seconds of `predict_split`, and of its bound: the bare model, its weights
in the precision, plus decoding. Then what two kinds of waiting cost that could overlap: a disk that
takes 8 s for all images, and a device that takes 8 s.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the bench command does

import open_clip
import torch
from decode_once import Jpegs
from measuring import cpu_seconds
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn

from bench.core.store import Store
from bench.models.features import Forward, predict_split
from bench.models.transforms import EvalImages, evaluation_transform

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def predict(images: Any, transform: Any, tower: nn.Module, precision: str, batch: int) -> None:
    """Compute the features of one encoder into a store of its own."""
    state = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    how = Forward(torch.device("cpu"), "cpu", precision, batch, workers=0)
    with tempfile.TemporaryDirectory() as folder:
        predict_split(images, transform, tower, {"key": lambda: state}, Store(Path(folder)), how)


def bare(tower: nn.Module, pixels: Tensor, batch: int) -> None:
    """Run the model alone."""
    with torch.no_grad():
        for part in pixels.split(batch):
            tower(part)


class Waiting:
    """Small images that a disk takes `seconds` for, all together."""

    def __init__(self, images: Any, seconds: float) -> None:
        self.images, self.each = images, seconds / len(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        time.sleep(self.each)
        return self.images[index]


class Device(nn.Module):
    """A model that waits `seconds` for all of `count` images, as for a device."""

    def __init__(self, seconds: float, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.each = seconds / count

    def forward(self, pixels: Tensor) -> Tensor:
        """Return a feature of each image."""
        time.sleep(self.each * len(pixels))
        return pixels.mean(dim=(1, 2, 3))[:, None]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    tower = open_clip.create_model(options.model).visual.eval()
    transform = evaluation_transform(PreprocessCfg(**tower.preprocess_cfg))
    images = Jpegs(options.images)
    decoded = EvalImages(images, transform)
    decoding = cpu_seconds(lambda: [decoded[i] for i in range(len(images))], options.repeats)
    pixels = torch.stack([decoded[i] for i in range(len(images))])
    print(f"{options.model}, {len(images)} images; decoding alone: {decoding:.2f} CPU s")
    print("| precision | batch | bare model | predict_split | bound / predict_split |")
    print("|---|--:|--:|--:|--:|", flush=True)
    for precision, dtype in TYPES.items():
        for batch in (16, 64, 256):
            alone = cpu_seconds(
                lambda b=batch, t=dtype: bare(tower.to(t), pixels.to(t), b), options.repeats
            )
            tower.float()
            ours = cpu_seconds(
                lambda b=batch, p=precision: predict(images, transform, tower, p, b),
                options.repeats,
            )
            bound = alone + decoding
            print(
                f"| {precision} | {batch} | {alone:.2f} | {ours:.2f} | {bound / ours:.2f} |",
                flush=True,
            )
    count, seconds = 4096, 8.0
    small = Jpegs(1, size=(32, 32))
    started = time.perf_counter()
    slow = Waiting([small[0].convert("RGB")] * count, seconds)
    to_tensor = evaluation_transform(PreprocessCfg(size=32))
    predict(slow, to_tensor, Device(seconds, count), "fp32", 64)
    waited = time.perf_counter() - started
    print(f"\n{seconds:.0f} s of a disk and {seconds:.0f} s of a device: {waited:.1f} s by default")


if __name__ == "__main__":
    main()

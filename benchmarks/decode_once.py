"""Measure the time saved by decoding a block of images once for all encoders.

    python benchmarks/decode_once.py [--images 256] [--encoders 11] [--pairs 3]

Two variants are measured in turn in one process: all encoders in one pass (as bench does), and one
pass per encoder. The seconds of each pair and their ratio are printed.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the bench command does

import numpy as np
import open_clip
import torch
from PIL import Image

from bench.core.store import Store
from bench.models.clip import Clip
from bench.models.features import Forward, predict_split
from bench.models.transforms import evaluation_transform


class Jpegs:
    """Photograph-sized JPEGs in memory, decoded on access."""

    def __init__(self, count: int, size: tuple[int, int] = (500, 375)) -> None:
        rng = np.random.default_rng(0)
        self.files = []
        for _ in range(count):
            small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(small).resize(size).save(file, "JPEG", quality=90)
            self.files.append(file.getvalue())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.open(io.BytesIO(self.files[index]), formats=["JPEG"])


def seconds(images: Jpegs, clip: Clip, groups: list[list[str]]) -> float:
    """Return the seconds to compute the features of all encoders, group by group."""
    tower, transform = clip.model.visual, evaluation_transform(clip.preprocess)
    state = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    how = Forward(torch.device("cpu"), "cpu", "fp32", 64, 0)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for group in groups:
            encoders = {key: lambda: state for key in group}
            predict_split(images, transform, tower, encoders, Store(Path(folder)), how)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256, help="number of images")
    parser.add_argument("--encoders", type=int, default=11, help="number of encoders")
    parser.add_argument("--pairs", type=int, default=3, help="number of repetitions")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt").eval()
    preprocess = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    clip, images = Clip(model, None, preprocess), Jpegs(options.images)
    keys = [f"{i:02d}" for i in range(options.encoders)]
    ratios = []
    for _ in range(options.pairs):
        once, each = seconds(images, clip, [keys]), seconds(images, clip, [[k] for k in keys])
        ratios.append(each / once)
        print(f"decoded once {once:.2f} s, once per encoder {each:.2f} s, ratio {ratios[-1]:.2f}")
    print(f"median ratio over {options.pairs} pairs: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

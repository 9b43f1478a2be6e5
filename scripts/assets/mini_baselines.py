"""Train the baselines of `mini`: small classifiers from random weights, on its training split.

    python scripts/assets/mini_baselines.py            # writes datasets/baselines/mini.csv

Takes about six minutes on one thread. The models only see the training split, no pretrained weights
and no captions: effective robustness is measured relative to them
(`bench.leaderboard.published.baselines`). `MODELS` was fixed before any of them was trained.
Nothing was chosen on a test set, and all results are written.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pretrain_tiny import batches, jitter, normalise
from torch import Tensor, nn

from bench.api.dataset import Suite
from bench.api.metrics import top1
from bench.api.registry import find_dataset
from bench.api.splits import Split
from bench.core.environment import environment
from bench.core.paths import write_atomic
from bench.data.mini.model import ARCHITECTURE, build_tiny

OUT = Path(__file__).parents[2] / "datasets" / "baselines" / "mini.csv"
LR = {"convolutions": 3e-3, "ConvNeXt": 1e-3}
BATCH, DECAY, WARM = 64, 0.1, 0.1


@dataclass(frozen=True)
class Model:
    """A classifier and its training.

    `width` is that of the first stage, `share` the fraction of the training split used.
    """

    kind: str
    width: int
    share: float
    epochs: int

    @property
    def name(self) -> str:
        """Name of the model, such as ``convolutions 16, 25% of train, 20 epochs``."""
        title = self.kind if self.kind == "ConvNeXt" else f"{self.kind} {self.width}"
        return f"{title}, {self.share:.0%} of train, {self.epochs} epochs"

    def build(self, classes: int) -> nn.Module:
        """Return the network with random weights: images [N, 3, 32, 32] to logits [N, classes]."""
        if self.kind == "ConvNeXt":
            return nn.Sequential(build_tiny().visual, nn.Linear(self.width, classes))
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((3, self.width, 2 * self.width, 4 * self.width)):
            layers += _convolution(fan_in, fan_out, stride=1 if fan_in == 3 else 2)
            layers += _convolution(fan_out, fan_out, stride=1)
        pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * self.width, classes))
        return nn.Sequential(*layers, *pooled)


def _convolution(fan_in: int, fan_out: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(fan_out), nn.ReLU()]


_TOWER = ARCHITECTURE["embed_dim"]
MODELS = (
    Model("convolutions", 8, 0.1, 40),
    Model("convolutions", 8, 0.25, 20),
    Model("convolutions", 8, 1.0, 5),
    Model("convolutions", 8, 1.0, 20),
    Model("convolutions", 16, 0.25, 20),
    Model("convolutions", 16, 0.5, 20),
    Model("convolutions", 16, 1.0, 10),
    Model("convolutions", 16, 1.0, 20),
    Model("ConvNeXt", _TOWER, 0.5, 20),
    Model("ConvNeXt", _TOWER, 1.0, 10),
    Model("ConvNeXt", _TOWER, 1.0, 30),
)
"""All models: networks of six convolutions, and the image architecture of the tiny CLIP."""


def pixels(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images uint8 [N, 32, 32, 3] and labels [N] of a split, in its order."""
    loaded = split.load()
    images = [np.asarray(loaded.images[i].convert("RGB")) for i in range(len(loaded.images))]
    return np.stack(images), loaded.manifest.first


def trained(model: Model, suite: Suite, seed: int) -> nn.Module:
    """Train a model on a random part of the training split: AdamW, warm-up, then cosine."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 11])
    images, labels = pixels(suite.task.train)
    used = rng.permutation(len(labels))[: round(model.share * len(labels))]
    network = model.build(len(suite.task.classnames)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR[model.kind], weight_decay=DECAY)
    size = min(BATCH, len(used))
    steps = model.epochs * (len(used) // size)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR[model.kind], total_steps=steps + 1, pct_start=WARM, cycle_momentum=False
    )
    for _ in range(model.epochs):
        for chosen in batches(rng, used, size):
            logits = network(normalise(jitter(rng, images[chosen])))
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(logits, torch.from_numpy(labels[chosen])))
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rate.step()
    return network.eval()


@torch.no_grad()
def accuracies(network: nn.Module, suite: Suite) -> dict[str, float]:
    """Return the accuracy on the ID test set and each shift, in percent."""
    found = {}
    for shift in suite.evaluations():
        images, _ = pixels(shift.split)
        parts: list[Tensor] = [network(part) for part in normalise(images).split(500)]
        scores = shift.labels.project(torch.cat(parts).float().numpy())
        log_probs = torch.from_numpy(scores).log_softmax(1).numpy()
        found[shift.name] = 100 * top1(log_probs, shift.split.load().manifest)
    return found


def text(models: Sequence[Model], found: Sequence[dict[str, float]], source: str) -> str:
    """Return the CSV text in the format of `read_baselines`.

    That function is in `bench.leaderboard.published.baselines`.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["model", "source", *found[0]])
    for model, values in zip(models, found, strict=True):
        writer.writerow([model.name, source, *(f"{value:.2f}" for value in values.values())])
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=OUT, help="file to write")
    out: Path = parser.parse_args().out
    commit = str(environment()["commit"])
    if commit.endswith("-modified"):
        parser.error("the checkout has changes: commit them first, since the file names the commit")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    found, began = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        suite = find_dataset("mini")().suite(None, Path(cache))
        for seed, model in enumerate(MODELS):
            found.append(accuracies(trained(model, suite, seed), suite))
            values = "  ".join(f"{name} {value:.1f}" for name, value in found[-1].items())
            print(f"{time.perf_counter() - began:5.0f} s  {model.name}: {values}", flush=True)
    source = f"trained from scratch on mini by scripts/assets/mini_baselines.py at {commit[:7]}"
    write_atomic(out, text(MODELS, found, source).encode())


if __name__ == "__main__":
    main()

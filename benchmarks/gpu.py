"""Measure on a GPU what bench promises of one.

    python benchmarks/gpu.py [--device cuda] [--small]

Each part prints a line per measurement: throughput of image towers with random weights against the
bare forward pass, training steps against a bare loop, whether two trainings give the same bits, the
peak memory of whole batches and of quarters of them, the k-th neighbour as bench finds it against
torch, and a run of the embedded suite against its golden numbers. The exit code is 1 if bits differ
or a part fails. `--small` shrinks everything, for trying the program on a CPU (``--device cpu
--small``).
"""

from __future__ import annotations

import argparse
import copy
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import open_clip
import torch
from loops import CLASSES, Preloaded, bare_training, bench_training, classifier
from PIL import Image
from torch import Tensor, nn

from bench.checks.golden import find_golden
from bench.core.store import Store
from bench.models.devices import exact_arithmetic
from bench.models.features import Forward, predict_split
from bench.models.training.networks import ImageClassifier
from bench.posthoc.neighbors import kth_distance

T = TypeVar("T")

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    models: tuple[str, ...] = ("ViT-B-32", "ViT-L-14")
    images: int = 4096
    batch: int = 256
    steps: int = 6
    train_batch: int = 128
    vectors: int = 200_000
    queries: int = 10_000
    golden: str = "mini"


SMALL = Sizes(("tiny-vit",), 48, 16, 3, 8, 2000, 100, "micro")


class Failures(list[str]):
    """What did not hold."""


def main() -> int:
    """Print all measurements; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    of = parser.parse_args()
    device, sizes = torch.device(of.device), SMALL if of.small else Sizes()
    exact_arithmetic()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{name}, torch {torch.__version__}", flush=True)
    failures = Failures()
    parts: list[Callable[[], None]] = []
    for model in sizes.models:
        parts += [
            partial(forward, model, device, sizes),
            partial(training, model, device, sizes, failures),
        ]
    parts += [partial(neighbours, device, sizes), partial(golden, device, sizes, failures)]
    for part in parts:
        try:
            part()
        except Exception as error:  # the other parts are measured all the same
            failures.append(f"{part.func.__name__}: {type(error).__name__}: {error}")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    for failure in failures:
        print(f"FAILED {failure}", flush=True)
    return bool(failures)


def tower_of(model: str) -> nn.Module:
    """Return an image tower with random weights, the same each time."""
    torch.manual_seed(0)
    if model == "tiny-vit":
        cfg = {"width": 32, "layers": 2, "image_size": 32, "patch_size": 16, "head_width": 16}
        text = {"width": 32, "layers": 1, "context_length": 16, "vocab_size": 50, "heads": 2}
        return open_clip.CLIP(24, cfg, text).visual
    return open_clip.create_model(model).visual


def pixels_of(tower: nn.Module, count: int) -> Tensor:
    """Return random images in the size of a tower."""
    size = tower.image_size if isinstance(tower.image_size, tuple) else (tower.image_size,) * 2
    return torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(0))


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Return the median seconds of `work`, after one run that is not counted."""
    found = []
    for _ in range(repeats + 1):
        settle(device)
        started = time.perf_counter()
        work()
        settle(device)
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device, work: Callable[[], object]) -> str:
    """Do `work` and return the peak of its memory on the device, in words."""
    if device.type != "cuda":
        work()
        return "peak not measured"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return f"peak {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB"


def forward(model: str, device: torch.device, sizes: Sizes) -> None:
    """Compare predictions with the bare forward pass, in images a second."""
    tower = tower_of(model).to(device).eval()
    batch = pixels_of(tower, sizes.batch)
    state = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    images = [Image.new("RGB", (1, 1))] * sizes.images
    one = batch[0]
    for precision, dtype in TYPES.items():
        own = tower.to(dtype)
        there = batch.to(device, dtype)

        def bare(own: nn.Module = own, there: Tensor = there) -> None:
            with torch.no_grad():
                for _ in range(sizes.images // sizes.batch):
                    own(there)

        alone = seconds(bare, device)
        tower.float()
        how = Forward(device, str(device), precision, sizes.batch, workers=0)

        def ours(how: Forward = how) -> None:
            with tempfile.TemporaryDirectory() as folder:
                store = Store(Path(folder))
                predict_split(images, lambda image: one, tower, {"key": lambda: state}, store, how)

        took = seconds(ours, device, repeats=1)
        bare_rate, rate = sizes.images / alone, sizes.images / took
        print(
            f"forward {model} {precision}: bare {bare_rate:.0f} images/s, bench {rate:.0f}, "
            f"ratio {rate / bare_rate:.2f}",
            flush=True,
        )


def training(model: str, device: torch.device, sizes: Sizes, failures: Failures) -> None:
    """Compare training steps with a bare loop, repeat them, and measure their memory."""
    tower = tower_of(model)
    pixels = pixels_of(tower, sizes.steps * sizes.train_batch)
    width = tower(pixels[:1]).shape[1]
    for precision in TYPES:
        build = partial(built, tower, width)
        bare = partial(bare_steps, build, pixels, sizes.train_batch, device, precision)
        ours = partial(
            bench_training, build, Preloaded(pixels), len(pixels), device,
            batch_size=sizes.train_batch, precision=precision,
        )  # fmt: skip
        alone, _ = rate_of(bare, "stepped", device)
        rate, first = rate_of(ours, "progress", device)
        again = ours()
        same = all(torch.equal(first[name], again[name]) for name in again)
        if not same:
            failures.append(f"training {model} {precision}: a second one gave other bits")
        print(
            f"training {model} {precision}, batches of {sizes.train_batch}: bare {alone:.2f} "
            f"steps/s, bench {rate:.2f}, ratio {rate / alone:.2f}; "
            f"repeated bit for bit: {'yes' if same else 'no'}",
            flush=True,
        )
        whole, parts = (
            peak(device, partial(ours, micro_batch=part)) for part in (None, sizes.train_batch // 4)
        )
        print(f"memory {model} {precision}: whole batches {whole}, quarters {parts}", flush=True)


def built(tower: nn.Module, width: int) -> ImageClassifier:
    """Return a classifier with a copy of the tower."""
    return classifier(copy.deepcopy(tower), width)


def bare_steps(
    build: Callable[[], nn.Module],
    pixels: Tensor,
    size: int,
    device: torch.device,
    precision: str,
    stepped: Callable[[], None],
) -> None:
    """Train on all pixels once, without bench."""
    labels = torch.arange(len(pixels)) % CLASSES
    batches = zip(pixels.split(size), labels.split(size), strict=True)
    bare_training(build(), batches, device, precision, stepped)


def rate_of(work: Callable[..., T], name: str, device: torch.device) -> tuple[float, T]:
    """Return the steps per second of a training, from its second step on, and what it returns.

    It calls its argument `name` after each step.
    """
    times: list[float] = []

    def step(*_: int) -> None:
        settle(device)
        times.append(time.perf_counter())

    found = work(**{name: step})
    return (len(times) - 1) / (times[-1] - times[0]), found


def neighbours(device: torch.device, sizes: Sizes) -> None:
    """Compare the k-th neighbour as bench finds it with torch's product and topk."""
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((sizes.vectors, 512), dtype=np.float32)
    queries = rng.standard_normal((sizes.queries, 512), dtype=np.float32)
    k = min(sizes.vectors // 10, 200)

    def ours() -> None:
        kth_distance(queries, reference, k)

    def bare() -> None:
        one, other = (
            nn.functional.normalize(torch.from_numpy(x).to(device)) for x in (queries, reference)
        )
        for part in one.split(1000):
            (part @ other.T).topk(k).values[:, -1].cpu()

    took, alone = seconds(ours, device, 1), seconds(bare, device, 1)
    print(f"neighbour {k} of {sizes.vectors}: bench {took:.2f} s, torch {alone:.2f} s", flush=True)


def golden(device: torch.device, sizes: Sizes, failures: Failures) -> None:
    """Run the embedded suite and compare it with the recorded numbers."""
    command = shlex.split(find_golden(sizes.golden).command)[1:]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with tempfile.TemporaryDirectory() as folder:
        places = ["--out", f"{folder}/run", "--cache-dir", f"{folder}/cache"]
        started = time.perf_counter()
        for words in (
            [*command, "--device", str(device), *places],
            ["check", f"{folder}/run", "--against", f"golden:{sizes.golden}"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "bench", *words],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                lines = (done.stdout + done.stderr).strip().splitlines()[-5:]
                failures.append(f"golden {sizes.golden}: bench {words[0]}: {' | '.join(lines)}")
                return
        took = time.perf_counter() - started
        print(f"golden {sizes.golden} on {device}: reproduced, {took:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())

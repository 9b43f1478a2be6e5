"""Measure training steps against a bare loop, and a loop that decodes in parallel.

    python benchmarks/training.py [--model tiny-vit] [--batch 64] [--steps 8] [--repeats 3]

Both train on the same batches with the same optimiser. First the pixels are decoded already; then
they are JPEGs of 500 x 375, which bench decodes in a thread beside the step, and the bare loop in
as many processes as there are cores. The two take turns, each with all cores; printed are medians
of wall seconds and of CPU seconds, those of processes included, and the ratio of bench to the bare
loop, in steps a second. The last line is the time in which a checkpoint holds a step up.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the bench command does

import torch
from decode_once import Jpegs
from gpu import bare_steps, built, pixels_of, tower_of
from loops import CLASSES, Preloaded, bare_training, bench_training
from open_clip.transform import PreprocessCfg
from torch.utils.data import DataLoader

from bench.core.environment import core_count
from bench.core.store import Store
from bench.models.training.checkpoints import Checkpoints
from bench.models.transforms import TrainImages, byte_tensor, normalisation

CPU = torch.device("cpu")


def used() -> float:
    """Return the CPU seconds of this process and of those it waited for."""
    return sum(os.times()[:4])


def compare(name: str, bare: Callable[[], object], ours: Callable[[], object], times: int) -> str:
    """Return a line of the table: medians of both, which take turns, and their ratios."""
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    for _ in range(times):
        for who, work in (("bare", bare), ("ours", ours)):
            wall, cpu = time.perf_counter(), used()
            work()
            found[who].append((time.perf_counter() - wall, used() - cpu))
    (wall, cpu), (our_wall, our_cpu) = (
        tuple(statistics.median(column) for column in zip(*rows, strict=True))
        for rows in found.values()
    )
    return (
        f"| {name} | {wall:.2f} | {our_wall:.2f} | {wall / our_wall:.2f} | "
        f"{cpu:.2f} | {our_cpu:.2f} | {cpu / our_cpu if our_cpu else math.nan:.2f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny-vit")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    of = parser.parse_args()
    tower, count = tower_of(of.model), of.batch * of.steps
    pixels = pixels_of(tower, count)
    build = partial(built, tower, tower(pixels[:1]).shape[1])
    print(f"{of.model}, {of.steps} steps of {of.batch}, {core_count()} cores")
    print("| pixels | bare, wall s | bench, wall s | ratio | bare, CPU s | bench, CPU s | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
    bare = partial(bare_steps, build, pixels, of.batch, CPU, "fp32", lambda: None)
    ours = partial(bench_training, build, Preloaded(pixels), count, CPU, batch_size=of.batch)
    print(compare("preloaded", bare, ours, of.repeats), flush=True)

    side = pixels.shape[-1]
    labels = torch.arange(count) % CLASSES
    jpegs = TrainImages(Jpegs(count), labels, side, byte_tensor, seed=0)
    normalise = normalisation(PreprocessCfg(size=side))

    def bare_decoding() -> None:
        rows = [(0, i, 0) for i in torch.randperm(count).tolist()]
        batches = [rows[i : i + of.batch] for i in range(0, count, of.batch)]
        loader = DataLoader(jpegs, batch_sampler=batches, num_workers=core_count())
        read = ((normalise(images), classes) for images, classes, _ in loader)
        bare_training(build(), read, CPU, "fp32")

    ours = partial(bench_training, build, jpegs, count, CPU, batch_size=of.batch, finish=normalise)
    print(compare("JPEG", bare_decoding, ours, of.repeats), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, state = Checkpoints(Store(Path(folder)), "key"), tower.state_dict()
        tensors = {f"{i}.{n}": t for i in range(3) for n, t in state.items()}  # with both moments
        started = time.perf_counter()
        checkpoints.save(1, tensors)
        held = time.perf_counter() - started
        checkpoints.finish()
        whole = time.perf_counter() - started
    print(f"\na checkpoint: {whole:.3f} s, of which a step waits {held:.3f} s")


if __name__ == "__main__":
    main()

"""Measure the parts of the post-hoc methods that take longest, each against a reference.

    python benchmarks/posthoc.py [--samples 10000] [--vectors 50000] [--queries 4000] [--repeats 3]

Averages of log-probabilities are compared with `numpy.logaddexp`, the k-th neighbour with FAISS,
and with the bare product of the vectors in bfloat16 and float32. Printed are medians of CPU
seconds. Vectors are noise around 100 centres beside a common direction, as CLIP's features are.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from measuring import cpu_seconds
from numpy.typing import NDArray

from bench.posthoc.functional import log_softmax, mix
from bench.posthoc.neighbors.bounds import by_bounds
from bench.posthoc.neighbors.kth import _by_faiss

WIDTH, CLASSES = 512, 1000


def features(count: int, seed: int) -> NDArray[np.float32]:
    """Return `count` vectors around common centres."""
    centres = np.random.default_rng(0).standard_normal((100, WIDTH), dtype=np.float32)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, WIDTH), dtype=np.float32)
    return centres[rng.integers(0, len(centres), count)] + noise + 2


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("samples", 10_000),
        ("vectors", 50_000),
        ("queries", 4000),
        ("repeats", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    of = parser.parse_args()
    rng = np.random.default_rng(0)
    size = (of.samples, CLASSES)
    zs, ft = (log_softmax(3 * rng.standard_normal(size, dtype=np.float32)) for _ in range(2))
    slow = cpu_seconds(lambda: np.logaddexp(zs - 0.5, ft - 0.9), of.repeats)
    fast = cpu_seconds(lambda: mix(zs, ft, 0.4), of.repeats)
    print(
        f"an average of {size}: logaddexp {slow:.3f} s, mix {fast:.3f} s, ratio {slow / fast:.1f}\n"
    )
    reference, queries = features(of.vectors, 1), features(of.queries, 2)
    one, other = (torch.from_numpy(x) for x in (queries, reference))
    low_one, low_other = one.bfloat16(), other.bfloat16()
    full = cpu_seconds(lambda: one @ other.T, of.repeats)
    half = cpu_seconds(lambda: low_one @ low_other.T, of.repeats)
    print(f"product of {of.queries} and {of.vectors} vectors: fp32 {full:.2f} s, bf16 {half:.2f} s")
    print("| k | FAISS | bfloat16 and a bound | ratio | same digits |\n|--:|--:|--:|--:|---|")
    for k in (1, 80, 200):
        found = [_by_faiss(queries, reference, k, True)]
        found += [by_bounds(queries, reference, k, True)]
        slow = cpu_seconds(lambda k=k: _by_faiss(queries, reference, k, True), of.repeats)
        fast = cpu_seconds(lambda k=k: by_bounds(queries, reference, k, True), of.repeats)
        same = "yes" if np.array_equal(*found) else "NO"
        row = k, f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.2f}", same
        print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()

"""Compare estimated and measured durations of the stages of a run.

    python benchmarks/estimates.py [--runs 4]

The first run of `mini` with one epoch has no samples of this machine; each further one, with
another seed, is estimated from those before it. A stage is a training or the forward passes on one
split; its duration is that on an idle machine, as bench measures it. Printed are all stages, and
how many of them are within 25% of their estimate, and within its range.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench
from bench.runs import session
from bench.runs.costs.estimate import of_samples
from bench.runs.costs.rates import Samples, samples_here

RUN: dict[str, Any] = {"suite": "mini", "methods": "wise-ft", "shifts": "v2,sketch"}


def main() -> None:
    """Run the suite several times and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4)
    of = parser.parse_args()
    errors: list[tuple[float, bool]] = []
    remember: Callable[..., None] = session.remember_samples

    def compared(store: Any, study: Any, device: str, new: Samples) -> None:
        known = samples_here(store, study, device)
        for kind, samples in new.items():
            for images, seconds in samples if kind in known else ():
                found = of_samples(images, known[kind])
                errors.append((seconds / found.seconds, found.low <= seconds <= found.high))
                print(f"{kind} {images}: {seconds:.2f} s, estimated {found.seconds:.2f} s "
                      f"({found.low:.2f} to {found.high:.2f}, {found.basis})")  # fmt: skip
        remember(store, study, device, new)

    session.remember_samples = compared  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(of.runs):
            out, cache = Path(folder) / f"run-{seed}", Path(folder) / "cache"
            options = {"seeds": [seed], "set": {"e2e-ft": {"epochs": 1}}, "out": out}
            bench.run(**RUN, **options, cache_dir=cache)
    near = sum(0.75 <= error <= 1.25 for error, _ in errors)
    inside = sum(is_inside for _, is_inside in errors)
    print(f"{len(errors)} stages: {near} within 25% of the estimate, {inside} within its range")


if __name__ == "__main__":
    main()

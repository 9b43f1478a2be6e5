"""For tests: the suites imagenet and entity30 on a data folder."""

from __future__ import annotations

import os
from pathlib import Path

from bench.dataset import Suite
from bench.registry import find_dataset

DATA = Path(os.environ.get("BENCH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
SHIFTS = ("v2", "sketch", "a", "r", "objectnet", "vid-robust", "ytbb")


def suite_of(data: Path, name: str = "imagenet") -> Suite:
    return find_dataset(name)().suite(data, data.parent / "cache")

"""For tests: the suites imagenet and entity30 in a data folder."""

from __future__ import annotations

from pathlib import Path

from bench.api.dataset import Suite
from bench.api.registry import find_dataset

SHIFTS = ("v2", "sketch", "a", "r", "objectnet", "vid-robust", "ytbb")


def suite_of(data: Path, name: str = "imagenet") -> Suite:
    return find_dataset(name)().suite(data, data.parent / "cache")

"""For tests: the two WILDS sets, their splits and tables, and random predictions."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.api.dataset import Suite
from bench.api.registry import find_dataset
from bench.api.splits import Manifest, Split

FMOW, IWILDCAM = find_dataset("fmow"), find_dataset("iwildcam")
PARTS = {"train": "train", "selection": "id_val", "test": "id_test", "ood": "ood_test"}
"""Our names of splits, with the names of the cards."""
THEIRS = {"train": "train", "selection": "id_val", "test": "id_test", "ood": "test"}
"""Our names of splits, with the names of the wilds package."""


def splits(suite: Suite) -> dict[str, Split]:
    task = suite.task
    shifts = {shift.name: shift.split for shift in suite.shifts}
    return {"train": task.train, "selection": task.selection, "test": suite.test, **shifts}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(path: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    rows = table(path)
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def names(manifest: Manifest, group: str) -> list[str]:
    return [manifest.names[group][code] for code in manifest.group(group)]


def random_log_probs(size: int, classes: int, seed: int) -> np.ndarray[Any, Any]:
    scores = np.random.default_rng(seed).normal(size=(size, classes)) * 3
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


def first(**changes: str) -> Callable[[list[dict[str, str]]], None]:
    return lambda rows: rows[0].update(changes)

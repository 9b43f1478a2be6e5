"""For tests: folders of outputs that were computed elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from commands import Result, bench
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from bench.core.records import Record, read_records

Arrays = dict[str, NDArray[Any]]


def save(arrays: Arrays, path: Path) -> None:
    """Save contiguous copies: safetensors writes wrong numbers for other arrays."""
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def folder(path: Path, **changes: Any) -> Path:
    """Write a folder of two models, one shift, three classes; `changes` are in outputs.yaml."""
    rng = np.random.default_rng(0)
    path.mkdir(exist_ok=True)
    for role, size in (("train", 60), ("selection", 30), ("test", 30), ("sketch", 20)):
        labels = rng.integers(3, size=size)
        arrays: Arrays = {"labels": labels}
        for model, strength in (("clip", 1.0), ("tuned", 2.0)):
            logits = rng.normal(size=(size, 3)) + strength * np.eye(3)[labels]
            arrays[f"{model}.logits"] = logits.astype(np.float32)
        arrays["tuned.features"] = arrays["tuned.logits"] @ np.ones((3, 4), np.float32)
        save(arrays, path / f"{role}.safetensors")
    form: dict[str, Any] = {
        "name": "mine",
        "classes": 3,
        "models": {"zero-shot": "clip", "e2e-ft": "tuned"},
        **{role: {"file": f"{role}.safetensors"} for role in ("train", "selection", "test")},
        "shifts": {"sketch": {"file": "sketch.safetensors"}},
    } | changes
    write(path, {key: value for key, value in form.items() if value is not None})
    return path


def write(path: Path, form: dict[str, Any]) -> None:
    (path / "outputs.yaml").write_text(yaml.safe_dump(form, sort_keys=False))


def alter(path: Path, role: str, change: Callable[[Arrays], object]) -> None:
    """Rewrite a split's file with changed arrays."""
    arrays = load_file(path / f"{role}.safetensors")
    change(arrays)
    save(arrays, path / f"{role}.safetensors")


def score(path: Path, *options: object) -> Result:
    where = ("--cache-dir", path / "cache", "--out", path / "out")
    return bench("score", "--outputs", path, *where, *options)


def found(path: Path) -> list[Record]:
    return read_records(path / "out" / "records.jsonl")

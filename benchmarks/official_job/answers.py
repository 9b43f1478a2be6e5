"""The answers of both sides, and where they differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.core.records import read_records
from bench.core.store import Store

NAMES = {
    "ImageNet": "id",
    "ImageNetV2": "v2",
    "ImageNetSketch": "sketch",
    "ImageNetA": "a",
    "ImageNetR": "r",
    "ObjectNet": "objectnet",
}
"""{official name of a set: bench's}."""


class Cell(NamedTuple):
    """An accuracy: of a method (with its alpha) on a set."""

    method: str
    shift: str


Answers = dict[Cell, float]


def of_wise_ft(results: Path) -> Answers:
    """Return top-1 from the results file of ``src/wise_ft.py``."""
    found = {}
    for line in results.read_text().splitlines():
        of_alpha = json.loads(line)
        for name, shift in NAMES.items():
            found[Cell(f"wise-ft {of_alpha['alpha']:g}", shift)] = of_alpha[f"{name}:top1"]
    return found


def of_baselines(printed: str) -> Answers:
    """Return top-1 of both endpoints and OSE from what ``src/baselines.py`` prints."""
    rows = {"zeroshot": "zero-shot", "finetune": "e2e-ft", "ose": "ose"}
    found, shift = {}, ""
    for line in printed.splitlines():
        shift = NAMES.get(line.strip(), shift)
        if (of := re.match(r" \* (\w+) +performance ([\d.]+) %", line)) and of[1] in rows:
            found[Cell(rows[of[1]], shift)] = float(of[2]) / 100
    return found


def of_vrf(printed: str) -> Answers:
    """Return top-1 of VRF from what ``src/main.py`` prints."""
    lines = re.findall(r"^(\w+): ([\d.]+) %$", printed, re.MULTILINE)
    return {Cell("vrf", NAMES[name]): float(value) / 100 for name, value in lines}


def of_bench(run: Path) -> Answers:
    """Return top-1 of all rows, and of WiSE-FT at each alpha, from a run folder."""
    found = {}
    for record in read_records(run / "records.jsonl"):
        if record.metric == "top1" and record.kind in ("cell", "curve"):
            at = f"{record.method} {record.choice['alpha']:g}" if record.method == "wise-ft" else ""
            if at or record.kind == "cell":
                found[Cell(at or record.method, record.shift)] = record.value
    ends = {"zero-shot": "wise-ft 0", "e2e-ft": "wise-ft 1"}
    return found | {Cell(ends[m], s): v for (m, s), v in found.items() if m in ends}


def other_images(
    official: Answers, ours: Answers, sizes: Mapping[str, int]
) -> Iterator[tuple[Cell, int]]:
    """Yield each cell that both sides have, and by how many correct images they differ."""
    for cell in sorted(official.keys() & ours.keys()):
        yield cell, round(abs(official[cell] - ours[cell]) * sizes[cell.shift])


def distance_error(official: Path, cache: Path) -> float:
    """Return the largest difference of squared distances to the k-th neighbour, over all sets.

    `official` is what ``src/knn_distance.py`` saved, `cache` is bench's store. Both sides list the
    images of a set in different orders, so its distances are sorted first; a set is found by its
    number of images and the nearest values. Infinite if bench has no distances of a set.
    """
    with np.load(official) as saved:
        theirs = [np.sort(-saved[f"ft_scores_{name}"]) for name in NAMES]
    store, ours = Store(cache), []
    for path in (cache / "distances").rglob("*.safetensors"):
        arrays = store.read_arrays("distances", path.stem) or {}
        ours.append(np.sort(np.square(arrays["distance"])))
    return max(
        min((float(np.abs(a - b).max()) for b in ours if len(a) == len(b)), default=np.inf)
        for a in theirs
    )

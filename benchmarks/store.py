"""Measure how much of the disk 40,000 cells take, and what listing and verifying them costs.

    python benchmarks/store.py FOLDER

FOLDER becomes a cache with the cells of `bench plan --methods all --controls --shifts all --seeds
0,1,2,3,4` on `mini`, all with the content of a measured one. Printed are the bytes of the cells'
JSON, of the files and on the disk, and CPU seconds: of `uses_of` and `fault_of`, which are `bench
cache ls` and `verify`, and for comparison of reading and hashing the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from measuring import cpu_seconds

from bench.core.environment import environment
from bench.core.hashing import canonical_json
from bench.core.store import Store
from bench.core.store.upkeep import cached_files, fault_of, uses_of
from bench.runs.plan import make_plan
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies

RUN = {"suite": "mini", "methods": "all", "controls": True, "seeds": (0, 1, 2, 3, 4)}


def cells_of_plan(cache: Path) -> dict[str, dict[str, Any]]:
    """Return the cells of the plan by pack and key."""
    config = RunConfig.model_validate(RUN | {"cache_dir": cache})
    packs: dict[str, dict[str, Any]] = defaultdict(dict)
    for study in resolve_studies(config):
        for cell in make_plan(study, lambda _: None).cells:
            fraction = random.Random(cell.key).random()
            packs[cell.pack][cell.key] = {
                "data": None,
                "devices": ["cpu"],
                "environment": environment(),
                "n": 750,
                "temperature": None,
                "trained": {},
                "value": fraction,
                "weight": 0.5,
            }
    return packs


def main() -> None:
    """Write the cells, unless they are there, and print what they take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    of = parser.parse_args()
    packs, store = cells_of_plan(of.folder), Store(of.folder)
    if not (of.folder / "cells").exists():
        for pack, cells in packs.items():
            store.write_cells(pack, cells)
    content = sum(len(canonical_json(cell)) for cells in packs.values() for cell in cells.values())
    files = [file for file in cached_files(of.folder) if file.kind == "cells"]
    (use,) = uses_of(files)
    count = sum(map(len, packs.values()))
    print(f"{count:,} cells in {use.files:,} files: {content / 1e6:.1f} MB of content,")
    print(f"{use.size / 1e6:.1f} MB in files, {use.on_disk / 1e6:.1f} MB on the disk, ", end="")
    print(f"{use.on_disk / content:.2f} times the content")
    listed = cpu_seconds(lambda: uses_of(cached_files(of.folder)), 3)
    verified = cpu_seconds(lambda: [fault_of(file) for file in files], 3)
    read = cpu_seconds(lambda: [hashlib.sha256(f.path.read_bytes()).digest() for f in files], 3)
    print(
        f"listed in {listed:.2f}, verified in {verified:.2f}, read and hashed in {read:.2f} CPU s"
    )


if __name__ == "__main__":
    main()

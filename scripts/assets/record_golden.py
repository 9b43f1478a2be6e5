#!/usr/bin/env python
"""Write results/golden/NAME.json from finished runs of one command under several conditions.

    scripts/assets/record_golden.py "bench run --seeds 0" "native, 1 thread=RUN" \\
        "avx2, 1 thread=RUN"

The first run gives the values. The deviations between all runs determine the tolerances.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.checks.golden import Golden, deviations, golden_cells, model_digests
from bench.core import __version__
from bench.core.errors import InputError
from bench.core.paths import write_atomic
from bench.core.records import read_records

GOLDEN = Path(__file__).resolve().parents[2] / "results" / "golden"


def golden(command: str, labels: Sequence[str], folders: Sequence[Path]) -> Golden:
    """Return the golden run made from finished runs, each with the label of its conditions.

    Raises InputError if the runs differ in suite, model, protocol or notes.
    """
    runs = [read_records(folder / "records.jsonl") for folder in folders]
    facts = {(r.suite, r.model, r.protocol, r.notes) for run in runs for r in run}
    found = {digest for run in runs for digest in model_digests(run)}
    if len(facts) != 1 or len(found) != 1:
        raise InputError(
            "the runs differ in suite, model, protocol or notes: pass runs of one command"
        )
    ((suite, model, protocol, notes),) = facts
    return Golden(
        name=suite,
        command=command,
        bench=__version__,
        model=model,
        digest=found.pop(),
        protocol=protocol,
        notes=notes,
        runs=tuple(labels),
        deviations=deviations([golden_cells(run) for run in runs]),
        cells=golden_cells(runs[0]),
    )


def main() -> None:
    command, *parts = sys.argv[1:]
    pairs = [part.rsplit("=", 1) for part in parts]
    made = golden(command, [label for label, _ in pairs], [Path(run) for _, run in pairs])
    data = made.model_dump(mode="json")
    rows = ",\n".join(f"  {json.dumps(cell, sort_keys=True)}" for cell in data.pop("cells"))
    head = json.dumps(data, indent=1, sort_keys=True).removesuffix("\n}")
    path = GOLDEN / f"{made.name}.json"
    write_atomic(path, f'{head},\n "cells": [\n{rows}\n ]\n}}\n'.encode())
    print(path)


if __name__ == "__main__":
    main()

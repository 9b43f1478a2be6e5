#!/usr/bin/env python
"""Write tests/recorded/published.sha256: a digest of every published table.

    python scripts/assets/published_digests.py [REFERENCE]

Tests compare the digests, so that no digit changes by accident. REFERENCE, by default
../shared/reference/published.json next to the repository, has the same cells from an independent
reading of the sources; curves.json beside it has those of curves over alpha. If it exists and
contradicts a table, nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.paths import write_atomic
from bench.leaderboard.published.tables import (
    Claim,
    PublishedTable,
    find_published_table,
    published_tables,
)

ROOT = Path(__file__).resolve().parents[2]
DIGESTS = ROOT / "tests" / "recorded" / "published.sha256"
REFERENCE = ROOT.parent / "shared" / "reference" / "published.json"
CURVES = "curves.json"
"""Beside the reference: the cells of the published curves over alpha, from another reading."""
CURVE_SETS = {
    "id": "imagenet",
    "v2": "imagenet-v2",
    "r": "imagenet-r",
    "sketch": "imagenet-sketch",
    "objectnet": "objectnet",
    "a": "imagenet-a",
}
METRIC_NAMES = {"pm-0 top1": "pm-0", "worst-region top1": "worst-region"}
"""The reference's names of metrics that have other names here."""


def digest(table: PublishedTable) -> str:
    """Return the SHA-256 of a table's source, conditions, columns, rows and cells, not remarks."""
    text = json.dumps(table.model_dump(mode="json", exclude={"remarks"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def lines(every: Mapping[str, PublishedTable]) -> str:
    """Return the text of the digest file."""
    return "".join(f"{digest(table)}  {name}\n" for name, table in every.items())


def of_record(record: Mapping[str, Any]) -> tuple[object, ...]:
    """Return a cell of the reference, for comparison with `of_claim`."""
    metric = METRIC_NAMES.get(record["metric"], record["metric"])
    modifiers = {k: v for k, v in record["modifiers"].items() if k != "temperature_scaling"}
    scaled = record["modifiers"].get("temperature_scaling")
    row = (record["backbone"], record["method"], record["base"], *sorted(modifiers.items()))
    cell = (record["suite"], record["dataset"], metric, record["unit"], scaled, record["value"])
    return (record["source"]["paper"], record["source"]["table"], *row, *cell)


def of_curves(curves: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of `CURVES` as records of the reference."""
    source = find_published_table("beyond-wise-ft").source
    assert curves["source"] in source.paper and curves["commit"] in source.seen_in
    backbones = {"ViT-B-32-quickgelu": "ViT-B/32", "ViT-B-16": "ViT-B/16"}
    return [
        {
            "source": {"paper": source.paper, "table": source.table},
            "backbone": f"{backbones[run['model']]} (LAION-400M)",
            "method": "wise-ft",
            "base": "e2e-ft",
            "modifiers": {
                "alpha": point["alpha"],
                "source_of_row": Path(run["file"]).stem,
                "training": f"lr {run['lr']:g}, augmentation {run['data_augmentation']}",
            },
            "suite": "imagenet",
            "dataset": CURVE_SETS[name],
            "metric": "top1",
            "unit": "percent",
            "value": value,
        }
        for run in curves["runs"]
        for point in run["points"]
        for name, value in point.items()
        if name != "alpha"
    ]


def of_claim(table: PublishedTable, claim: Claim) -> tuple[object, ...]:
    """Return a cell of ours: table, row, column and number."""
    column, row = claim.column, claim.row
    facts = (claim.backbone, row.method, row.base, *sorted(row.modifiers.items()))
    cell = (column.suite, column.dataset, column.metric, column.unit, column.scaled)
    return (table.source.paper, table.source.table, *facts, *cell, float(claim.value))


def contradictions(
    records: Iterable[Mapping[str, Any]], every: Iterable[PublishedTable]
) -> list[str]:
    """Return one line for each cell that only the reference or only our tables have."""
    wanted = Counter(map(of_record, records))
    got = Counter(of_claim(table, claim) for table in every for claim in table.claims)
    only = [("reference", wanted - got), ("here", got - wanted)]
    return [f"only {where}: {cell}" for where, cells in only for cell in cells]


def main(arguments: Sequence[str]) -> None:
    """Compare with the reference, print the changed lines, and write the file."""
    reference = Path(arguments[0]) if arguments else REFERENCE
    if reference.is_file():
        records = json.loads(reference.read_text(encoding="utf-8"))["records"]
        records += of_curves(json.loads(reference.with_name(CURVES).read_text(encoding="utf-8")))
        if found := contradictions(records, published_tables().values()):
            sys.exit("\n".join([*found, "tables and reference differ: nothing was written"]))
    else:
        print(f"no reference at {reference}: compare the changed tables with their sources by eye")
    text = lines(published_tables())
    before = DIGESTS.read_text(encoding="utf-8").splitlines() if DIGESTS.is_file() else []
    for line in sorted(set(text.splitlines()) ^ set(before), key=lambda line: line.split()[::-1]):
        print(f"{'-' if line in before else '+'} {line}")
    write_atomic(DIGESTS, text.encode())


if __name__ == "__main__":
    main(sys.argv[1:])

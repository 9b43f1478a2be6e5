"""Measure `bench report` on a run of many methods, made of the rows of a finished one.

    python benchmarks/reports.py FOLDER [--methods 100]

The run is that of results/mini: its rows, the rest of them copies of WiSE-FT's under other names
and with other numbers, on 3 seeds, 6 sets, 4 metrics and 11 candidates. For 100 methods these are
91,920 records. It is written to FOLDER once and used again. Printed are the CPU seconds and the
peak memory of the command, the size of the page, and for comparison the CPU seconds of parsing the
same lines with `json.loads`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from measuring import cpu_seconds, usage

from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.core.records import Record, read_records, records_text

SOURCE = Path(__file__).parents[1] / "results" / "mini" / "records.jsonl"


def copied(record: Record, number: int) -> Record:
    """Return a record as one of another method with the next number, with noise."""
    facts = dict(record.provenance)
    facts["key"] = key_of(facts["key"], number)
    if "inputs" in facts:
        facts["inputs"] = [key_of(key, number) for key in facts["inputs"]]
        facts["method"] = {**facts["method"], "type": f"Copy{number}"}
    noise = random.Random(facts["key"]).uniform(-0.005, 0.005)
    names = {"method": f"copy-{number:03}", "title": f"Copy {number}"}
    changes = {"value": record.value + noise, "provenance": facts}
    return record.model_copy(update=names | changes)


def rows(methods: int) -> Iterator[Record]:
    """Yield the records of a run of this many methods."""
    found = [record for record in read_records(SOURCE) if record.kind != "figure"]
    yield from (record for record in found if record.method in ("zero-shot", "e2e-ft"))
    for record in (record for record in found if record.method == "wise-ft"):
        yield from (copied(record, number) for number in range(methods - 2))


def main() -> None:
    """Write the run, unless it is there, and print what its report costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", type=int, default=100)
    of = parser.parse_args()
    path = of.folder / "records.jsonl"
    if not path.is_file():
        write_atomic(path, records_text(rows(of.methods)).encode())
    lines = path.read_text().splitlines()
    bare = cpu_seconds(lambda: [json.loads(line) for line in lines], 3)
    start = usage([sys.executable, "-c", "import bench.report.run_folder, bench.report.write"])
    command = [sys.executable, "-m", "bench", "report", str(of.folder), "--format", "html"]
    found = usage(command)
    page = (of.folder / "report.html").stat().st_size
    print(f"{len(lines):,} lines: json.loads {bare:.2f} CPU s, imports {start.seconds:.2f} CPU s")
    print(f"bench report: {found.seconds:.2f} CPU s, {found.peak / 1e6:.0f} MB at its peak")
    print(f"report.html: {page / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

"""What reports cost, in counts and memory: records are read once, and take little."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import bench

from bench.core.records import Record, distinct_records, read_records, records_text
from bench.leaderboard import build, entries
from bench.report import run_folder
from bench.testing.fakes import fake_records

MOST = 1_800
"""Bytes of a record in memory, beside what it shares with others."""


def curves(count: int) -> Iterator[Record]:
    """Yield records of candidates, which most records of a run are."""
    (cell,) = fake_records({"wise-ft:e2e-ft": (0.8,)}, shifts=[])
    for number in range(count):
        facts = {"value": number / count, "weight": 0.5, "provenance": {"key": f"{number:032x}"}}
        yield cell.model_copy(
            update={"kind": "curve", "choice": {"alpha": number / count}, **facts}
        )


def test_a_record_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(records_text(curves(4000)))
    read_records(tmp_path / "records.jsonl")  # fills caches
    tracemalloc.start()
    try:
        found = read_records(tmp_path / "records.jsonl")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / len(found) < MOST


def test_records_that_are_read_are_like_others(tmp_path: Path) -> None:
    made = sorted(curves(3), key=lambda record: record.value)
    (tmp_path / "records.jsonl").write_text(records_text(made))
    found = read_records(tmp_path / "records.jsonl")
    assert found == made
    assert [one.model_dump_json() for one in found] == [one.model_dump_json() for one in made]
    changed = found[0].model_copy(update={"value": 0.3})
    assert (changed.value, found[0].value, found[0].model_fields_set) == (
        0.3, 0.0, found[1].model_fields_set
    )  # fmt: skip


def test_repeated_records_are_kept_once() -> None:
    one, other = list(curves(2))
    changed = one.model_copy(update={"provenance": {"key": "0"}})
    assert distinct_records([one, other, one, changed, other]) == [one, other, changed]


def test_a_report_reads_each_record_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = fake_records()
    (tmp_path / "records.jsonl").write_text(records_text(records))
    reads: list[Path] = []
    seen: Counter[int] = Counter()
    add = entries.BoardEntries._add

    def read(folder: Path) -> Any:
        reads.append(folder)
        return read_run(folder)

    def counted(self: Any, item: Any) -> None:
        seen[id(item)] += 1
        add(self, item)

    read_run = run_folder.read_run
    monkeypatch.setattr(run_folder, "read_run", read)
    monkeypatch.setattr(build.BoardEntries, "_add", counted)
    assert bench("report", tmp_path, "--format", "html,md,csv").code == 0
    assert reads == [tmp_path]
    assert (len(seen), set(seen.values())) == (len(records), {1})

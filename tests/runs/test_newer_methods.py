"""The newer methods through the command line: all cells, the board, and the same again."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import bench, contents

from bench.core.records import read_records

SMALL = ("run", "--suite", "micro", "--limit", "40", "--shifts", "v2,objectnet")


def once(*trained: str) -> list[str]:
    """The options for a single epoch of each of these."""
    return [option for name in trained for option in ("--set", f"{name}.epochs=1")]


RUN = (*SMALL, "--methods", "newer", *once("e2e-ft", "ftp", "ldifs", "lipsum-ft"))


def test_every_newer_method_runs_and_transductive_rows_stand_apart(tmp_path: Path) -> None:
    done = bench(*RUN, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    records = read_records(tmp_path / "out" / "records.jsonl")
    cells = [r for r in records if r.kind == "cell" and r.metric == "top1"]
    roles = {r.method: r.role for r in cells}
    transductive = {"dawin", "dawin-output-offset"}
    assert {name for name, role in roles.items() if role == "transductive"} == transductive
    assert set(roles) - transductive == {
        "zero-shot", "e2e-ft", "ftp", "ldifs", "lipsum-ft", "lines", "model-stock",
        "dawin-output",
    }  # fmt: skip
    assert len(cells) == 3 * len(roles)
    weights = {r.method: r.weight for r in cells if r.shift == "v2"}
    assert 0 < weights["dawin-output"] < 1 and weights["model-stock"] == 1
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.index("not ranked: transductive") < report.index("DaWin (transductive)")
    again = bench(*RUN, "--cache-dir", tmp_path / "other", "--out", tmp_path / "again")
    assert again.code == 0
    one, other = (contents(tmp_path / name) for name in ("out", "again"))
    assert one["records.jsonl"] == other["records.jsonl"]


def test_a_tower_that_a_method_cannot_take_fails_in_its_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.methods.lines.tower_blocks", lambda names: [])
    monkeypatch.setattr("bench.methods.ldifs.tower_blocks", lambda names: [])
    options = (*SMALL, "--methods", "lines,ldifs,wise-ft", *once("e2e-ft", "ldifs"))
    done = bench(*options, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "out")
    assert done.code == 1
    lines = (tmp_path / "out" / "missing.jsonl").read_text()
    assert "numbered blocks" in lines and "this image tower lacks" in lines
    records = read_records(tmp_path / "out" / "records.jsonl")
    assert {r.method for r in records} == {"zero-shot", "e2e-ft", "wise-ft"}

"""Whole runs with small models of other kinds than CLIP: evaluated, trained, merged, resumed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from model_folders import clip_folder, open_clip_folder, siglip_folder
from small_clips import small_trunks

import bench
from bench.core.records import read_records

MAKERS: dict[str, Any] = {
    "SigLIP of transformers": siglip_folder,
    "CLIP of transformers": clip_folder,
    "CoCa of open_clip": lambda folder: open_clip_folder(folder, "coca_ViT-B-32"),
}
ROWS = ("zero-shot", "e2e-ft", "flyp", "carot", "wise-ft:flyp", "wise-ft")


@pytest.mark.parametrize("kind", MAKERS)
def test_a_run_with_a_folder(kind: str, tmp_path: Path) -> None:
    if "transformers" in kind:
        pytest.importorskip("transformers")
    MAKERS[kind](tmp_path / "mine")
    options: dict[str, Any] = {
        "suite": "micro", "limit": 40, "shifts": ["sketch"], "seeds": [0], "methods": ROWS,
        "cache_dir": tmp_path / "cache", "model": f"local-dir:{tmp_path / 'mine'}",
        "set": {name: {"epochs": 1} for name in ("flyp", "carot", "e2e-ft")},
    }  # fmt: skip
    with small_trunks():
        bench.run(**options, out=tmp_path / "run")
    assert not (tmp_path / "run" / "missing.jsonl").exists()
    records = read_records(tmp_path / "run" / "records.jsonl")
    found = {f"{r.method}:{r.base}" if r.base else r.method for r in records if r.kind == "cell"}
    assert found == {*ROWS[:4], "wise-ft:flyp", "wise-ft:e2e-ft"}
    assert all(record.model.startswith("local-dir/mine@") for record in records)
    trainers = {r.method: r.provenance["method"]["trainer"] for r in records
                if r.kind == "cell" and r.method in ("flyp", "carot")}  # fmt: skip
    losses = {method: trainer.get("contrast") for method, trainer in trainers.items()}
    assert set(losses.values()) == ({"sigmoid"} if "SigLIP" in kind else {None})

    shutil.move(tmp_path / "mine", tmp_path / "moved")  # and nothing is computed again
    options["model"] = f"local-dir:{tmp_path / 'moved'}"
    plan = bench.plan(**options, out=tmp_path / "again")
    assert plan.summary() == "to do: nothing; every cell is in the cache"

"""Image files whose names are no UTF-8 text: they are read, listed and stored as any others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from commands import assert_refused, bench
from PIL import Image

from bench.core.records import read_records

SUITE = """
name: pets
classes: [cat, dog]
templates: ["a photo of a {}."]
train: {folder: train}
test: {folder: test}
model: tiny
pretrained: embedded
"""
ODD = os.fsdecode(b"im\xff\x1b[31m\xc3(%d.png")


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_text(SUITE)
    rng = np.random.default_rng(0)
    for role in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / role / name / os.fsdecode(b"sub\xfe")
            folder.mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / (ODD % i))
    out, cache = tmp_path / "out", ("--cache-dir", tmp_path / "cache")
    command = ("run", "--suite", tmp_path / "pets.yaml", "--methods", "zero-shot", *cache)
    result = bench(*command, "--out", out)
    assert result.code == 0, result.err
    assert {r.shift for r in read_records(out / "records.jsonl")} == {"id"}
    assert bench("check", out, *cache).code == 0
    assert bench("report", out, "--format", "csv,json,tex").code == 0

    (tmp_path / "test" / "dog" / os.fsdecode(b"sub\xfe") / (ODD % 1)).write_bytes(b"no image")
    refused = bench(*command, "--out", tmp_path / "again")
    assert_refused(refused, "test/dog/sub\\udcfe/im\\udcff\\x1b[31m", code=4)

"""Exports of other models than CLIP's own: SigLIP, CoCa, towers of timm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from commands import assert_refused
from commands import bench as command
from model_folders import clip_folder, open_clip_folder, siglip_folder
from safetensors.torch import load_file
from small_clips import small_trunks
from small_towers import NAME, tower_file
from torch.nn.functional import normalize

import bench
from bench.core.records import read_records

MAKERS: dict[str, Any] = {
    "CLIP of transformers": clip_folder,
    "CoCa of open_clip": lambda folder: open_clip_folder(folder, "coca_ViT-B-32"),
}
OPTIONS = ("--suite", "micro", "--limit", "20", "--shifts", "v2")


@pytest.mark.parametrize("row", ["zero-shot", "e2e-ft"])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_folder_is_exported_as_one_of_open_clip(kind: str, row: str, tmp_path: Path) -> None:
    if "transformers" in kind:
        pytest.importorskip("transformers")
    MAKERS[kind](tmp_path / "theirs")
    where = ("--cache-dir", tmp_path / "cache")
    model = ("--model", f"local-dir:{tmp_path / 'theirs'}", "--set", f"{row}.epochs=1")
    folder = tmp_path / "mine"
    with small_trunks():
        made = command("run", *OPTIONS, *model[: 2 if row == "zero-shot" else 4], "--methods", row,
                       *where, "--out", tmp_path / "run")  # fmt: skip
        assert made.code == 0, made.err
        form = ("--format", "open-clip", "--to", folder)
        said = command("export", tmp_path / "run", row, *form, *where)
        assert said.code == 0, said.err
        loaded, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        again = command("run", *OPTIONS, "--model", f"local-dir:{folder}", "--methods", "zero-shot",
                        *where, "--out", tmp_path / "back")  # fmt: skip
        assert again.code == 0, again.err
    run = bench.load(tmp_path / "run", cache_dir=tmp_path / "cache")
    study, _ = run.chosen(row)
    images = torch.stack([preprocess(i) for i in study.suite.shifts[0].split.load().images])
    head = load_file(folder / "classifier.safetensors")
    with torch.no_grad():
        features = normalize(loaded.eval().encode_image(images), dim=-1)
        logits = (features @ head["head.weight"].T + head["head.bias"]).numpy()
    (expected,) = run.outputs(row, "v2").logits.values()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)

    def values(name: str, method: str) -> dict[Any, float]:
        records = read_records(tmp_path / name / "records.jsonl")
        cells = [r for r in records if r.kind == "cell" and r.method == method]
        return {(r.shift, r.metric): r.value for r in cells}

    assert values("back", "zero-shot") == pytest.approx(values("run", row))


def test_a_model_that_open_clip_cannot_build_has_the_plain_form_alone(tmp_path: Path) -> None:
    """A SigLIP of transformers, whose sizes open_clip's configurations cannot state."""
    pytest.importorskip("transformers")
    siglip_folder(tmp_path / "theirs")
    where = ("--cache-dir", tmp_path / "cache")
    model = ("--model", f"local-dir:{tmp_path / 'theirs'}", "--methods", "zero-shot")
    made = command("run", *OPTIONS, *model, *where, "--out", tmp_path / "run")
    assert made.code == 0, made.err
    place = ("--to", tmp_path / "mine", *where)
    said = command("export", tmp_path / "run", "zero-shot", "--format", "open-clip", *place)
    assert_refused(said, "open_clip cannot build local-dir/theirs@", "use --format safetensors")
    assert command("export", tmp_path / "run", "zero-shot", *place).code == 0
    form = json.loads((tmp_path / "mine" / "classifier.json").read_text())
    assert form["logit_bias"] == pytest.approx(-4.0) and form["normalize"]


def test_a_tower_without_text_has_the_plain_form_alone(tmp_path: Path) -> None:
    where = ("--cache-dir", tmp_path / "cache")
    model = ("--model", f"timm:{NAME}", "--pretrained", tower_file(tmp_path / "w.safetensors"))
    options = (*model, "--methods", "linear", "--set", "linear.epochs=1")
    made = command("run", *OPTIONS, *options, *where, "--out", tmp_path / "run")
    assert made.code == 0, made.err
    place = ("--to", tmp_path / "mine", *where)
    said = command("export", tmp_path / "run", "linear", "--format", "open-clip", *place)
    assert_refused(said, "two towers", "--format safetensors")
    assert command("export", tmp_path / "run", "linear", *place).code == 0
    weights = load_file(tmp_path / "mine" / "classifier.safetensors")
    assert weights["head.weight"].shape == (20, 32)
    assert "which takes raw image embeddings" in (tmp_path / "mine" / "README.md").read_text()
    place = ("--to", tmp_path / "outputs", *where)
    said = command("export", tmp_path / "run", "linear", "--outputs", *place)
    assert_refused(said, "no zero-shot row")

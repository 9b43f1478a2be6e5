"""The real CLIP path: an open_clip ViT-B/32 from a checkpoint file on real ImageNet photographs.

Its weights are random (seeded), so the numbers mean nothing; everything else is as in earnest:
open_clip's 1,000 class names and 80 templates, its transform, its checkpoint loading.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import SAME_BENCH
from places import DATA

from bench.core.records import read_records

PHOTOS = DATA / "imagenet_sample_100.zip"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PHOTOS.is_file(), reason=f"needs {PHOTOS} (or $BENCH_TEST_DATA)"),
]

SUITE = """
name: photos
classes: imagenet
templates: ["a photo of a {}.", "a drawing of a {}."]
train: {list: train.csv}
selection: {list: selection.csv}
test: {list: test.csv}
shifts:
  blur: {corrupt: defocus_blur, severity: 3}
defaults:
  e2e-ft: {lr: 1.0e-4, epochs: 2, batch_size: 30, warmup: 0.5}
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite file over the 100 photographs: 60 to train, 20 to select, 20 to test."""
    folder = tmp_path_factory.mktemp("photos")
    with zipfile.ZipFile(PHOTOS) as archive:
        archive.extractall(folder)
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.JPEG"))
    assert len(names) == 100
    shuffled = np.random.default_rng(0).permutation(names)
    splits = {"train": shuffled[:60], "selection": shuffled[60:80], "test": shuffled[80:]}
    for split, chosen in splits.items():
        rows = [f"{name},{Path(name).name.split('_')[0]}" for name in chosen]
        (folder / f"{split}.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (folder / "photos.yaml").write_text(SUITE)
    return folder / "photos.yaml"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = open_clip.create_model("ViT-B-32-quickgelu").state_dict()
    path = tmp_path_factory.mktemp("weights") / "random-vit-b-32.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def test_all_methods_run_on_a_vit(suite: Path, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["--suite", suite, "--model", "ViT-B-32-quickgelu", "--pretrained", checkpoint]
    arguments += ["--methods", "zero-shot,wise-ft,ose,vrf", "--precision", "bf16"]
    arguments += ["--set", "e2e-ft.epochs=1", "--set", "wise-ft.alphas=[0, 0.5, 1]"]  # for speed
    arguments += ["--out", tmp_path / "out", "--cache-dir", tmp_path / "cache"]
    command = [sys.executable, "-m", "bench", "run", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=SAME_BENCH)
    assert done.returncode == 0, done.stderr
    records = read_records(tmp_path / "out" / "records.jsonl")
    rows = {(r.method, r.shift) for r in records if r.kind == "cell" and r.metric == "top1"}
    methods = {"zero-shot", "e2e-ft", "wise-ft", "ose", "vrf"}
    assert rows == {(m, s) for m in methods for s in ("id", "blur")}
    assert all(r.n == (40 if r.shift == "pooled" else 20) for r in records)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model"] == "ViT-B-32-quickgelu"
    _check_head(tmp_path / "cache", checkpoint)
    again = subprocess.run(command, capture_output=True, text=True, check=False, env=SAME_BENCH)
    assert "nothing" in again.stderr


def _check_head(cache: Path, checkpoint: Path) -> None:
    """The stored zero-shot head has 1,000 rows of norm exp(logit_scale)."""
    from safetensors.numpy import load_file

    heads = [load_file(p) for p in (cache / "weights").rglob("*.safetensors")]
    head = next(h for h in heads if "encoder.proj" not in h)["head.weight"]
    scale = float(np.exp(load_file(checkpoint)["logit_scale"]))
    assert head.shape == (1000, 512)
    np.testing.assert_allclose(np.linalg.norm(head, axis=1), scale, rtol=1e-4)

"""Models of timm without a text tower: their rows, what stands in for zero-shot, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from small_towers import NAME, WIDTH, tower_file

import bench
from bench.api.recipe_parts import head_of, normalizes
from bench.api.recipes import BlankHead, Merged, Tuned
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.core.store import Store
from bench.models.clip import default_weights, identify_backbone, load_clip
from bench.models.heads import load_head
from bench.models.sources.configurations import features_without_text
from bench.runs.items import FitItem
from bench.runs.plan import make_plan
from bench.runs.study.config import RunConfig
from bench.runs.study.precision import measured_precision
from bench.runs.study.resolve import resolve_studies
from bench.runs.study.study import Study

MODEL = f"timm:{NAME}"
ROWS = ("e2e-ft", "lp-ft", "wise-ft", "wise-ft:lp-ft")


def study_of(folder: Path, *methods: str, **more: Any) -> Study:
    weights = str(tower_file(folder / "w.safetensors"))
    config = RunConfig(
        suite=("micro",), methods=methods, model=MODEL, pretrained=weights, cache_dir=folder, **more
    )
    (study,) = resolve_studies(config)
    make_plan(study, lambda key: None)
    return study


def test_the_tower_is_timms(tmp_path: Path) -> None:
    path = tower_file(tmp_path / "w.safetensors")
    backbone = identify_backbone(MODEL, str(path), tmp_path)
    clip, whole = load_clip(backbone), timm.create_model(NAME)
    whole.load_state_dict(clip.model.visual.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        own = whole.eval().forward_head(whole.forward_features(images), pre_logits=True)
        assert torch.equal(clip.model.visual(images), own)
    assert features_without_text(backbone) == own.shape[1] == WIDTH
    assert (clip.preprocess.size, clip.preprocess.mean) == (32, (0.5, 0.4, 0.3))
    assert clip.caveats == (
        "Images are resized to the model's size whole; timm crops 87.5% of each side.",
    )


def test_trainings_start_from_a_blank_head_on_raw_features(tmp_path: Path) -> None:
    study = study_of(tmp_path, *ROWS)
    assert [row.name for row in study.rows] == [
        "linear", "e2e-ft", "lp-ft", "wise-ft:e2e-ft", "wise-ft:lp-ft"
    ]  # fmt: skip
    head = head_of(study.zero_shot)
    assert isinstance(head, BlankHead) and (head.classes, head.width) == (20, WIDTH)
    blank = load_head(head, Store(tmp_path / "empty"))
    assert blank.logits(np.ones((3, WIDTH), np.float32)).tolist() == np.zeros((3, 20)).tolist()
    linear, e2e, _, merged, along = study.rows
    assert (linear.method.trainer.start, linear.method.trainer.normalized) == ("random", False)
    assert not normalizes(e2e.method.recipe(study.models(e2e, 0)))
    (said,) = study.caveats
    assert said.startswith("Zero-shot is not possible") and "A merge has in its place" in said
    # a merge is between two trainings: of the linear row, or of what LP-FT started from
    (found,) = merged.method.needs(study.models(merged, 0), {"alpha": 0.5})
    assert isinstance(found, Merged)
    assert found.parts[0] == linear.method.recipe(study.models(linear, 0))
    (found,) = along.method.needs(study.models(along, 0), {"alpha": 0.5})
    assert isinstance(found, Merged) and isinstance(found.parts[1], Tuned)
    assert found.parts[0] == found.parts[1].start


def test_a_merge_of_a_searched_training_is_of_the_row_itself(tmp_path: Path) -> None:
    study = study_of(tmp_path, *ROWS, tune=("e2e-ft", "lp-ft"), trials=2)
    plan = make_plan(study, lambda key: None)
    chosen = {fit.key: fit.row.method.candidates()[-1] for fit in plan.undecided}
    fits = make_plan(study, chosen.get).of(FitItem)
    rows = {fit.row.name: fit for fit in fits}
    for name in ("e2e-ft+tuned", "lp-ft+tuned"):
        row = rows[name]
        (own,) = row.row.method.needs(row.models, chosen[row.key])
        assert rows[f"wise-ft:{name}"].models.base == own
    with pytest.raises(InputError, match="wise-ft:e2e-ft has the row linear in place of zero-sho"):
        study_of(tmp_path, *ROWS, tune=("linear",), trials=2)


def test_precision_is_not_chosen_by_a_head_of_zeros(tmp_path: Path) -> None:
    study = study_of(tmp_path, "e2e-ft")
    found = measured_precision(study, Store(tmp_path / "empty"), lambda: pytest.fail("no engine"))
    assert found == ("fp32", "fp32, as there is no zero-shot classifier to compare bf16 with")


def test_a_run_without_zero_shot(tmp_path: Path) -> None:
    out, weights = tmp_path / "run", str(tower_file(tmp_path / "w.safetensors"))
    bench.run(
        suite="micro", limit=40, shifts=["sketch"], seeds=[0, 1], methods=ROWS, model=MODEL,
        pretrained=weights, cache_dir=tmp_path / "cache", out=out,
        set={name: {"epochs": 2} for name in ("e2e-ft", "lp-ft", "linear")},
    )  # fmt: skip
    assert not (out / "missing.jsonl").exists()
    records = [r for r in read_records(out / "records.jsonl") if r.kind == "cell"]
    found = {(r.method, r.base) for r in records}
    bases = {("wise-ft", "e2e-ft"), ("wise-ft", "lp-ft")}
    assert found == {("linear", None), ("e2e-ft", None), ("lp-ft", None), *bases}
    assert all(r.seed in (0, 1) for r in records)
    report = (out / "report.md").read_text()
    assert "Zero-shot is not possible: timm:bench" in report


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("flyp", "flyp: training both towers needs a text tower, and timm:bench_test_vit"),
        ("lipsum-ft", "needs a text tower"),
        ("vrf", "vrf:e2e-ft needs zero-shot, and timm:bench_test_vit.*such as --methods linear"),
        ("wise-ft:linear-lbfgs", "normalised features with one on raw ones"),
    ],
)
def test_rows_that_need_a_text_tower_are_refused_by_the_plan(
    method: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        study_of(tmp_path, method)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("timm:resnet8", "a1_in1k", "unknown model of timm 'resnet8': did you mean"),
        ("timm:resnet18", "a1_in2k", "pretrained tag of timm:resnet18 'a1_in2k': did you mean"),
        ("timm:resnet18", "nowhere/w.pt", "no such checkpoint file"),
        ("timm", "a1_in1k", "needs more: --model timm:NAME"),
        ("timm:resnet18.a1_in1k", "a2_in1k", "--model timm:resnet18 --pretrained a1_in1k"),
    ],
)
def test_wrong_names_are_refused(model: str, weights: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        identify_backbone(model, weights, tmp_path)


def test_a_name_alone_does_not_say_the_weights() -> None:
    with pytest.raises(InputError, match="needs --pretrained as well: a tag, such as a1_in1k"):
        default_weights("timm:resnet18")


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tower_file(tmp_path / "w.safetensors", more=torch.ones(1))
    with pytest.raises(InputError, match="the model lacks its more"):
        load_clip(identify_backbone(MODEL, str(path), tmp_path))


def test_weights_of_a_tag_need_the_network(tmp_path: Path, monkeypatch: Any) -> None:
    def create(*args: Any, **own: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr("timm.create_model", create)
    with pytest.raises(
        InputError, match=r"timm:resnet18/a1_in1k could not be downloaded \(no netw"
    ):
        load_clip(identify_backbone("timm:resnet18", "a1_in1k", tmp_path))

"""Classifiers that leave bench: open_clip and bench load them, with the same numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from commands import Finished, assert_refused, bench
from hostile import damaged, readable_or_refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outputs_folders import folder as outputs_folder
from outputs_folders import score
from safetensors.torch import load_file, save_file
from suite_files import BASE, NAMES, folders, write
from torch.nn.functional import normalize

import bench as front
from bench.api.recipe_parts import weights_key
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.front.exports.card import UNKNOWN_IMAGES, UNKNOWN_WEIGHTS
from bench.front.exports.classifier import records_of
from bench.models.clip import identify_backbone, load_clip
from bench.models.files.folder_head import read_folder_head

ROWS = ("zero-shot", "e2e-ft", "linear", "flyp", "wise-ft:e2e-ft", "model-stock:e2e-ft")
WIDTH = 96


@pytest.fixture(scope="module")
def finished(small: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run with merges between their ends, on the cache of `small`."""
    out = tmp_path_factory.mktemp("exported") / "run"
    command = (
        *("run", "--suite", "micro", "--limit", "40", "--shifts", "v2,objectnet"),
        *(
            "--methods",
            "linear,flyp,wise-ft,model-stock,ose,vrf",
            "--set",
            "wise-ft.alphas=[0.4,0.6]",
        ),
        *("--set", "e2e-ft.epochs=1", "--set", "flyp.epochs=1"),
    )
    assert bench(*command, "--cache-dir", small.cache, "--out", out).code == 0
    return Finished(small.cache, out, command)


@pytest.fixture
def export(finished: Finished, tmp_path: Path) -> Callable[..., Path]:
    def made(row: str, *options: object, to: str = "mine") -> Path:
        place = ("--to", tmp_path / to, "--cache-dir", finished.cache)
        said = bench("export", finished.out, row, *place, *options)
        assert (said.code, said.out) == (0, f"{tmp_path / to}\n"), said.err
        return tmp_path / to

    return made


def logits_of(model: Any, images: torch.Tensor, weights: dict[str, torch.Tensor]) -> np.ndarray:
    with torch.no_grad():
        features = normalize(model.visual(images), dim=-1)
        return (features @ weights["head.weight"].T + weights["head.bias"]).numpy()


@pytest.mark.parametrize("row", ROWS)
def test_open_clip_loads_an_export_and_gives_the_logits_of_the_run(
    finished: Finished, export: Callable[..., Path], row: str
) -> None:
    folder = export(row, "--format", "open-clip")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"), strict=True)
    weights = load_file(folder / "classifier.safetensors")
    run = front.load(finished.out, cache_dir=finished.cache)
    study, _ = run.chosen(row)
    outputs = run.outputs(row, "v2")
    shift = next(s for s in study.suite.shifts if s.name == "v2")
    images = torch.stack([preprocess(image) for image in shift.split.load().images])
    found = logits_of(model.eval(), images, weights)
    (expected,) = outputs.logits.values()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * float(abs(expected).max()))
    assert np.array_equal(found.argmax(axis=1), outputs.log_probs.argmax(axis=1))


@pytest.mark.parametrize("row", ROWS)
def test_bench_reads_an_export_with_the_same_numbers(
    finished: Finished, export: Callable[..., Path], tmp_path: Path, row: str
) -> None:
    folder = export(row, "--format", "open-clip")
    options = ("--suite", "micro", "--limit", "40", "--shifts", "v2,objectnet")
    place = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "back")
    said = bench(
        "run", *options, "--methods", "zero-shot", "--model", f"local-dir:{folder}", *place
    )
    assert said.code == 0, said.err
    assert f"Zero-shot is the classifier that the model's folder has: {row} of micro" in said.err

    def values(path: Path, name: str) -> dict[Any, float]:
        records = read_records(path / "records.jsonl")
        label, _, base = name.partition(":")
        own = [r for r in records if (r.method, r.base or "") == (label, base)]
        return {(r.shift, r.metric): r.value for r in own if r.kind == "cell"}

    assert values(tmp_path / "back", "zero-shot") == values(finished.out, row)


def test_other_classes_are_read_from_prompts(export: Callable[..., Path], tmp_path: Path) -> None:
    folder = export("e2e-ft", "--format", "open-clip")
    path = folder / "classifier.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"classes": said["classes"][::-1]}))
    options = ("--suite", "micro", "--limit", "20", "--shifts", "v2", "--methods", "zero-shot")
    place = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "back")
    result = bench("run", *options, "--model", f"local-dir:{folder}", *place)
    assert result.code == 0 and "has other classes and was not used" in result.err


def test_the_files_of_the_plain_form_have_tower_and_head(
    finished: Finished, export: Callable[..., Path]
) -> None:
    folder = export("e2e-ft")
    weights, said = load_file(folder / "classifier.safetensors"), front.load(finished.out)
    assert sorted(p.name for p in folder.iterdir()) == [
        *("README.md", "classifier.json", "classifier.safetensors")
    ]
    run = front.load(finished.out, cache_dir=finished.cache)
    store, recipe = run.own_session.store, run.chosen("e2e-ft")[1].fit.models
    own = run.chosen("e2e-ft")[1].row.method.recipe(recipe)
    stored = store.read_arrays("weights", weights_key(own))
    assert stored is not None and said.records
    assert {n.replace("visual.", "encoder.") for n in weights} == stored.keys()
    for name, tensor in weights.items():
        assert np.array_equal(tensor.numpy(), stored[name.replace("visual.", "encoder.")])
    form = json.loads((folder / "classifier.json").read_text())
    assert len(form["classes"]) == len(weights["head.weight"]) == 20 and form["normalize"]
    assert form["preprocess"]["size"] == 32 and form["logit_scale"] == pytest.approx(18, abs=0.01)
    assert form["configuration"]["text_cfg"] and form["logit_bias"] is None


def test_a_folder_of_the_plain_form_is_no_model(export: Callable[..., Path]) -> None:
    said = bench("plan", "--suite", "micro", "--model", f"local-dir:{export('e2e-ft')}")
    assert_refused(said, "neither open_clip_config.json", "export it again with --format open-clip")


def test_a_text_tower_that_was_trained_is_exported(export: Callable[..., Path]) -> None:
    tuned = load_file(export("flyp", "--format", "open-clip") / "open_clip_model.safetensors")
    other = export("e2e-ft", "--format", "open-clip", to="other") / "open_clip_model.safetensors"
    start, name = load_clip(identify_backbone("tiny", "embedded", Path("c"))), "text_projection"
    own = start.model.state_dict()
    assert not torch.equal(tuned[name], own[name]) and torch.equal(
        load_file(other)[name], own[name]
    )
    assert tuned["logit_scale"] != own["logit_scale"]


def test_a_repeated_export_has_the_same_bytes_and_replaces_what_was_there(
    export: Callable[..., Path],
) -> None:
    first = {p.name: p.read_bytes() for p in export("wise-ft", "--format", "open-clip").iterdir()}
    again = {p.name: p.read_bytes() for p in export("wise-ft", "--format", "open-clip").iterdir()}
    assert first == again
    names = {p.name for p in export("wise-ft").iterdir()}
    assert names == {"README.md", "classifier.json", "classifier.safetensors"}


def test_the_card_states_how_it_was_made_and_its_numbers(
    finished: Finished, export: Callable[..., Path]
) -> None:
    text = (export("wise-ft:e2e-ft") / "README.md").read_text()
    records = read_records(finished.out / "records.jsonl")
    own = [r for r in records if r.method == "wise-ft" and r.kind == "cell"]
    for record in own:
        if record.metric in ("top1", "ece"):
            row = next(x for x in text.splitlines() if x.startswith(f"| {record.shift} "))
            assert f" {100 * record.value:.1f} " in row and f" {record.n} " in row
    assert (
        f"alpha = {own[0].choice['alpha']:g} (" in text
        and "rule within-1pt" in text
        and "- Seed: 0" in text
    )
    assert '"lr": 0.001' in text and "limit=40" in text
    assert "- Start weights: Apache-2.0" in text and "- Training data: Apache-2.0" in text
    assert "Wortsman et al., CVPR 2022" in text and "torch" in text
    assert UNKNOWN_WEIGHTS not in text and UNKNOWN_IMAGES not in text


def test_what_bench_does_not_know_is_called_unknown(
    export: Callable[..., Path], tmp_path: Path
) -> None:
    """The weights of a folder, and the images of a suite file."""
    for split in ("train", "test", "sketch"):
        folders(tmp_path / "data" / split, NAMES)
    shift = {"sketch": {"folder": "sketch"}}
    suite = write(tmp_path, BASE | {"shifts": shift})
    folder = export("e2e-ft", "--format", "open-clip")
    where = ("--cache-dir", tmp_path / "cache", "--data", tmp_path / "data")
    model = ("--model", f"local-dir:{folder}", "--methods", "zero-shot")
    made = bench("run", "--suite", suite, *model, *where, "--out", tmp_path / "run")
    assert made.code == 0, made.err
    said = bench("export", tmp_path / "run", "zero-shot", *where, "--to", tmp_path / "card")
    assert said.code == 0, said.err
    text = (tmp_path / "card" / "README.md").read_text()
    assert f"- Start weights: {UNKNOWN_WEIGHTS}" in text and "license: unknown" in text
    assert f"- Training data: {UNKNOWN_IMAGES}" in text and "Apache-2.0" in text


@pytest.mark.parametrize("row", ["ose", "vrf:e2e-ft"])
def test_a_row_without_weights_says_what_to_export(
    finished: Finished, tmp_path: Path, row: str
) -> None:
    place = ("--cache-dir", finished.cache, "--to", tmp_path / "mine")
    said = bench("export", finished.out, row, *place)
    assert_refused(said, "no weights of its own", "zero-shot and e2e-ft", "--outputs")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("name a ROW",)),
        (("e2e",), ("unknown row of the run 'e2e'", "e2e-ft")),
        (("e2e-ft", "--seed", "7"), ("seed of [0]",)),
        (("e2e-ft", "--suite", "imagenet"), ("unknown suite of the run",)),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    finished: Finished, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    place = ("--cache-dir", finished.cache, "--to", tmp_path / "mine")
    assert_refused(bench("export", finished.out, *arguments, *place), *words)


def test_a_folder_with_other_files_is_left_alone(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    said = bench("export", finished.out, "e2e-ft", "--to", tmp_path, "--cache-dir", finished.cache)
    assert_refused(said, "thesis.tex", "new folder")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_export_left_is_nobodys_file(
    export: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine" / ".new-elsewhere-1-0123456789ab").mkdir(parents=True)
    assert (export("e2e-ft") / "classifier.json").is_file()


def test_weights_that_are_gone_are_named(own: Finished, tmp_path: Path) -> None:
    place = ("--to", tmp_path / "mine")
    said = bench("export", own.out, "e2e-ft", *place, "--cache-dir", tmp_path / "empty")
    assert_refused(said, "e2e-ft", "not in the cache", "--cache-dir", "same command again")
    assert not (tmp_path / "mine").exists()
    run = front.load(own.out, cache_dir=own.cache)
    (study, cell), other = run.chosen("wise-ft"), {"alpha": 0.25}
    chosen = tuple(r.model_copy(update={"choice": other}) for r in run.records)
    with pytest.raises(InputError, match="wise-ft:e2e-ft: what it was computed from is not in"):
        records_of(replace(run, records=chosen), study, cell)  # the cache has another choice


def test_outputs_computed_elsewhere_have_no_weights(tmp_path: Path) -> None:
    scored = outputs_folder(tmp_path / "outputs")
    assert score(scored).code == 0
    place = ("--to", tmp_path / "mine", "--cache-dir", scored / "cache")
    said = bench("export", scored / "out", "e2e-ft", *place)
    assert_refused(said, "computed elsewhere", "--outputs")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "upgrade bench"),
        ({"format": "mine"}, "no description of a classifier (format"),
        ({"classes": []}, "(classes"),
        ({"classes": ["a", 1]}, "(classes.1"),
        ({"normalize": "yes"}, "(normalize"),
        ({"weights": "there.pt"}, "(weights"),
        ({"classes": ["a", "b"]}, "expected head.weight as numbers of shape (2, 96)"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    export: Callable[..., Path], change: dict[str, Any], words: str
) -> None:
    folder = export("zero-shot")
    path = folder / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError) as caught:
        read_folder_head(folder, WIDTH, "--model local-dir:mine")
    text = str(caught.value)
    assert text.startswith("--model local-dir:mine: ") and words in text and len(text) < 500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("head.bias"), "head.bias as numbers of shape (20,), got none"),
        (lambda w: w.update({"head.weight": w["head.weight"].int()}), "torch.int32"),
        (lambda w: w.update({"head.weight": w["head.weight"] * np.nan}), "NaN or infinity"),
        (lambda w: w.update({"head.weight": w["head.weight"][:, 1:]}), "(20, 95)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    export: Callable[..., Path], change: Callable[[dict[str, torch.Tensor]], object], words: str
) -> None:
    folder = export("zero-shot")
    weights = load_file(folder / "classifier.safetensors")
    change(weights)
    own = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(own, folder / "classifier.safetensors")
    with pytest.raises(InputError) as caught:
        read_folder_head(folder, WIDTH, "mine")
    assert words in str(caught.value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(
    finished: Finished, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "head"
    if not folder.exists():
        place = ("--to", folder, "--cache-dir", finished.cache)
        assert bench("export", finished.out, "linear", "--format", "open-clip", *place).code == 0
    name = data.draw(st.sampled_from(["classifier.json", "classifier.safetensors"]))
    valid = (folder / name).read_bytes()
    (folder / name).write_bytes(data.draw(damaged(valid)))
    try:
        readable_or_refused(lambda: read_folder_head(folder, WIDTH, "mine"))
    finally:
        (folder / name).write_bytes(valid)


def test_a_head_on_raw_features_is_not_taken_for_a_normalised_one(
    export: Callable[..., Path], tmp_path: Path
) -> None:
    folder = export("e2e-ft", "--format", "open-clip")
    path = folder / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalize": False}))
    place = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out")
    options = ("--suite", "micro", "--limit", "20", "--shifts", "v2", "--methods", "zero-shot")
    said = bench("run", *options, "--model", f"local-dir:{folder}", *place)
    assert said.code and "takes raw features" in said.err

"""Outputs that leave bench: `bench score` on them gives the numbers of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import Finished, assert_refused, bench
from outputs_folders import folder as outputs_folder
from outputs_folders import score
from safetensors.numpy import load_file
from suite_files import BASE, NAMES, folders, write

import bench as front
from bench.core.records import Record, read_records

FILES = {"selection", "test", "shift-v2", "shift-objectnet"}


@pytest.fixture
def export(small: Finished, tmp_path: Path) -> Callable[[str], Path]:
    def made(row: str) -> Path:
        place = ("--to", tmp_path / "mine", "--cache-dir", small.cache)
        said = bench("export", small.out, row, "--outputs", *place)
        assert (said.code, said.out) == (0, f"{tmp_path / 'mine'}\n"), said.err
        return tmp_path / "mine"

    return made


def numbers(records: list[Record]) -> dict[Any, Any]:
    return {
        (r.method, r.base, r.shift, r.metric, r.kind, str(r.choice)): (
            r.value, r.n, r.weight, r.temperature, r.data
        )
        for r in records
        if r.kind != "curve" and r.method != "wise-ft"
    }  # fmt: skip


@pytest.mark.parametrize("row", ["e2e-ft", "ose", "vrf:e2e-ft", "wise-ft:e2e-ft"])
def test_the_score_of_an_export_is_that_of_the_run(
    small: Finished, export: Callable[[str], Path], tmp_path: Path, row: str
) -> None:
    place = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out")
    said = bench("score", "--outputs", export(row), *place)
    assert said.code == 0, said.err
    found = numbers(read_records(tmp_path / "out" / "records.jsonl"))
    assert {key[0] for key in found} == {"zero-shot", "e2e-ft", "ose", "vrf"}
    assert found == numbers(read_records(small.out / "records.jsonl"))


@pytest.mark.parametrize("row", ["zero-shot", "e2e-ft", "ose:e2e-ft", "vrf:e2e-ft", "wise-ft"])
def test_predictions_are_those_of_the_row(
    small: Finished, export: Callable[[str], Path], row: str
) -> None:
    folder, run = export(row), front.load(small.out, cache_dir=small.cache)
    files = {path.stem: path for path in (folder / "predictions").iterdir()}
    assert files.keys() == FILES
    for name, path in files.items():
        split = {"test": "id"}.get(name, name.removeprefix("shift-"))
        arrays, own = load_file(path), run.outputs(row, split)
        assert np.array_equal(arrays["log_probs"], own.log_probs)
        assert np.array_equal(arrays["probabilities"], np.exp(own.log_probs))
        np.testing.assert_allclose(arrays["probabilities"].sum(axis=1), 1, rtol=1e-5)
        assert np.array_equal(arrays["labels"], own.labels)
        assert np.array_equal(arrays["weight"], np.broadcast_to(own.weight, len(own.labels)))
        is_single = not row.startswith(("ose", "vrf"))
        assert ("logits" in arrays) == ("features" in arrays) == is_single
        if is_single:
            assert np.array_equal(arrays["logits"], next(iter(own.logits.values())))


def test_the_form_names_marks_and_classes(export: Callable[[str], Path]) -> None:
    form = yaml.safe_load((export("vrf") / "outputs.yaml").read_text())
    assert form["model"] == "tiny/embedded (micro suite, limit=40)"
    assert form["models"] == {"zero-shot": "zero-shot", "e2e-ft": "e2e-ft"}
    assert len(form["classes"]) == 20 and "classes" not in form["shifts"]["v2"]
    assert form["shifts"]["objectnet"]["classes"]["fish / bird"] == ["fish", "bird"]


def test_a_folder_has_one_export_alone(
    small: Finished, export: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = export("vrf:e2e-ft")
    assert (folder / "train.safetensors").is_file()
    (folder / "shift-gone.safetensors").touch()  # of an earlier run
    (folder / "notes.safetensors").touch()  # of the user
    assert {path.stem for path in export("zero-shot").glob("*.safetensors")} == {*FILES, "notes"}
    place = ("--to", folder, "--cache-dir", small.cache)
    assert_refused(bench("export", small.out, "e2e-ft", *place), "name a new folder")
    weights = ("--to", tmp_path / "weights", "--cache-dir", small.cache)
    assert bench("export", small.out, "e2e-ft", *weights).code == 0
    said = bench("export", small.out, "e2e-ft", "--outputs", *weights)
    assert_refused(said, "files of its own, such as README.md")


def test_training_outputs_that_no_row_needed_are_left_out(small: Finished, tmp_path: Path) -> None:
    options = ("--suite", "micro", "--limit", "40", "--shifts", "v2", "--methods", "ose")
    place = ("--cache-dir", tmp_path / "cache")
    epochs = ("--set", "e2e-ft.epochs=1", "--out", tmp_path / "run")
    assert bench("run", *options, *epochs, *place).code == 0
    said = bench("export", tmp_path / "run", "ose", "--outputs", "--to", tmp_path / "mine", *place)
    assert said.code == 0, said.err
    assert not (tmp_path / "mine" / "train.safetensors").exists()
    assert "train" not in yaml.safe_load((tmp_path / "mine" / "outputs.yaml").read_text())
    where = ("--cache-dir", tmp_path / "again", "--out", tmp_path / "out")
    scored = bench("score", "--outputs", tmp_path / "mine", "--methods", "ose", *where)
    assert scored.code == 0, scored.err


def test_classes_of_one_name_stay_apart(tmp_path: Path) -> None:
    for split in ("train", "test", "sketch"):
        folders(tmp_path / "data" / split, NAMES)
    classes = {"cat": "pet", "dog": "pet", "fox": "fox: a wild one"}
    shift = {"sketch": {"folder": "sketch", "classes": ["dog", "cat", "fox"]}}
    suite = write(tmp_path, BASE | {"classes": classes, "shifts": shift})
    where = ("--cache-dir", tmp_path / "cache", "--data", tmp_path / "data")
    options = ("--model", "tiny", "--methods", "ose", "--set", "e2e-ft.epochs=1")
    made = bench("run", "--suite", suite, *options, *where, "--out", tmp_path / "run")
    assert made.code == 0, made.err
    said = bench("export", tmp_path / "run", "ose", "--outputs", *where, "--to", tmp_path / "mine")
    assert said.code == 0, said.err
    form = yaml.safe_load((tmp_path / "mine" / "outputs.yaml").read_text())
    assert form["classes"] == {
        "pet #0": "pet",
        "pet #1": "pet",
        "fox: a wild one": "fox: a wild one",
    }
    place = ("--cache-dir", tmp_path / "again", "--out", tmp_path / "out")
    assert bench("score", "--outputs", tmp_path / "mine", "--methods", "ose", *place).code == 0
    ours, theirs = (read_records(tmp_path / o / "records.jsonl") for o in ("run", "out"))
    assert numbers(ours) == numbers(theirs)


def test_scored_outputs_are_exported_again(tmp_path: Path) -> None:
    """Without the features that a model lacks; the arrays are those that were given."""
    scored = outputs_folder(tmp_path / "outputs")
    assert score(scored).code == 0
    place = ("--to", tmp_path / "mine", "--cache-dir", scored / "cache")
    said = bench("export", scored / "out", "ose", "--outputs", *place)
    assert said.code == 0, said.err
    arrays = load_file(tmp_path / "mine" / "test.safetensors")
    assert "zero-shot.features" not in arrays and arrays["e2e-ft.features"].shape == (30, 4)
    where = ("--cache-dir", tmp_path / "again", "--out", tmp_path / "out")
    assert bench("score", "--outputs", tmp_path / "mine", *where).code == 0
    ours, theirs = (read_records(o / "records.jsonl") for o in (scored / "out", tmp_path / "out"))
    assert numbers(ours) == numbers(theirs)


def test_what_cannot_be_meant_is_one_line(small: Finished, tmp_path: Path) -> None:
    place = ("--to", tmp_path / "mine", "--cache-dir", small.cache)
    assert_refused(bench("export", small.out, "--outputs", *place), "--records")
    records = ("--records", tmp_path / "r.csv")
    for option in (("--outputs",), ("--format", "open-clip"), place[:2], ("--seed", "0")):
        said = bench("export", small.out, *records, *option, *place[2:])
        assert_refused(said, option[0], "no ROW")
    both = ("--outputs", "--format", "open-clip")
    assert_refused(bench("export", small.out, "ose", *both, *place), "--format open-clip")
    empty = ("--to", tmp_path / "mine", "--cache-dir", tmp_path / "empty")
    said = bench("export", small.out, "ose", "--outputs", *empty)
    assert_refused(said, "ose", "not in the cache")
    assert not (tmp_path / "mine").exists() and not (tmp_path / "r.csv").exists()

"""`bench score`: external outputs, valid and invalid."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import SAME_BENCH, Finished, assert_refused, bench
from outputs_folders import Arrays, alter, folder, found, save, score, write
from places import ROOT

from bench.api.recipes import Recipe
from bench.api.splits import Split
from bench.core.records import Record, read_records
from bench.runs.outputs import ArrayCache, LabelledStoredOutputs
from bench.runs.session import prepare_session
from bench.runs.study.config import load_config

ROLES = ("train", "selection", "test", "v2", "objectnet")


@pytest.fixture(scope="module")
def exported(small: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored outputs of the finished micro run as a folder for `bench score`."""
    folder = tmp_path_factory.mktemp("outputs")
    options = {"suite": "micro", "limit": 40, "shifts": "v2,objectnet", "cache_dir": small.cache}
    config = load_config(None, options | {"set": ("e2e-ft.epochs=1",)})
    (study,) = prepare_session(config).studies
    suite, store = study.suite, prepare_session(config).store
    models = next(m for row, _, m in study.entries() if row.name == "ose:e2e-ft")

    def export(role: str, split: Split) -> None:
        manifest = split.load().manifest
        outputs = LabelledStoredOutputs(
            store, ArrayCache(), split, "fp32", read_labels=lambda: manifest.first
        )
        arrays: Arrays = {"labels": manifest.first}
        endpoints: list[tuple[str, Recipe]] = [("clip", models.zero_shot), ("tuned", models.base)]
        for name, endpoint in endpoints:
            if role == "train":
                arrays[f"{name}.correct"] = outputs.correct(endpoint)
            else:
                arrays[f"{name}.logits"] = outputs.logits(endpoint)
        arrays["tuned.features"] = outputs.features(models.base)
        save(arrays, folder / f"{role}.safetensors")

    export("train", suite.task.train)
    export("selection", suite.task.selection)
    for shift in suite.evaluations():
        export("test" if shift.name == "id" else shift.name, shift.split)
    names = suite.task.classnames
    columns = suite.shifts[1].labels.columns or ()
    form = {
        "name": "exported",
        "classes": list(names),
        "models": {"zero-shot": "clip", "e2e-ft": "tuned"},
        **{role: {"file": f"{role}.safetensors"} for role in ("train", "selection", "test")},
        "shifts": {
            "v2": {"file": "v2.safetensors"},
            "objectnet": {
                "file": "objectnet.safetensors",
                "classes": {f"group {i}": [names[c] for c in g] for i, g in enumerate(columns)},
            },
        },
    }
    (folder / "outputs.yaml").write_text(yaml.safe_dump(form, sort_keys=False))
    return folder


def numbers(records: list[Record]) -> dict[tuple[str, ...], object]:
    """Return the measured numbers by cell."""
    return {
        (r.method, r.shift, r.metric, r.kind, str(r.choice)): (
            r.value, r.n, r.weight, r.temperature, r.data
        )
        for r in records
    }  # fmt: skip


def test_exported_outputs_give_the_numbers_of_the_run(
    small: Finished, exported: Path, tmp_path: Path
) -> None:
    options = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out")
    result = bench("score", "--outputs", exported, *options)
    assert result.code == 0, result.err
    found = read_records(tmp_path / "out" / "records.jsonl")
    run = [r for r in read_records(small.out / "records.jsonl") if r.method != "wise-ft"]
    assert {r.method for r in found} == {"zero-shot", "e2e-ft", "ose", "vrf"}
    assert numbers(found) == {k: v for k, v in numbers(run).items() if k[3] != "curve"}
    assert {(r.suite, r.model, r.seed, r.notes) for r in found} == {
        ("exported", "outputs", None, ())
    }
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    again = bench("score", "--outputs", exported, *options, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["missing"] == []
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before
    assert (tmp_path / "out" / "report.html").is_file()


def test_no_torch_is_imported(exported: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from bench.cli.main import exit_code; "
        "sys.exit(exit_code(sys.argv[1:]))"
    )
    options = ("--controls", "--cache-dir", tmp_path / "cache", "--out", tmp_path / "out")
    command = [sys.executable, "-c", code, "score", "--outputs", exported, *options]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=SAME_BENCH
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "cache" / "features").exists()


def test_the_example_of_the_documents_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "outputs.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "outputs.md", "exec"), {})
    result = bench("score", "--outputs", "outputs", "--cache-dir", "cache", "--out", "out")
    assert result.code == 0, result.err
    top1 = {r.method: r.value for r in read_records(Path("out", "records.jsonl")) if is_top1(r)}
    assert top1["zero-shot"] < 0.7 < 0.8 < top1["e2e-ft"]
    assert top1["vrf"] > top1["zero-shot"]


def is_top1(record: Record) -> bool:
    return (record.shift, record.metric, record.kind) == ("id", "top1", "cell")


# A folder of random outputs


def test_methods_that_need_weights_are_missing_rows(tmp_path: Path) -> None:
    result = score(folder(tmp_path), "--methods", "wise-ft,lp-ft,ose,soup,fisher")
    assert result.code == 1
    reason = "not computable: the method needs model weights, but only outputs were supplied"
    assert reason in result.err
    assert {r.method for r in found(tmp_path)} == {"zero-shot", "e2e-ft", "ose"}
    lines = (tmp_path / "out" / "missing.jsonl").read_text().splitlines()
    missing = {(m["method"], m["shift"]) for m in map(json.loads, lines)}
    assert missing == {
        (m, s) for m in ("wise-ft", "lp-ft", "soup", "fisher") for s in ("id", "sketch")
    }
    assert "WiSE-FT" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda form: form.pop("train"), "outputs.yaml names no train file"),
        (lambda form: None, "train.safetensors has no tuned.features"),
    ],
)
def test_only_vrf_needs_training_outputs(
    change: Callable[[dict[str, Any]], object], reason: str, tmp_path: Path
) -> None:
    form = yaml.safe_load((folder(tmp_path) / "outputs.yaml").read_text())
    change(form)
    write(tmp_path, form)
    alter(tmp_path, "train", lambda arrays: arrays.pop("tuned.features"))
    result = score(tmp_path)
    assert result.code == 1
    assert f"not computable: {reason}" in result.err
    assert {r.method for r in found(tmp_path)} == {"zero-shot", "e2e-ft", "ose"}


def test_training_bits_replace_logits(tmp_path: Path) -> None:
    assert score(folder(tmp_path)).code == 0
    before = numbers(found(tmp_path))

    def bits(arrays: Arrays) -> None:
        for model in ("clip", "tuned"):
            logits = arrays.pop(f"{model}.logits")
            arrays[f"{model}.correct"] = logits.argmax(axis=1) == arrays["labels"]

    alter(tmp_path, "train", bits)
    assert score(tmp_path).code == 0
    assert numbers(found(tmp_path)) == before


def test_several_bases_half_precision_and_groups(tmp_path: Path) -> None:
    path = folder(tmp_path, models={"zero-shot": "clip", "lp-ft": "tuned", "flyp+ls": "third"})
    for role in ("train", "selection", "test", "sketch"):

        def more(arrays: Arrays) -> None:
            size = len(arrays["labels"])
            arrays["third.logits"] = arrays["tuned.logits"].astype(np.float16)
            arrays["third.features"] = np.ones((size, 7), np.float64)
            arrays["groups.camera"] = np.arange(size, dtype=np.int32) % 4

        alter(path, role, more)
    assert score(path).code == 0
    rows = {(r.method, r.base) for r in found(path)}
    bases = ("lp-ft", "flyp+ls")
    ensembles = {(m, b) for m in ("ose", "vrf") for b in bases}
    assert rows == {("zero-shot", None), *((b, None) for b in bases), *ensembles}


def test_options(tmp_path: Path) -> None:
    path = folder(tmp_path, selection=None)
    refusal = score(path)
    assert_refused(refusal, "outputs.yaml: selection: missing", "--protocol official")
    official = score(path, "--protocol", "official", "--methods", "ose", "--shifts", "sketch")
    assert official.code == 0, official.err
    assert {r.protocol for r in found(path)} == {"official"}
    assert_refused(score(folder(tmp_path), "--seeds", "0"), "--seeds", "trains nothing")
    assert_refused(score(path, "--set", "e2e-ft.lr=1"), "--set e2e-ft", "trained elsewhere")
    assert_refused(score(path, "--shifts", "sketches"), "did you mean 'sketch'?")
    assert_refused(score(path, "--methods", "osee"), "unknown method 'osee'", "'ose'")
    assert_refused(score(path, "--select", "best"), "unknown selection rule", "max-val")
    other = ("--set", "vrf.p=0.5", "--select", "max-val", "--curves")
    assert_refused(score(path, *other), "another protocol", "--overwrite")
    assert score(path, *other, "--overwrite").code == 0
    assert {r.kind for r in found(path)} == {"cell", "scaled", "curve", "figure"}


def test_arrays_of_one_set_at_a_time_are_in_memory_each_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sets of ImageNet's size together do not fit, and each row would read them again."""
    reads: list[tuple[str, str]] = []
    held: set[frozenset[str]] = set()
    real = ArrayCache.get

    def get(self: ArrayCache, split: str, key: str, make: Callable[[], Any]) -> Any:
        def made() -> Any:
            reads.append((split, key))
            return make()

        found = real(self, split, key, made)
        held.add(frozenset(of for of, name in self.held if name.endswith("logits")))
        return found

    monkeypatch.setattr(ArrayCache, "get", get)
    path = folder(tmp_path / "in")
    assert score(path, "--methods", "ose,vrf", "--out", tmp_path / "out").code == 0
    assert len(reads) == len(set(reads)) and len({split for split, _ in reads}) == 4
    assert max(map(len, held)) <= 2  # the selection split and one test set


def test_changed_outputs_change_the_numbers(tmp_path: Path) -> None:
    assert score(folder(tmp_path)).code == 0
    before = {r.shift: r.value for r in found(tmp_path) if cell(r)}
    alter(tmp_path, "sketch", lambda arrays: arrays.update(labels=(arrays["labels"] + 1) % 3))
    assert score(tmp_path).code == 0
    after = {r.shift: r.value for r in found(tmp_path) if cell(r)}
    assert after["id"] == before["id"]
    assert after["sketch"] < before["sketch"]


def cell(record: Record) -> bool:
    return (record.method, record.metric, record.kind) == ("e2e-ft", "top1", "cell")


# Refusals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tests": {"file": "x"}}, ["unknown key 'tests'", "did you mean 'test'?"]),
        ({"name": None}, ["name: Field required"]),
        ({"test": None}, ["test: Field required"]),
        ({"test": {"folder": "x"}}, ["test: unknown key 'folder'", "file"]),
        ({"test": {"file": "no.safetensors"}}, ["test: no file", "no.safetensors"]),
        ({"test": {"file": "selection.safetensors"}}, ["mine/selection and mine/test", "same"]),
        ({"models": {"zero-shot": "clip"}}, ["models: expected zero-shot and at least one"]),
        ({"models": {"e2e-ft": "tuned", "lp-ft": "b"}}, ["models: expected zero-shot"]),
        ({"models": {"zero-shot": "clip", "e2e-ft": "clip"}}, ["models: expected another model"]),
        ({"models": {"zero-shot": "clip", "e2eft": "tuned"}}, ["models", "did you mean 'e2e-ft'?"]),
        ({"models": {"zero-shot": "clip", "ose": "tuned"}}, ["'ose' is not a fine-tuned model"]),
        ({"models": {"zero-shot": "clip", "e2e-ft": "b"}}, ["'tuned.features'", "b.features"]),
        ({"classes": 1}, ["classes: expected at least two"]),
        ({"classes": 4}, ["clip.logits has shape [60, 3], expected [60, 4]"]),
        ({"classes": ["a", "b", "a"]}, ["classes: class 'a' is listed 2 times"]),
        ({"classes": True}, ["classes: expected a list of names"]),
        ({"shifts": {"all": {"file": "sketch.safetensors"}}}, ["'all' is reserved"]),
        (
            {"shifts": {"sketch": {"file": "sketch.safetensors", "classes": [0, 7]}}},
            ["shifts.sketch: unknown class '7'"],
        ),
        (
            {"shifts": {"sketch": {"file": "sketch.safetensors", "classes": [2, 0]}}},
            ["sketch.safetensors: label 2 in row", "expected 0 to 1"],
        ),
    ],
)
def test_bad_forms(changes: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    result = score(folder(tmp_path, **changes))
    assert_refused(result, "outputs.yaml", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("role", "change", "words"),
    [
        ("test", lambda a: a.pop("labels"), ["has no labels"]),
        ("test", lambda a: a.pop("clip.logits"), ["has no clip.logits"]),
        ("train", lambda a: a.pop("clip.logits"), ["no clip.logits and no clip.correct"]),
        ("train", lambda a: a.update({"clip.correct": np.ones(60, bool)}), ["instead of logits"]),
        ("test", lambda a: a.update({"clip.correct": np.ones(30, bool)}), ["only for the train"]),
        ("test", lambda a: a.update({"clip.logit": a["labels"]}), ["did you mean 'clip.logits'?"]),
        ("test", lambda a: a.update(labels=a["labels"][:-1]), ["clip.logits has shape [30, 3]"]),
        ("test", lambda a: a.update(labels=a["labels"][:, None]), ["labels has shape (30, 1)"]),
        (
            "test",
            lambda a: a.update(labels=a["labels"] + 1),
            ["label 3 in row", "0 to 2", "count from 1: subtract 1"],
        ),
        (
            "test",
            lambda a: a.update(labels=a["labels"] - 1),
            ["label -1 in row", "leave out the samples without a label"],
        ),
        (
            "test",
            lambda a: a.update(labels=a["labels"] * 1.0),
            ["labels is F64, expected I8", "labels.astype(int)"],
        ),
        ("test", lambda a: a.update(labels=np.eye(3, dtype=int)[a["labels"]]), ["labels.argmax"]),
        ("test", lambda a: a.update({"groups.x": a["labels"][1:]}), ["groups.x has shape [29]"]),
        (
            "sketch",
            lambda a: a.update({"tuned.features": a["tuned.features"][:, 1:]}),
            ["tuned.features has shape [20, 3], expected [20, 4]"],
        ),
        (
            "sketch",
            lambda a: a["clip.logits"].__setitem__((7, 1), np.nan),
            ["clip.logits is not finite in row 7"],
        ),
        (
            "sketch",
            lambda a: a["tuned.features"].__setitem__((0, 0), np.inf),
            ["tuned.features is not finite in row 0"],
        ),
        (
            "sketch",
            lambda a: a.update({"tuned.features": a["tuned.features"] * np.float64(1e300)}),
            ["tuned.features is beyond float32 (3.4e38) in row 0"],
        ),
    ],
)
def test_bad_arrays(
    role: str, change: Callable[[Arrays], object], words: list[str], tmp_path: Path
) -> None:
    alter(folder(tmp_path), role, change)
    result = score(tmp_path)
    assert_refused(result, f"{role}.safetensors", *words)
    assert_refused(score(tmp_path), *words)  # invalid content is not cached as valid
    assert not (tmp_path / "out").exists()


def test_bad_places(tmp_path: Path) -> None:
    assert_refused(score(tmp_path), "has no outputs.yaml")
    (folder(tmp_path) / "test.safetensors").write_bytes(b"no arrays")
    assert_refused(score(tmp_path), "test.safetensors is not a valid safetensors file")

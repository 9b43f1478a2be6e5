"""Classes without a sample are named, whatever the reader: labels may count from 1."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from outputs_folders import alter, folder
from PIL import Image

from bench.data.missing_classes import missing_classes
from bench.data.suites.from_yaml import load_suite_file
from bench.runs.study.outputs_folder import load_outputs_folder

NAMES = ("cat", "dog", "fox")
ROWS = 6


def write_list(root: Path, labels: list[int]) -> str:
    lines = []
    for row, label in enumerate(labels):
        Image.new("RGB", (9, 9), (row, 1, 1)).save(root / f"t{row}.png")
        lines.append(f"t{row}.png,{label}")
    (root / "test.csv").write_text("\n".join(["path,label", *lines]))
    return "{list: test.csv}"


def write_arrays(root: Path, labels: list[int]) -> str:
    pixels = np.random.default_rng(0).integers(256, size=(len(labels), 8, 8, 3)).astype(np.uint8)
    np.save(root / "x.npy", pixels)
    np.save(root / "y.npy", np.array(labels))
    return "{arrays: x.npy, labels: y.npy}"


def write_shards(root: Path, labels: list[int]) -> str:
    with tarfile.open(root / "test.tar", "w") as archive:
        for row, label in enumerate(labels):
            buffer = io.BytesIO()
            Image.new("RGB", (9, 9), (row, 2, 2)).save(buffer, "PNG")
            for name, content in ((f"{row}.png", buffer.getvalue()), (f"{row}.cls", b"%d" % label)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return "{shards: test.tar}"


def suite_file(root: Path, test: str, shifts: str = "") -> Path:
    for row, name in enumerate(NAMES):
        (root / "train" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (row, 0, 0)).save(root / "train" / name / "1.png")
    path = root / "pets.yaml"
    path.write_text(
        "name: pets\nclasses: [cat, dog, fox]\ntemplates: a {}.\ntrain: {folder: train}\n"
        f"test: {test}\n{shifts}"
    )
    return path


@pytest.mark.parametrize("write", [write_list, write_arrays, write_shards])
def test_labels_that_may_count_from_1(
    write: Callable[[Path, list[int]], str], tmp_path: Path
) -> None:
    path = suite_file(tmp_path, write(tmp_path, [1, 2] * (ROWS // 2)))
    suite = load_suite_file(path, None, tmp_path / "cache")
    assert suite.task.train.caveats == ()
    assert suite.test.caveats == (
        "pets/test: no image has the class 'cat' (label 0); do its labels count from 1 instead "
        "of 0?",
    )


@pytest.mark.parametrize("write", [write_list, write_arrays, write_shards])
def test_all_classes_present(write: Callable[[Path, list[int]], str], tmp_path: Path) -> None:
    path = suite_file(tmp_path, write(tmp_path, [0, 1, 2] * (ROWS // 3)))
    assert load_suite_file(path, None, tmp_path / "cache").test.caveats == ()


def test_a_shift_is_measured_by_its_own_classes(tmp_path: Path) -> None:
    test = write_list(tmp_path, [0, 1, 2])
    for row in range(2):
        Image.new("RGB", (9, 9), (row, 7, 7)).save(tmp_path / f"s{row}.png")
    (tmp_path / "shift.csv").write_text("path,label\ns0.png,dog\ns1.png,fox")
    shifts = (
        "shifts: {whole: {list: shift.csv}, own: {list: shift.csv, classes: [dog, fox]}, "
        "fog: {corrupt: fog, severity: 1}}"
    )
    suite = load_suite_file(suite_file(tmp_path, test, shifts), None, tmp_path / "cache")
    found = {shift.name: shift.split.caveats for shift in suite.shifts}
    assert found["own"] == found["fog"] == ()
    assert [text.startswith("pets/whole: no image has the class 'cat'") for text in found["whole"]]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0, 1, 2, 3], "the class 'ship'"),
        ([0, 1, 2], "the 2 classes 'truck', 'ship'"),
        ([0, 3], "the 3 classes 'dog', 'fox', 'ship'"),
        ([0], "4 of 5 classes, such as 'dog', 'fox', 'truck'"),
        ([1, 2, 3], "the class 'cat' (label 0) and 1 other; do its labels count from 1 instead"),
    ],
)
def test_some_classes_are_named(labels: list[int], text: str) -> None:
    names = ["cat", "dog", "fox", "truck", "ship"]
    (found,) = missing_classes("pets/test", np.array(labels), names, "sample")
    assert found.startswith(f"pets/test: no sample has {text}")


def test_several_labels_and_long_names() -> None:
    assert missing_classes("a", np.array([[0, 1], [2, -1]]), NAMES, "image") == ()
    (found,) = missing_classes("s" * 200, np.array([0]), ["x" * 900] * 9, "image")
    assert len(found) < 300


@pytest.mark.parametrize("role", ["train", "selection", "test", "sketch"])
def test_scored_outputs_whose_labels_may_count_from_1(tmp_path: Path, role: str) -> None:
    path = folder(tmp_path / "mine")
    alter(path, role, lambda a: a.update(labels=np.where(a["labels"] == 0, 1, a["labels"])))
    suite = load_outputs_folder(path, tmp_path / "cache").suite
    splits = {"train": suite.task.train, "selection": suite.task.selection, "test": suite.test}
    splits |= {shift.name: shift.split for shift in suite.shifts}
    said = {name: split.caveats for name, split in splits.items() if split.caveats}
    assert said == {
        role: (
            f"mine/{role}: no sample has the class '0' (label 0); do its labels count from 1 "
            "instead of 0?",
        )
    }

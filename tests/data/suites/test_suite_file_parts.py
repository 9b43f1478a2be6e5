"""Suite files: one source divided by shares, and copies between the splits of a suite."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sources import as_arrays, as_folder, as_shards, labelled

from bench.api.dataset import Suite
from bench.api.splits import Split
from bench.core.errors import InputError
from bench.data.copies import naming_copies
from bench.data.readers import fingerprints as index
from bench.data.suites.from_yaml import load_suite_file

NAMES = ["cat", "dog"]
SHARES = {"train": 0.6, "selection": 0.2, "test": 0.2}


def load(root: Path, **form: Any) -> Suite:
    start = {"name": "pets", "classes": NAMES, "templates": ["a {}."]}
    (root / "pets.yaml").write_text(yaml.safe_dump(start | form))
    return load_suite_file(root / "pets.yaml", None, root / "cache")


def refused(root: Path, *parts: str, **form: Any) -> None:
    with pytest.raises(InputError) as error:
        load(root, **form)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def splits(suite: Suite) -> list[Split]:
    return [suite.task.train, suite.task.selection, suite.test]


# One source


def as_list(root: Path) -> dict[str, Any]:
    rows = ["path,label,patient"]
    for i, name in enumerate(sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))):
        rows.append(f"{name},{name.split('/')[-2]},p{i % 10}")
    (root / "all.csv").write_text("\n".join(rows))
    return {"list": "all.csv"}


@pytest.mark.parametrize("kind", ["folder", "list", "arrays", "shards"])
def test_one_source_is_divided_whatever_its_kind(tmp_path: Path, kind: str) -> None:
    data = labelled(0, 40, 2)
    as_folder(tmp_path / "photos", data, NAMES)
    as_arrays(tmp_path / "x.npz", data, ("images", "labels"), "channels-last")
    as_shards([tmp_path / "s.tar"], data)
    source = {"folder": "photos"} if kind == "folder" else {"arrays": "x.npz"}
    source = {"list": as_list(tmp_path), "shards": {"shards": "*.tar"}}.get(kind, source)
    suite = load(tmp_path, split={**source, "shares": SHARES})
    assert [split.size for split in splits(suite)] == [24, 8, 8]
    assert [split.name for split in splits(suite)] == ["pets/train", "pets/selection", "pets/test"]
    ids = [set(split.load().manifest.ids) for split in splits(suite)]
    assert len(set.union(*ids)) == 40
    again = load(tmp_path, split={**source, "shares": dict(reversed(SHARES.items()))})
    assert splits(again) == splits(suite)
    other = load(tmp_path, split={**source, "shares": SHARES, "seed": 1})
    assert splits(other)[2].fingerprint != splits(suite)[2].fingerprint


def test_without_a_share_of_selection_the_protocol_holds_out(tmp_path: Path) -> None:
    as_folder(tmp_path / "photos", labelled(0, 40, 2), NAMES)
    suite = load(tmp_path, split={"folder": "photos", "shares": {"train": 0.75, "test": 0.25}})
    assert suite.task.train == suite.task.selection
    held = suite.under(selects="selection", share=0.1, border=0)
    assert [split.size for split in splits(held)] == [26, 4, 10]


def test_groups_of_a_list_stay_together(tmp_path: Path) -> None:
    as_folder(tmp_path / "photos", labelled(0, 60, 2), NAMES)
    source = {**as_list(tmp_path), "shares": SHARES, "group": "patient"}
    own = [
        set(split.load().manifest.group("patient").tolist())
        for split in splits(load(tmp_path, split=source))
    ]
    assert sum(map(len, own)) == len(set.union(*own)) == 10


def test_mistakes_in_shares_are_one_line(tmp_path: Path) -> None:
    as_folder(tmp_path / "photos", labelled(0, 10, 2), NAMES)
    source = {"folder": "photos"}
    for shares, part in (
        ({"train": 0.6, "test": 0.6}, "add up to 1.2"),
        ({"train": 0.6, "test": 0.2}, "add up to 0.8"),
        ({"train": 0.6, "selection": 0.4}, "no share of test"),
        ({"train": 0.6, "tset": 0.4}, "did you mean 'test'"),
        ({"train": 1, "test": 0}, "split.shares"),
        (None, "split.shares"),
    ):
        refused(tmp_path, part, split={**source, "shares": shares})
    whole = {**source, "shares": SHARES}
    refused(tmp_path, "'test' cannot be combined with 'split'", split=whole, test=source)
    refused(tmp_path, "train: Field required", test=source)
    refused(tmp_path, "'group' cannot be combined with 'folder'", split={**whole, "group": "a"})
    for path in sorted((tmp_path / "photos/dog").iterdir())[2:]:
        path.unlink()
    refused(tmp_path, "split: ", "no image of class 'dog', which has 2", split=whole)
    shift = {"shifts": {"again": source}}
    as_folder(tmp_path / "photos", labelled(1, 10, 2), NAMES)
    refused(tmp_path, "the same images as all", split=whole, **shift)


# Copies


def pictures(root: Path, role: str, seed: int) -> None:
    as_folder(root / role, labelled(seed, 8, 2), NAMES)


def suite_of(root: Path, **shifts: Any) -> Suite:
    sources = {role: {"folder": role} for role in ("train", "selection", "test")}
    return naming_copies(load(root, **sources, shifts=shifts))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, role in enumerate(("train", "selection", "test", "sketch")):
        pictures(tmp_path, role, seed)
    return tmp_path


def test_copies_between_splits_are_counted_and_named(root: Path) -> None:
    suite = suite_of(root, sketch={"folder": "sketch"})
    assert [split.caveats for split in (*splits(suite), suite.shifts[0].split)] == [()] * 4
    first = min((root / "train/cat").iterdir())
    shutil.copy(first, root / "test/cat/again.png")
    shutil.copy(first, root / "test/dog/more.png")
    shutil.copy(first, root / "selection/cat/here.png")
    shutil.copy(min((root / "test/dog").glob("0*")), root / "sketch/dog/copy.png")
    suite = suite_of(root, sketch={"folder": "sketch"})
    copies = "images are byte-for-byte copies of"
    assert suite.task.train.caveats == ()
    assert suite.task.selection.caveats == (
        f"pets/selection: 1 of 9 {copies} training images, such as cat/here.png",
    )
    assert suite.test.caveats == (
        f"pets/test: 2 of 10 {copies} training images, such as cat/again.png",
        f"pets/test: 2 of 10 {copies} selection images, such as cat/again.png",
    )
    (caveat,) = suite.shifts[0].split.caveats
    assert caveat == f"pets/sketch: 1 of 9 {copies} test images, such as dog/copy.png"


def test_copies_are_found_in_every_reader_and_after_every_cut(root: Path) -> None:
    data = labelled(0, 8, 2)
    as_shards([root / "s.tar"], data)
    as_arrays(root / "x.npz", data, ("images", "labels"), "channels-last")
    np.savez(
        root / "y.npz",
        images=np.concatenate([data[0][:3], labelled(9, 3, 2)[0]]),
        labels=[0, 1] * 3,
    )
    suite = suite_of(root, shards={"shards": "s.tar"}, arrays={"arrays": "y.npz"})
    said = {shift.name: shift.split.caveats for shift in suite.shifts}
    assert "8 of 8" in said["shards"][0]  # the same PNG files as the training images
    assert said["arrays"] == ()  # pixels are not compared with files
    of_arrays = load(root, train={"arrays": "x.npz"}, test={"arrays": "y.npz"})
    (caveat,) = naming_copies(of_arrays).test.caveats
    assert caveat.startswith("pets/test: 3 of 6 ") and caveat.endswith("such as test-00000")
    held = naming_copies(of_arrays.limited(4).under(selects="selection", share=0.5, border=0))
    assert all(len(set(split.caveats)) == len(split.caveats) for split in splits(held))
    assert "training" in held.test.caveats[0]


def test_the_test_set_as_selection_has_its_caveats(root: Path) -> None:
    shutil.copy(min((root / "train/cat").iterdir()), root / "test/cat/again.png")
    both = {role: {"folder": role} for role in ("train", "test")}
    suite = naming_copies(load(root, **both).under(selects="test", share=0.1, border=0))
    assert suite.task.selection == suite.test and len(suite.test.caveats) == 1


def test_hashes_are_stored_and_missing_ones_are_made(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(min((root / "train/cat").iterdir()), root / "test/cat/again.png")
    first = suite_of(root)
    monkeypatch.setattr(index, "_file_sha256", None)
    assert suite_of(root).test.caveats == first.test.caveats != ()
    monkeypatch.undo()
    for path in (root / "cache/index").glob("*.marks"):
        path.write_bytes(b"short")
    assert suite_of(root).test.caveats == first.test.caveats


def test_nothing_is_said_of_sets_that_are_not_hashed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(min((root / "train/cat").iterdir()), root / "test/cat/again.png")
    monkeypatch.setattr("bench.data.readers.folders.HASHED_BYTES", 10)
    assert suite_of(root).test.caveats == ()


def test_one_picture_in_two_files_is_no_copy(root: Path) -> None:
    image = Image.open(min((root / "train/cat").iterdir()))
    image.save(root / "test/cat/again.bmp")
    assert suite_of(root).test.caveats == ()

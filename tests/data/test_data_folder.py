"""The data folder: which folder is used for a set, and which faults a split has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import InputError
from bench.data.folder import SYNTHETIC, DataFolder, NotFound, holds_entries, holds_folders


def split(labels: np.ndarray, fault: str = "") -> Split:
    """A split with the given labels and without images."""
    manifest = single_label(list(map(str, range(len(labels)))), labels)
    return Split("x/test", "0", len(labels), lambda: Loaded([], manifest), fault=fault)  # type: ignore[arg-type]


V2 = np.repeat(np.arange(1000), 10)


def test_a_whole_split_has_no_fault(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path, tmp_path)
    whole = folder.counted(split(V2), "imagenet-v2", "test")
    assert (whole.fault, whole.of) == ("", ("imagenet-v2", "test"))


def test_the_right_total_with_wrong_classes_is_a_fault(tmp_path: Path) -> None:
    labels = V2.copy()
    labels[70] = 0  # of class 7
    found = DataFolder(tmp_path, tmp_path).counted(split(labels), "imagenet-v2", "test")
    assert found.fault == (
        "imagenet-v2 test: class 0 has 11 images, expected 10; "
        "the counts of 1 more classes are wrong"
    )
    many = DataFolder(tmp_path, tmp_path).counted(split(labels + 1), "imagenet-v2", "test")
    assert "class 0 has 0 images, expected 10" in many.fault


def test_a_wrong_total_is_said_first_and_added_to_what_is_known(tmp_path: Path) -> None:
    some = split(V2[:-1], fault="x/test lacks 1 image")
    found = DataFolder(tmp_path, tmp_path).counted(some, "imagenet-v2", "test")
    assert found.fault == "x/test lacks 1 image; imagenet-v2 test: 9,999 of 10,000 images"


def test_sets_without_equal_classes_are_counted_as_a_whole(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path, tmp_path)
    assert folder.counted(split(np.zeros(7500, int)), "imagenet-a", "test").fault == ""
    assert folder.counted(split(np.zeros(9, int)), "entity-30", "source_train").fault == ""


def test_synthetic_copies_are_counted_against_their_own_numbers(tmp_path: Path) -> None:
    (tmp_path / SYNTHETIC).write_text(json.dumps({"imagenet-v2": {"test": 3}}))
    folder = DataFolder(tmp_path, tmp_path)
    assert folder.counted(split(np.array([0, 0, 5])), "imagenet-v2", "test").fault == ""
    found = folder.counted(split(np.array([0, 0])), "imagenet-v2", "test")
    assert found.fault == "imagenet-v2 test: 2 of 3 images"


def test_what_keeps_a_folder_from_having_class_folders(tmp_path: Path) -> None:
    assert holds_folders(tmp_path / "none") == "not a folder"
    (tmp_path / ".hidden").mkdir()
    assert holds_folders(tmp_path) == "empty"
    for number in range(3):
        (tmp_path / f"{number}.JPEG").touch()
    assert holds_folders(tmp_path) == "has 3 files but no class folders"
    (tmp_path / "n01440764").mkdir()
    assert holds_folders(tmp_path) == ""


def test_holding_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    assert holds_entries("a.json")(tmp_path) == ""
    assert holds_entries("a.json", "b.json", "c")(tmp_path) == "has no b.json, c"


def test_links_to_one_folder_are_not_ambiguous_but_two_folders_are(tmp_path: Path) -> None:
    for name in ("imagenet/val", "ILSVRC2012"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "imagenet/val/n01440764").mkdir()
    (tmp_path / "ILSVRC2012/val_dirs").symlink_to(tmp_path / "imagenet/val")
    folder = DataFolder(tmp_path, tmp_path)
    assert folder.place("imagenet", "val", holds_folders) == tmp_path / "imagenet/val"
    (tmp_path / "imagenet/val_in_folder/n01440764").mkdir(parents=True)
    with pytest.raises(InputError, match=r"ambiguous: .*val_in_folder and .*different folders"):
        folder.place("imagenet", "val", holds_folders)
    assert folder.has("imagenet", "val", holds_folders)


def test_what_was_looked_for_is_listed(tmp_path: Path) -> None:
    (tmp_path / "sketch").mkdir()
    folder = DataFolder(tmp_path, tmp_path)
    with pytest.raises(NotFound) as error:
        folder.place("imagenet-sketch", "test", holds_folders)
    assert f"looked for {tmp_path / 'sketch'} (empty)" in str(error.value)
    assert "'bench show set:imagenet-sketch'" in str(error.value)
    assert not folder.has("imagenet-sketch", "test", holds_folders)
    with pytest.raises(NotFound, match=r"no data folder: set --data DIR or \$BENCH_DATA"):
        DataFolder(None, tmp_path).place("imagenet", "val")

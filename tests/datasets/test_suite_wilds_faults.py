"""WILDS-FMoW and WILDS-iWildCam: messages about missing and malformed data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import assert_refused, bench
from wilds_copies import FMOW, IWILDCAM, PARTS, first, rewrite, table

from bench.api.registry import find_dataset
from bench.core.errors import InputError
from bench.data.folder import SYNTHETIC


def test_missing_images_are_named(own_wilds: Path, tmp_path: Path) -> None:
    images = own_wilds / "fmow_v1.1" / "images"
    original = images.resolve()
    images.unlink()
    shutil.copytree(original, images)
    whole = FMOW().suite(own_wilds, tmp_path)
    gone = whole.test.load().manifest.ids[3]
    (own_wilds / "fmow_v1.1" / gone).unlink()
    suite = FMOW().suite(own_wilds, tmp_path)
    assert suite.test.size == whole.test.size - 1
    (fault,) = suite.faults
    assert f"fmow/test lacks 1 of {whole.test.size} images: {gone}" in fault
    assert suite.task.train == whole.task.train


def test_lines_that_were_cut_off_are_missed(own_wilds: Path, tmp_path: Path) -> None:
    path = own_wilds / "iwildcam_v2.0" / "metadata.csv"
    last = table(path)[-1]["split"]
    assert last == "test"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-5]))
    (fault,) = IWILDCAM().suite(own_wilds, tmp_path).faults
    assert fault == "wilds-iwildcam ood_test: 75 of 80 images"


def test_real_copies_are_held_against_verified_numbers_alone(
    own_wilds: Path, tmp_path: Path
) -> None:
    (own_wilds / SYNTHETIC).unlink()
    suite = FMOW().suite(own_wilds, tmp_path)
    assert (suite.model, suite.pretrained, suite.notes) == ("ViT-B-32", "openai", ())
    said = [fault.partition(":")[0] for fault in suite.faults]
    assert said == ["wilds-fmow train", "wilds-fmow ood_test"]
    said = [f.partition(":")[0] for f in IWILDCAM().suite(own_wilds, tmp_path).faults]
    assert [s.removeprefix("wilds-iwildcam ") for s in said] == list(PARTS.values())


def test_a_part_without_images_leaves_the_others_usable(own_wilds: Path, tmp_path: Path) -> None:
    whole = FMOW().suite(own_wilds, tmp_path)
    images = own_wilds / "fmow_v1.1" / "images"
    original = images.resolve()
    images.unlink()
    images.mkdir()
    for file in whole.test.load().manifest.ids:
        (own_wilds / "fmow_v1.1" / file).symlink_to(original / Path(file).name)
    suite = FMOW().suite(own_wilds, tmp_path)
    assert suite.test == whole.test
    assert suite.task.train.absent and suite.task.selection.absent
    assert suite.shifts == () and suite.all_shifts == ("ood",)
    assert "has none of the 20 expected images" in suite.lacking["ood"]
    with pytest.raises(InputError, match="has none of the 99 expected images"):
        suite.task.train.load()
    for file in whole.test.load().manifest.ids:
        (own_wilds / "fmow_v1.1" / file).unlink()
    with pytest.raises(InputError, match="has none of the 32 expected images"):
        FMOW().suite(own_wilds, tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("rgb_metadata.csv", first(timestamp="2013-10-05T02:27:17"), "2013-10-05T02:27:17Z"),
        ("rgb_metadata.csv", first(timestamp="yesterday"), "timestamp 'yesterday'"),
        ("rgb_metadata.csv", first(category="castle"), "63 categories: expected 62"),
        ("iwildcam_v2.0/metadata.csv", first(y="182"), "y is from 0 to 182: expected 0 to 181"),
        ("iwildcam_v2.0/metadata.csv", first(y="-1"), "y is from -1 to 181"),
        ("iwildcam_v2.0/metadata.csv", first(y="fox"), "expected integers"),
        ("labels.csv", first(y="1"), "expected y from 0 to 181 in order"),
        ("labels.csv", lambda rows: rows.pop(5) and None, "expected y from 0 to 181 in order"),
    ],
)
def test_tables_that_say_something_else_are_refused(
    own_wilds: Path, tmp_path: Path, file: str, change: Any, words: str
) -> None:
    (path,) = own_wilds.rglob(file)
    rewrite(path, change)
    suite = "fmow" if "fmow" in str(path) else "iwildcam"
    with pytest.raises(InputError) as error:
        find_dataset(suite)().suite(own_wilds, tmp_path)
    assert words in str(error.value) and str(path) in str(error.value)


def test_tables_of_another_form_are_refused(own_wilds: Path, tmp_path: Path) -> None:
    path = own_wilds / "iwildcam_v2.0" / "metadata.csv"
    text = path.read_text()
    path.write_text(text.replace("location_remapped", "place", 1))
    with pytest.raises(InputError, match=r"unknown column in .*'location_remapped'"):
        IWILDCAM().suite(own_wilds, tmp_path)
    path.write_text(text.replace("\n", "\n0,train\n", 1))
    with pytest.raises(InputError, match=r"metadata\.csv:2: expected 11 fields"):
        IWILDCAM().suite(own_wilds, tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot read"):
        IWILDCAM().suite(own_wilds, tmp_path)


def test_no_data_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert_refused(
        bench("run", "--suite", "fmow", "--data", tmp_path, "--methods", "zero-shot"),
        "WILDS-FMoW v1.1",
        str(tmp_path / "fmow_v1.1"),
        "bench show set:wilds-fmow",
    )

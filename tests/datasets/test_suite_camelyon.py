"""WILDS-Camelyon17: splits by hospital, names of patches, and faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import bench
from wilds_copies import first, rewrite, splits, table

from bench.api.registry import find_dataset
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.data.cards import cards
from bench.data.folder import SYNTHETIC, WATERMARK, NotFound
from bench.testing.contract import check_dataset
from bench.testing.synthetic.wilds import make_wilds

CAMELYON = find_dataset("camelyon17")
FOLDER = "camelyon17_v1.0"
PARTS = {"train": "train", "test": "id_val", "ood": "ood_test"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy that a test may change."""
    root = tmp_path / "own"
    root.mkdir()
    (root / SYNTHETIC).write_text(json.dumps(make_wilds(root)))
    return root


def test_the_contract_is_kept(wilds: Path, tmp_path: Path) -> None:
    for data in (wilds, None, tmp_path):
        check_dataset(CAMELYON, data)


def test_the_counts_are_those_of_the_whole_set() -> None:
    images = cards()["wilds-camelyon17"].images
    assert sum(int(count) for count in images.values()) == 455_954


def test_the_copy_is_whole_and_splits_are_those_of_the_hospitals(
    wilds: Path, tmp_path: Path
) -> None:
    """By the rule of the package: hospitals 1 and 2 are unseen whatever the column split has."""
    suite = CAMELYON().suite(wilds, tmp_path)
    assert (suite.faults, suite.notes, suite.all_shifts) == ((), (WATERMARK,), ("ood",))
    counts = json.loads((wilds / SYNTHETIC).read_text())["wilds-camelyon17"]
    rows = table(wilds / FOLDER / "metadata.csv")
    by_file = {
        "patient_{patient}_node_{node}/patch_patient_{patient}_node_{node}"
        "_x_{x_coord}_y_{y_coord}.png".format(**row): row
        for row in rows
    }
    assert len(by_file) == len(rows) == sum(counts.values())
    found = {name: split for name, split in splits(suite).items() if name != "selection"}
    for name, split in found.items():
        manifest = split.load().manifest
        assert split.size == counts[PARTS[name]]
        own_rows = [by_file[image] for image in manifest.ids]
        assert manifest.first.tolist() == [int(row["tumor"]) for row in own_rows]
        hospitals = {row["center"] for row in own_rows}
        assert hospitals == ({"2"} if name == "ood" else {"0", "3", "4"})
        assert manifest.group("hospital").tolist() == [int(row["center"]) for row in own_rows]
        if name != "ood":
            assert {row["split"] for row in own_rows} == {"0" if name == "train" else "1"}
    assert suite.task.selection == suite.task.train  # a part of it is held out by the protocol
    assert suite.task.classnames[1] == "lymph node tumor tissue"


def test_official_templates_are_taken_where_they_are(own: Path, tmp_path: Path) -> None:
    assert "not the official prompt" in CAMELYON().suite(own, tmp_path).prompts
    path = own / "bench-prompts" / "wilds-camelyon17" / "en_zeroshot_classification_templates.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"pcam": ["a slide of {c}", "tissue: {c}"]}))
    assert CAMELYON().suite(own, tmp_path).task.templates == ("a slide of {}", "tissue: {}")


def test_images_with_an_alpha_channel_are_read(wilds: Path, tmp_path: Path) -> None:
    images = CAMELYON().suite(wilds, tmp_path).task.train.load().images
    assert {images[i].convert("RGB").size for i in range(3)} == {(24, 24)}


def test_faults_and_damaged_tables(own: Path, tmp_path: Path) -> None:
    root = own / FOLDER
    suite = CAMELYON().suite(own, tmp_path)
    (root / "patches" / suite.shifts[0].split.load().manifest.ids[0]).unlink()
    assert any("camelyon17/ood lacks 1 of" in f for f in CAMELYON().suite(own, tmp_path).faults)
    rewrite(root / "metadata.csv", first(tumor="2"))
    with pytest.raises(InputError, match=r"metadata.csv: tumor '2': expected 0 or 1"):
        CAMELYON().suite(own, tmp_path)
    (root / "metadata.csv").unlink()
    with pytest.raises(NotFound, match=r"metadata\.csv"):
        CAMELYON().suite(own, tmp_path)


def test_a_run_on_the_copy_measures_both_hospitals(wilds: Path, tmp_path: Path) -> None:
    where = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out", "--data", wilds)
    done = bench("run", "--suite", "camelyon17", "--methods", "zero-shot", *where)
    assert done.code == 0, done.err
    assert {r.shift for r in read_records(tmp_path / "out" / "records.jsonl")} == {"id", "ood"}

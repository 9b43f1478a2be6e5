"""PACS, Office-Home, VLCS: the domain left out, disjoint splits, missing images, and a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bench

from bench.api.dataset import Suite
from bench.api.registry import find_dataset
from bench.core.progress import SilentProgress
from bench.core.records import read_records
from bench.data.cards import cards
from bench.data.download.unpack import unpack
from bench.data.folder import SYNTHETIC, NotFound
from bench.testing.contract import check_dataset
from bench.testing.synthetic.domains import make_domains

NAMES = ("pacs", "office-home", "vlcs")
ALL = pytest.mark.parametrize("name", NAMES)
SHARE, HELD = 0.2, 0.1
FOLDERS = {
    "pacs": ("PACS", "kfold"),
    "office-home": ("office_home", "OfficeHomeDataset_10072016"),
    "vlcs": ("VLCS", "VLCS"),
}
"""Their names in DomainBed and in the archives."""


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic copies of both sets; read-only."""
    root = tmp_path_factory.mktemp("domains")
    (root / SYNTHETIC).write_text(json.dumps(make_domains(root)))
    return root


@pytest.fixture
def own(domains: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(domains, tmp_path / "data"))


def suite_of(data: Path, name: str, cache: Path, **fields: Any) -> Suite:
    return find_dataset(name)(**fields).suite(data, cache)


def ids(suite: Suite) -> dict[str, set[str]]:
    splits = {"train": suite.task.train, "test": suite.test, "unseen": suite.shifts[0].split}
    return {part: set(split.load().manifest.ids) for part, split in splits.items()}


def domains_of(images: set[str]) -> set[str]:
    return {image.partition("/")[0] for image in images}


@ALL
def test_the_contract_holds(name: str, domains: Path, tmp_path: Path) -> None:
    for data in (domains, tmp_path, None):
        check_dataset(find_dataset(name), data)


def test_equal_calls_write_equal_files(domains: Path, tmp_path: Path) -> None:
    assert make_domains(tmp_path) == json.loads((domains / SYNTHETIC).read_text())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 500
    assert all(p.read_bytes() == (domains / p.relative_to(tmp_path)).read_bytes() for p in files)


def test_the_cards_counts_add_up() -> None:
    """Those of Dassl's loader and a pinned copy (PACS), of public loaders (Office-Home), and of
    DomainBed's list of files (VLCS)."""
    for name, total in (("pacs", 9991), ("office-home", 15588), ("vlcs", 10729)):
        images = cards()[name].images
        assert images["all"] == total == sum(n for k, n in images.items() if k != "all")
        assert set(images) == {"all", *find_dataset(name).domains}
        classes = find_dataset(name).classes
        assert len(set(classes)) == cards()[name].classes and list(classes) == sorted(classes)


@ALL
def test_one_domain_is_unseen_and_the_others_are_split(
    name: str, domains: Path, tmp_path: Path
) -> None:
    every = set[str]()
    for number, left_out in enumerate(find_dataset(name).domains, start=1):
        suite = suite_of(domains, name, tmp_path, partition=number)
        assert suite.name == (name if number == 1 else f"{name}={number}")
        assert suite.faults == () and suite.all_shifts == ("unseen",)
        found = ids(suite)
        assert domains_of(found["unseen"]) == {left_out}
        assert domains_of(found["train"]) == domains_of(found["test"])
        assert left_out not in domains_of(found["train"])
        assert not found["train"] & found["test"]
        every |= found["train"] | found["test"] | found["unseen"]
        assert len(found["train"] | found["test"] | found["unseen"]) == len(every)
        held, left = (
            np.bincount(split.load().manifest.first) for split in (suite.test, suite.task.train)
        )
        assert (held == np.rint(SHARE * (held + left))).all() and (held > 0).all()
        assert suite.prompts.endswith(f"the domain left out is {left_out}")


@ALL
def test_labels_are_the_sorted_class_folders_of_every_domain(
    name: str, domains: Path, tmp_path: Path
) -> None:
    suite = suite_of(domains, name, tmp_path, partition=2)
    for split in (suite.task.train, suite.test, suite.shifts[0].split):
        manifest = split.load().manifest
        named = [suite.task.classnames[label] for label in manifest.first]
        assert named == [image.split("/")[1].replace("_", " ") for image in manifest.ids]
    assert list(suite.task.classnames) == sorted(suite.task.classnames)


def test_the_selection_split_is_held_out_of_the_domains_seen(domains: Path, tmp_path: Path) -> None:
    suite = suite_of(domains, "pacs", tmp_path)
    under = suite.under(selects="selection", share=HELD, border=0)
    held = set(under.task.selection.load().manifest.ids)
    train, test = (set(s.load().manifest.ids) for s in (under.task.train, under.test))
    assert held and not held & train and not held & test
    assert held | train == ids(suite)["train"]


@ALL
def test_partitions_share_no_key_and_each_keeps_its_own(
    name: str, domains: Path, tmp_path: Path
) -> None:
    suites = [suite_of(domains, name, tmp_path, partition=n) for n in (1, 2, 3, 4)]
    for part in (lambda s: s.test, lambda s: s.task.train, lambda s: s.shifts[0].split):
        assert len({part(suite).fingerprint for suite in suites}) == 4
    again = suite_of(domains, name, tmp_path)
    assert again.test.fingerprint == suites[0].test.fingerprint


def test_a_missing_image_is_a_fault_of_every_partition(own: Path, tmp_path: Path) -> None:
    (own / "PACS" / "photo" / "dog" / "pic_001.jpg").unlink()
    for partition in (1, 3):
        faults = suite_of(own, "pacs", tmp_path, partition=partition).faults
        assert any("pacs all: 181 of 182 images" in fault for fault in faults)
    assert any("pacs photo: 48 of 49 images" in fault for fault in faults)


def test_real_data_are_counted(own: Path, tmp_path: Path) -> None:
    (own / SYNTHETIC).unlink()
    faults = suite_of(own, "pacs", tmp_path).faults
    assert any("pacs all: 182 of 9,991 images" in fault for fault in faults)
    assert any("pacs art_painting: 35 of 2,048 images" in fault for fault in faults)


@ALL
def test_an_archive_is_unpacked_where_the_suite_finds_it(
    name: str, own: Path, tmp_path: Path
) -> None:
    """By the folder in it, which is not the one that DomainBed gives it."""
    (archive,) = cards()[name].archives
    renamed, inside = FOLDERS[name]
    (own / renamed).rename(tmp_path / inside)
    form = "gztar" if archive.file.endswith(".tar.gz") else "zip"
    packed = Path(shutil.make_archive(str(tmp_path / name), form, tmp_path, inside))
    unpack(packed, own / str(archive.into), SilentProgress())
    assert suite_of(own, name, tmp_path).faults == ()


def test_missing_classes_and_domains_are_named(own: Path, tmp_path: Path) -> None:
    shutil.rmtree(own / "PACS" / "cartoon" / "dog")
    faults = suite_of(own, "pacs", tmp_path).faults
    assert any("pacs/all lacks 1 of 28 class folders: cartoon/dog" in fault for fault in faults)
    shutil.rmtree(own / "PACS" / "cartoon")
    with pytest.raises(NotFound, match="cartoon"):
        suite_of(own, "pacs", tmp_path)
    refused = bench("run", "--suite", "pacs=5", "--data", own, "--cache-dir", tmp_path / "cache")
    assert refused.code == 2 and "expected pacs=1 to pacs=4" in refused.err


def test_a_run_on_the_copy_measures_seen_and_unseen_domains(domains: Path, tmp_path: Path) -> None:
    where = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out", "--data", domains)
    done = bench("run", "--suite", "pacs=4", "--methods", "zero-shot", *where)
    assert done.code == 0, done.err
    records = read_records(tmp_path / "out" / "records.jsonl")
    sizes = {r.shift: r.n for r in records}
    assert sizes["unseen"] == 56 and {r.suite for r in records} == {"pacs=4"}
    assert all("synthetic data" in r.notes for r in records)
    assert np.isfinite([r.value for r in records]).all()

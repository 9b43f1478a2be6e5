"""Sets of several domains: the domain left out, disjoint splits, missing images, and a run."""

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
from bench.core.errors import InputError
from bench.core.progress import SilentProgress
from bench.core.records import read_records
from bench.data.cards import cards
from bench.data.download.unpack import unpack
from bench.data.folder import SYNTHETIC, NotFound
from bench.testing.contract import check_dataset
from bench.testing.synthetic.domains import make_domains

NAMES = ("pacs", "office-home", "vlcs", "domainnet", "terra-incognita")
ALL = pytest.mark.parametrize("name", NAMES)
SHARE, HELD = 0.2, 0.1
FOLDERS = {
    "pacs": ("PACS", "kfold"),
    "office-home": ("office_home", "OfficeHomeDataset_10072016"),
    "vlcs": ("VLCS", "VLCS"),
}
"""Names of sets in one archive: in DomainBed, and in the archive."""


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic copies of the sets; read-only."""
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
    """Those of Dassl's loader and a pinned copy (PACS), of public loaders (Office-Home), of
    DomainBed's list of files (VLCS), and of the authors' page and lists (DomainNet)."""
    totals = {"pacs": 9991, "office-home": 15588, "vlcs": 10729, "domainnet": 586575}
    assert cards()["terra-incognita"].images == {"all": "unknown"}
    for name in NAMES:
        if name in totals:
            images = cards()[name].images
            parts = [n for k, n in images.items() if k != "all" and isinstance(n, int)]
            assert images["all"] == totals[name] == sum(parts)
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
    numbers = range(1, find_dataset(name).partitions + 1)
    suites = [suite_of(domains, name, tmp_path, partition=n) for n in numbers]
    for part in (lambda s: s.test, lambda s: s.task.train, lambda s: s.shifts[0].split):
        assert len({part(suite).fingerprint for suite in suites}) == len(suites)
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


@pytest.mark.parametrize("name", FOLDERS)
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


def test_the_archives_of_domainnet_are_unpacked_beside_each_other(
    own: Path, tmp_path: Path
) -> None:
    for archive in cards()["domainnet"].archives:
        (own / "domain_net" / archive.holds).rename(tmp_path / archive.holds)
        packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, archive.holds)
        unpack(Path(packed), own / str(archive.into), SilentProgress())
    assert suite_of(own, "domainnet", tmp_path).faults == ()


def test_images_that_the_lists_of_domainnet_leave_out_are_not_read(
    domains: Path, tmp_path: Path
) -> None:
    root = domains / "domain_net"
    duplicate = "sketch/The_Eiffel_Tower/sketch_001_000002.jpg"
    assert (root / duplicate).is_file()
    found = ids(suite_of(domains, "domainnet", tmp_path))
    listed = {
        line.split()[0]
        for path in root.glob("*.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    assert found["train"] | found["test"] | found["unseen"] == listed
    assert duplicate not in listed


def test_a_listed_image_that_is_missing_is_a_fault(own: Path, tmp_path: Path) -> None:
    (own / "domain_net/real/bee/real_030_000001.jpg").unlink()
    faults = suite_of(own, "domainnet", tmp_path).faults
    lacking = "domainnet/all lacks 1 of 2,070 images: real/bee/real_030_000001.jpg"
    assert any(lacking in fault for fault in faults)


@pytest.mark.parametrize("line", ["real/wasp/real_030_000001.jpg 29", "real/bee/1.jpg", "../x 1"])
def test_a_damaged_list_of_domainnet_is_named(line: str, own: Path, tmp_path: Path) -> None:
    path = own / "domain_net" / "real_test.txt"
    path.write_text(f"{path.read_text(encoding='utf-8')}{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"real_test\.txt: expected lines such as 'real/bee/"):
        suite_of(own, "domainnet", tmp_path)
    path.unlink()
    with pytest.raises(NotFound, match=r"has no real_test\.txt"):
        suite_of(own, "domainnet", tmp_path)


def test_terra_incognita_states_how_many_images_were_found(own: Path, tmp_path: Path) -> None:
    """A class may lack a folder at some locations, as no source states which it has; not at all."""
    root = own / "terra_incognita"
    for location in ("location_38", "location_46"):
        shutil.rmtree(root / location / "bobcat")
    (own / SYNTHETIC).unlink()  # no count is known of the real set
    suite = suite_of(own, "terra-incognita", tmp_path)
    assert suite.faults == () and suite.task.classnames[1] == "bobcat"
    left = 50 + 60 + 70 + 80 - 6 - 8
    said = f"terra-incognita: {left} images, a number that nothing is compared with"
    assert said in suite.test.caveats and said in suite.shifts[0].split.caveats
    for location in ("location_100", "location_43"):
        shutil.rmtree(root / location / "bobcat")
    faults = suite_of(own, "terra-incognita", tmp_path).faults
    assert any("terra-incognita/all lacks 4 of 40 class folders" in fault for fault in faults)


@pytest.mark.parametrize("partition", [1, 2])
def test_a_location_of_terra_incognita_without_class_folders_is_a_fault(
    partition: int, own: Path, tmp_path: Path
) -> None:
    """Be it the one left out, whose shift would have no images, or one of those seen."""
    root = own / "terra_incognita" / "location_100"
    shutil.rmtree(root)
    root.mkdir()
    (own / SYNTHETIC).unlink()
    faults = suite_of(own, "terra-incognita", tmp_path, partition=partition).faults
    assert any("lacks 10 of 40 class folders: location_100/bird" in fault for fault in faults)


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

"""bench data status and verify find every planted fault, file by file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import bench
from PIL import Image

from bench.checks.verify_data import MANIFESTS, Finding, Inspector
from bench.core.records import read_records
from bench.data.cards import cards
from bench.data.download.imagenet import Devkit
from bench.data.folder import DataFolder

FOLDERS = {
    "imagenet-a": "imagenet-a",
    "imagenet-v2": "imagenetv2-matched-frequency-format-val",
    "food-101": "food-101/images",
    "wilds-fmow": "fmow_v1.1/images",
    "objectnet": "objectnet-1.0/images",
}
"""Folders with the images of the sets that are damaged here."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> Path:
    """Synthetic copies, some of them verified, so that their hashes are recorded."""
    root = tmp_path_factory.mktemp("recorded") / "data"
    root.mkdir()
    for entry in synthetic.iterdir():
        (root / entry.name).symlink_to(entry)
    inspector = Inspector(DataFolder(root, root.parent / "cache"))
    for name in (*FOLDERS, "cifar-10"):
        assert inspector.verify(name).problems == ()
    return root


@pytest.fixture
def data(recorded: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Make a data folder like `recorded` in which one of the entries can be damaged."""

    def own(folder: str) -> Path:
        root = tmp_path / "data"
        root.mkdir()
        for entry in recorded.iterdir():
            (root / entry.name).symlink_to(entry.resolve())
        for name in (Path(folder).parts[0], MANIFESTS):
            (root / name).unlink()
            shutil.copytree(recorded / name, root / name)
        return root

    return own


def verified(root: Path, name: str) -> Finding:
    """Verify with the index of `recorded`, as for a user who verifies again."""
    return Inspector(DataFolder(root, root.parent / "cache")).verify(name)


@pytest.mark.parametrize("name", cards())
def test_every_synthetic_copy_is_complete(name: str, synthetic: Path, tmp_path: Path) -> None:
    found = Inspector(DataFolder(synthetic, tmp_path)).status(name)
    assert (found.state, found.problems) == ("complete", ())
    assert found.splits


def images(folder: Path) -> list[Path]:
    kinds = (".jpg", ".jpeg", ".png")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in kinds)


def missing(folder: Path) -> list[Path]:
    path = images(folder)[3]
    path.unlink()
    return [path]


def truncated(folder: Path) -> list[Path]:
    path = images(folder)[5]
    path.write_bytes(path.read_bytes()[:-60])
    return [path]


def one_byte(folder: Path) -> list[Path]:
    path = images(folder)[-1]
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes(bytes_))
    return [path]


def other_picture(folder: Path) -> list[Path]:
    path = images(folder)[0]
    Image.new("RGB", (24, 20), "red").save(path)
    return [path]


def swapped(folder: Path) -> list[Path]:
    one, two = sorted(p for p in folder.iterdir() if p.is_dir())[1:3]
    held = folder / "held"
    one.rename(held)
    two.rename(one)
    held.rename(two)
    return [one, two]


def extra_class(folder: Path) -> list[Path]:
    first = images(folder)[0]
    path = folder / "n99999999" / "n99999999_1.jpg"
    path.parent.mkdir()
    shutil.copy(first, path)
    return [path]


def web_page(folder: Path) -> list[Path]:
    path = images(folder)[2]
    path.write_text("<!doctype html><html><body>Not found</body></html>")
    return [path]


FAULTS = (missing, truncated, one_byte, other_picture, swapped, extra_class, web_page)
HAVE_CLASSES = ("imagenet-a", "imagenet-v2", "food-101", "objectnet")
CASES = [
    (name, fault)
    for name in FOLDERS
    for fault in FAULTS
    if name in HAVE_CLASSES or fault not in (swapped, extra_class)
]


@pytest.mark.parametrize(("name", "fault"), CASES, ids=lambda v: getattr(v, "__name__", v))
def test_every_planted_fault_is_found_and_named(
    name: str, fault: Callable[[Path], list[Path]], data: Callable[[str], Path]
) -> None:
    root = data(FOLDERS[name])
    places = fault(root / FOLDERS[name])
    found = verified(root, name)
    assert found.state == "incomplete or altered"
    for place in places:
        relative = place.relative_to(root).as_posix()
        assert any(relative in problem for problem in found.problems), found.problems
    # Nothing else is reported: every problem is about a planted path or the set's counts.
    named = [p.relative_to(root).as_posix() for p in places]
    accused = [p for p in found.problems if p.startswith(("missing", "altered", "added"))]
    assert all(any(one in problem for one in named) for problem in accused)


def test_the_others_are_not_accused(data: Callable[[str], Path]) -> None:
    root = data("imagenet-a")
    missing(root / "imagenet-a")
    assert verified(root, "imagenet-v2").state == "complete"


def test_a_swapped_label_folder_of_imagenet_is_found_without_hashes(
    data: Callable[[str], Path],
) -> None:
    root = data("imagenet")
    swapped(root / "imagenet" / "train")
    problems = verified(root, "imagenet").problems
    assert any("in the folder of another class" in problem for problem in problems)
    assert not (root / MANIFESTS / "imagenet.sha256").exists()


def test_swapped_folders_of_val_are_found_by_the_devkit(
    data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = data("imagenet")
    val = root / "imagenet" / "val"
    truth = {path.name: path.parent.name for path in images(val)}
    archive = root / "bench-downloads" / "imagenet" / "ILSVRC2012_devkit_t12.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"")
    monkeypatch.setattr("bench.checks.verify_data.check_file", lambda *_: None)
    monkeypatch.setattr("bench.checks.verify_data.read_devkit", lambda path: Devkit((), truth))
    assert verified(root, "imagenet").problems == ()
    (root / MANIFESTS / "imagenet.sha256").unlink()
    one, two = swapped(val)
    problems = verified(root, "imagenet").problems
    moved = [*images(one), *images(two)]
    assert problems == tuple(f"in the folder of another class: {path}" for path in moved)


def test_binary_files_are_compared_byte_by_byte(data: Callable[[str], Path]) -> None:
    root = data("cifar-10-batches-py")
    path = root / "cifar-10-batches-py" / "data_batch_1"
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(bytes(raw))
    assert any("data_batch_1" in p for p in verified(root, "cifar-10").problems)


def test_hashes_are_in_the_form_of_sha256sum(recorded: Path) -> None:
    import hashlib

    lines = (recorded / MANIFESTS / "imagenet-a.sha256").read_text().splitlines()
    assert len(lines) == 201  # 200 images and a README
    for line in lines[:5]:
        mark, file = line.split("  ")
        assert hashlib.sha256((recorded / file).read_bytes()).hexdigest() == mark


def test_faulty_data_is_not_recorded_as_right(data: Callable[[str], Path]) -> None:
    root = data("imagenet-a")
    (root / MANIFESTS / "imagenet-a.sha256").unlink()
    truncated(root / "imagenet-a")
    assert any("unreadable" in p for p in verified(root, "imagenet-a").problems)
    assert not (root / MANIFESTS / "imagenet-a.sha256").exists()


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    inspector = Inspector(DataFolder(tmp_path, tmp_path / "cache"))
    assert {inspector.status(name).state for name in cards()} == {"not found"}


def test_findings_are_json(recorded: Path) -> None:
    found = verified(recorded, "imagenet-a")
    assert json.dumps([dict(found.splits), list(found.problems), found.notes])


def test_a_web_page_is_no_archive(data: Callable[[str], Path]) -> None:
    root = data("imagenet-a")
    page = b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>"
    (root / "imagenet-a.tar").write_bytes(page)
    (root / "bench-downloads" / "dtd").mkdir(parents=True)
    (root / "bench-downloads" / "dtd" / "dtd-r1.0.1.tar.gz").write_bytes(page)
    for name, file in (("imagenet-a", "imagenet-a.tar"), ("dtd", "dtd-r1.0.1.tar.gz")):
        (problem,) = verified(root, name).problems
        assert f"{file} is" in problem and "HTML" in problem


def test_the_commands(data: Callable[[str], Path], tmp_path: Path) -> None:
    root = data("imagenet-a")
    place = ("--data", root, "--cache-dir", root.parent / "cache")
    status = bench("data", "status", *place)
    assert status.code == 0
    assert len([line for line in status.out.splitlines() if " complete " in line]) == len(cards())
    whole = bench("data", "verify", "imagenet-a", *place)
    assert (whole.code, whole.err) == (0, f"{root}: synthetic data\n")
    assert "imagenet-a: complete; test 200 images; 201 files match the hashes in" in whole.out
    (gone,) = missing(root / "imagenet-a")
    damaged = bench("data", "verify", "imagenet-a", *place, "--json")
    assert damaged.code == 4
    (found,) = json.loads(damaged.out)["sets"]
    assert f"missing: {gone.relative_to(root)}" in found["problems"]
    assert "incomplete or altered: imagenet-a" in damaged.err
    assert bench("data", "verify", "imagenet", "--data", tmp_path / "none").code == 2
    (tmp_path / "empty").mkdir()
    absent = bench("data", "verify", "dtd", "--data", tmp_path / "empty")
    assert (absent.code, "not found in" in absent.err) == (2, True)
    none = bench("data", "verify", "--data", tmp_path / "empty")
    assert (none.code, "no data set was found in" in none.err) == (2, True)


def test_an_incomplete_set_is_refused_or_marked(data: Callable[[str], Path]) -> None:
    root = data("food-101")
    missing(root / "food-101" / "images")
    command = (
        *("run", "--suite", "food101", "--data", root, "--methods", "zero-shot"),
        *("--cache-dir", root.parent / "cache", "--out", root.parent / "out"),
    )
    refused = bench(*command)
    assert refused.code == 4
    assert "incomplete data" in refused.err and "--allow-incomplete" in refused.err
    marked = bench(*command, "--allow-incomplete")
    assert marked.code == 0, marked.err
    assert "not reportable" in marked.out
    records = read_records(root.parent / "out" / "records.jsonl")
    assert all("incomplete data" in "".join(record.notes) for record in records)
    for name in ("report.md", "report.html"):
        assert "incomplete data" in (root.parent / "out" / name).read_text()


def test_a_split_that_is_gone_is_not_overlooked(data: Callable[[str], Path]) -> None:
    root = data("dtd")
    (root / "dtd" / "dtd" / "labels" / "val1.txt").unlink()
    found = verified(root, "dtd")
    assert found.state == "incomplete or altered"
    assert any("val1.txt" in problem for problem in found.problems)
    assert not (root / MANIFESTS / "dtd.sha256").exists()


def test_a_part_that_lies_nowhere_makes_a_set_partly_there(data: Callable[[str], Path]) -> None:
    root = data("imagenet")
    shutil.rmtree(root / "imagenet" / "train")
    found = verified(root, "imagenet")
    assert (found.state, found.problems) == ("partly there, without train", ())
    assert not (root / MANIFESTS / "imagenet.sha256").exists()


def test_a_set_that_cannot_be_counted_is_not_recorded(data: Callable[[str], Path]) -> None:
    root = data("objectnet-1.0")
    shutil.rmtree(root / "objectnet-1.0" / "mappings")
    (root / MANIFESTS / "objectnet.sha256").unlink()
    found = verified(root, "objectnet")
    assert found.state != "complete"
    assert any("mappings" in problem for problem in (*found.problems, found.unchecked))
    assert not (root / MANIFESTS / "objectnet.sha256").exists()


def test_a_broken_member_is_no_fault_of_the_others(data: Callable[[str], Path]) -> None:
    root = data("stl10_binary")
    path = root / "stl10_binary" / "test_X.bin"
    path.write_bytes(path.read_bytes()[:1000])
    inspector = Inspector(DataFolder(root, root.parent / "cache"))
    assert inspector.status("stl-10").state == "incomplete or altered"
    other = inspector.status("cifar-10.1")
    assert (other.state, other.problems) == ("complete", ())


def test_every_partition_is_verified(data: Callable[[str], Path]) -> None:
    root = data("dtd")
    (root / "dtd" / "dtd" / "labels" / "test7.txt").unlink()
    assert Inspector(DataFolder(root, root.parent / "cache")).status("dtd").state == "complete"
    assert any("test7.txt" in problem for problem in verified(root, "dtd").problems)


@pytest.mark.parametrize("name", ["imagenet-r", "imagenet-a"])
def test_an_added_class_is_found_without_hashes(name: str, data: Callable[[str], Path]) -> None:
    root = data(name)
    (root / MANIFESTS / f"{name}.sha256").unlink(missing_ok=True)
    (added,) = extra_class(root / name)
    (problem,) = verified(root, name).problems
    assert problem == f"not a class of this set: {added.parent}"
    assert not (root / MANIFESTS / f"{name}.sha256").exists()


def test_a_broken_shift_is_refused_marked_or_not_asked_for(data: Callable[[str], Path]) -> None:
    root = data("stl10_binary")
    path = root / "stl10_binary" / "test_X.bin"
    path.write_bytes(path.read_bytes()[:1000])
    command = (
        *("run", "--suite", "cifar10", "--data", root, "--methods", "zero-shot"),
        *("--cache-dir", root.parent / "cache", "--out", root.parent / "out"),
    )
    refused = bench(*command)
    assert (refused.code, "test_X.bin" in refused.err) == (4, True)
    others = bench(*command, "--shifts", "10.1,10.2")
    assert others.code == 0, others.err
    assert "incomplete data" not in others.out
    marked = bench(*command, "--allow-incomplete")
    assert marked.code == 0, marked.err
    assert "incomplete data" in marked.out and "partial: 2 of 3 shifts" in marked.out


def test_what_cannot_be_trained_is_said_before_any_work(data: Callable[[str], Path]) -> None:
    root = data("dtd")
    (root / "dtd" / "dtd" / "labels" / "val1.txt").unlink()
    planned = bench("plan", "--suite", "dtd", "--data", root, "--cache-dir", root.parent / "cache")
    assert (planned.code, planned.out) == (2, "")
    assert "val1.txt" in planned.err

"""bench data verify on each set alone: without its ID set, and before hashes are recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import bench
from PIL import Image

from bench.checks.verify_data import MANIFESTS, Inspector
from bench.data.cards import cards
from bench.data.folder import SYNTHETIC, DataFolder
from bench.data.suites.imagenet import wordnet_ids
from bench.datasets.entity30 import superclasses

ARRAYS = {
    "cifar-10": "cifar-10-batches-py/test_batch",
    "cifar-10.1": "CIFAR-10.1/cifar10.1_v6_data.npy",
    "cifar-10.2": "CIFAR-10.2/cifar102_test.npz",
    "cifar-100": "cifar-100-python/train",
    "stl-10": "stl10_binary/test_X.bin",
    "imagenet-hard": "imagenet-hard/data/validation-00000-of-00002-392d4af3e7e0622d.parquet",
}
"""Sets whose images, or some of them, are in one file."""
CLASSES = {
    "imagenet": "imagenet/val",
    "entity-30": "imagenet/val",
    "imagenet-v2": "imagenetv2-matched-frequency-format-val",
    "imagenet-sketch": "sketch",
    "imagenet-a": "imagenet-a",
    "imagenet-r": "imagenet-r",
    "objectnet": "objectnet-1.0/images",
    "food-101": "food-101/images",
    "dtd": "dtd/dtd/images",
    "sun397": "SUN397/z",
    "pacs": "PACS/art_painting",
    "office-home": "office_home/Art",
    "vlcs": "VLCS/Caltech101",
    "terra-incognita": "terra_incognita/location_100",
    "domainnet": "domain_net/clipart",
}
"""Sets that own all their class folders."""
FRAMES = {
    "imagenet-vid-robust": "imagenet_vid_ytbb_robust/imagenet-vid-robust/val",
    "ytbb-robust": "imagenet_vid_ytbb_robust/ytbb-robust/ytbb_videos",
}
COUNTED = {
    "pacs": "pacs art_painting: 34 of 35 images",
    "office-home": "office-home Art: 129 of 130 images",
    "vlcs": "vlcs Caltech101: 24 of 25 images",
    "terra-incognita": "terra-incognita location_100: 49 of 50 images",
    "domainnet": "domainnet/all lacks 1 of 2,070 images: ",
}
"""What is said where a domain lacks an image; the folder is that of all domains."""
PARTLY = "terra-incognita"
"""A set of which it is not known which classes a domain has."""
DRAWN = "imagenet-w"
"""A set whose images are another set's; its own file is a font."""
FILES = [name for name in cards() if name not in (*ARRAYS, DRAWN)]


@pytest.fixture
def alone(synthetic: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Make a data folder with one set and the other files that its labels need."""

    def own(name: str) -> Path:
        root = tmp_path / "data"
        root.mkdir()
        places = Inspector(DataFolder(synthetic, tmp_path)).status(name).places.values()
        needed = {path.relative_to(synthetic).parts[0] for path in places}
        needed |= {"imagenet"} if cards()[name].needs else set()
        for entry in sorted(needed | {"bench-prompts"}):
            shutil.copytree(synthetic / entry, root / entry)
        shutil.copy(synthetic / SYNTHETIC, root)
        return root

    return own


def an_image(root: Path, name: str) -> Path:
    """One of the images that belong to the set."""
    if name in FRAMES:
        return next(path for path in sorted((root / FRAMES[name]).rglob("*")) if path.is_file())
    inspector = Inspector(DataFolder(root, root.parent / "cache"))
    images: Any = inspector.splits(cards()[name])[0][-1].load().images
    index = 1
    while not hasattr(images, "root"):  # a part of another split
        images, index = images.images, images.rows[index]
    return Path(images.root / images.names[index])


def refused(root: Path, name: str, named: str) -> None:
    """Assert that verifying ends with exit code 4 and a line with `named`, and records nothing."""
    cache = root.parent / "cache"
    result = bench("data", "verify", name, "--data", root, "--cache-dir", cache)
    assert result.code == 4, result.out + result.err
    assert f"{name}: incomplete or altered" in result.out
    assert any(named in line for line in result.out.splitlines()[1:]), result.out
    assert not (root / MANIFESTS).exists()


@pytest.mark.parametrize("name", cards())
def test_a_whole_set_is_complete_and_recorded(name: str, alone: Callable[[str], Path]) -> None:
    root = alone(name)
    found = Inspector(DataFolder(root, root.parent / "cache")).verify(name)
    assert (found.state, found.problems) == ("complete", ())
    assert (root / MANIFESTS / f"{name}.sha256").is_file()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_image(name: str, alone: Callable[[str], Path]) -> None:
    root = alone(name)
    path = an_image(root, name)
    path.unlink()
    # If a set has no list of its images, only the folder is known, not the file.
    listed = name in FRAMES or name not in CLASSES or name in ("food-101", "dtd", "sun397")
    whole = path.stem if name == "wilds-camelyon17" else path.name  # messages cut long paths
    refused(root, name, COUNTED.get(name) or (whole if listed else CLASSES[name]))


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_image(name: str, alone: Callable[[str], Path]) -> None:
    root = alone(name)
    path = an_image(root, name)
    path.write_bytes(path.read_bytes()[:300])
    refused(root, name, f"unreadable: {path}")


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("content", ["cut", "page"])
def test_a_file_of_images_that_is_not_whole(
    name: str, content: str, alone: Callable[[str], Path]
) -> None:
    root = alone(name)
    path = root / ARRAYS[name]
    path.write_bytes(path.read_bytes()[:-500] if content == "cut" else b"<html></html>")
    refused(root, name, str(path))


@pytest.mark.parametrize("name", CLASSES)
def test_an_extra_class(name: str, alone: Callable[[str], Path]) -> None:
    root = alone(name)
    added = root / CLASSES[name] / "zzz_extra"
    added.mkdir()
    Image.new("RGB", (24, 20), "red").save(added / "1.jpg")
    refused(root, name, f"not a class of this set: {added}")


@pytest.mark.parametrize("name", [name for name in CLASSES if name != PARTLY])
def test_a_class_that_is_gone(name: str, alone: Callable[[str], Path]) -> None:
    root = alone(name)
    path = an_image(root, name).parent
    shutil.rmtree(path)
    refused(root, name, path.name)


def test_a_folder_without_images_is_no_class(alone: Callable[[str], Path]) -> None:
    root = alone("sun397")
    (root / "SUN397" / "Partitions").mkdir()
    found = Inspector(DataFolder(root, root.parent / "cache")).verify("sun397")
    assert found.state == "complete"


def test_a_set_that_cannot_be_checked_is_no_success(alone: Callable[[str], Path]) -> None:
    root = alone("objectnet")
    shutil.rmtree(root / "objectnet-1.0" / "mappings")
    result = bench("data", "verify", "objectnet", "--data", root, "--cache-dir", root / "cache")
    assert result.code == 4
    assert "objectnet-1.0/mappings (not there)" in result.out


def test_entity_30_without_training_images_is_partly_there(alone: Callable[[str], Path]) -> None:
    root = alone("entity-30")
    shutil.rmtree(root / "imagenet" / "train")
    found = Inspector(DataFolder(root, root.parent / "cache")).verify("entity-30")
    assert (found.state, found.problems) == ("partly there, without source_train", ())
    assert not (root / MANIFESTS).exists()


def test_a_web_page_of_any_name_among_downloads(alone: Callable[[str], Path]) -> None:
    root = alone("imagenet-v2")
    page = root / "bench-downloads" / "imagenet-v2" / "download.part"
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html><html><body>Sign in</body></html>")
    refused(root, "imagenet-v2", f"{page} is an HTML page")


def test_a_link_to_nowhere_among_downloads_is_no_page(alone: Callable[[str], Path]) -> None:
    root = alone("imagenet-v2")
    link = root / "bench-downloads" / "imagenet-v2" / "v2.tar.gz.part"
    link.parent.mkdir(parents=True)
    link.symlink_to(root / "nowhere")
    assert bench("data", "verify", "imagenet-v2", "--data", root).code == 0


def test_entity_30_without_any_of_its_target_classes(alone: Callable[[str], Path]) -> None:
    """ImageNet's val is there, so its absence cannot be the reason."""
    root, ids = alone("entity-30"), wordnet_ids()
    for one in superclasses():
        for index in one["target"]:
            shutil.rmtree(root / "imagenet" / "val" / ids[index])
    refused(root, "entity-30", f"target_val: no image of its classes in {root / 'imagenet'}")


@pytest.mark.parametrize("command", ["verify", "status"])
def test_what_was_looked_for_is_said(command: str, tmp_path: Path) -> None:
    result = bench("data", command, "imagenet", "--data", tmp_path)
    assert result.code == (2 if command == "verify" else 0)
    assert f"{tmp_path / 'imagenet' / 'val'} (not there)" in result.out
    assert "bench show set:imagenet" in result.out


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_image_met_in_a_run(workers: int, alone: Callable[[str], Path]) -> None:
    root = alone("food-101")
    path = an_image(root, "food-101")
    path.write_bytes(path.read_bytes()[:300])
    result = bench(
        *("run", "--suite", "food101", "--methods", "zero-shot", "--data", root),
        *("--cache-dir", root.parent / "cache", "--workers", workers, "--out", root.parent / "out"),
    )
    assert result.code == 4, result.err
    assert str(path) in result.err and "replace or remove it" in result.err

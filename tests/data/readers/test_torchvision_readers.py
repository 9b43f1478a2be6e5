"""Suites of real data read the same images, labels and class names as torchvision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets as tv
from PIL import Image

from bench.api.dataset import Suite
from bench.api.registry import find_dataset
from bench.api.splits import Split

Found = list[tuple[bytes, Any]]


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable torchvision's checksums, which only fit the real data."""
    for module in ("cifar", "stl10"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda *_: True)


@pytest.fixture
def suite(request: pytest.FixtureRequest, copies: Path, tmp_path: Path) -> Suite:
    return find_dataset(request.param)().suite(copies, tmp_path)


def suites(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("suite", names, indirect=True)


def rgb(image: Image.Image) -> bytes:
    return image.convert("RGB").tobytes()


def ours(split: Split) -> Found:
    """Return [(pixels, label)] in order."""
    loaded = split.load()
    assert len(loaded.images) == split.size
    labels = loaded.manifest.first.tolist()
    return [(rgb(loaded.images[i]), label) for i, label in enumerate(labels)]


def theirs(dataset: Iterable[tuple[Image.Image, int]]) -> Found:
    return [(rgb(image), label) for image, label in dataset]


def by_path(split: Split) -> dict[str, tuple[bytes, int]]:
    found = ours(split)
    return dict(zip(split.load().manifest.ids, found, strict=True))


def spaced(names: Iterable[str]) -> list[str]:
    return [name.replace("_", " ").replace("/", " ") for name in names]


@suites("cifar10")
def test_cifar10(suite: Suite, copies: Path) -> None:
    for split, train in ((suite.task.train, True), (suite.test, False)):
        dataset = tv.CIFAR10(str(copies), train=train)
        assert ours(split) == theirs(dataset)
        assert list(suite.task.classnames) == dataset.classes


@suites("cifar100")
def test_cifar100(suite: Suite, copies: Path) -> None:
    for split, train in ((suite.task.train, True), (suite.test, False)):
        dataset = tv.CIFAR100(str(copies), train=train)
        assert ours(split) == theirs(dataset)
        assert list(suite.task.classnames) == spaced(dataset.classes)


@suites("cifar10")
def test_stl10_without_monkeys_and_in_the_classes_of_cifar10(suite: Suite, copies: Path) -> None:
    dataset = tv.STL10(str(copies), split="test")
    to_cifar: Mapping[int, int] = {0: 0, 1: 2, 2: 1, 3: 3, 4: 4, 5: 5, 6: 7, 8: 8, 9: 9}
    expected = [
        (rgb(image), (to_cifar[int(label)],))
        for image, label in dataset
        if dataset.classes[label] != "monkey"
    ]
    (shift,) = (s for s in suite.shifts if s.name == "stl10")
    assert shift.labels.columns is not None
    found = [(image, shift.labels.columns[label]) for image, label in ours(shift.split)]
    assert found == expected
    assert len(found) == len(dataset) * 9 // 10


@suites("cifar10")
def test_numpy_files(suite: Suite, copies: Path) -> None:
    """CIFAR-10.1 and CIFAR-10.2, opened as in the codes of wise-ft and VRF."""
    old = [copies / "CIFAR-10.1" / f"cifar10.1_v6_{part}.npy" for part in ("data", "labels")]
    images, labels = (np.load(path) for path in old)
    assert labels.dtype == np.int32
    with np.load(copies / "CIFAR-10.2" / "cifar102_test.npz") as file:
        new = file["images"], file["labels"]
    for shift, (x, y) in zip(suite.shifts, ((images, labels), new), strict=False):
        assert shift.labels.columns is None
        assert ours(shift.split) == [(i.tobytes(), int(c)) for i, c in zip(x, y, strict=True)]


@suites("dtd")
@pytest.mark.parametrize("partition", [1, 4])
def test_dtd(suite: Suite, partition: int, copies: Path, tmp_path: Path) -> None:
    if partition > 1:
        suite = find_dataset("dtd")(partition=partition).suite(copies, tmp_path)  # type: ignore[call-arg]
    splits = {"train": suite.task.train, "val": suite.task.selection, "test": suite.test}
    for role, split in splits.items():
        dataset = tv.DTD(str(copies), split=role, partition=partition)
        paths = [f"{path.parent.name}/{path.name}" for path in dataset._image_files]
        assert by_path(split) == dict(zip(paths, theirs(dataset), strict=True))
        assert list(suite.task.classnames) == spaced(dataset.classes)


@suites("food101")
def test_food101(suite: Suite, copies: Path) -> None:
    for split, role in ((suite.task.train, "train"), (suite.test, "test")):
        dataset = tv.Food101(str(copies), split=role)
        paths = [f"{path.parent.name}/{path.name}" for path in dataset._image_files]
        assert by_path(split) == dict(zip(paths, theirs(dataset), strict=True))
        assert list(suite.task.classnames) == spaced(dataset.classes)


@suites("sun397")
def test_sun397(suite: Suite, copies: Path) -> None:
    dataset = tv.SUN397(str(copies))
    paths = [path.relative_to(copies / "SUN397").as_posix() for path in dataset._image_files]
    every = dict(zip(paths, theirs(dataset), strict=True))
    for split, listed in ((suite.task.train, "Training_01"), (suite.test, "Testing_01")):
        lines = (copies / "SUN397" / f"{listed}.txt").read_text().split()
        assert by_path(split) == {line[1:]: every[line[1:]] for line in lines}
    assert list(suite.task.classnames) == spaced(dataset.classes)


@suites("cars")
def test_stanford_cars(suite: Suite, copies: Path) -> None:
    for split, role in ((suite.task.train, "train"), (suite.test, "test")):
        dataset = tv.StanfordCars(str(copies), split=role)
        paths = [Path(path).relative_to(copies / "stanford_cars") for path, _ in dataset._samples]
        names = [path.as_posix() for path in paths]
        assert by_path(split) == dict(zip(names, theirs(dataset), strict=True))
        assert list(suite.task.classnames) == dataset.classes

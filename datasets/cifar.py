"""The suite `cifar10`: CIFAR-10 with the shifts CIFAR-10.1 v6, CIFAR-10.2 and STL-10.

WiSE-FT and VRF use these shifts. Images are read from the official files of each data set; CIFAR-10
and STL-10 are also read from class folders.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from bench.api import registry
from bench.api.dataset import Card, LabelMap, Shift, Suite, Task
from bench.api.splits import Split
from bench.core.errors import InputError
from bench.core.foreign.files import text_of
from bench.data.classes import Classes
from bench.data.folder import DataFolder, Reason, holds_entries, holds_folders
from bench.data.readers.arrays import array_split, images_of_file
from bench.data.readers.cifar_stl import CIFAR10_CLASSES as CLASSES
from bench.data.readers.cifar_stl import STL_CLASSES, cifar102, cifar_batches, stl10
from bench.data.readers.folders import tree_split
from bench.data.suites.common import official_templates, real_suite, split_or_absent, suite_card

FILES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
IN_STL = {name: "car" if name == "automobile" else name for name in CLASSES if name != "frog"}
"""{class of CIFAR-10: same class of STL-10} in CIFAR-10's order, without frog and monkey."""
STL_MAP = LabelMap(tuple((CLASSES.index(name),) for name in IN_STL))
"""VRF predicts among these nine classes (``src/datasets/cifar10.py``), LP-FT's code among ten."""


@registry.dataset
class Cifar10:
    """CIFAR-10 with the shifts CIFAR-10.1, CIFAR-10.2 and STL-10."""

    name: ClassVar[str] = "cifar10"
    card: ClassVar[Card] = suite_card(
        "cifar-10", {"10.1": "cifar-10.1", "10.2": "cifar-10.2", "stl10": "stl-10"}
    )

    def found(self, data: Path | None) -> bool:
        """Return whether the test set is in the data folder."""
        return DataFolder(data, Path()).has("cifar-10", "test", _holds("test"))

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite. Methods keep their defaults, which WiSE-FT and VRF also used here."""
        folder = DataFolder(data, cache)
        templates, origin = official_templates(folder, "cifar-10", self.name)
        test = _id_split(folder, "test")
        train = split_or_absent("cifar10/train", lambda: _id_split(folder, "train"))
        return real_suite(
            folder,
            Task(self.name, CLASSES, templates, train, train),
            test,
            self.shifts(data, cache),
            prompts=f"class names of CIFAR-10; templates: {origin}",
        )

    def shifts(self, data: Path | None, cache: Path) -> Mapping[str, Callable[[], Shift]]:
        """Return {shift: function that opens it}; shifts can be opened without CIFAR-10 itself."""
        folder = DataFolder(data, cache)
        return {
            "10.1": lambda: Shift("10.1", _cifar101(folder)),
            "10.2": lambda: Shift("10.2", _cifar102(folder)),
            "stl10": lambda: Shift("stl10", _stl10(folder), STL_MAP),
        }

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Return {folder: class names} of CIFAR-10 and STL-10 if they are in class folders."""
        folder = DataFolder(data, Path())
        own = folder.those("cifar-10", FILES)
        stl = folder.those("stl-10", ("test",))
        found: dict[Path, Collection[str]] = dict.fromkeys(own.values(), CLASSES)
        found |= dict.fromkeys(stl.values(), (*STL_CLASSES, *IN_STL))
        binary = ("cifar-10-batches-py", "stl10_binary")
        return {path: names for path, names in found.items() if path.name not in binary}


def _holds(role: str) -> Any:
    """Return a check that a folder holds a split of CIFAR-10, as batches or class folders."""
    batches = holds_entries("batches.meta", *FILES[role])

    def fits(path: Path) -> Reason:
        return batches(path) if path.name == "cifar-10-batches-py" else holds_folders(path)

    return fits


def _id_split(folder: DataFolder, role: str) -> Split:
    place, name = folder.place("cifar-10", role, _holds(role)), f"cifar10/{role}"
    if (place / "batches.meta").is_file():
        arrays = cifar_batches(place, FILES[role]).only(CLASSES)
        split = array_split(name, arrays, folder.cache, role)
    else:
        classes = {key: index for index, key in enumerate(CLASSES)}
        split = tree_split(name, place, classes, folder.cache)
    return folder.counted(split, "cifar-10", role)


def _cifar101(folder: DataFolder) -> Split:
    files = ("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy")
    place = folder.place("cifar-10.1", "test", holds_entries(*files))
    images, labels = (place / file for file in files)
    arrays = images_of_file(images, labels, Classes(CLASSES, CLASSES))
    split = array_split("cifar10/10.1", arrays, folder.cache)
    return folder.counted(split, "cifar-10.1", "test")


def _cifar102(folder: DataFolder) -> Split:
    def fits(path: Path) -> Reason:
        return "" if _form102(path) else "no cifar102_test.npz or .npy in it"

    place = folder.place("cifar-10.2", "test", fits)
    arrays = cifar102(place / _form102(place)).only(CLASSES)
    split = array_split("cifar10/10.2", arrays, folder.cache)
    return folder.counted(split, "cifar-10.2", "test")


def _form102(path: Path) -> str:
    """Return the name of CIFAR-10.2's test file, current or first version; "" if there is none."""
    forms = ("cifar102_test.npz", "cifar102_test.npy")
    return next((name for name in forms if (path / name).is_file()), "")


def _stl10(folder: DataFolder) -> Split:
    """Return STL-10's test images without monkeys, labelled in the order of `IN_STL`."""

    def fits(path: Path) -> Reason:
        binary = holds_entries("test_X.bin", "test_y.bin")
        return binary(path) if path.name == "stl10_binary" else holds_folders(path)

    place = folder.place("stl-10", "test", fits)
    if (place / "test_X.bin").is_file():
        arrays = replace(stl10(place, "test"), classes=_stl_names(place / "class_names.txt"))
        split = array_split("cifar10/stl10", arrays.only(tuple(IN_STL.values())), folder.cache)
    else:
        # VRF's class folders. Its loader numbers them by sorted name, so the folder of cars must be
        # called automobile there. Here both names are accepted.
        known = {
            own if (place / own).is_dir() else theirs: index
            for index, (own, theirs) in enumerate(IN_STL.items())
        }
        split = tree_split("cifar10/stl10", place, known, folder.cache)
    return folder.counted(split, "stl-10", "test_without_monkey")


def _stl_names(path: Path) -> tuple[str, ...]:
    """Return the names of the labels 1 to 10, from the data's own file if it exists."""
    names = tuple(text_of(path).split()) if path.is_file() else STL_CLASSES
    if sorted(names) != sorted(STL_CLASSES):
        raise InputError(f"{path}: expected the class names {', '.join(STL_CLASSES)}")
    return names

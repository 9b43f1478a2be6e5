"""Suites of transfer sets without shifts: CIFAR-100, DTD, Food-101, SUN397 and Stanford Cars.

Splits, class names and their order come from the sets' own files, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.api import registry
from bench.api.dataset import Card, Suite, Task
from bench.api.splits import Split
from bench.core.errors import InputError, shortened
from bench.core.foreign.documents import read_json
from bench.core.foreign.files import reading_form, text_of
from bench.data.folder import DataFolder, NotFound, Reason, holds_entries, holds_folders
from bench.data.readers.arrays import Arrays, array_split
from bench.data.readers.cifar_stl import cifar100
from bench.data.readers.folders import named_split, tree_split
from bench.data.suites.common import official_templates, real_suite, split_or_absent, suite_card


def _without_cache(data: Path | None) -> DataFolder:
    return DataFolder(data, Path())


def _lines(path: Path) -> list[str]:
    """Return the lines of a file that are not blank. Raises NotFound if the file is missing."""
    if not path.is_file():
        raise NotFound(f"{path} does not exist: unpack the archive again")
    return [line.strip() for line in text_of(path).splitlines() if line.strip()]


def _folders(images: Iterable[str]) -> dict[str, int]:
    """Return {class: index} of images ``<class>/<file>``."""
    return _indexed(sorted({image.partition("/")[0] for image in images}))


def _indexed(names: Iterable[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _listed(
    name: str, root: Path, images: Sequence[str], classes: Mapping[str, int], cache: Path
) -> Split:
    """Return the split of images ``<class>/<file>`` in `root`; class names may contain slashes."""
    labels = []
    for image in images:
        label = classes.get(image.rpartition("/")[0])
        if label is None:
            raise InputError(
                f"{name}: its list has {image!r:.100}, which is in no class folder: "
                "unpack the archive again"
            )
        labels.append(label)
    return named_split(name, root, images, labels, cache)


def _spaced(name: str) -> str:
    """Return a class name as in OpenAI's prompts for CLIP: with spaces."""
    return name.replace("_", " ").replace("/", " ")


def _suite(
    folder: DataFolder,
    name: str,
    of: str,
    classes: Iterable[str],
    splits: Mapping[str, Split],
    names: str,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Suite:
    """Return the suite `name` of the data set `of`.

    `splits` are train, test and optionally selection. `names` is the origin of the class names.
    """
    templates, origin = official_templates(folder, of, name.partition("=")[0])
    train = splits["train"]
    task = Task(name, tuple(classes), templates, train, splits.get("selection", train))
    prompts = f"class names {names}; templates: {origin}"
    return real_suite(folder, task, splits["test"], prompts=prompts, defaults=defaults or {})


@registry.dataset
class Cifar100:
    """CIFAR-100 with its fine labels."""

    name: ClassVar[str] = "cifar100"
    card: ClassVar[Card] = suite_card("cifar-100")

    def found(self, data: Path | None) -> bool:
        """Return whether the test set is in the data folder."""
        return _without_cache(data).has("cifar-100", "all", holds_entries("test", "meta"))

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite; without a file ``train`` it has no training data."""
        folder = DataFolder(data, cache)

        def images(role: str) -> Arrays:
            return cifar100(folder.place("cifar-100", "all", holds_entries(role, "meta")), role)

        def split(role: str) -> Split:
            found = array_split(f"cifar100/{role}", images(role), cache, role)
            return folder.counted(found, "cifar-100", role)

        splits = {
            "test": split("test"),
            "train": split_or_absent("cifar100/train", lambda: split("train")),
        }
        names = map(_spaced, images("test").classes)
        return _suite(folder, "cifar100", "cifar-100", names, splits, "of the file meta")


@registry.dataset
@dataclass(frozen=True)
class DescribableTextures:
    """DTD in one of its ten partitions, with its own train, validation and test splits."""

    name: ClassVar[str] = "dtd"
    card: ClassVar[Card] = suite_card("dtd")
    partitions: ClassVar[int] = 10

    partition: int = 1

    def _fits(self) -> Any:
        return holds_entries("images", f"labels/test{self.partition}.txt")

    def found(self, data: Path | None) -> bool:
        """Return whether images and the list of test images are in the data folder."""
        return _without_cache(data).has("dtd", "all", self._fits())

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite, named ``dtd`` for partition 1 and ``dtd=3`` for partition 3."""
        folder = DataFolder(data, cache)
        root = folder.place("dtd", "all", self._fits())
        name = self.name if self.partition == 1 else f"{self.name}={self.partition}"

        def images(listed: str) -> list[str]:
            return _lines(root / "labels" / f"{listed}{self.partition}.txt")

        classes = _folders(images("test"))

        def split(role: str, listed: str) -> Split:
            found = _listed(f"{name}/{role}", root / "images", images(listed), classes, cache)
            return folder.counted(found, "dtd", listed)

        splits = {
            "test": split("test", "test"),
            "train": split_or_absent(f"{name}/train", lambda: split("train", "train")),
            "selection": split_or_absent(f"{name}/selection", lambda: split("selection", "val")),
        }
        return _suite(folder, name, "dtd", map(_spaced, classes), splits, "of the folders")

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Return {folder: classes in any list}."""
        root = _without_cache(data).place("dtd", "all", self._fits())
        lists = sorted((root / "labels").glob("*[0-9].txt"))
        return {root / "images": _folders(image for path in lists for image in _lines(path))}


@registry.dataset
class Food101:
    """Food-101."""

    name: ClassVar[str] = "food101"
    card: ClassVar[Card] = suite_card("food-101")

    def found(self, data: Path | None) -> bool:
        """Return whether images and the list of test images are in the data folder."""
        return _without_cache(data).has("food-101", "all", _food_list("test"))

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite; without a list of training images it has no training data."""
        folder = DataFolder(data, cache)
        root = folder.place("food-101", "all", _food_list("test"))
        classes = _folders(_food_images(root / "meta", "test"))

        def split(role: str) -> Split:
            images = _food_images(root / "meta", role)
            found = _listed(f"food101/{role}", root / "images", images, classes, cache)
            return folder.counted(found, "food-101", role)

        splits = {
            "test": split("test"),
            "train": split_or_absent("food101/train", lambda: split("train")),
        }
        return _suite(
            folder, "food101", "food-101", map(_spaced, classes), splits, "of the folders"
        )

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Return {folder: classes in the list of test images}."""
        root = _without_cache(data).place("food-101", "all", _food_list("test"))
        return {root / "images": _folders(_food_images(root / "meta", "test"))}


def _food_list(role: str) -> Any:
    def fits(path: Path) -> Reason:
        if not (path / "images").is_dir():
            return "no images in it"
        lists = [f"meta/{role}.{kind}" for kind in ("json", "txt")]
        return "" if any((path / name).is_file() for name in lists) else f"no {' or '.join(lists)}"

    return fits


def _food_images(meta: Path, role: str) -> list[str]:
    """Return the images ``<class>/<number>.jpg`` of a split. NotFound if its list is missing."""
    path = meta / f"{role}.json"
    if not path.is_file():
        return [f"{image}.jpg" for image in _lines(meta / f"{role}.txt")]
    with reading_form(path, "{class: [images]}"):
        return [f"{image}.jpg" for images in read_json(path).values() for image in images]


@registry.dataset
@dataclass(frozen=True)
class Sun397:
    """SUN397 in one of its ten partitions, each with 50 + 50 images per class."""

    name: ClassVar[str] = "sun397"
    card: ClassVar[Card] = suite_card("sun397")
    partitions: ClassVar[int] = 10

    partition: int = 1

    def _list(self, kind: str) -> str:
        return f"{kind}_{self.partition:02}.txt"

    def found(self, data: Path | None) -> bool:
        """Return whether images, class names and the list of test images are in the data folder."""
        folder = _without_cache(data)
        lists = folder.has("sun397", "partitions", holds_entries(self._list("Testing")))
        return lists and folder.has("sun397", "all", holds_entries("ClassName.txt"))

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite, named ``sun397`` for partition 1 and ``sun397=3`` for partition 3."""
        folder = DataFolder(data, cache)
        root = folder.place("sun397", "all", holds_entries("ClassName.txt"))
        name = self.name if self.partition == 1 else f"{self.name}={self.partition}"
        folders = [line.lstrip("/") for line in _lines(root / "ClassName.txt")]
        classes = _indexed(folders)

        def split(role: str, kind: str) -> Split:
            lists = folder.place("sun397", "partitions", holds_entries(self._list(kind)))
            images = [line.lstrip("/") for line in _lines(lists / self._list(kind))]
            found = _listed(f"{name}/{role}", root, images, classes, cache)
            return folder.counted(found, "sun397", role)

        splits = {
            "test": split("test", "Testing"),
            "train": split_or_absent(f"{name}/train", lambda: split("train", "Training")),
        }
        names = [_spaced(folder.partition("/")[2]) for folder in folders]
        return _suite(folder, name, "sun397", names, splits, "of ClassName.txt")

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Return {folder: classes in ClassName.txt, such as ``a/abbey``}."""
        root = _without_cache(data).place("sun397", "all", holds_entries("ClassName.txt"))
        return {root: [line.lstrip("/") for line in _lines(root / "ClassName.txt")]}


@registry.dataset
class StanfordCars:
    """Stanford Cars, with labels from the annotations of its devkit or from class folders."""

    name: ClassVar[str] = "cars"
    card: ClassVar[Card] = suite_card("stanford-cars")
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "flyp": {
            "lr": 1e-5, "weight_decay": 0.0, "batch_size": 256, "epochs": 100, "warmup": 500,
        }
    }  # fmt: skip
    """FLYP's command for Stanford Cars (locuslab/FLYP, README); no other method published one."""

    def found(self, data: Path | None) -> bool:
        """Return whether the test images are there, with annotations or in class folders."""
        folder = _without_cache(data)
        return self._annotated(folder) or self._sorted(folder)

    def _annotated(self, folder: DataFolder) -> bool:
        return folder.has("stanford-cars", "test", _annotated("test"))

    def _sorted(self, folder: DataFolder) -> bool:
        return folder.has("stanford-cars", "test by class", holds_folders)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite: from the annotations if they exist, otherwise from class folders."""
        folder = DataFolder(data, cache)
        if self._annotated(folder) or not self._sorted(folder):
            return self._of_devkit(folder)
        return self._of_folders(folder)

    def _of_devkit(self, folder: DataFolder) -> Suite:
        images = folder.place("stanford-cars", "test", _annotated("test"))
        names = _car_names(images.parent / "devkit" / "cars_meta.mat")

        def split(role: str) -> Split:
            base = folder.place("stanford-cars", role, _annotated(role)).parent
            files, labels = _car_labels(_annotations(base, role), len(names))
            images = [f"cars_{role}/{file}" for file in files]
            found = named_split(f"cars/{role}", base, images, labels, folder.cache)
            return folder.counted(found, "stanford-cars", role)

        splits = {
            "test": split("test"),
            "train": split_or_absent("cars/train", lambda: split("train")),
        }
        return _suite(
            folder, "cars", "stanford-cars", names, splits, "of cars_meta.mat", self.defaults
        )

    def _of_folders(self, folder: DataFolder) -> Suite:
        root = folder.place("stanford-cars", "test by class", holds_folders)
        folders = sorted(e.name for e in root.iterdir() if e.is_dir() and e.name[0] != ".")
        classes = _indexed(folders)

        def split(role: str, part: str) -> Split:
            place = folder.place("stanford-cars", f"{part} by class", holds_folders)
            return tree_split(f"cars/{role}", place, classes, folder.cache)

        test = folder.counted(split("test", "test"), "stanford-cars", "test")
        train = split_or_absent("cars/train", lambda: split("train", "train"))
        splits = {"test": test, "train": train}
        whole = train.size
        if folder.has("stanford-cars", "val by class", holds_folders):
            # A random fifth of the training images: some classes may have none.
            splits["selection"] = replace(split("selection", "val"), fault="")
            whole += splits["selection"].size
        if not train.absent:
            fault = folder.counted(replace(train, size=whole), "stanford-cars", "train").fault
            splits["train"] = replace(train, fault=fault, of=("stanford-cars", "train"))
        return _suite(
            folder, "cars", "stanford-cars", map(_spaced, folders), splits, "of the folders",
            self.defaults,
        )  # fmt: skip

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Return {folder: class folders of the test images}, if there are class folders."""
        parts = [f"{part} by class" for part in ("test", "train", "val")]
        places = _without_cache(data).those("stanford-cars", parts, holds_folders)
        test = places.get(parts[0])
        names = [path.name for path in test.iterdir()] if test else []
        return dict.fromkeys(places.values(), names) if test else {}


def _annotated(role: str) -> Any:
    def fits(path: Path) -> Reason:
        base = path.parent
        if not (base / "devkit" / "cars_meta.mat").is_file():
            return f"no devkit/cars_meta.mat in {base}"
        try:
            _annotations(base, role)
        except NotFound as error:
            return str(error)
        return ""

    return fits


def _annotations(base: Path, role: str) -> Path:
    """Return the file with the labels of a split, in `base` or its devkit. Raises NotFound."""
    file = "cars_train_annos.mat" if role == "train" else "cars_test_annos_withlabels.mat"
    for path in (base / "devkit" / file, base / file):
        if path.is_file():
            return path
    raise NotFound(f"no {file} in {base} or its devkit")


def _matlab(path: Path, name: str) -> Any:
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True, variable_names=[name])[name]
    except Exception as error:  # damaged files raise many types of errors
        reason = shortened(repr(error), 100)
        raise InputError(f"{path}: expected a MATLAB file with {name}: {reason}") from error


def _car_names(path: Path) -> list[str]:
    return [str(name) for name in np.atleast_1d(_matlab(path, "class_names"))]


def _car_labels(path: Path, classes: int) -> tuple[list[str], list[int]]:
    """Return (files, class indices from 0) of an annotation file. Raises InputError."""
    rows = np.atleast_1d(_matlab(path, "annotations"))
    try:
        files, labels = [str(f) for f in rows["fname"]], [int(c) - 1 for c in rows["class"]]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected annotations with fname and class") from error
    if wrong := [label + 1 for label in labels if not 0 <= label < classes]:
        raise InputError(f"{path}: class {wrong[0]}: expected 1 to {classes}")
    return files, labels

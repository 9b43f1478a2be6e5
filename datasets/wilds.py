"""The WILDS suites `fmow` (satellites), `iwildcam` (camera traps) and `camelyon17` (hospitals).

Koh et al., ICML 2021. Splits, labels and groups are read from the archives' own CSV files by the
rules of the ``wilds`` package, which is not needed (docs/decisions/2026-11-22-wilds.md). These
files list all images: a missing image is reported as a fault of its split.
"""

from __future__ import annotations

import csv
import io
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.api import registry
from bench.api.dataset import Card, Shift, Suite, Task
from bench.api.splits import Split
from bench.core.errors import InputError, unknown_name
from bench.core.foreign.files import TABLE, reading_form, text_of
from bench.data.cards import SetCard, cards
from bench.data.folder import DataFolder, NotFound, Reason, holds_entries
from bench.data.prompts import PLAIN, read_templates
from bench.data.readers.folders import named_split
from bench.data.suites.common import (
    PROMPTS,
    official_templates,
    real_suite,
    split_or_absent,
    suite_card,
)

DEFAULTS: dict[str, dict[str, Any]] = {
    "flyp": {"lr": 1e-5, "weight_decay": 0.2, "batch_size": 256, "epochs": 20},
    "lp-ft-raw": {"probe.epochs": 10},
}
"""Published settings that differ from those on ImageNet: FLYP's commands for both sets, and the
probe that CaRot's LP-FT starts from (docs/methods.md section 3 and section 12)."""


@dataclass(frozen=True)
class _Images:
    """The N images of a data set, one per row of its metadata.

    Attributes
    ----------
    root, files : image i is ``root/files[i]``.
    parts : the split of each image, by its name on the data set's card; images of splits that are
        not on the card are not used.
    labels : int64 [N].
    group, members : name of the group, and the code or name of each image's group member.
    """

    root: Path
    files: Sequence[str]
    parts: NDArray[np.str_]
    labels: NDArray[np.int64]
    group: str
    members: Sequence[str] | NDArray[np.int64]


@dataclass(frozen=True)
class _Opener:
    """Builds a suite from the images of one data set."""

    suite: str
    card: SetCard
    folder: DataFolder
    images: _Images

    def split(self, name: str, part: str) -> Split:
        """Return the split of a part. Raises NotFound if all its images are missing."""
        found = self.images
        rows = np.flatnonzero(found.parts == part)
        if not len(rows):
            raise NotFound(f"{self.suite}/{name}: the metadata list no images of the split {part}")
        every, indices = found.members, rows.tolist()
        members = every[rows] if isinstance(every, np.ndarray) else [every[i] for i in indices]
        try:
            split = named_split(
                f"{self.suite}/{name}",
                found.root,
                [found.files[row] for row in indices],
                found.labels[rows],
                self.folder.cache,
                {found.group: members},
            )
        except InputError as error:
            raise NotFound(str(error)) from error
        # If no source confirms the number on the card, the metadata decide.
        if self.folder.synthetic is None and part in self.card.unverified:
            return replace(split, of=(self.card.name, part))
        return self.folder.counted(split, self.card.name, part)

    def make(
        self,
        classnames: Sequence[str],
        templates: Sequence[str],
        prompts: str,
        metrics: tuple[str, ...] = (),
        shift_metrics: tuple[str, ...] = (),
    ) -> Suite:
        """Return the suite. Raises NotFound if all images of its ID test set are missing."""
        train = split_or_absent(f"{self.suite}/train", lambda: self.split("train", "train"))
        held = split_or_absent(f"{self.suite}/selection", lambda: self.split("selection", "id_val"))
        return real_suite(
            self.folder,
            Task(self.suite, tuple(classnames), tuple(templates), train, held),
            self.split("test", "id_test"),
            {"ood": lambda: Shift("ood", self.split("ood", "ood_test"), metrics=shift_metrics)},
            prompts=prompts,
            defaults=DEFAULTS,
            metrics=metrics,
        )


def _prompt_file(folder: DataFolder, card: SetCard, file: str) -> Path:
    return (folder.root or Path()) / PROMPTS / card.name / file


def _templates(
    folder: DataFolder, card: SetCard, suite: str, plain: tuple[str, ...]
) -> tuple[tuple[str, ...], str]:
    """Return the official templates, or `plain` if they are missing, and their description."""
    path = _prompt_file(folder, card, f"{suite}_template.py")
    if path.is_file():
        found = read_templates(path, suite)
        return found, f"the {len(found)} templates of wise-ft's {path.name}"
    get = f"{_getting(card)} {path.name} of wise-ft"
    return plain, f"{plain[0]!r}, which is not the official prompt: {get}"


def _getting(card: SetCard) -> str:
    """Return how to get a prompt file. The text is part of the stored prompt description."""
    return f"'bench data prepare {card.name}' gets"


# FMoW

FMOW = cards()["wilds-fmow"]
PERIODS = (datetime(2013, 1, 1, tzinfo=UTC), datetime(2016, 1, 1, tzinfo=UTC))
"""Where the second and the third period begin."""
TIMED: Mapping[tuple[str, int], str] = {
    ("train", 0): "train",
    ("val", 0): "id_val",
    ("test", 0): "id_test",
    ("val", 1): "ood_val",
    ("test", 2): "ood_test",
}
"""{(split in the metadata, number of the period): split on the card}. All other images, and
sequestered ones (``seq``), are not used."""


@registry.dataset
class FMoW:
    """Satellite images of 62 categories, shifted to later years; metric: worst-region accuracy."""

    name: ClassVar[str] = "fmow"
    card: ClassVar[Card] = suite_card(FMOW.name, {"ood": FMOW.name})

    def found(self, data: Path | None) -> bool:
        """Return whether the folder with its two CSV files is in the data folder."""
        return DataFolder(data, Path()).has(FMOW.name, "all", _fmow)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite. InputError if the folder or all ID test images are missing."""
        folder = DataFolder(data, cache)
        names, images = _fmow_images(folder.place(FMOW.name, "all", _fmow))
        # The official templates use the names as they are; {a} adds an article: "an airport".
        templates, origin = _templates(folder, FMOW, self.name, ("a photo of {a}.",))
        prompts = f"class names are the categories of rgb_metadata.csv; {origin}"
        opener = _Opener(self.name, FMOW, folder, images)
        return opener.make(names, templates, prompts, shift_metrics=("worst-region",))


_fmow = holds_entries("rgb_metadata.csv", "country_code_mapping.csv", "images")


def _fmow_images(root: Path) -> tuple[tuple[str, ...], _Images]:
    """Return (class names, images). Classes are the sorted categories, as in ``wilds``."""
    path, mapping = root / "rgb_metadata.csv", root / "country_code_mapping.csv"
    columns = ("split", "category", "country_code", "timestamp")
    splits, categories, countries, times = _columns(path, columns)
    names = tuple(sorted(set(categories)))
    if len(names) != FMOW.classes:
        raise InputError(
            f"{path} has {len(names)} categories: expected {FMOW.classes}; get the file again"
        )
    index = {name: number for number, name in enumerate(names)}
    regions = dict(zip(*_columns(mapping, ("alpha-3", "region")), strict=True))
    parts = [TIMED.get((s, _period(path, t)), "") for s, t in zip(splits, times, strict=True)]
    images = _Images(
        root,
        # Numbered by the rows of the whole table, including sequestered images.
        files=[f"images/rgb_img_{row}.png" for row in range(len(splits))],
        parts=np.array(parts),
        labels=np.array([index[category] for category in categories], dtype=np.int64),
        group="region",
        members=[regions.get(country, "Other") for country in countries],
    )
    return names, images


def _period(path: Path, time: str) -> int:
    """Return the period, 0 to 2, of a time such as 2011-02-07T02:48:56.643Z."""
    try:
        return bisect(PERIODS, datetime.fromisoformat(time))
    except (ValueError, TypeError) as error:
        expected = "a time with its zone, such as 2013-10-05T02:27:17Z"
        raise InputError(f"{path}: timestamp {time!r}: expected {expected}") from error


# iWildCam

IWILDCAM = cards()["wilds-iwildcam"]
PARTS = {"val": "ood_val", "test": "ood_test"}
"""{split in the metadata: split on the card}, where the names differ."""
UNUSED = 99999
"""The class number, in lists of names, of species that no image shows."""


@registry.dataset
class IWildCam:
    """Camera trap images of 182 species, shifted to other cameras; primary metric: macro-F1."""

    name: ClassVar[str] = "iwildcam"
    card: ClassVar[Card] = suite_card(IWILDCAM.name, {"ood": IWILDCAM.name})

    def found(self, data: Path | None) -> bool:
        """Return whether the folder and a list of species names are in the data folder."""
        folder = DataFolder(data, Path())
        return folder.has(IWILDCAM.name, "all", partial(_iwildcam, folder=folder))

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite. InputError if folder, names or all ID test images are missing."""
        folder = DataFolder(data, cache)
        root = folder.place(IWILDCAM.name, "all", partial(_iwildcam, folder=folder))
        names, names_origin = _species(folder, root)
        templates, origin = _templates(folder, IWILDCAM, self.name, PLAIN)
        opener = _Opener(self.name, IWILDCAM, folder, _iwildcam_images(root))
        return opener.make(names, templates, f"{names_origin}; {origin}", metrics=("macro-f1",))


def _english(folder: DataFolder) -> Path:
    return _prompt_file(folder, IWILDCAM, "labels.csv")


def _iwildcam(path: Path, folder: DataFolder) -> Reason:
    """Return why a folder cannot be used as iWildCam; empty if it can.

    It must hold the images and metadata, and a list of species names must exist.
    """
    reason = holds_entries("metadata.csv", "train")(path)
    english, scientific = _english(folder), path / "categories.csv"
    if reason or english.is_file() or scientific.is_file():
        return reason
    return (
        f"no species names: no {scientific.name} in it and no {english}, which 'bench data prepare "
        f"{IWILDCAM.name}' downloads"
    )


def _iwildcam_images(root: Path) -> _Images:
    path = root / "metadata.csv"
    columns = ("split", "filename", "y", "location_remapped")
    splits, files, labels, locations = _columns(path, columns)
    classes, last = _integers(path, labels), IWILDCAM.classes - 1
    if len(classes) and not 0 <= classes.min() <= classes.max() <= last:
        raise InputError(
            f"{path}: y is from {classes.min()} to {classes.max()}: expected 0 to {last}; get the "
            "file again"
        )
    return _Images(
        root / "train",  # the folder of all splits
        files=files,
        parts=np.array([PARTS.get(split, split) for split in splits]),
        labels=classes,
        group="location",
        members=_integers(path, locations),
    )


def _species(folder: DataFolder, root: Path) -> tuple[tuple[str, ...], str]:
    """Return the species names in lower case, as in wise-ft's head, and their description.

    These are the English names of wise-ft's list, or the scientific names of the archive if that
    list is missing.
    """
    english = _english(folder)
    if english.is_file():
        origin = f"class names are those of wise-ft's {english.name}"
        return _class_names(english, "english"), origin
    scientific = root / "categories.csv"
    return _class_names(scientific, "name"), (
        f"class names are the scientific ones of {scientific.name}, not the official English ones: "
        f"{_getting(IWILDCAM)} {english.name} of wise-ft"
    )


def _class_names(path: Path, column: str) -> tuple[str, ...]:
    """Return the names of all classes from a column of a file that lists them in order."""
    numbers, names = _columns(path, ("y", column))
    used = [(y, n) for y, n in zip(_integers(path, numbers), names, strict=True) if y < UNUSED]
    if [y for y, _ in used] != list(range(IWILDCAM.classes)):
        last = IWILDCAM.classes - 1
        raise InputError(f"{path}: expected y from 0 to {last} in order, then only {UNUSED}")
    return tuple(name.lower() for _, name in used)


# Camelyon17

CAMELYON = cards()["wilds-camelyon17"]
CENTERS, SEEN = {"1": "ood_val", "2": "ood_test"}, {"0": "train", "1": "id_val"}
"""Splits on the card, by hospital if it is not in training, else by the split in the metadata."""
_camelyon = holds_entries("metadata.csv", "patches")
TISSUES = ("healthy lymph node tissue", "lymph node tumor tissue")
"""The class names of OpenAI's prompts for PatchCamelyon, whose patches are of the same kind."""


@registry.dataset
class Camelyon17:
    """Patches of lymph nodes with or without a tumour, shifted to another hospital."""

    name: ClassVar[str] = "camelyon17"
    card: ClassVar[Card] = suite_card(CAMELYON.name, {"ood": CAMELYON.name})

    def found(self, data: Path | None) -> bool:
        """Return whether the folder with its metadata is in the data folder."""
        return DataFolder(data, Path()).has(CAMELYON.name, "all", _camelyon)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite, with id_val as ID test set and a part of train held out to choose on.

        Raises InputError if the folder or all ID test images are missing.
        """
        folder = DataFolder(data, cache)
        images = _camelyon_images(folder.place(CAMELYON.name, "all", _camelyon))
        opener = _Opener(self.name, CAMELYON, folder, images)
        templates, origin = official_templates(folder, CAMELYON.name, "pcam")
        train = split_or_absent("camelyon17/train", lambda: opener.split("train", "train"))
        task = Task(self.name, TISSUES, templates, train, train)
        shifts = {"ood": lambda: Shift("ood", opener.split("ood", "ood_test"))}
        prompts = f"class names of OpenAI's prompts for PatchCamelyon; templates: {origin}"
        return real_suite(folder, task, opener.split("test", "id_val"), shifts, prompts=prompts)


def _camelyon_images(root: Path) -> _Images:
    path = root / "metadata.csv"
    columns = ("patient", "node", "x_coord", "y_coord", "tumor", "center", "split")
    *places, labels, centers, splits = _columns(path, columns)
    if wrong := sorted(set(labels) - {"0", "1"}):
        raise InputError(f"{path}: tumor {wrong[0]!r:.40}: expected 0 or 1; get the file again")
    return _Images(
        root / "patches",
        files=[f"patient_{p}_node_{n}/patch_patient_{p}_node_{n}_x_{x}_y_{y}.png"
               for p, n, x, y in zip(*places, strict=True)],
        parts=np.array([CENTERS.get(c) or SEEN.get(s, "")
                        for c, s in zip(centers, splits, strict=True)]),
        labels=_integers(path, labels),
        group="hospital",
        members=_integers(path, centers),
    )  # fmt: skip


# CSV


def _columns(path: Path, names: Sequence[str]) -> list[list[str]]:
    """Return columns of a CSV file. InputError names a missing column or a short line."""
    reader = csv.reader(io.StringIO(text_of(path, TABLE)))
    try:
        header = next(reader, [])
        for name in names:
            if name not in header:
                raise unknown_name(f"column in {path}", name, header)
        places = [header.index(name) for name in names]
        columns: list[list[str]] = [[] for _ in names]
        for row in filter(None, reader):
            for column, place in zip(columns, places, strict=True):
                column.append(row[place])
        return columns
    except IndexError as error:
        raise InputError(f"{path}:{reader.line_num}: expected {len(header)} fields") from error
    except csv.Error as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _integers(path: Path, texts: Sequence[str]) -> NDArray[np.int64]:
    with reading_form(path, "integers"):
        return np.array(list(map(int, texts)), dtype=np.int64)

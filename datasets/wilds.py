"""WILDS: satellite images over years and regions (`fmow`), camera traps (`iwildcam`).

Koh et al., ICML 2021. Splits, labels and groups are read from the archives' own CSV files by the
rules of the ``wilds`` package, which is not needed (docs/decisions/2026-11-22-wilds.md). These
files say what must be there: an image that is not makes its split faulty.
"""

from __future__ import annotations

import csv
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
from bench.data.cards import SetCard, cards
from bench.data.folder import DataFolder, NotFound, Reason, holds_entries
from bench.data.prompts import PLAIN, read_templates
from bench.data.readers.folders import named_split
from bench.data.suites.common import PROMPTS, real_suite, split_or_absent, suite_card

DEFAULTS: dict[str, dict[str, Any]] = {
    "flyp": {"lr": 1e-5, "weight_decay": 0.2, "batch_size": 256, "epochs": 20},
    "lp-ft-raw": {"probe.epochs": 10},
}
"""What published work changes here of its settings on ImageNet: FLYP's commands for both sets, and
the probe that CaRot's LP-FT starts from (docs/methods.md section 3 and section 12)."""


@dataclass(frozen=True)
class _Images:
    """What a set's metadata say of its images, row by row.

    Attributes
    ----------
    root, files : the images are ``root/files[i]``.
    parts : the split of each as the set's card names it; images of others are not used.
    labels : int64 [N].
    group, members : the group's name, and of each image its code or its name.
    """

    root: Path
    files: Sequence[str]
    parts: NDArray[np.str_]
    labels: NDArray[np.int64]
    group: str
    members: Sequence[str] | NDArray[np.int64]


@dataclass(frozen=True)
class _Opener:
    """Makes a suite of the images of one set."""

    suite: str
    card: SetCard
    folder: DataFolder
    images: _Images

    def split(self, name: str, part: str) -> Split:
        """The images of a part. Raises NotFound if none is there."""
        found = self.images
        rows = np.flatnonzero(found.parts == part)
        if not len(rows):
            raise NotFound(f"{self.suite}/{name}: the metadata have no image of split {part}")
        every, used = found.members, rows.tolist()
        members = every[rows] if isinstance(every, np.ndarray) else [every[i] for i in used]
        try:
            split = named_split(
                f"{self.suite}/{name}",
                found.root,
                [found.files[row] for row in used],
                found.labels[rows],
                self.folder.cache,
                {found.group: members},
            )
        except InputError as error:
            raise NotFound(str(error)) from error
        # Where no source confirmed the card's number the metadata are the truth.
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
        """The suite. Raises NotFound if no image of its ID test set is there."""
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
    """The official templates, or else `plain`; and what they are, in words."""
    path = _prompt_file(folder, card, f"{suite}_template.py")
    if path.is_file():
        found = read_templates(path, suite)
        return found, f"the {len(found)} templates of wise-ft's {path.name}"
    get = f"{_getting(card)} {path.name} of wise-ft"
    return plain, f"{plain[0]!r}, which is not the official prompt: {get}"


def _getting(card: SetCard) -> str:
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
"""(split of the metadata, number of the period) -> split as the card names it. All others, and what
is sequestered (``seq``), are in none."""


@registry.dataset
class FMoW:
    """62 kinds of places from above; the shift is to later years, judged by the worst region."""

    name: ClassVar[str] = "fmow"
    card: ClassVar[Card] = suite_card(FMOW.name, {"ood": FMOW.name})

    def found(self, data: Path | None) -> bool:
        """Whether the folder with its two CSV files is there."""
        return DataFolder(data, Path()).has(FMOW.name, "all", _fmow)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """The suite. InputError if the folder or all ID test images are missing."""
        folder = DataFolder(data, cache)
        names, images = _fmow_images(folder.place(FMOW.name, "all", _fmow))
        # The official templates take the names as they are; this one says "an airport hangar".
        templates, said = _templates(folder, FMOW, self.name, ("a photo of {a}.",))
        said = f"class names are the categories of rgb_metadata.csv; {said}"
        made = _Opener(self.name, FMOW, folder, images)
        return made.make(names, templates, said, shift_metrics=("worst-region",))


_fmow = holds_entries("rgb_metadata.csv", "country_code_mapping.csv", "images")


def _fmow_images(root: Path) -> tuple[tuple[str, ...], _Images]:
    """(class names, images). The sorted categories are the list of the package."""
    path, mapping = root / "rgb_metadata.csv", root / "country_code_mapping.csv"
    columns = ("split", "category", "country_code", "timestamp")
    splits, categories, countries, times = _columns(path, columns)
    names = tuple(sorted(set(categories)))
    if len(names) != FMOW.classes:
        raise InputError(f"{path}: {len(names)} categories, expected {FMOW.classes}")
    index = {name: number for number, name in enumerate(names)}
    regions = dict(zip(*_columns(mapping, ("alpha-3", "region")), strict=True))
    parts = [TIMED.get((s, _period(path, t)), "") for s, t in zip(splits, times, strict=True)]
    images = _Images(
        root,
        # Numbered by the rows of the whole table, what is sequestered included.
        files=[f"images/rgb_img_{row}.png" for row in range(len(splits))],
        parts=np.array(parts),
        labels=np.array([index[category] for category in categories], dtype=np.int64),
        group="region",
        members=[regions.get(country, "Other") for country in countries],
    )
    return names, images


def _period(path: Path, time: str) -> int:
    """The number of the period, 0 to 2, that a time such as 2011-02-07T02:48:56.643Z is in."""
    try:
        return bisect(PERIODS, datetime.fromisoformat(time))
    except (ValueError, TypeError) as error:
        expected = "one with its zone, such as 2013-10-05T02:27:17Z"
        raise InputError(f"{path}: timestamp {time!r}: expected {expected}") from error


# iWildCam

IWILDCAM = cards()["wilds-iwildcam"]
PARTS = {"val": "ood_val", "test": "ood_test"}
"""Splits of the metadata as the card names them, where that is another name."""
UNUSED = 99999
"""The class of those species in a list of names that no image shows."""


@registry.dataset
class IWildCam:
    """182 species before camera traps; the shift is to other cameras. Judged by macro-F1."""

    name: ClassVar[str] = "iwildcam"
    card: ClassVar[Card] = suite_card(IWILDCAM.name, {"ood": IWILDCAM.name})

    def found(self, data: Path | None) -> bool:
        """Whether the folder and a list of the species' names are there."""
        folder = DataFolder(data, Path())
        return folder.has(IWILDCAM.name, "all", partial(_iwildcam, folder=folder))

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """The suite. InputError if the folder, all ID test images or the names are missing."""
        folder = DataFolder(data, cache)
        root = folder.place(IWILDCAM.name, "all", partial(_iwildcam, folder=folder))
        names, named = _species(folder, root)
        templates, said = _templates(folder, IWILDCAM, self.name, PLAIN)
        made = _Opener(self.name, IWILDCAM, folder, _iwildcam_images(root))
        return made.make(names, templates, f"{named}; {said}", metrics=("macro-f1",))


def _english(folder: DataFolder) -> Path:
    return _prompt_file(folder, IWILDCAM, "labels.csv")


def _iwildcam(path: Path, folder: DataFolder) -> Reason:
    """Whether a folder is iWildCam's and something names its species, as a reason why not."""
    reason = holds_entries("metadata.csv", "train")(path)
    english, scientific = _english(folder), path / "categories.csv"
    if reason or english.is_file() or scientific.is_file():
        return reason
    return f"no species names: no {scientific.name} in it, and {_getting(IWILDCAM)} {english}"


def _iwildcam_images(root: Path) -> _Images:
    path = root / "metadata.csv"
    columns = ("split", "filename", "y", "location_remapped")
    splits, files, labels, locations = _columns(path, columns)
    classes, last = _integers(path, labels), IWILDCAM.classes - 1
    if len(classes) and not 0 <= classes.min() <= classes.max() <= last:
        raise InputError(f"{path}: y {classes.min()} to {classes.max()}, expected 0 to {last}")
    return _Images(
        root / "train",  # those of all splits
        files=files,
        parts=np.array([PARTS.get(split, split) for split in splits]),
        labels=classes,
        group="location",
        members=_integers(path, locations),
    )


def _species(folder: DataFolder, root: Path) -> tuple[tuple[str, ...], str]:
    """The names of the species in lower case, as in wise-ft's head; and what they are, in words.

    English ones from wise-ft's list, else the scientific ones of the archive.
    """
    english = _english(folder)
    if english.is_file():
        return _named(english, "english"), f"class names are those of wise-ft's {english.name}"
    scientific = root / "categories.csv"
    return _named(scientific, "name"), (
        f"class names are the scientific ones of {scientific.name}, not the official English ones: "
        f"{_getting(IWILDCAM)} {english.name} of wise-ft"
    )


def _named(path: Path, column: str) -> tuple[str, ...]:
    """The names of all classes, from the column of a file that lists them in order."""
    numbers, names = _columns(path, ("y", column))
    used = [(y, n) for y, n in zip(_integers(path, numbers), names, strict=True) if y < UNUSED]
    if [y for y, _ in used] != list(range(IWILDCAM.classes)):
        raise InputError(f"{path}: y: expected 0 to {IWILDCAM.classes - 1} in order, then {UNUSED}")
    return tuple(name.lower() for _, name in used)


# CSV


def _columns(path: Path, names: Sequence[str]) -> list[list[str]]:
    """Columns of a CSV file. Raises InputError, naming the line, if one is not there."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
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
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _integers(path: Path, texts: Sequence[str]) -> NDArray[np.int64]:
    try:
        return np.array(texts, dtype=np.str_).astype(np.int64)
    except ValueError as error:
        raise InputError(f"{path}: expected whole numbers: {error}") from error

"""Suites of sets with several domains, one unseen in training: PACS, Office-Home, VLCS, DomainNet
and Terra Incognita.

The other domains are trained on together; a fifth of them, drawn by class, is the ID test set.
Which domain is left out is the suite's partition: ``pacs`` leaves out the first, ``pacs=4`` the
fourth. Gulrajani and Lopez-Paz, ICLR 2021, evaluate like this, with the same share.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.api import registry
from bench.api.dataset import Card, Shift, Suite, Task
from bench.api.splits import Split
from bench.core.foreign.files import reading_form, text_of
from bench.data.folder import DataFolder, Reason, holds_entries
from bench.data.prompts import PLAIN
from bench.data.readers.folders import named_split, tree_split
from bench.data.suites.common import real_suite, suite_card

UNSEEN = "unseen"
"""The name of the shift: all images of the domain that is left out."""
SHARE = 0.2
"""The fraction of the domains seen that is the ID test set, as in DomainBed."""
SEED = 1
"""That of its draw. A selection split is held out of the rest with another seed."""


def _listed() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return {set: domains and classes} of ``domains.toml``."""
    text = files("bench.datasets").joinpath("domains.toml").read_text(encoding="utf-8")
    return {of: {k: tuple(v) for k, v in one.items()} for of, one in tomllib.loads(text).items()}


_LISTED = _listed()


@dataclass(frozen=True)
class LeftOut:
    """A set of several domains, of which `partition`, counted from 1, is left out.

    A subclass has its name, what ``domains.toml`` and the set's card have under this name, and the
    files that list the images, if there are such `lists`.
    """

    name: ClassVar[str]
    card: ClassVar[Card]
    domains: ClassVar[tuple[str, ...]]
    classes: ClassVar[tuple[str, ...]]
    partitions: ClassVar[int]
    lists: ClassVar[tuple[str, ...]] = ()

    partition: int = 1

    def __init_subclass__(cls) -> None:
        cls.card = suite_card(cls.name, {UNSEEN: cls.name})
        cls.domains, cls.classes = (_LISTED[cls.name][what] for what in ("domains", "classes"))
        cls.partitions = len(cls.domains)

    def found(self, data: Path | None) -> bool:
        """Return whether the folders of all domains, and the lists, are in the data folder."""
        return DataFolder(data, Path()).has(self.name, "all", self._fits)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite, named ``pacs`` for partition 1 and ``pacs=3`` for partition 3.

        Raises InputError if a folder of a domain or a list is missing.
        """
        folder = DataFolder(data, cache)
        root = folder.place(self.name, "all", self._fits)
        name = self.name if self.partition == 1 else f"{self.name}={self.partition}"
        left_out = self.domains[self.partition - 1]
        whole = self._whole(name, folder, root)
        domain = np.array([image.partition("/")[0] for image in whole.load().manifest.ids])
        seen = whole.take(np.flatnonzero(domain != left_out), f"without {left_out}")
        # Parts of the set have no count of their own; a fault of the whole stays theirs.
        train, held = replace(seen, name=f"{name}/train", of=None).held_out(SHARE, SEED)
        test = replace(held, name=f"{name}/test")
        task = Task(name, tuple(c.replace("_", " ") for c in self.classes), PLAIN, train, train)

        def unseen() -> Shift:
            found = whole.take(np.flatnonzero(domain == left_out), f"only {left_out}")
            found = replace(found, name=f"{name}/{UNSEEN}")
            return Shift(UNSEEN, folder.counted(found, self.name, left_out))

        prompts = (
            f"class names of the folders; {PLAIN[0]!r}, as no official prompt is known; "
            f"the domain left out is {left_out}"
        )
        return real_suite(folder, task, test, {UNSEEN: unseen}, prompts=prompts)

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Return {folder of a domain: its expected class folders}."""
        root = DataFolder(data, Path()).place(self.name, "all", self._fits)
        return dict.fromkeys((root / domain for domain in self.domains), self.classes)

    @property
    def _fits(self) -> Callable[[Path], Reason]:
        return holds_entries(*self.domains, *self.lists)

    def _whole(self, name: str, folder: DataFolder, root: Path) -> Split:
        """Return the images of all domains, with a fault unless there are as many as expected."""
        return folder.counted(self._images(f"{name}/all", root, folder.cache), self.name, "all")

    def _images(self, name: str, root: Path, cache: Path) -> Split:
        """Return the split `name` of the images of all domains."""
        return tree_split(name, root, self._folders(), cache)

    def _folders(self) -> dict[str, int]:
        """Return {folder of a class in a domain: index of the class}."""
        return {
            f"{domain}/{one}": index
            for domain in self.domains
            for index, one in enumerate(self.classes)
        }


@registry.dataset
@dataclass(frozen=True)
class Pacs(LeftOut):
    """PACS: photos, art paintings, cartoons and sketches of seven classes."""

    name: ClassVar[str] = "pacs"


@registry.dataset
@dataclass(frozen=True)
class OfficeHome(LeftOut):
    """Office-Home: art, clipart, product pictures and photos of 65 everyday objects."""

    name: ClassVar[str] = "office-home"


@registry.dataset
@dataclass(frozen=True)
class Vlcs(LeftOut):
    """VLCS: photographs of five classes from four older data sets."""

    name: ClassVar[str] = "vlcs"


@registry.dataset
@dataclass(frozen=True)
class DomainNet(LeftOut):
    """DomainNet: six kinds of pictures, such as sketches and photos, of 345 classes."""

    name: ClassVar[str] = "domainnet"
    lists: ClassVar[tuple[str, ...]] = tuple(
        f"{domain}_{part}.txt"
        for domain in _LISTED["domainnet"]["domains"]
        for part in ("train", "test")
    )

    def _images(self, name: str, root: Path, cache: Path) -> Split:
        """Return the images that the authors list: their folders also have duplicates."""
        folders = self._folders()
        labels: dict[str, int] = {}
        for file in self.lists:
            with reading_form(root / file, "lines such as 'real/bee/real_027_000001.jpg 26'"):
                for line in text_of(root / file).splitlines():
                    image, _ = line.split()
                    labels[image] = folders[image.rpartition("/")[0]]
        return named_split(name, root, list(labels), list(labels.values()), cache)


@registry.dataset
@dataclass(frozen=True)
class TerraIncognita(LeftOut):
    """Terra Incognita: nine animals and empty pictures, at four locations of camera traps.

    Sources do not state which classes a location has, nor agree on the number of images.
    """

    name: ClassVar[str] = "terra-incognita"

    def _images(self, name: str, root: Path, cache: Path) -> Split:
        """Return the images of the folders that there are; some for each class and location."""
        folders = self._folders()
        there = {folder: index for folder, index in folders.items() if (root / folder).is_dir()}
        classes, locations = set(there.values()), {folder.partition("/")[0] for folder in there}
        nowhere = {
            folder: index
            for folder, index in folders.items()
            if index not in classes or folder.partition("/")[0] not in locations
        }
        found = tree_split(name, root, there | nowhere, cache)
        said = f"{self.name}: {found.size:,} images, a number that nothing is compared with"
        return replace(found, caveats=(*found.caveats, said))

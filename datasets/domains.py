"""Suites of sets with several domains, one unseen in training: PACS, Office-Home and VLCS.

The three other domains are trained on together; a fifth of them, drawn by class, is the ID test
set. Which domain is left out is the suite's partition: ``pacs`` leaves out the first, ``pacs=4``
the fourth. Gulrajani and Lopez-Paz, ICLR 2021, evaluate like this, with the same share.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.api import registry
from bench.api.dataset import Card, Shift, Suite, Task
from bench.api.splits import Split
from bench.data.folder import DataFolder, holds_entries
from bench.data.prompts import PLAIN
from bench.data.readers.folders import tree_split
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

    A subclass has its name, and what ``domains.toml`` and the set's card have under this name.
    """

    name: ClassVar[str]
    card: ClassVar[Card]
    domains: ClassVar[tuple[str, ...]]
    classes: ClassVar[tuple[str, ...]]
    partitions: ClassVar[int]

    partition: int = 1

    def __init_subclass__(cls) -> None:
        cls.card = suite_card(cls.name, {UNSEEN: cls.name})
        cls.domains, cls.classes = (_LISTED[cls.name][what] for what in ("domains", "classes"))
        cls.partitions = len(cls.domains)

    def found(self, data: Path | None) -> bool:
        """Return whether the folders of all domains are in the data folder."""
        return DataFolder(data, Path()).has(self.name, "all", holds_entries(*self.domains))

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite, named ``pacs`` for partition 1 and ``pacs=3`` for partition 3.

        Raises InputError if a folder of a domain is missing.
        """
        folder = DataFolder(data, cache)
        root = folder.place(self.name, "all", holds_entries(*self.domains))
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
        root = DataFolder(data, Path()).place(self.name, "all", holds_entries(*self.domains))
        return dict.fromkeys((root / domain for domain in self.domains), self.classes)

    def _whole(self, name: str, folder: DataFolder, root: Path) -> Split:
        """Return the images of all domains, with a fault unless there are as many as expected."""
        labels = {
            f"{domain}/{one}": index
            for domain in self.domains
            for index, one in enumerate(self.classes)
        }
        found = tree_split(f"{name}/all", root, labels, folder.cache)
        return folder.counted(found, self.name, "all")


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

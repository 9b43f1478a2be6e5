"""The suite `entity30`: 30 superclasses of ImageNet, tested on subclasses unseen in training.

Santurkar et al., BREEDS, ICLR 2021, split rand. The subclasses are listed in ``entity30.toml`` with
their source. The images are ImageNet's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from bench.api import registry
from bench.api.dataset import Card, Shift, Suite, Task
from bench.api.splits import Split
from bench.data.folder import DataFolder
from bench.data.prompts import PLAIN
from bench.data.readers.folders import tree_split
from bench.data.suites.common import real_suite, split_or_absent, suite_card
from bench.data.suites.imagenet import sorted_images, whole_folders, wordnet_ids

SET = "entity-30"
PROMPTS = (
    f"{PLAIN[0]!r} and the names of BREEDS' WordNet nodes; VRF's prompts for this suite are not "
    "published, so this is not the official prompt"
)


@cache
def superclasses() -> tuple[Mapping[str, Any], ...]:
    """Return the 30 superclasses: ``name``, ``node``, ``source`` and ``target`` class indices."""
    text = files("bench.datasets").joinpath("entity30.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["classes"])


@dataclass(frozen=True)
class _Opener:
    """Opens the splits of the suite."""

    folder: DataFolder

    def split(self, name: str, of: str, subclasses: str, part: str) -> Split:
        """Return the images of the ``source`` or ``target`` subclasses in a part of ImageNet."""
        wnids = wordnet_ids()
        folders = {
            wnids[index]: position
            for position, one in enumerate(superclasses())
            for index in one[subclasses]
        }
        root = self.folder.place("imagenet", of, sorted_images)
        found = tree_split(f"entity30/{name}", root, folders, self.folder.cache)
        return self.folder.counted(found, SET, part)

    def target(self) -> Shift:
        """Return the shift: ImageNet's validation images of the target subclasses."""
        return Shift("target", self.split("target", "val", "target", "target_val"))


@registry.dataset
class Entity30:
    """BREEDS Entity-30 (split rand): new subclasses of known superclasses."""

    name: ClassVar[str] = "entity30"
    card: ClassVar[Card] = suite_card(SET, {"target": SET})

    def found(self, data: Path | None) -> bool:
        """Return whether ImageNet's validation images are in class folders."""
        return DataFolder(data, Path()).has("imagenet", "val", sorted_images)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite. It needs ImageNet's validation images, but not its training images."""
        opener = _Opener(DataFolder(data, cache))
        test = opener.split("test", "val", "source", "source_val")
        make = partial(opener.split, "train", "train", "source", "source_train")
        train = split_or_absent("entity30/train", make)
        names = tuple(str(one["name"]) for one in superclasses())
        task = Task(self.name, names, PLAIN, train, train)
        shifts = {"target": opener.target}
        return real_suite(opener.folder, task, test, shifts, prompts=PROMPTS)

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Return {folder: class folders} of ImageNet."""
        return whole_folders(DataFolder(data, Path()))

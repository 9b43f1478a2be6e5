"""ImageNet and its seven shifts, as the papers on robust fine-tuning measure them.

Russakovsky et al., IJCV 2015; the shifts' papers are on their cards. All label spaces are read from
what installed packages or the data themselves hold: `bench.data.suites.imagenet`,
`bench.data.readers.videos`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from bench.api import registry
from bench.api.dataset import IDENTITY, Card, LabelMap, Shift, Suite, Task
from bench.api.splits import Split
from bench.core.errors import InputError
from bench.data.cards import cards
from bench.data.folder import DataFolder, holds_class_folders, holds_entries, holds_folders
from bench.data.readers import videos
from bench.data.readers.folders import Classes, tree_split
from bench.data.suites.common import real_suite, split_or_absent, suite_card
from bench.data.suites.imagenet import (
    OBJECTNET_FILES,
    imagenet_classes,
    imagenet_subset,
    objectnet_classes,
    objectnet_folders,
    openai_templates,
    sorted_images,
    whole_folders,
)

SHIFTS = {
    "v2": "imagenet-v2",
    "sketch": "imagenet-sketch",
    "a": "imagenet-a",
    "r": "imagenet-r",
    "objectnet": "objectnet",
    "vid-robust": "imagenet-vid-robust",
    "ytbb": "ytbb-robust",
}
"""The data set of each shift."""
PM = ("pm-0", "pm-10")
VIDEOS = ("vid-robust", "ytbb")
"""Shifts that are no part of the papers' mean."""
PROMPTS = "ImageNet's class names and OpenAI's 80 templates, as open_clip has them"


@dataclass(frozen=True)
class _Opener:
    """Finds and opens the splits of the suite."""

    folder: DataFolder
    classes: Classes = field(default_factory=imagenet_classes)

    def tree(self, split: str, of: str, part: str, folders: Mapping[str, int]) -> Split:
        """The split of the images in class folders: {folder: class}."""
        fits = sorted_images if of == "imagenet" else holds_class_folders(folders)
        root = self.folder.place(of, part, fits)
        found = tree_split(f"imagenet/{split}", root, folders, self.folder.cache)
        return self.folder.counted(found, of, part)

    def whole(self, split: str, part: str) -> Split:
        """The images of ImageNet itself."""
        return self.tree(split, "imagenet", part, _numbered(self.classes.keys))

    def shifts(self) -> dict[str, Callable[[], Shift]]:
        """What opens each shift."""
        return {
            "v2": partial(self.of_folders, "v2", map(str, range(len(self.classes)))),
            "sketch": partial(self.of_folders, "sketch", self.classes.keys),
            "a": partial(self.of_classes, "a"),
            "r": partial(self.of_classes, "r"),
            "objectnet": self.objectnet,
            "vid-robust": self.vid_robust,
            "ytbb": self.ytbb,
        }

    def class_folders(self) -> dict[Path, Collection[str]]:
        """{folder of a set: the class folders that it should have}, of all sets but the videos."""
        known: dict[str, Collection[str]] = {
            "v2": [str(index) for index in range(len(self.classes))],
            "sketch": self.classes.keys,
            "a": [self.classes.keys[index] for index in imagenet_subset("a")],
            "r": [self.classes.keys[index] for index in imagenet_subset("r")],
        }
        with suppress(InputError):  # the other sets' are known without its mappings
            known["objectnet"] = objectnet_folders(self.folder.place("objectnet", "mappings"))
        found = whole_folders(self.folder)
        for name, folders in known.items():
            found |= dict.fromkeys(self.folder.those(SHIFTS[name], ("test",)).values(), folders)
        return found

    def of_folders(self, name: str, folders: Iterable[str], labels: LabelMap = IDENTITY) -> Shift:
        """A shift whose `folders` are its classes, in this order."""
        return Shift(name, self.tree(name, SHIFTS[name], "test", _numbered(folders)), labels)

    def of_classes(self, name: Literal["a", "r"]) -> Shift:
        """A shift of some of ImageNet's classes, in the order of their WordNet ids."""
        indices = imagenet_subset(name)
        wnids = [self.classes.keys[index] for index in indices]
        return self.of_folders(name, wnids, LabelMap(tuple((index,) for index in indices)))

    def objectnet(self) -> Shift:
        """ObjectNet's images of those classes that ImageNet has."""
        mappings = self.folder.place("objectnet", "mappings", holds_entries(*OBJECTNET_FILES))
        members = objectnet_classes(mappings)
        expected = cards()["objectnet"].classes
        if len(members) != expected:
            raise InputError(f"{mappings}: {len(members)} classes, expected {expected}")
        shift = self.of_folders("objectnet", members, LabelMap(tuple(members.values())))
        return Shift(shift.name, shift.split, shift.labels, border=True, test_only=True)

    def vid_robust(self) -> Shift:
        """The frames of ImageNet-Vid-Robust."""
        place = partial(self.folder.place, SHIFTS["vid-robust"])
        root = place("frames", holds_folders)
        metadata = place("metadata", holds_entries(videos.VID_LABELS, videos.VID_SETS))
        misc = place("classes", holds_entries(videos.VID_CLASSES, videos.VID_WNIDS))
        return self.of_frames("vid-robust", root, videos.vid_robust(metadata, misc, self.classes))

    def ytbb(self) -> Shift:
        """The reviewed frames of YTBB-Robust."""
        place = partial(self.folder.place, SHIFTS["ytbb"])
        root = place("frames", holds_folders)
        metadata = place("metadata", holds_entries(*videos.YTBB_FILES))
        return self.of_frames("ytbb", root, videos.ytbb_robust(metadata))

    def of_frames(self, name: str, root: Path, found: videos.Videos) -> Shift:
        """A shift of videos."""
        split = videos.frame_split(f"imagenet/{name}", root, found.frames, self.folder.cache)
        split = self.folder.counted(split, SHIFTS[name], "frames")
        return Shift(name, split, found.label_map, metrics=PM)


def _numbered(folders: Iterable[str]) -> dict[str, int]:
    return {folder: index for index, folder in enumerate(folders)}


@registry.dataset
class ImageNet:
    """ImageNet with V2, Sketch, A, R and ObjectNet; beside their mean, two sets of videos."""

    name: ClassVar[str] = "imagenet"
    card: ClassVar[Card] = suite_card("imagenet", SHIFTS)

    def found(self, data: Path | None) -> bool:
        """Whether images of ImageNet's validation set lie in class folders."""
        return DataFolder(data, Path()).has("imagenet", "val", sorted_images)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """The suite of what is found; its ID test set, the validation images, must be."""
        opener = _Opener(DataFolder(data, cache))
        test = opener.whole("test", "val")
        train = split_or_absent("imagenet/train", partial(opener.whole, "train", "train"))
        task = Task(self.name, opener.classes.prompts, openai_templates(), train, train)
        return real_suite(
            opener.folder, task, test, opener.shifts(), prompts=PROMPTS, outside_mean=VIDEOS
        )

    def shifts(self, data: Path | None, cache: Path) -> Mapping[str, Callable[[], Shift]]:
        """What opens each shift; none needs ImageNet's images."""
        return _Opener(DataFolder(data, cache)).shifts()

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Those of ImageNet and of its shifts; of ObjectNet all, also what ImageNet lacks."""
        return _Opener(DataFolder(data, Path())).class_folders()

"""The suite `imagenet`: ImageNet and the seven shifts of the papers on robust fine-tuning.

Russakovsky et al., IJCV 2015; the cards of the shifts cite their papers. All label spaces are read
from installed packages or from the data: see `bench.data.suites.imagenet` and
`bench.data.readers.videos`. Shifts that those papers do not have are suites of their own,
`imagenet-hard` and `imagenet-w`: they train nothing again, and the mean of `imagenet` is the
papers'.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from bench.api import registry
from bench.api.dataset import IDENTITY, Card, LabelMap, Shift, Suite, Task
from bench.api.splits import Split
from bench.core.errors import InputError
from bench.data.cards import cards
from bench.data.classes import Classes
from bench.data.folder import DataFolder, holds_class_folders, holds_entries, holds_folders
from bench.data.readers import videos
from bench.data.readers.fingerprints import file_digest
from bench.data.readers.folders import tree_split
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
from bench.data.suites.imagenet_hard import hard_split
from bench.data.suites.watermark import FONT, FONT_SHA256, watermarked_split

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
"""Shifts that are not part of the OOD mean, as in the papers."""
PROMPTS = "ImageNet's class names and OpenAI's 80 templates, as open_clip has them"


@dataclass(frozen=True)
class _Opener:
    """Opens the splits of the suite."""

    folder: DataFolder
    classes: Classes = field(default_factory=imagenet_classes)

    def tree(self, split: str, of: str, part: str, folders: Mapping[str, int]) -> Split:
        """Return the split of the images in class `folders`: {folder: class index}."""
        fits = sorted_images if of == "imagenet" else holds_class_folders(folders)
        root = self.folder.place(of, part, fits)
        found = tree_split(f"imagenet/{split}", root, folders, self.folder.cache)
        return self.folder.counted(found, of, part)

    def whole(self, split: str, part: str) -> Split:
        """Return the split of a part of ImageNet itself."""
        return self.tree(split, "imagenet", part, _numbered(self.classes.keys))

    def task(self) -> Task:
        """Return ImageNet's task; without training images, its splits are absent."""
        train = split_or_absent("imagenet/train", partial(self.whole, "train", "train"))
        return Task("imagenet", self.classes.prompts, openai_templates(), train, train)

    def shifts(self) -> dict[str, Callable[[], Shift]]:
        """Return {shift: function that opens it}."""
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
        """Return {folder of a set: its expected class folders} for all sets without videos."""
        known: dict[str, Collection[str]] = {
            "v2": [str(index) for index in range(len(self.classes))],
            "sketch": self.classes.keys,
            "a": [self.classes.keys[index] for index in imagenet_subset("a")],
            "r": [self.classes.keys[index] for index in imagenet_subset("r")],
        }
        with suppress(InputError):  # the other sets do not need ObjectNet's mappings
            known["objectnet"] = objectnet_folders(self.folder.place("objectnet", "mappings"))
        found = whole_folders(self.folder)
        for name, folders in known.items():
            found |= dict.fromkeys(self.folder.those(SHIFTS[name], ("test",)).values(), folders)
        return found

    def of_folders(self, name: str, folders: Iterable[str], labels: LabelMap = IDENTITY) -> Shift:
        """Return a shift whose classes are `folders`, in this order."""
        return Shift(name, self.tree(name, SHIFTS[name], "test", _numbered(folders)), labels)

    def of_classes(self, name: Literal["a", "r"]) -> Shift:
        """Return a shift with a subset of ImageNet's classes, in the order of their WordNet ids."""
        indices = imagenet_subset(name)
        wnids = [self.classes.keys[index] for index in indices]
        return self.of_folders(name, wnids, LabelMap(tuple((index,) for index in indices)))

    def objectnet(self) -> Shift:
        """Return ObjectNet with its images of the classes that ImageNet has."""
        mappings = self.folder.place("objectnet", "mappings", holds_entries(*OBJECTNET_FILES))
        members = objectnet_classes(mappings)
        expected = cards()["objectnet"].classes
        if len(members) != expected:
            raise InputError(
                f"{mappings} maps {len(members)} classes to ImageNet's: expected {expected}; "
                "unpack the archive again"
            )
        shift = self.of_folders("objectnet", members, LabelMap(tuple(members.values())))
        return Shift(shift.name, shift.split, shift.labels, border=True, test_only=True)

    def vid_robust(self) -> Shift:
        """Return the frames of ImageNet-Vid-Robust."""
        place = partial(self.folder.place, SHIFTS["vid-robust"])
        root = place("frames", holds_folders)
        metadata = place("metadata", holds_entries(videos.VID_LABELS, videos.VID_SETS))
        misc = place("classes", holds_entries(videos.VID_CLASSES, videos.VID_WNIDS))
        return self.of_frames("vid-robust", root, videos.vid_robust(metadata, misc, self.classes))

    def ytbb(self) -> Shift:
        """Return the reviewed frames of YTBB-Robust."""
        place = partial(self.folder.place, SHIFTS["ytbb"])
        root = place("frames", holds_folders)
        metadata = place("metadata", holds_entries(*videos.YTBB_FILES))
        return self.of_frames("ytbb", root, videos.ytbb_robust(metadata))

    def hard(self) -> Shift:
        """Return ImageNet-Hard. As some of its images are ObjectNet's, nothing is chosen on it."""
        root = self.folder.place("imagenet-hard", "test")
        found = hard_split("imagenet/hard", root, len(self.classes), self.folder.cache)
        found = self.folder.counted(found, "imagenet-hard", "test")
        return Shift("hard", found, test_only=True)

    def watermark(self) -> Shift:
        """Return ImageNet-W: the validation images under a watermark."""
        font = self.folder.place("imagenet-w", "font", holds_entries(FONT)) / FONT
        clean = self.whole("test", "val")
        found = watermarked_split(clean, "imagenet/watermark", font, self.folder.cache)
        found = self.folder.counted(replace(found, fault=clean.fault), "imagenet-w", "val")
        if self.folder.synthetic is None and file_digest(font, self.folder.cache) != FONT_SHA256:
            found = replace(found, fault=f"{font} is not the font of the authors' package")
        return Shift("watermark", found)

    def of_frames(self, name: str, root: Path, found: videos.Videos) -> Shift:
        """Return a shift of video frames."""
        split = videos.frame_split(f"imagenet/{name}", root, found.frames, self.folder.cache)
        split = self.folder.counted(split, SHIFTS[name], "frames")
        return Shift(name, split, found.label_map, metrics=PM)


def _numbered(folders: Iterable[str]) -> dict[str, int]:
    return {folder: index for index, folder in enumerate(folders)}


@registry.dataset
class ImageNet:
    """ImageNet with V2, Sketch, A, R and ObjectNet, and two video sets outside the OOD mean."""

    name: ClassVar[str] = "imagenet"
    card: ClassVar[Card] = suite_card("imagenet", SHIFTS)

    def found(self, data: Path | None) -> bool:
        """Return whether ImageNet's validation images are in class folders."""
        return DataFolder(data, Path()).has("imagenet", "val", sorted_images)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite with the available shifts. It needs ImageNet's validation images."""
        opener = _Opener(DataFolder(data, cache))
        test = opener.whole("test", "val")
        return real_suite(
            opener.folder,
            opener.task(),
            test,
            opener.shifts(),
            prompts=PROMPTS,
            outside_mean=VIDEOS,
        )

    def shifts(self, data: Path | None, cache: Path) -> Mapping[str, Callable[[], Shift]]:
        """Return {shift: function that opens it}; shifts do not need ImageNet's images."""
        return _Opener(DataFolder(data, cache)).shifts()

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]:
        """Return those of ImageNet and its shifts; for ObjectNet, those of all its classes."""
        return _Opener(DataFolder(data, Path())).class_folders()


@dataclass(frozen=True)
class _Beside:
    """ImageNet with a single shift that the suite `imagenet` does not have.

    A subclass has its name, which is that of the shift's set; the `part` of this set that must be
    there; and the name of the `shift`, which is that of the opener's method.
    """

    name: ClassVar[str]
    part: ClassVar[str]
    shift: ClassVar[str]
    card: ClassVar[Card]

    def __init_subclass__(cls) -> None:
        cls.card = suite_card(cls.name, {cls.shift: cls.name})

    def found(self, data: Path | None) -> bool:
        """Return whether the set and ImageNet's validation images are in the data folder."""
        folder = DataFolder(data, Path())
        return folder.has("imagenet", "val", sorted_images) and folder.has(self.name, self.part)

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite, with the task of `imagenet`."""
        opener = _Opener(DataFolder(data, cache))
        opener.folder.place(self.name, self.part)
        test = opener.whole("test", "val")
        shifts = self.shifts(data, cache)
        suite = real_suite(opener.folder, opener.task(), test, shifts, prompts=PROMPTS)
        return replace(suite, name=self.name)

    def shifts(self, data: Path | None, cache: Path) -> Mapping[str, Callable[[], Shift]]:
        """Return {shift: function that opens it}."""
        return {self.shift: getattr(_Opener(DataFolder(data, cache)), self.shift)}


@registry.dataset
class ImageNetHard(_Beside):
    """ImageNet with ImageNet-Hard: images that classifiers get wrong however they are cropped."""

    name: ClassVar[str] = "imagenet-hard"
    part: ClassVar[str] = "test"
    shift: ClassVar[str] = "hard"


@registry.dataset
class ImageNetW(_Beside):
    """ImageNet with ImageNet-W: its own validation images under a watermark."""

    name: ClassVar[str] = "imagenet-w"
    part: ClassVar[str] = "font"
    shift: ClassVar[str] = "watermark"

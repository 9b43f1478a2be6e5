"""Whether the data sets of a folder are there and whole: ``bench data status`` and ``verify``.

`status` asks the suites, which count images. `verify` also reads every file: images are decoded,
and all bytes are compared with a list of hashes that the first faultless verification leaves in
``DATA/bench-manifests/`` (in the form of sha256sum, paths relative to the data folder). Before
there is such a list, altered bytes that still decode cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from bench.api.dataset import Shift
from bench.api.splits import Split
from bench.core.errors import DataError, InputError
from bench.core.paths import write_atomic
from bench.core.progress import SilentProgress
from bench.data.cards import Archive, SetCard, cards
from bench.data.download.acquire import DOWNLOADS, IMAGENET, find_cards
from bench.data.download.checksums import check_file
from bench.data.download.file_checks import html_pages, read_below, read_files, unknown_folders
from bench.data.download.imagenet import read_devkit
from bench.data.folder import DataFolder, NotFound
from bench.data.readers.folders import FileImages
from bench.data.readers.listing import forget_listings
from bench.data.suites.common import available_shifts
from bench.runs.study.resolve import dataset_of, partitions

MANIFESTS = "bench-manifests"
"""The folder of the lists of hashes, in the data folder."""
TRUTH = "labels of val"
"""What ImageNet's devkit holds, as its card calls it."""


@dataclass(frozen=True)
class Finding:
    """What was found of a data set.

    Attributes
    ----------
    places : {part of the set: its folder}, those found.
    splits : {split: what is there}, such as ``50,000 images``.
    problems : what is wrong or lacking, file by file where that is known.
    unchecked : why images could not be counted, or what was looked for; empty if they were.
    lacking : parts of it that lie nowhere, though a suite would use them.
    notes : what else is to be said.
    """

    name: str
    places: Mapping[str, Path] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unchecked: str = ""
    lacking: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """In a few words: ``complete``, ``partly there``, ``not checked``, ``not found``, ..."""
        if self.problems:
            return "incomplete or altered"
        if not self.places and not self.splits:
            return "not found"
        if self.unchecked:
            return "not checked"
        return f"partly there, without {', '.join(self.lacking)}" if self.lacking else "complete"


@runtime_checkable
class _Shifted(Protocol):
    """A data set whose shifts can be opened without its ID set."""

    def shifts(self, data: Path | None, cache: Path) -> Mapping[str, Callable[[], Shift]]: ...


@runtime_checkable
class _Sorted(Protocol):
    """A data set that knows {folder: the class folders in it} without opening images."""

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]: ...


@dataclass(frozen=True)
class _Opened:
    """What could be opened of a suite.

    `ends` are its ID splits, none if they cannot be opened, and `failed` says why. `lacking` is
    {shift: why it is not found}.
    """

    ends: tuple[Split, ...]
    shifts: tuple[Shift, ...]
    lacking: Mapping[str, str]
    failed: str = ""


@dataclass(frozen=True)
class Inspector:
    """Looks at the sets in a data folder; each suite is opened once."""

    folder: DataFolder

    @cached_property
    def _opened(self) -> dict[str, _Opened]:
        return {}

    def _suite(self, name: str) -> _Opened:
        if name not in self._opened:
            dataset, where = dataset_of(name), (self.folder.root, self.folder.cache)
            try:
                suite = dataset.suite(*where)
            except InputError as error:
                # A shift lies in files of its own, which can be checked without the ID set.
                own = dataset.shifts(*where) if isinstance(dataset, _Shifted) else {}
                self._opened[name] = _Opened((), *available_shifts(dataset.name, own), str(error))
            else:
                ends = (suite.task.train, suite.task.selection, suite.test)
                self._opened[name] = _Opened(ends, suite.shifts, suite.lacking)
        return self._opened[name]

    def splits(self, card: SetCard, whole: bool = False) -> tuple[list[Split], list[str]]:
        """The set's splits as its suites have them, and why some of these could not be opened.

        Of official partitions the first one's, or where `whole` all of them.
        """
        found: dict[str, Split] = {}
        errors: list[str] = []
        for name in card.suites:
            for partition in partitions(name) if whole else (name,):
                _gather(card, self._suite(partition), found, errors)
        return list(found.values()), list(dict.fromkeys(errors))

    def status(self, name: str, whole: bool = False) -> Finding:
        """What is found of a set and how many images its splits have; `whole` as in `splits`."""
        card = cards()[name]
        places, problems, sought = {}, [], []
        for part in card.layout.folders:
            try:
                places[part] = self.folder.place(name, part)
            except NotFound as error:
                sought.append(str(error))
            except InputError as error:
                problems.append(str(error))
        if not places and card.needs is None:
            return Finding(name, problems=tuple(problems), unchecked="; ".join(sought))
        splits, errors = self.splits(card, whole)
        problems += [_placed(split) for split in splits if split.fault]
        # What is said of this set's own folders, or of it by name, is its fault; the rest is not.
        lacking = tuple(part for part in card.layout.folders if part not in places)
        for why in errors:
            of_part = any(why.startswith(f"{card.title}, {part}") for part in lacking)
            own = any(str(place) in why for place in places.values())
            if (own or why.startswith(card.title)) and not (of_part and splits):
                problems.append(why)
        counts = {split.of[1]: f"{split.size:,} images" for split in splits if split.of}
        unchecked = "" if splits else "; ".join(errors) or "no suite uses it"
        gone = tuple(part for part in lacking if any(part in why for why in errors))
        if card.needs is not None and splits:
            gone = tuple(part for part in card.images if part not in counts)
            for part in gone:  # such as target_val, of the other set's val
                with suppress(NotFound):
                    root = self.folder.place(card.needs, part.rpartition("_")[2])
                    problems.append(f"{card.title}, {part}: no image of its classes in {root}")
        return Finding(name, places, counts, tuple(dict.fromkeys(problems)), unchecked, gone)

    def verify(self, name: str, progress: Callable[[int], None] = lambda count: None) -> Finding:
        """`status`, and every file of the set decoded and compared with the list of hashes.

        `progress` is told of every file that was read. If nothing is wrong and there is no list
        yet, it is written.
        """
        forget_listings(self.folder.cache)
        found = self.status(name, whole=True)
        problems = list(found.problems)
        now: dict[str, str] = {}
        for place in {path.resolve(): path for path in found.places.values()}.values():
            wrong, hashes = read_below(place, progress)
            problems += wrong
            now |= {_relative(self.folder, place / file): mark for file, mark in hashes.items()}
        card = cards()[name]
        splits, _ = self.splits(card)
        if card.needs is not None:
            for root, files in _images(splits).items():
                wrong, hashes = read_files(root, sorted(files), progress)
                problems += wrong
                now |= {_relative(self.folder, root / file): mark for file, mark in hashes.items()}
        problems += [*self._strangers(card, found.places), *self._packed(card, splits)]
        path = manifest_path(self.folder, name)
        known = read_manifest(path)
        if known is not None:
            problems += _compared(known, now)
        note = f"{len(now):,} files are as recorded in {path}"
        if known is None and found.state != "complete":
            note = f"no hashes recorded: it is {found.state}"
        elif known is None and now and not problems:
            write_manifest(path, now)
            note = (
                f"hashes of {len(now):,} files recorded in {path}; labels can be told from now on"
            )
        return replace(
            found,
            problems=tuple(dict.fromkeys(problems)),
            notes=(note,) if now and not problems else (),
        )

    def _strangers(self, card: SetCard, places: Mapping[str, Path]) -> Iterator[str]:
        """Class folders that the set should not have; of one without images, those it is of."""
        own = [path.resolve() for path in places.values()]
        known: dict[Path, Collection[str]] = {}
        for dataset in map(dataset_of, card.suites):
            if isinstance(dataset, _Sorted):
                with suppress(InputError):  # of what cannot be read `splits` says it
                    known |= dataset.class_folders(self.folder.root)
        for root, names in known.items():
            above = (root.resolve(), *root.resolve().parents)
            if card.needs is not None or any(path in above for path in own):
                with suppress(OSError):  # of what cannot be read `read_below` says it
                    yield from unknown_folders(root, names)

    def _archives(self, card: SetCard) -> Iterator[tuple[Archive, Path]]:
        """Archives of the set that still lie in the data folder."""
        root = self.folder.root or Path()
        for archive in card.archives:
            for folder in (root / DOWNLOADS / card.name, root / card.name, root):
                if (folder / archive.file).is_file():
                    yield archive, folder / archive.file

    def _packed(self, card: SetCard, splits: Sequence[Split]) -> Iterator[str]:
        """What is wrong with the set's archives, and with what they say of its images."""
        own = {path for _, path in self._archives(card)}
        for page in html_pages((self.folder.root or Path()) / DOWNLOADS / card.name):
            if page not in own:  # of those `check_file` says it
                yield f"{page} is an HTML page: remove it"
        for archive, path in self._archives(card):
            try:
                check_file(path, archive, SilentProgress())
                if card.name == IMAGENET and archive.holds == TRUTH:
                    yield from _mislabelled(splits, read_devkit(path).folders)
            except DataError as error:
                yield str(error)


def sets_named(names: Sequence[str]) -> tuple[str, ...]:
    """The sets of names of sets or suites; of no name all. Raises InputError for unknown ones."""
    return tuple(card.name for card in find_cards(names)) if names else tuple(cards())


# Files and their hashes


def manifest_path(folder: DataFolder, name: str) -> Path:
    """Where the hashes of a set's files are kept."""
    return (folder.root or Path()) / MANIFESTS / f"{name}.sha256"


def read_manifest(path: Path) -> dict[str, str] | None:
    """{file, relative to the data folder: SHA-256}; None if there is no list."""
    if not path.is_file():
        return None
    found = {}
    for number, line in enumerate(path.read_text("utf-8", "surrogateescape").splitlines(), 1):
        mark, _, file = line.partition("  ")
        if not re.fullmatch("[0-9a-f]{64}", mark) or not file:
            raise InputError(f"{path}:{number}: expected 'SHA-256  FILE'; remove it to start anew")
        found[file] = mark
    return found


def write_manifest(path: Path, hashes: Mapping[str, str]) -> None:
    """Keep the hashes of files. Raises InputError if that is not possible."""
    lines = "".join(f"{mark}  {file}\n" for file, mark in sorted(hashes.items()))
    try:
        write_atomic(path, lines.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise InputError(f"hashes cannot be kept at {path}: {error.strerror}") from error


def _compared(known: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for file in sorted(known.keys() | now.keys()):
        if file not in now:
            yield f"missing: {file}"
        elif file not in known:
            yield f"not part of it before: {file}"
        elif known[file] != now[file]:
            yield f"altered: {file}"


def _relative(folder: DataFolder, path: Path) -> str:
    return path.relative_to(folder.root or Path()).as_posix()


def _gather(card: SetCard, suite: _Opened, found: dict[str, Split], errors: list[str]) -> None:
    """Put what a suite has of a set into `found`, and why it has not more into `errors`.

    A split that several partitions have is the one of them with a fault, if there is any.
    """
    if suite.failed and card.shift_of is None:
        errors.append(suite.failed)
    shifts = [shift.split for shift in suite.shifts]
    for split in (*suite.ends, *shifts):
        if split.of is not None and split.of[0] == card.name:
            if split.of[1] not in found or split.fault:
                found[split.of[1]] = split
        elif split.absent and card.shift_of is None and card.needs is None and split not in shifts:
            errors.append(_reason(split))
    said = [*suite.lacking.values(), *(split.fault for split in shifts if split.absent)]
    errors += [why for why in said if why.startswith(f"{card.title},") or _is_in(card, why)]


def _is_in(card: SetCard, text: str) -> bool:
    """Whether a text names one of the folders in which a set may lie."""
    places = (place.path for folders in card.layout.folders.values() for place in folders)
    return any(f"/{place}" in text for place in places)


def _placed(split: Split) -> str:
    """The fault of a split, with the folder of its images where that is known."""
    images = None if split.absent else split.load().images
    if not isinstance(images, FileImages) or str(images.root) in split.fault:
        return split.fault
    return f"{split.fault}, in {images.root}"


def _images(splits: Sequence[Split]) -> dict[Path, set[str]]:
    """{folder: the files in it that are images of splits}."""
    found: dict[Path, set[str]] = {}
    for split in splits:
        images = split.load().images
        if isinstance(images, FileImages):
            found.setdefault(images.root, set()).update(images.names)
    return found


def _mislabelled(splits: Sequence[Split], folders: Mapping[str, str]) -> Iterator[str]:
    """Images of ImageNet's val that the devkit has in other folders: {file: WordNet id}."""
    for split in splits:
        images = split.load().images
        if split.of == (IMAGENET, "val") and isinstance(images, FileImages):
            for name in images.names:
                folder, _, file = name.partition("/")
                if folders.get(file, folder) != folder:
                    yield f"in the folder of another class: {images.root / name}"


def _reason(split: Split) -> str:
    """Why a split is absent."""
    try:
        split.load()
    except InputError as error:
        return str(error)
    return ""

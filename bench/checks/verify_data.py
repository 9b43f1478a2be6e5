"""Check that data sets are present, complete and unaltered: ``bench data status`` and ``verify``.

`status` opens the suites, which count images. `verify` also reads every file: it decodes images and
compares all bytes with recorded hashes. The first verification without errors records the hashes in
``DATA/bench-manifests/``, in the format of sha256sum with paths relative to the data folder. Before
that, altered bytes that still decode are not detected.
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
from bench.core.foreign.files import TABLE, read_bounded, reading
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
"""Folder, in the data folder, with the recorded hashes."""
TRUTH = "labels of val"
"""The part that ImageNet's devkit holds, as its card names it."""


@dataclass(frozen=True)
class Finding:
    """The result of checking a data set.

    Attributes
    ----------
    places : {part of the set: its folder}, for the parts that were found.
    splits : {split: its size}, such as ``50,000 images``.
    problems : missing, altered or unreadable data; one entry per file where the file is known.
    unchecked : why images could not be counted, or which folders were tried; empty if they were
        counted.
    lacking : parts that a suite uses and that were not found.
    notes : further remarks.
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
        """A summary such as ``complete``, ``partly there``, ``not checked`` or ``not found``."""
        if self.problems:
            return "incomplete or altered"
        if not self.places and not self.splits:
            return "not found"
        if self.unchecked:
            return "not checked"
        return f"partly there, without {', '.join(self.lacking)}" if self.lacking else "complete"


@runtime_checkable
class _OpensShifts(Protocol):
    """A data set whose shifts can be opened without its ID set."""

    def shifts(self, data: Path | None, cache: Path) -> Mapping[str, Callable[[], Shift]]: ...


@runtime_checkable
class _ListsClassFolders(Protocol):
    """A data set that lists {folder: its class folders} without opening images."""

    def class_folders(self, data: Path | None) -> Mapping[Path, Collection[str]]: ...


@dataclass(frozen=True)
class _Opened:
    """The parts of a suite that could be opened.

    Attributes
    ----------
    id_splits : train, selection and test split of the task; empty if they cannot be opened.
    shifts : the shifts that were found.
    lacking : {shift: why it was not found}.
    error : why the ID splits cannot be opened; empty if they can.
    """

    id_splits: tuple[Split, ...]
    shifts: tuple[Shift, ...]
    lacking: Mapping[str, str]
    error: str = ""


@dataclass(frozen=True)
class Inspector:
    """Check the sets in a data folder; each suite is opened only once."""

    folder: DataFolder

    @cached_property
    def _opened(self) -> dict[str, _Opened]:
        return {}

    def _suite(self, name: str) -> _Opened:
        """Open a suite as far as possible."""
        if name not in self._opened:
            dataset, where = dataset_of(name), (self.folder.root, self.folder.cache)
            try:
                suite = dataset.suite(*where)
            except InputError as error:
                # Shifts have their own files, which can be checked without the ID set.
                shifts = dataset.shifts(*where) if isinstance(dataset, _OpensShifts) else {}
                found, lacking = available_shifts(dataset.name, shifts)
                self._opened[name] = _Opened((), found, lacking, str(error))
            else:
                id_splits = (suite.task.train, suite.task.selection, suite.test)
                self._opened[name] = _Opened(id_splits, suite.shifts, suite.lacking)
        return self._opened[name]

    def splits(self, card: SetCard, whole: bool = False) -> tuple[list[Split], list[str]]:
        """Return the set's splits as its suites open them, and errors for those they cannot open.

        For a set with several official partitions, only the first is opened unless `whole` is true.
        """
        found: dict[str, Split] = {}
        errors: list[str] = []
        for name in card.suites:
            for partition in partitions(name) if whole else (name,):
                _gather(card, self._suite(partition), found, errors)
        return list(found.values()), list(dict.fromkeys(errors))

    def status(self, name: str, whole: bool = False) -> Finding:
        """Find a set and count the images of its splits; `whole` as in `splits`."""
        card = cards()[name]
        places, problems, not_found = {}, [], []
        for part in card.layout.folders:
            try:
                places[part] = self.folder.place(name, part)
            except NotFound as error:
                not_found.append(str(error))
            except InputError as error:
                problems.append(str(error))
        if not places and card.needs is None:
            return Finding(name, problems=tuple(problems), unchecked="; ".join(not_found))
        splits, errors = self.splits(card, whole)
        if not places and not splits:
            return Finding(name, problems=tuple(problems), unchecked="; ".join(errors))
        problems += [_fault_with_folder(split) for split in splits if split.fault]
        # An error is this set's problem if it names the set or one of its folders.
        missing = tuple(part for part in card.layout.folders if part not in places)
        for reason in errors:
            of_missing = any(reason.startswith(f"{card.title}, {part}") for part in missing)
            in_folder = any(str(place) in reason for place in places.values())
            if (in_folder or reason.startswith(card.title)) and not (of_missing and splits):
                problems.append(reason)
        counts = {split.of[1]: f"{split.size:,} images" for split in splits if split.of}
        unchecked = "" if splits else "; ".join(errors) or "no suite uses this set"
        lacking = tuple(part for part in missing if any(part in reason for reason in errors))
        if card.needs is not None and splits:
            lacking = tuple(part for part in card.images if part not in counts)
            for part in lacking:  # such as target_val, which uses the other set's val
                with suppress(NotFound):
                    root = self.folder.place(card.needs, part.rpartition("_")[2])
                    problems.append(f"{card.title}, {part}: no image of its classes in {root}")
        return Finding(name, places, counts, tuple(dict.fromkeys(problems)), unchecked, lacking)

    def verify(self, name: str, progress: Callable[[int], None] = lambda count: None) -> Finding:
        """Do what `status` does, and read every file of the set.

        Images are decoded, and all files are compared with the recorded hashes. If none are
        recorded and the set is complete and without problems, its hashes are recorded. `progress`
        is called with 1 after each file.
        """
        forget_listings(self.folder.cache)
        found = self.status(name, whole=True)
        problems = list(found.problems)
        hashes: dict[str, str] = {}
        places = {path.resolve(): path for path in found.places.values()}
        for real, place in places.items():
            if not places.keys().isdisjoint(real.parents):
                continue  # it was read with the place around it
            errors, read = read_below(place, progress)
            problems += errors
            hashes |= {self._relative(place / file): digest for file, digest in read.items()}
        card = cards()[name]
        splits, _ = self.splits(card)
        if card.needs is not None:
            for root, files in _images(splits).items():
                errors, read = read_files(root, sorted(files), progress)
                problems += errors
                hashes |= {self._relative(root / file): digest for file, digest in read.items()}
        problems += self._unknown_classes(card, found.places)
        problems += self._check_archives(card, splits)
        path = manifest_path(self.folder, name)
        recorded = read_manifest(path)
        if recorded is not None:
            problems += _differences(recorded, hashes)
        count = "1 file matches" if len(hashes) == 1 else f"{len(hashes):,} files match"
        note = f"{count} the hashes in {path}"
        if recorded is None and found.state != "complete":
            note = f"no hashes were recorded because the set is {found.state}"
        elif recorded is None and hashes and not problems:
            write_manifest(path, hashes)
            note = f"hashes of {len(hashes):,} files recorded in {path} for later verifications"
        return replace(
            found,
            problems=tuple(dict.fromkeys(problems)),
            notes=(note,) if hashes and not problems else (),
        )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder.root or Path()).as_posix()

    def _unknown_classes(self, card: SetCard, places: Mapping[str, Path]) -> Iterator[str]:
        """Yield a problem for each class folder that the set should not have.

        For a set that uses the images of another one, the folders of that set are checked.
        """
        own = [path.resolve() for path in places.values()]
        known: dict[Path, Collection[str]] = {}
        for dataset in map(dataset_of, card.suites):
            if isinstance(dataset, _ListsClassFolders):
                with suppress(InputError):  # `splits` reports files that cannot be read
                    known |= dataset.class_folders(self.folder.root)
        for root, names in known.items():
            parents = (root.resolve(), *root.resolve().parents)
            if card.needs is not None or any(path in parents for path in own):
                with suppress(OSError):  # `read_below` reports folders that cannot be read
                    yield from unknown_folders(root, names)

    def _archives(self, card: SetCard) -> Iterator[tuple[Archive, Path]]:
        """Yield the archives of the set that are still in the data folder."""
        root = self.folder.root or Path()
        for archive in card.archives:
            for folder in (root / DOWNLOADS / card.name, root / card.name, root):
                if (folder / archive.file).is_file():
                    yield archive, folder / archive.file

    def _check_archives(self, card: SetCard, splits: Sequence[Split]) -> Iterator[str]:
        """Yield the problems of the archives, and labels that contradict ImageNet's devkit."""
        own = {path for _, path in self._archives(card)}
        for page in html_pages((self.folder.root or Path()) / DOWNLOADS / card.name):
            if page not in own:  # `check_file` reports those
                yield f"{page} is an HTML page: delete it"
        for archive, path in self._archives(card):
            try:
                check_file(path, archive, SilentProgress())
                if card.name == IMAGENET and archive.holds == TRUTH:
                    yield from _mislabelled(splits, read_devkit(path).folders)
            except DataError as error:
                yield str(error)


def sets_named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the sets named directly or by a suite; all sets if `names` is empty.

    Raises InputError for an unknown name.
    """
    return tuple(card.name for card in find_cards(names)) if names else tuple(cards())


# Files and their hashes


def manifest_path(folder: DataFolder, name: str) -> Path:
    """Return the path of the file with the recorded hashes of a set."""
    return (folder.root or Path()) / MANIFESTS / f"{name}.sha256"


def read_manifest(path: Path) -> dict[str, str] | None:
    """Read recorded hashes: {file, relative to the data folder: SHA-256}.

    Returns None if there is no such file. Raises InputError for a malformed line.
    """
    if not path.is_file():
        return None
    with reading(path):
        raw = read_bounded(path, TABLE)
    found = {}
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").splitlines(), 1):
        digest, _, file = line.partition("  ")
        if not re.fullmatch("[0-9a-f]{64}", digest) or not file:
            raise InputError(
                f"{path}:{number}: expected a line 'SHA-256  FILE'; delete the file to record the "
                "hashes again"
            )
        found[file] = digest
    return found


def write_manifest(path: Path, hashes: Mapping[str, str]) -> None:
    """Record the hashes of files. Raises InputError if the file cannot be written."""
    lines = "".join(f"{digest}  {file}\n" for file, digest in sorted(hashes.items()))
    try:
        write_atomic(path, lines.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise InputError(f"cannot write the hashes to {path}: {error.strerror}") from error


def _differences(recorded: Mapping[str, str], hashes: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each file that is missing, added or altered since the recording."""
    for file in sorted(recorded.keys() | hashes.keys()):
        if file not in hashes:
            yield f"missing: {file}"
        elif file not in recorded:
            yield f"added: {file}"
        elif recorded[file] != hashes[file]:
            yield f"altered: {file}"


def _gather(card: SetCard, suite: _Opened, found: dict[str, Split], errors: list[str]) -> None:
    """Add the set's splits in a suite to `found`, and the reasons for missing ones to `errors`.

    If several partitions have a split of the same name, one with a fault is preferred.
    """
    if suite.error and card.shift_of is None:
        errors.append(suite.error)
    shifts = [shift.split for shift in suite.shifts]
    for split in (*suite.id_splits, *shifts):
        if split.of is not None and split.of[0] == card.name:
            if split.of[1] not in found or split.fault:
                found[split.of[1]] = split
        elif split.absent and card.shift_of is None and card.needs is None and split not in shifts:
            errors.append(_reason(split))
    reasons = [*suite.lacking.values(), *(split.fault for split in shifts if split.absent)]
    errors += [
        reason
        for reason in reasons
        if reason.startswith(f"{card.title},") or _names_folder(card, reason)
    ]


def _names_folder(card: SetCard, text: str) -> bool:
    """Whether a text names one of the possible folders of a set."""
    places = (place.path for folders in card.layout.folders.values() for place in folders)
    return any(f"/{place}" in text for place in places)


def _fault_with_folder(split: Split) -> str:
    """Return the fault of a split, with the folder of its images if that is known."""
    images = None if split.absent else split.load().images
    if not isinstance(images, FileImages) or str(images.root) in split.fault:
        return split.fault
    return f"{split.fault}, in {images.root}"


def _images(splits: Sequence[Split]) -> dict[Path, set[str]]:
    """Return {folder: its files that are images of the splits}."""
    found: dict[Path, set[str]] = {}
    for split in splits:
        images = split.load().images
        if isinstance(images, FileImages):
            found.setdefault(images.root, set()).update(images.names)
    return found


def _mislabelled(splits: Sequence[Split], folders: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each image of val that is in the folder of the wrong class.

    `folders` is the devkit's {file: WordNet id}.
    """
    for split in splits:
        images = split.load().images
        if split.of == (IMAGENET, "val") and isinstance(images, FileImages):
            for name in images.names:
                folder, _, file = name.partition("/")
                if folders.get(file, folder) != folder:
                    yield f"in the folder of another class: {images.root / name}"


def _reason(split: Split) -> str:
    """Return why a split is absent."""
    try:
        split.load()
    except InputError as error:
        return str(error)
    return ""

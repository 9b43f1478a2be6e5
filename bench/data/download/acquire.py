"""Getting the data sets of the cards: download, unpack, prepare.

Archives go to ``DATA/bench-downloads/SET/`` and are unpacked to the folders of the data folder in
which loaders look for them; files of prompts go to ``DATA/bench-prompts/SET/``. What is there
already, also under another of a set's known names, is left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.api.registry import ALIASES
from bench.core.errors import BenchError, DataError, InputError, unknown_name
from bench.core.progress import Progress
from bench.core.streams import print_line
from bench.data.cards import UNKNOWN, Archive, Location, SetCard, cards
from bench.data.download.checksums import check_file
from bench.data.download.fetch import download_lock, fetch_archive
from bench.data.download.imagenet import (
    is_sorted,
    is_sorting_begun,
    read_devkit,
    sort_val,
    unpack_train,
)
from bench.data.download.unpack import PasswordNeeded, unpack

DOWNLOADS = "bench-downloads"


@dataclass(frozen=True)
class AcquisitionStep:
    """What became of a part of a set: `holds` says which, `path` where it is."""

    holds: str
    state: Literal["there", "downloaded", "unpacked", "prepared", "missing"]
    path: str

    def __str__(self) -> str:
        return f"{self.holds}: {self.state}, {self.path}"


def find_cards(names: Sequence[str], suites: bool = False) -> tuple[SetCard, ...]:
    """The sets of these names; a name that only suites have, or any with `suites`, means theirs.

    Raises InputError for an unknown name.
    """
    found: dict[str, SetCard] = {}
    for name in names:
        own = [cards()[name]] if name in cards() and not suites else suite_sets(name)
        if not own:
            valid = {suite for card in cards().values() for suite in card.suites} | set(ALIASES)
            kind = "suite" if suites else "data set or suite"
            raise unknown_name(kind, name, sorted(valid if suites else valid | set(cards())))
        found |= {card.name: card for card in own}
    return tuple(found.values())


def suite_sets(name: str) -> list[SetCard]:
    """The sets of a suite, or of an alias of several; none if there is no suite of that name."""
    names = {name, *ALIASES.get(name, ())}
    return [card for card in cards().values() if names.intersection(card.suites)]


def download_set(
    card: SetCard, data: Path, progress: Progress, password: str | None = None, keep: bool = False
) -> tuple[AcquisitionStep, ...]:
    """Get a set and prepare it; `keep` keeps the archives that were downloaded and unpacked.

    Every part is tried. Raises PasswordNeeded for an encrypted zip, DataError for what is missing,
    altered or for a person to get, BenchError for what cannot be downloaded.
    """
    errors: list[BenchError] = []
    steps: list[AcquisitionStep] = []
    if card.name == IMAGENET:
        steps, errors = _imagenet(card, data, progress)
    else:
        for choices in _parts(card):
            try:
                steps.append(_part(card, choices, data, progress, password, keep))
            except PasswordNeeded:
                raise
            except BenchError as error:
                errors.append(error)
    steps += _files((*card.prompts, *card.metadata), data, progress, errors)
    if errors:
        raise _as_one(errors, f"{card.name}: ")
    return tuple(steps)


def prepare_set(card: SetCard, data: Path, progress: Progress) -> tuple[AcquisitionStep, ...]:
    """Get what loaders need besides archives: class folders, files of prompts, metadata, labels.

    Nothing for many sets. Raises the errors of `download_set`; but of ImageNet either of train and
    val will do.
    """
    steps, errors = _imagenet(card, data, progress) if card.name == IMAGENET else ([], [])
    if steps:
        steps += [
            AcquisitionStep(e.holds, "missing", str(e))
            for e in errors
            if isinstance(e, ManualDownload)
        ]
        errors = [e for e in errors if not isinstance(e, ManualDownload)]
    plain = [choices[0] for choices in _parts(card) if choices[0].urls and not choices[0].packed]
    steps += _files((*plain, *card.prompts, *card.metadata), data, progress, errors)
    if errors:
        raise _as_one(errors, f"{card.name}: ")
    return tuple(steps)


def _parts(card: SetCard) -> list[list[Archive]]:
    """The archives by what they hold: those of one list are alternatives."""
    found: dict[str, list[Archive]] = {}
    for archive in card.archives:
        found.setdefault(archive.holds, []).append(archive)
    return list(found.values())


class ManualDownload(DataError):
    """A file that no program can download, of the part `holds`."""

    def __init__(self, holds: str, said: str) -> None:
        super().__init__(said)
        self.holds = holds


def _as_one(errors: Sequence[BenchError], who: str = "") -> BenchError:
    """One error that says them all, of the kind of the first; DataError if any is one."""
    kinds = (DataError, InputError, BenchError)
    kind = min((k for e in errors for k in kinds if isinstance(e, k)), key=kinds.index)
    return kind(f"{who}{'; '.join(map(str, errors))}")


def _for_you(card: SetCard, archive: Archive, data: Path) -> ManualDownload:
    why = f" ({archive.note})" if archive.note else ""
    if archive.file == UNKNOWN:
        places = [str(data / found[0].path) for found in _whole(card).values()]
        said = f"there is nothing to download{why}: put a copy, unpacked, into"
        return ManualDownload(archive.holds, f"{said} {' and '.join(places)}")
    return ManualDownload(
        archive.holds,
        f"{archive.file} is for you to get, at {card.source}{why}: put it, or a link to it, into "
        f"{data / DOWNLOADS / card.name} and repeat the command",
    )


def _part(
    card: SetCard,
    choices: Sequence[Archive],
    data: Path,
    progress: Progress,
    password: str | None,
    keep: bool,
) -> AcquisitionStep:
    """A part of a set from the first of the archives that can be had and is right."""
    errors: list[BenchError] = []
    for archive in choices:
        try:
            if archive.packed or archive.file == UNKNOWN:
                return _unpacked(card, archive, data, progress, password, keep)
            return _file(archive, data, progress)
        except PasswordNeeded:
            raise
        except BenchError as error:
            errors.append(error)
    if choices[0].urls and choices[0].packed:
        file, folder = choices[0].file, data / DOWNLOADS / card.name
        copies = f"; 'bench show set:{card.name}' names copies" if card.copies else ""
        errors.append(BenchError(f"{file} got otherwise may be put into {folder}{copies}"))
    raise errors[0] if len(errors) == 1 else _as_one(errors)


def _file(archive: Archive, data: Path, progress: Progress) -> AcquisitionStep:
    folder = data / str(archive.into)
    there = (folder / archive.file).exists()
    path = fetch_archive(archive, folder, progress)
    return AcquisitionStep(archive.holds, "there" if there else "downloaded", str(path))


def _unpacked(
    card: SetCard,
    archive: Archive,
    data: Path,
    progress: Progress,
    password: str | None,
    keep: bool,
) -> AcquisitionStep:
    into = data / str(archive.into)
    with download_lock(data / DOWNLOADS / str(archive.into).replace("/", "+")):
        there = _there(card, archive, data)
        if there is not None:
            return AcquisitionStep(archive.holds, "there", str(there))
        path = _archive(card, archive, data, progress)
        checked = check_file(path, archive, progress)
        unpack(path, into, progress, password)
        if checked.url and not keep:
            path.unlink()
    _say_what_lacks(card, str(archive.into), data)
    return AcquisitionStep(archive.holds, "unpacked", str(into))


def _say_what_lacks(card: SetCard, into: str, data: Path) -> None:
    """Say which parts of the set are not where its card has them, in an archive laid out anew."""
    for part, places in card.layout.folders.items():
        inside = [data / place.path for place in places if _within(place.path, into)]
        if inside and not any(path.is_dir() for path in inside):
            said = f"{part} was expected in {' or '.join(map(str, inside))}"
            print_line(f"{card.name}: {said}: see how {data / into} is laid out", sys.stderr)


def _archive(card: SetCard, archive: Archive, data: Path, progress: Progress) -> Path:
    """The archive, downloaded, or where a person put what has no address. Raises ForYou."""
    if archive.urls:
        return fetch_archive(archive, data / DOWNLOADS / card.name, progress)
    folders = (data / DOWNLOADS / card.name, data / card.name, data)
    path = next((f / archive.file for f in folders if (f / archive.file).is_file()), None)
    if path is None:
        raise _for_you(card, archive, data)
    return path


def _there(card: SetCard, archive: Archive, data: Path) -> Path | None:
    """Where what the archive holds lies already: in its folder, or under other known names.

    A place that two parts of the set share (SUN397 may hold its partitions) tells nothing of one.
    """
    parts = _whole(card)
    if archive.into is not None:
        into = archive.into
        if _filled(data / into):
            return data / into
        parts = {
            part: places
            for part, places in card.layout.folders.items()
            if any(_within(place.path, into) for place in places)
        }
    paths = [place.path for places in card.layout.folders.values() for place in places]
    found: list[Path | None] = []
    for places in parts.values():
        own = [data / place.path for place in places if paths.count(place.path) == 1]
        found.append(next((path for path in own if _filled(path)), None))
    return found[0] if found and all(found) else None


def _whole(card: SetCard) -> dict[str, tuple[Location, ...]]:
    """The parts that are the splits of a set, as its official archive has them."""
    folders = card.layout.folders
    return {part: places for part, places in folders.items() if part in ("all", *card.images)}


def _within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _files(
    files: Sequence[Archive], data: Path, progress: Progress, errors: list[BenchError]
) -> list[AcquisitionStep]:
    """Files that are no archives."""
    steps = []
    for file in files:
        try:
            steps.append(_file(file, data, progress))
        except BenchError as error:
            errors.append(error)
    return steps


# ImageNet

IMAGENET = "imagenet"


def _imagenet(
    card: SetCard, data: Path, progress: Progress
) -> tuple[list[AcquisitionStep], list[BenchError]]:
    """Class folders of train and val from the archives, or of the flat images of val."""
    archives = {archive.holds: archive for archive in card.archives}
    steps: list[AcquisitionStep] = []
    errors: list[BenchError] = []
    for part, make in (("train", _train), ("val", _val)):
        try:
            with download_lock(data / DOWNLOADS / f"{IMAGENET}+{part}"):
                steps.append(make(card, archives, data, progress))
        except BenchError as error:
            errors.append(error)
    return steps, errors


def _train(
    card: SetCard, archives: Mapping[str, Archive], data: Path, progress: Progress
) -> AcquisitionStep:
    for place in (data / place.path for place in card.layout.folders["train"]):
        if _filled(place):
            if not any(entry.is_dir() for entry in place.iterdir()):
                raise DataError(f"{place} holds no class folders: give it another name")
            return AcquisitionStep("train", "there", str(place))
    into = data / str(archives["train"].into)
    packed = _archive(card, archives["train"], data, progress)
    check_file(packed, archives["train"], progress)
    unpack_train(packed, into, progress)
    return AcquisitionStep("train", "prepared", str(into))


def _val(
    card: SetCard, archives: Mapping[str, Archive], data: Path, progress: Progress
) -> AcquisitionStep:
    places = [data / place.path for place in card.layout.folders["val"]]
    for place in places:
        if is_sorted(place):
            return AcquisitionStep("val", "there", str(place))
    into = next((place for place in places if is_sorting_begun(place)), None)
    packed = None
    try:
        packed = _archive(card, archives["val"], data, progress)
        check_file(packed, archives["val"], progress)
    except ManualDownload:
        if into is None:
            raise
    devkit = _archive(card, archives["labels of val"], data, progress)
    check_file(devkit, archives["labels of val"], progress)
    into = into or data / str(archives["val"].into)
    sort_val(into, read_devkit(devkit), packed, progress)
    return AcquisitionStep("val", "prepared", str(into))

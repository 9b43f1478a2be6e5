"""Download, unpack and prepare the data sets that have a card.

Archives are downloaded to ``DATA/bench-downloads/SET/`` and unpacked into the folders in which
loaders look for them. Prompt files go to ``DATA/bench-prompts/SET/``. Data that is already there,
under any of the folder names listed in a set's card, is left alone.
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
    """The outcome for one part of a set.

    Attributes
    ----------
    holds : the part, such as ``train`` or ``labels of val``.
    state : what was done; ``there`` if the part was present before.
    path : its folder or file; the error message if `state` is ``missing``.
    """

    holds: str
    state: Literal["there", "downloaded", "unpacked", "prepared", "missing"]
    path: str

    def __str__(self) -> str:
        state = "already there" if self.state == "there" else self.state
        return f"{self.holds}: {state}, {self.path}"


def find_cards(names: Sequence[str], suites: bool = False) -> tuple[SetCard, ...]:
    """Return the cards of the named sets, without duplicates.

    A name that is not a set is read as a suite and stands for all sets of that suite. With
    `suites`, every name is read as a suite. Raises InputError for an unknown name.
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
    """Return the sets of a suite or of an alias for several suites; empty for any other name."""
    names = {name, *ALIASES.get(name, ())}
    return [card for card in cards().values() if names.intersection(card.suites)]


def download_set(
    card: SetCard, data: Path, progress: Progress, password: str | None = None, keep: bool = False
) -> tuple[AcquisitionStep, ...]:
    """Download a set, unpack it and prepare it.

    Downloaded archives are deleted once they are unpacked, unless `keep` is true. Every part is
    tried even if another one fails; the error then lists all failures. Raises PasswordNeeded for
    an encrypted zip, DataError if a file is missing, altered or must be downloaded manually, and
    BenchError if a download fails.
    """
    errors: list[BenchError] = []
    steps: list[AcquisitionStep] = []
    if card.name == IMAGENET:
        steps, errors = _imagenet(card, data, progress)
    else:
        for alternatives in _archives_by_part(card):
            try:
                steps.append(_get_part(card, alternatives, data, progress, password, keep))
            except PasswordNeeded:
                raise
            except BenchError as error:
                errors.append(error)
    steps += _get_files((*card.prompts, *card.metadata), data, progress, errors)
    if errors:
        raise _combined(errors, f"{card.name}: ")
    return tuple(steps)


def prepare_set(card: SetCard, data: Path, progress: Progress) -> tuple[AcquisitionStep, ...]:
    """Prepare what loaders need besides the unpacked archives.

    These are ImageNet's class folders and small official files: prompts, metadata and labels. Many
    sets need none of them; the result is then empty. Raises the same errors as `download_set`,
    except that for ImageNet one of train and val is enough.
    """
    steps, errors = _imagenet(card, data, progress) if card.name == IMAGENET else ([], [])
    if steps:
        steps += [
            AcquisitionStep(error.holds, "missing", str(error))
            for error in errors
            if isinstance(error, ManualDownload)
        ]
        errors = [error for error in errors if not isinstance(error, ManualDownload)]
    first = [alternatives[0] for alternatives in _archives_by_part(card)]
    plain = [archive for archive in first if archive.urls and not archive.packed]
    steps += _get_files((*plain, *card.prompts, *card.metadata), data, progress, errors)
    if errors:
        raise _combined(errors, f"{card.name}: ")
    return tuple(steps)


def _archives_by_part(card: SetCard) -> list[list[Archive]]:
    """Group the archives by the part they hold; the archives of one group are alternatives."""
    found: dict[str, list[Archive]] = {}
    for archive in card.archives:
        found.setdefault(archive.holds, []).append(archive)
    return list(found.values())


MANUALLY = " must be downloaded manually"


class ManualDownload(DataError):
    """The part `holds` of a set is missing and must be downloaded manually."""

    def __init__(self, holds: str, message: str) -> None:
        super().__init__(message)
        self.holds = holds


def _combined(errors: Sequence[BenchError], prefix: str = "") -> BenchError:
    """Join several errors into one.

    The result is a DataError if any error is one, else an InputError if any is one.
    """
    kinds = (DataError, InputError, BenchError)
    kind = min((k for e in errors for k in kinds if isinstance(e, k)), key=kinds.index)
    # What is said of several files is said once, or the message would be too long to be shown.
    same: dict[str, list[str]] = {}
    for error in errors:
        file, manually, rest = str(error).partition(MANUALLY)
        same.setdefault(manually + rest, []).append(file)
    texts = (", ".join(files) + rest if rest else "; ".join(files) for rest, files in same.items())
    return kind(f"{prefix}{'; '.join(texts)}")


def _manual_download(card: SetCard, archive: Archive, data: Path) -> ManualDownload:
    """Return the error that tells the user how to get an archive."""
    why = f" ({archive.note})" if archive.note else ""
    if archive.file == UNKNOWN:
        places = [str(data / found[0].path) for found in _split_folders(card).values()]
        message = f"no address to download from{why}: unpack a copy into"
        return ManualDownload(archive.holds, f"{message} {' and '.join(places)}")
    return ManualDownload(
        archive.holds,
        f"{archive.file}{MANUALLY} from {card.source}{why}: put the file, or a "
        f"link to it, into {data / DOWNLOADS / card.name} and run the command again",
    )


def _get_part(
    card: SetCard,
    alternatives: Sequence[Archive],
    data: Path,
    progress: Progress,
    password: str | None,
    keep: bool,
) -> AcquisitionStep:
    """Get a part of a set from the first of its archives that can be downloaded and is correct."""
    errors: list[BenchError] = []
    for archive in alternatives:
        try:
            if archive.packed or archive.file == UNKNOWN:
                return _get_unpacked(card, archive, data, progress, password, keep)
            return _get_file(archive, data, progress)
        except PasswordNeeded:
            raise
        except BenchError as error:
            errors.append(error)
    first = alternatives[0]
    if first.urls and first.packed:
        folder = data / DOWNLOADS / card.name
        copies = f"; 'bench show set:{card.name}' lists copies" if card.copies else ""
        hint = f"if you have {first.file} from another source, put it into {folder}{copies}"
        errors.append(BenchError(hint))
    raise errors[0] if len(errors) == 1 else _combined(errors)


def _get_file(archive: Archive, data: Path, progress: Progress) -> AcquisitionStep:
    """Download a file that is not an archive into its folder."""
    folder = data / str(archive.into)
    present = (folder / archive.file).exists()
    path = fetch_archive(archive, folder, progress)
    return AcquisitionStep(archive.holds, "there" if present else "downloaded", str(path))


def _get_unpacked(
    card: SetCard,
    archive: Archive,
    data: Path,
    progress: Progress,
    password: str | None,
    keep: bool,
) -> AcquisitionStep:
    """Download an archive and unpack it, unless its content is in the data folder already."""
    into = data / str(archive.into)
    with download_lock(data / DOWNLOADS / str(archive.into).replace("/", "+")):
        present = _find_content(card, archive, data)
        if present is not None:
            return AcquisitionStep(archive.holds, "there", str(present))
        path = _get_archive(card, archive, data, progress)
        checked = check_file(path, archive, progress)
        unpack(path, into, progress, password)
        if checked.url and not keep:
            path.unlink()
    _report_missing_parts(card, str(archive.into), data)
    return AcquisitionStep(archive.holds, "unpacked", str(into))


def _report_missing_parts(card: SetCard, into: str, data: Path) -> None:
    """Print the parts that an unpacked archive does not have where the card expects them."""
    for part, places in card.layout.folders.items():
        inside = [data / place.path for place in places if _within(place.path, into)]
        if inside and not any(path.is_dir() for path in inside):
            expected = f"expected {part} in {' or '.join(map(str, inside))}"
            print_line(f"{card.name}: {expected}; check the layout of {data / into}", sys.stderr)


def _get_archive(card: SetCard, archive: Archive, data: Path, progress: Progress) -> Path:
    """Return the path of an archive after downloading it.

    An archive without a URL is searched for in ``bench-downloads/SET/``, ``SET/`` and the data
    folder itself. Raises ManualDownload if it is in none of them.
    """
    if archive.urls:
        return fetch_archive(archive, data / DOWNLOADS / card.name, progress)
    folders = (data / DOWNLOADS / card.name, data / card.name, data)
    path = next((f / archive.file for f in folders if (f / archive.file).is_file()), None)
    if path is None:
        raise _manual_download(card, archive, data)
    return path


def _find_content(card: SetCard, archive: Archive, data: Path) -> Path | None:
    """Return the folder in which the content of an archive is already; None if there is none.

    This is the archive's own folder or any other that the card lists for its parts. A folder that
    two parts share is not counted: the partitions of SUN397 may be among its images, so a folder
    ``SUN397`` does not show that the partitions are there.
    """
    parts = _split_folders(card)
    if archive.into is not None:
        into = archive.into
        if _is_filled(data / into):
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
        found.append(next((path for path in own if _is_filled(path)), None))
    return found[0] if found and all(found) else None


def _split_folders(card: SetCard) -> dict[str, tuple[Location, ...]]:
    """Return the folders of the card's splits, leaving out parts such as ``metadata``."""
    folders = card.layout.folders
    return {part: places for part, places in folders.items() if part in ("all", *card.images)}


def _within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _get_files(
    files: Sequence[Archive], data: Path, progress: Progress, errors: list[BenchError]
) -> list[AcquisitionStep]:
    """Download files that are not archives; failures are appended to `errors`."""
    steps = []
    for file in files:
        try:
            steps.append(_get_file(file, data, progress))
        except BenchError as error:
            errors.append(error)
    return steps


# ImageNet

IMAGENET = "imagenet"


def _imagenet(
    card: SetCard, data: Path, progress: Progress
) -> tuple[list[AcquisitionStep], list[BenchError]]:
    """Build the class folders of train and val; returns the finished steps and the errors."""
    archives = {archive.holds: archive for archive in card.archives}
    steps: list[AcquisitionStep] = []
    errors: list[BenchError] = []
    for part, make in (("train", _make_train), ("val", _make_val)):
        try:
            with download_lock(data / DOWNLOADS / f"{IMAGENET}+{part}"):
                steps.append(make(card, archives, data, progress))
        except BenchError as error:
            errors.append(error)
    return steps, errors


def _make_train(
    card: SetCard, archives: Mapping[str, Archive], data: Path, progress: Progress
) -> AcquisitionStep:
    """Build the class folders of train from its archive."""
    for place in (data / place.path for place in card.layout.folders["train"]):
        if _is_filled(place):
            if not any(entry.is_dir() for entry in place.iterdir()):
                raise DataError(
                    f"{place} contains no class folders: rename it and run the command again"
                )
            return AcquisitionStep("train", "there", str(place))
    into = data / str(archives["train"].into)
    packed = _get_archive(card, archives["train"], data, progress)
    check_file(packed, archives["train"], progress)
    unpack_train(packed, into, progress)
    return AcquisitionStep("train", "prepared", str(into))


def _make_val(
    card: SetCard, archives: Mapping[str, Archive], data: Path, progress: Progress
) -> AcquisitionStep:
    """Build the class folders of val from its archive, from unsorted images, or from both."""
    places = [data / place.path for place in card.layout.folders["val"]]
    for place in places:
        if is_sorted(place):
            return AcquisitionStep("val", "there", str(place))
    into = next((place for place in places if is_sorting_begun(place)), None)
    packed = None
    try:
        packed = _get_archive(card, archives["val"], data, progress)
        check_file(packed, archives["val"], progress)
    except ManualDownload:
        if into is None:
            raise
    devkit = _get_archive(card, archives["labels of val"], data, progress)
    check_file(devkit, archives["labels of val"], progress)
    into = into or data / str(archives["val"].into)
    sort_val(into, read_devkit(devkit), packed, progress)
    return AcquisitionStep("val", "prepared", str(into))

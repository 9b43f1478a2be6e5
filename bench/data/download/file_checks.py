"""Read the files of a data set one by one: decode images, hash bytes, find unexpected files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

from bench.core.errors import DataError, one_line
from bench.core.foreign.files import open_regular
from bench.data.download.archives import HEAD, HTML, archive_format
from bench.data.readers.decoding import SUFFIXES, decode_image

_WNID = re.compile(r"n\d{8}")


def read_below(place: Path, progress: Callable[[int], None]) -> tuple[list[str], dict[str, str]]:
    """Read all files below a folder.

    Returns the problems found and {file: SHA-256} of every readable file, relative to `place`.
    `progress` is called with 1 after each file.
    """
    try:
        files = sorted(files_below(place))
    except OSError as error:
        return [f"unreadable: {error.filename}: {error.strerror}"], {}
    return read_files(place, files, progress)


def read_files(
    place: Path, files: Collection[str], progress: Callable[[int], None]
) -> tuple[list[str], dict[str, str]]:
    """Read the given files, relative to `place`; arguments and results as in `read_below`."""
    problems: list[str] = []
    hashes: dict[str, str] = {}

    def read(file: str) -> tuple[str, str]:
        digest, error = _read_file(place / file)
        progress(1)
        return digest, error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, (digest, error) in zip(files, pool.map(read, files), strict=True):
            if error:
                problems.append(f"unreadable: {place / file}: {error}")
            if digest:
                hashes[file] = digest
    misplaced = [file for file in files if _is_misplaced(file)]
    problems += [f"in the folder of another class: {place / file}" for file in misplaced]
    return problems, hashes


def files_below(root: Path, folder: str = "") -> Iterator[str]:
    """Yield the files below a folder, relative to `root`; hidden files and folders are skipped."""
    pending = [folder]
    while pending:
        inside = pending.pop()
        with os.scandir(root / inside) as entries:
            for entry in entries:
                name = f"{inside}/{entry.name}" if inside else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    pending.append(name)
                else:
                    yield name


def unknown_folders(root: Path, known: Iterable[str]) -> Iterator[str]:
    """Yield a message for each folder below `root` that has images but is not a known class.

    `known` has the class folders relative to `root`. They may contain slashes; the folders above
    them are not reported.
    """
    classes = frozenset(known)
    parents = {str(path) for name in classes for path in PurePosixPath(name).parents}
    for folder in sorted(_other_folders(root, "", classes, parents)):
        files = files_below(root, folder)
        if any(file.lower().endswith(SUFFIXES) for file in files):
            yield f"not a class of this set: {root / folder}"


def _other_folders(
    root: Path, folder: str, classes: Collection[str], parents: Collection[str]
) -> Iterator[str]:
    """Yield the topmost folders that are neither classes nor parents of classes."""
    with os.scandir(root / folder) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or name in classes or not entry.is_dir():
                continue
            if name in parents:
                yield from _other_folders(root, name, classes, parents)
            else:
                yield name


def html_pages(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that are HTML pages, whatever their names.

    Unreadable files are skipped here; they are reported when the set itself is checked.
    """
    names: list[str] = []
    with suppress(OSError):
        names = sorted(files_below(folder))
    for name in names:
        with suppress(OSError), open_regular(folder / name) as file:
            if archive_format(file.read(HEAD)) == HTML:
                yield folder / name


def _is_misplaced(file: str) -> bool:
    """Whether the name of a file has another WordNet id than its folder."""
    folder, _, name = file.rpartition("/")
    own, of_folder = _WNID.match(name), _WNID.fullmatch(folder.rpartition("/")[2])
    return own is not None and of_folder is not None and own[0] != of_folder[0]


def _read_file(path: Path) -> tuple[str, str]:
    """Return (SHA-256, error).

    The error is empty if the file can be read and, if it is an image, decoded. The hash is empty
    if the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return "", error.strerror or "cannot be read"
    if not path.name.lower().endswith(SUFFIXES):
        return digest, ""
    try:
        decode_image(path, path)
    except DataError as error:
        return digest, one_line(error.__cause__ or error)
    return digest, ""

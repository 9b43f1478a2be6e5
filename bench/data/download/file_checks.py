"""Files of data sets read one by one: whether they decode, their hashes, and what is too many."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

from PIL import Image

from bench.core.errors import one_line
from bench.data.download.archives import HEAD, HTML, archive_format
from bench.data.readers.listing import SUFFIXES

_WNID = re.compile(r"n\d{8}")


def read_below(place: Path, progress: Callable[[int], None]) -> tuple[list[str], dict[str, str]]:
    """What is wrong with the files below a folder, and {file: SHA-256} of all that can be read."""
    try:
        files = sorted(files_below(place))
    except OSError as error:
        return [f"unreadable: {error.filename}: {error.strerror}"], {}
    return read_files(place, files, progress)


def read_files(
    place: Path, files: Collection[str], progress: Callable[[int], None]
) -> tuple[list[str], dict[str, str]]:
    """As `read_below`, of some files, relative to `place`. `progress` is told of each."""
    problems: list[str] = []
    hashes: dict[str, str] = {}

    def one(file: str) -> tuple[str, str]:
        mark, reason = _file(place / file)
        progress(1)
        return mark, reason

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, (mark, reason) in zip(files, pool.map(one, files), strict=True):
            if reason:
                problems.append(f"unreadable: {place / file}: {reason}")
            if mark:
                hashes[file] = mark
    strange = [file for file in files if _is_strange(file)]
    problems += [f"in the folder of another class: {place / file}" for file in strange]
    return problems, hashes


def files_below(root: Path, folder: str = "") -> Iterator[str]:
    """The files below a folder, relative to `root`; hidden files and folders are ignored."""
    with os.scandir(root / folder) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from files_below(root, name)
            else:
                yield name


def unknown_folders(root: Path, known: Iterable[str]) -> Iterator[str]:
    """Folders with images below `root` that are none of the classes `known`, nor on the way to one.

    A class may contain slashes.
    """
    classes = frozenset(known)
    above = {str(path) for name in classes for path in PurePosixPath(name).parents}
    for folder in sorted(_outside(root, "", classes, above)):
        files = files_below(root, folder)
        if any(file.lower().endswith(SUFFIXES) for file in files):
            yield f"no class of it: {root / folder}"


def _outside(
    root: Path, folder: str, classes: Collection[str], above: Collection[str]
) -> Iterator[str]:
    with os.scandir(root / folder) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or name in classes or not entry.is_dir():
                continue
            if name in above:
                yield from _outside(root, name, classes, above)
            else:
                yield name


def html_pages(folder: Path) -> Iterator[Path]:
    """The files below a folder that are HTML pages, whatever their names.

    Those that cannot be read are none: a set whose file it is says so.
    """
    names: list[str] = []
    with suppress(OSError):
        names = sorted(files_below(folder))
    for name in names:
        with suppress(OSError), (folder / name).open("rb") as file:
            if archive_format(file.read(HEAD)) == HTML:
                yield folder / name


def _is_strange(file: str) -> bool:
    """Whether a file is named by another WordNet id than its folder."""
    folder, _, name = file.rpartition("/")
    own, of_folder = _WNID.match(name), _WNID.fullmatch(folder.rpartition("/")[2])
    return own is not None and of_folder is not None and own[0] != of_folder[0]


def _file(path: Path) -> tuple[str, str]:
    """(SHA-256, why it cannot be read or decoded), either empty."""
    try:
        with path.open("rb") as file:
            mark = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return "", error.strerror or "cannot be read"
    if not path.name.lower().endswith(SUFFIXES):
        return mark, ""
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # a decoder may raise anything on a broken file
        return mark, one_line(error)
    return mark, ""

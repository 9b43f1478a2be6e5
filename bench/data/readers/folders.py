"""Images on disk as splits: class folders and image lists, fingerprinted through an index.

A sample's id is its path relative to the folder (or to the list file), with forward slashes;
samples are sorted by id, so that the order is the same on every system and for every line order
of a list. A fingerprint is a hash of (ids, label sets, groups if there are any, contents). Contents
are the SHA-256 of every file's bytes for up to `HASHED_BYTES` in all, and the files' sizes above
that. Where the files lie does not enter it: moved data keep their fingerprint.

Bytes are read once (see `bench.data.readers.fingerprints`), and folders of very many images are
listed once (see `bench.data.readers.listing`).
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import os
import re
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Manifest, Split
from bench.core.errors import InputError, unknown_name
from bench.core.hashing import key_of
from bench.data.readers.decoding import decode_image
from bench.data.readers.fingerprints import Files, content_digest, sha256
from bench.data.readers.listing import SUFFIXES, images_below

HASHED_BYTES = 4 * 2**30
"""Contents up to this size are fingerprinted by their bytes, larger ones by file sizes."""

VERSION = 1
"""Raised whenever the same files would get another digest, order or label."""


AFTER = chr(ord("/") + 1)
"""Sorts right behind whatever a folder's slash is followed by."""

_Group = tuple[NDArray[np.int64], tuple[str, ...] | None]
"""Codes [N], and what the codes 0, 1, ... stand for if they have names."""


@dataclass(frozen=True)
class Classes:
    """The classes of a label space, in index order.

    Attributes
    ----------
    keys : C unique names, those of class folders and of labels in lists.
    prompts : C names as the text tower reads them; they may repeat (ImageNet has two "missile").
    """

    keys: tuple[str, ...]
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        for key, count in Counter(self.keys).items():
            if count > 1:
                raise InputError(f"class {key!r} is given {count} times")

    def __len__(self) -> int:
        return len(self.keys)

    def spellings(self) -> dict[str, int]:
        """Every accepted spelling of a class -> index.

        Keys, prompts that are unique, and, unless keys or prompts are numbers themselves, the
        index as a decimal number (ImageNet-V2's folders).
        """
        count = Counter(self.prompts)
        keys = {key: index for index, key in enumerate(self.keys)}
        prompts = {p: index for index, p in enumerate(self.prompts) if count[p] == 1}
        numbered = any(name.isdecimal() for name in (*self.keys, *self.prompts))
        numbers = {} if numbered else {str(index): index for index in range(len(self))}
        return numbers | prompts | keys

    def index(self, name: str, spellings: dict[str, int]) -> int:
        """The class that `name` spells. InputError lists the nearest keys first."""
        if name not in spellings:
            near = difflib.get_close_matches(name, self.keys, n=3, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            ordered = [*near, *(key for key in self.keys if key not in near)]
            raise InputError(f"unknown class {name!r}: {hint}valid: {shorten_list(ordered, 20)}")
        return spellings[name]


@dataclass(frozen=True)
class FileImages:
    """The images ``root/names[i]``, opened when asked for (see `bench.data.readers.decoding`).

    `linked` is whether one of the files may be a symbolic link.
    """

    root: Path
    names: tuple[str, ...]
    linked: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Image.Image:
        path = self.root / self.names[index]
        return decode_image(path, path)

    def places(self) -> Mapping[str, Sequence[str]]:
        """{real folder, with a slash: the names of files in it}; each folder is resolved once."""
        named: dict[str, list[str]] = {}
        for name in self.names:
            folder, _, file = name.rpartition("/")
            named.setdefault(folder, []).append(file)
        real: dict[str, list[str]] = {}
        for folder, files in named.items():
            path = os.path.realpath(self.root / folder)
            for file in files if self.linked else ():
                if os.path.islink(f"{path}/{file}"):  # noqa: PTH114 a Path for each is slow
                    target, _, name = os.path.realpath(f"{path}/{file}").rpartition("/")
                    real.setdefault(f"{target}/", []).append(name)
                else:
                    real.setdefault(f"{path}/", []).append(file)
            if not self.linked:
                real.setdefault(f"{path}/", []).extend(files)
        return real


def locate_file(path: str, bases: Sequence[Path]) -> Path:
    """The first of ``base/path`` that exists (`path` itself if absolute).

    Raises InputError that lists what was looked for.
    """
    tried = list(dict.fromkeys(base / Path(path).expanduser() for base in bases))
    for candidate in tried:
        if candidate.exists():
            return candidate
    looked = " and ".join(map(str, tried))
    raise InputError(f"{path} not found: looked for {looked}; set --data DIR or $BENCH_DATA")


def shorten_list(names: Iterable[str], count: int) -> str:
    """At most `count` names, comma separated, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return ", ".join(every[:count]) + more


# Class folders


def folder_split(name: str, root: Path, classes: Classes, cache: Path) -> Split:
    """The split `name` of the images ``root/<class>/**``; hidden files and folders are ignored.

    Raises InputError if `root` is no folder, if its sub-folders are not just the classes, or if
    one of them holds no image.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: expected one that holds a folder per class")
    try:
        with os.scandir(root) as entries:
            folders = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    index = _folder_classes(root, folders, classes)
    files = images_below(root, folders, cache)
    labels, empty = _labels(files.names, index)
    if empty:
        kinds = ", ".join(SUFFIXES)
        raise InputError(f"empty class folder {root / empty[0]}: expected images ({kinds})")
    return _split(name, files, labels, cache, {})


def tree_split(name: str, root: Path, folders: Mapping[str, int], cache: Path) -> Split:
    """The split `name` of the images in some folders of `root`: {folder: class index}.

    Other folders are ignored, so that several may be one class, and not all of them need be used.
    What is missing is in the split's `fault`. Raises InputError if no image is found.
    """
    files = images_below(root, [f for f in sorted(folders) if (root / f).is_dir()], cache)
    if not files.names:
        raise InputError(f"{root} has no images in the {len(folders)} class folders expected")
    labels, missing = _labels(files.names, folders)
    split = _split(name, files, labels, cache, {})
    lost = f"{len(missing)} of {len(folders)} class folders: {shorten_list(missing, 3)}"
    return replace(split, fault=f"{name} lacks {lost}") if missing else split


def named_split(
    name: str,
    root: Path,
    images: Sequence[str],
    labels: Sequence[int] | Sequence[Sequence[int]] | NDArray[np.int64],
    cache: Path,
    groups: Mapping[str, Sequence[str] | NDArray[np.int64]] | None = None,
) -> Split:
    """The split `name` of images named one by one, relative to `root`, none of them twice.

    `labels` are class indices, one for each image or several; `groups` codes, or texts of which
    codes are made. Images that are not there are left out, and in the split's `fault`. Raises
    InputError if none is there.
    """
    found: dict[str, os.stat_result] = {}
    missing = []
    for image in images:
        try:
            found[image] = (root / image).stat()
        except OSError:
            missing.append(image)
    if not found:
        raise InputError(f"{root} has none of {len(images):,} images: {shorten_list(images, 1)}")
    files = Files.below(root, found.items())
    row_of = {image: row for row, image in enumerate(images)}
    rows = np.array([row_of[image] for image in files.names], dtype=np.int64)
    coded = {group: _taken(values, rows) for group, values in (groups or {}).items()}
    split = _split(name, files, _label_table(labels)[rows], cache, coded)
    lost = f"{len(missing):,} of {len(images):,} images: {shorten_list(missing, 3)}"
    return replace(split, fault=f"{name} lacks {lost}") if missing else split


def _label_table(labels: Any) -> NDArray[np.int64]:
    """int64 [N, L] of one or several class indices for each image, filled up with -1."""
    rows = [[one] if np.ndim(one) == 0 else list(one) for one in labels]
    table = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for row, several in enumerate(rows):
        table[row, : len(several)] = several
    return table


def _taken(values: Sequence[str] | NDArray[np.int64], rows: NDArray[np.int64]) -> _Group:
    if isinstance(values, np.ndarray):
        return values[rows], None
    return _named([values[row] for row in rows])


def _folder_classes(root: Path, folders: Sequence[str], classes: Classes) -> dict[str, int]:
    """Folder name -> class index; InputError says which are missing and which are too many."""
    if not folders:
        raise InputError(f"no class folders in {root}: expected one per class")
    spellings = classes.spellings()
    index = {folder: spellings[folder] for folder in folders if folder in spellings}
    found = set(index.values())
    missing = [key for i, key in enumerate(classes.keys) if i not in found]
    extra = [folder for folder in folders if folder not in index]
    if missing or extra:
        parts = [f"missing: {shorten_list(missing, 5)}"] if missing else []
        parts += [f"unexpected: {shorten_list(extra, 5)}"] if extra else []
        raise InputError(
            f"{root} has {len(folders)} class folders, but {len(classes)} classes are expected; "
            + "; ".join(parts)
        )
    return index


def _labels(
    images: Sequence[str], folders: Mapping[str, int]
) -> tuple[NDArray[np.int64], list[str]]:
    """(int64 [N, 1]: the class of each image's folder, the folders that have no image).

    `images` are sorted, so that those of a folder stand together: a million names is a lot.
    """
    labels = np.full((len(images), 1), -1, dtype=np.int64)
    empty = []
    for folder in sorted(folders):
        first, end = bisect_left(images, f"{folder}/"), bisect_left(images, f"{folder}{AFTER}")
        labels[first:end] = folders[folder]
        empty += [] if first < end else [folder]
    return labels, empty


# Image lists


def list_split(
    name: str, path: Path, classes: Classes, cache: Path, groups: Sequence[str] = ()
) -> Split:
    """The split `name` of the images in a CSV or TSV file with the columns ``path,label``.

    Paths are relative to the file's folder; a label is a class's name or index, several are
    separated by ``|``. The columns `groups` become the manifest's groups (see `_coded`), others
    are ignored. Raises InputError, naming file and line, for a missing image, an unknown label or
    an image listed twice.
    """
    spellings = classes.spellings()
    found: dict[str, tuple[os.stat_result, list[int]]] = {}
    texts: dict[str, tuple[str, ...]] = {}
    for line, (image, text, *others) in _rows(path, groups):
        try:
            if image in found:
                raise InputError(f"image {image} is listed twice")
            labels = dict.fromkeys(classes.index(t.strip(), spellings) for t in text.split("|"))
            found[image] = (_status(path.parent, image), list(labels))
            texts[image] = tuple(others)
        except InputError as error:
            raise InputError(f"{path}:{line}: {error}") from error
    if not found:
        raise InputError(f"image list {path} is empty: expected a line 'path,label' per image")
    files = Files.below(path.parent, ((image, status) for image, (status, _) in found.items()))
    width = max(len(labels) for _, labels in found.values())
    table = np.full((len(files.names), width), -1, dtype=np.int64)
    for row, image in enumerate(files.names):
        labels_of = found[image][1]
        table[row, : len(labels_of)] = labels_of
    columns = zip(*(texts[image] for image in files.names), strict=True)
    coded = {group: _coded(column) for group, column in zip(groups, columns, strict=True)}
    return _split(name, files, table, cache, coded)


def _coded(column: Sequence[str]) -> _Group:
    """A column of a list as a group: whole numbers are codes, other texts names of codes."""
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", text) for text in column):
        return np.array(list(map(int, column)), dtype=np.int64), None
    return _named(column)


def _named(column: Sequence[str]) -> _Group:
    """Texts as codes, and the sorted texts that these stand for."""
    names, codes = np.unique(np.array(column), return_inverse=True)
    return codes.astype(np.int64), tuple(map(str, names))


def _rows(path: Path, groups: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, [image path with forward slashes, label text, its groups]) of a list."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            delimiter = "\t" if "\t" in header else ","
            columns = [c.strip() for c in next(csv.reader([header], delimiter=delimiter), [])]
            if not {"path", "label"} <= set(columns):
                raise InputError(f"{path}:1: expected a header path,label, got {header.strip()!r}")
            for group in groups:
                if group not in columns:
                    raise unknown_name(f"column in {path}", group, columns)
            at = [columns.index(name) for name in ("path", "label", *groups)]
            reader = csv.reader(file, delimiter=delimiter)
            for row in reader:
                line = reader.line_num + 1
                if not row:
                    continue
                if len(row) != len(columns) or not all(row[i].strip() for i in at):
                    raise InputError(f"{path}:{line}: expected {len(columns)} filled fields")
                image, *others = (row[i].strip() for i in at)
                yield line, [PurePosixPath(image.replace("\\", "/")).as_posix(), *others]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read image list {path}: {error}") from error


def _status(root: Path, image: str) -> os.stat_result:
    try:
        status = (root / image).stat()
    except OSError as error:
        raise InputError(f"no image {root / image}: paths are relative to the list") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{root / image} is not a file: expected an image")
    return status


# Fingerprints


def _split(
    name: str,
    files: Files,
    labels: NDArray[np.int64],
    cache: Path,
    groups: Mapping[str, _Group],
) -> Split:
    codes = {group: found for group, (found, _) in groups.items()}
    names = {group: found for group, (_, found) in groups.items() if found is not None}
    manifest = Manifest(files.names, labels, codes, names)
    loaded = Loaded(FileImages(files.root, files.names, files.linked), manifest)
    sets = _integers(labels)
    marks = [{group: _integers(found) for group, found in codes.items()}, names] if groups else []
    mark = key_of("images", VERSION, _digest(files, cache), labels.shape[1], sets, *marks)
    return Split(name, mark, len(manifest), lambda: loaded)


def _integers(values: NDArray[np.int64]) -> str:
    return hashlib.sha256(values.astype("<i8").tobytes()).hexdigest()


def _digest(files: Files, cache: Path) -> str:
    """The digest of names and contents."""
    names = files.named
    if files.size > HASHED_BYTES:
        return key_of("sizes", VERSION, names, sha256(files.stamps[:, 0].tobytes()))
    return key_of("bytes", VERSION, names, content_digest(files, cache))

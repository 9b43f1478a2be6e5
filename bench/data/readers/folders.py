"""Splits of image files on disk: class folders, and files that are named one by one.

A sample id is the path of the image relative to the folder (or to the list file), with forward
slashes. Samples are sorted by id, which makes the order the same on every system and for every
order of lines in a list. The fingerprint is a hash of ids, label sets, groups (if any) and file
contents. Contents are the SHA-256 of every file for up to `HASHED_BYTES` in total, and the file
sizes above that. The location of the files is not part of it: moved data keep their fingerprint.

Each file is read once (see `bench.data.readers.fingerprints`), and folders with very many images
are listed once (see `bench.data.readers.listing`).
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Manifest, Split
from bench.core.errors import InputError
from bench.core.hashing import key_of
from bench.core.paths import local_path
from bench.data.classes import Classes, respelled, shorten_list
from bench.data.readers.decoding import SUFFIXES, decode_image
from bench.data.readers.fingerprints import HASHED_BYTES, Files, content_digest, file_marks, sha256
from bench.data.readers.listing import PassedOver, images_below, passed_over

VERSION = 1
"""Increase this number whenever the same files would get another digest, order or label."""

AFTER = chr(ord("/") + 1)
"""The character after the slash: a folder name plus this sorts right after all its files."""

GroupCodes = tuple[NDArray[np.int64], tuple[str, ...] | None]
"""Codes [N], and the names of the codes 0, 1, ..., or None if they have no names."""


class PackedNames(Sequence[str]):
    """Names in one string of bytes, with where each ends.

    Processes that are forked to decode images read them without a copy. A tuple's strings count
    who holds them, so that reading them would copy their memory into each process, 124 MB for
    ImageNet's training images.

    Examples
    --------
    >>> from bench.data.readers.folders import PackedNames
    >>> names = PackedNames(("a.png", "b/c.png"))
    >>> len(names), names[1], list(names)
    (2, 'b/c.png', ['a.png', 'b/c.png'])
    """

    def __init__(self, names: Sequence[str]) -> None:
        coded = [name.encode("utf-8", "surrogatepass") for name in names]
        self.data = b"".join(coded)
        self.ends = np.cumsum([0, *map(len, coded)])

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place = range(len(self))[index]
        return self.data[self.ends[place] : self.ends[place + 1]].decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class FileImages:
    """The images ``root/names[i]``, each decoded when it is read.

    `linked` is False if none of the files is a symbolic link.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.readers.folders import FileImages
    >>> Image.new("RGB", (8, 6)).save("a.png")
    >>> images = FileImages(Path(), ("a.png",))
    >>> len(images), images[0].size
    (1, (8, 6))
    """

    root: Path
    names: Sequence[str]
    linked: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Image.Image:
        path = self.root / self.names[index]
        return decode_image(path, path)

    def places(self) -> Mapping[str, Sequence[str]]:
        """Return {real folder, with a slash: names of files in it}. Links are resolved."""
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
    """Return the first of ``base/path`` that exists (`path` itself if it is absolute).

    Raises InputError that lists the paths that were tried.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.folders import locate_file
    >>> _ = Path("classes.txt").touch()
    >>> locate_file("classes.txt", [Path("nowhere"), Path()]).name
    'classes.txt'
    """
    local_path(path, "file or folder")
    tried = list(dict.fromkeys(base / Path(path).expanduser() for base in bases))
    for candidate in tried:
        if candidate.exists():
            return candidate
    places = " and ".join(map(str, tried))
    raise InputError(f"{path} not found: looked for {places}; set --data DIR or $BENCH_DATA")


# Class folders


def folder_split(name: str, root: Path, classes: Classes, cache: Path) -> Split:
    """Return the split `name` of the images ``root/<class>/**``.

    Names of folders are matched as `Classes.matched` does. The split's `caveats` count what was
    passed over: files that are no images, hidden folders, and images beside the class folders.
    Raises InputError if `root` is not a folder, if its sub-folders are not exactly the classes, or
    if one of them has no images.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.classes import Classes
    >>> from bench.data.readers.folders import folder_split
    >>> for number, name in enumerate(("cat", "dog"), start=1):
    ...     Path("train", name).mkdir(parents=True)
    ...     Image.new("RGB", (8, 8)).save(f"train/{name}/{number}.png")
    ...
    >>> classes = Classes(("cat", "dog"), ("cat", "dog"))
    >>> folder_split("pets/train", Path("train"), classes, Path("cache")).load().manifest.ids
    ('cat/1.png', 'dog/2.png')
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: expected a folder with one sub-folder per class")
    try:
        with os.scandir(root) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    folders = sorted(n for n, is_folder in found.items() if is_folder and n[0] != ".")
    hidden = [n for n, is_folder in found.items() if is_folder and n[0] == "."]
    beside = [n for n in found.keys() - folders if n[0] != "." and n.lower().endswith(SUFFIXES)]
    index = _folder_classes(root, folders, classes)
    tree = images_below(root, folders, cache)
    labels, empty = _labels(tree.files.names, index)
    if empty:
        kinds = ", ".join(SUFFIXES)
        raise InputError(f"class folder {root / empty[0]} has no images: expected {kinds}")
    split = split_of_files(name, tree.files, labels, cache, {})
    caveats = [f"{name}: {one}" for one in respelled(index, classes)]
    if beside:
        what = ("image beside the class folders", "images beside the class folders")
        caveats.append(passed_over(name, len(beside), what, min(beside)))
    caveats += [*tree.passed.caveats(name), *PassedOver.of([], hidden).caveats(name)]
    return replace(split, caveats=tuple(caveats))


def tree_split(name: str, root: Path, folders: Mapping[str, int], cache: Path) -> Split:
    """Return the split `name` of the images in `folders` of `root`: {folder: class index}.

    Several folders may belong to one class. Other folders are ignored. The split's `fault` lists
    missing folders. Raises InputError if no image is found.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.readers.folders import tree_split
    >>> Path("images/pug").mkdir(parents=True)
    >>> Image.new("RGB", (8, 8)).save("images/pug/1.png")
    >>> split = tree_split("pets/test", Path("images"), {"pug": 1, "poodle": 1}, Path("cache"))
    >>> split.size, split.fault
    (1, 'pets/test lacks 1 of 2 class folders: poodle')
    """
    tree = images_below(root, [f for f in sorted(folders) if (root / f).is_dir()], cache)
    if not tree.files.names:
        raise InputError(
            f"{root} has no images in the {len(folders)} expected class folders: check the path"
        )
    labels, missing = _labels(tree.files.names, folders)
    split = split_of_files(name, tree.files, labels, cache, {})
    split = replace(split, caveats=tree.passed.caveats(name))
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
    """Return the split `name` of the listed `images`: unique paths relative to `root`.

    `labels` are class indices, one or several per image. `groups` are codes, or texts that are
    turned into codes. Missing images are left out and counted in the split's `fault`. Raises
    InputError if all images are missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.readers.folders import named_split
    >>> Image.new("RGB", (8, 8)).save("1.png")
    >>> split = named_split("pets/test", Path(), ["1.png", "2.png"], [0, 1], Path("cache"))
    >>> split.load().manifest.ids, split.fault
    (('1.png',), 'pets/test lacks 1 of 2 images: 2.png')
    """
    found: dict[str, os.stat_result] = {}
    missing = []
    for image in images:
        try:
            found[image] = (root / image).stat()
        except OSError:
            missing.append(image)
    if not found:
        some = shorten_list(images, 1)
        raise InputError(f"{root} has none of the {len(images):,} expected images: {some}")
    files = Files.below(root, found.items())
    row_of = {image: row for row, image in enumerate(images)}
    rows = np.array([row_of[image] for image in files.names], dtype=np.int64)
    coded = {group: _group_rows(values, rows) for group, values in (groups or {}).items()}
    split = split_of_files(name, files, _label_table(labels)[rows], cache, coded)
    lost = f"{len(missing):,} of {len(images):,} images: {shorten_list(missing, 3)}"
    return replace(split, fault=f"{name} lacks {lost}") if missing else split


def _label_table(labels: Any) -> NDArray[np.int64]:
    """Return int64 [N, L]: the class indices of each image, padded with -1."""
    rows = [[one] if np.ndim(one) == 0 else list(one) for one in labels]
    table = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for row, several in enumerate(rows):
        table[row, : len(several)] = several
    return table


def _group_rows(values: Sequence[str] | NDArray[np.int64], rows: NDArray[np.int64]) -> GroupCodes:
    if isinstance(values, np.ndarray):
        return values[rows], None
    return encode_group([values[row] for row in rows])


def _folder_classes(root: Path, folders: Sequence[str], classes: Classes) -> dict[str, int]:
    """Return {folder name: class index}. InputError lists missing and unexpected folders."""
    if not folders:
        raise InputError(f"{root} has no class folders: expected one sub-folder per class")
    index = classes.matched(folders)
    found = set(index.values())
    missing = [key for i, key in enumerate(classes.shown) if i not in found]
    extra = [folder for folder in folders if folder not in index]
    if missing or extra:
        parts = [f"missing: {shorten_list(missing, 5)}"] if missing else []
        parts += [f"unexpected: {shorten_list(extra, 5)}"] if extra else []
        raise InputError(f"{root}: the class folders and the classes differ; {'; '.join(parts)}")
    return index


def _labels(
    images: Sequence[str], folders: Mapping[str, int]
) -> tuple[NDArray[np.int64], list[str]]:
    """Return (class of each image's folder as int64 [N, 1], folders without images).

    `images` must be sorted: a binary search finds the images of a folder among a million names.
    """
    labels = np.full((len(images), 1), -1, dtype=np.int64)
    empty = []
    for folder in sorted(folders):
        first, end = bisect_left(images, f"{folder}/"), bisect_left(images, f"{folder}{AFTER}")
        labels[first:end] = folders[folder]
        empty += [] if first < end else [folder]
    return labels, empty


def encode_group(column: Sequence[str]) -> GroupCodes:
    """Return texts as codes, and the sorted names of the codes.

    Examples
    --------
    >>> from bench.data.readers.folders import encode_group
    >>> encode_group(["Asia", "Africa", "Asia"])
    (array([1, 0, 1]), ('Africa', 'Asia'))
    """
    names, codes = np.unique(np.array(column), return_inverse=True)
    return codes.astype(np.int64), tuple(map(str, names))


# Fingerprints


def split_of_files(
    name: str,
    files: Files,
    labels: NDArray[np.int64],
    cache: Path,
    groups: Mapping[str, GroupCodes],
) -> Split:
    """Return the split `name` of files with labels int64 [N, L] and groups, in the files' order.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from bench.data.readers.fingerprints import Files
    >>> from bench.data.readers.folders import split_of_files
    >>> Image.new("RGB", (8, 8)).save("2.png")
    >>> files = Files(Path(), ("2.png",), Files.at([Path("2.png")]).stamps)
    >>> split_of_files("pets/test", files, np.array([[0]]), Path("cache"), {}).load().manifest.first
    array([0])
    """
    codes = {group: found for group, (found, _) in groups.items()}
    names = {group: found for group, (_, found) in groups.items() if found is not None}
    manifest = Manifest(files.names, labels, codes, names)
    loaded = Loaded(FileImages(files.root, PackedNames(files.names), files.linked), manifest)
    sets = _integers(labels)
    marks = [{group: _integers(found) for group, found in codes.items()}, names] if groups else []
    mark = key_of("images", VERSION, _digest(files, cache), labels.shape[1], sets, *marks)
    contents = None if files.size > HASHED_BYTES else lambda: file_marks(files, cache)
    return Split(name, mark, len(manifest), lambda: loaded, contents=contents)


def _integers(values: NDArray[np.int64]) -> str:
    return hashlib.sha256(values.astype("<i8").tobytes()).hexdigest()


def _digest(files: Files, cache: Path) -> str:
    """Return the digest of names and contents."""
    names = files.named
    if files.size > HASHED_BYTES:
        return key_of("sizes", VERSION, names, sha256(files.stamps[:, 0].tobytes()))
    return key_of("bytes", VERSION, names, content_digest(files, cache))

"""Listings of the images below class folders; listings of large trees are cached.

Reading the sizes of 1.28 million files takes many seconds. From `LARGE` images on, the listing is
therefore stored in ``<cache>/index/``, and a later run only checks

- the identity and times of every listed folder, and of every folder that a linked file leads to:
  the times change whenever an entry is added, removed, renamed or replaced in the folder;
- the sizes and times of `SAMPLE` evenly spaced files, starting at another file in each run.

If anything differs, the whole tree is listed again. The one change that may go unnoticed is a file
rewritten in place, because its folder does not change: each run detects a fraction SAMPLE / N of
such files. `forget_listings` makes the next run check every file. Clocks of file systems may be
coarse. Folders that changed within `SETTLED` seconds before they were listed are therefore not
trusted, and the next run lists the tree again.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, shortened
from bench.core.foreign.files import check_regular
from bench.data.readers.decoding import SUFFIXES
from bench.data.readers.fingerprints import Files, join_texts, split_texts
from bench.data.readers.npy import cache_arrays, cached_arrays

LARGE = 100_000
"""Listings of trees with at least this many images are cached."""

SAMPLE = 2000
"""Number of files of a large tree whose size and times are checked in each run."""

SETTLED = 2.0
"""Resolution of the coarsest file system clock, in seconds: shorter changes may not show."""

VERSION = 2
"""Increase this number whenever the same tree would be listed or stored differently."""

SYSTEM = frozenset({"thumbs.db", "desktop.ini", "icon\r"})
"""Files of operating systems, in lower case; like hidden files, they are not mentioned."""

NAMED = 3
"""The most passed over files and folders whose names are kept."""

Stamps = NDArray[np.int64]


@dataclass(frozen=True)
class PassedOver:
    """What a reader left out of a tree: numbers of files and hidden folders, and some names.

    Examples
    --------
    >>> from bench.data.readers.listing import PassedOver
    >>> PassedOver(2, ("cat/a.heic", "cat/b.psd")).caveats("pets/test")
    ('pets/test: passed over 2 files that are no images bench reads, such as cat/a.heic',)
    """

    files: int = 0
    some_files: tuple[str, ...] = ()
    folders: int = 0
    some_folders: tuple[str, ...] = ()

    @staticmethod
    def of(files: Sequence[str], folders: Sequence[str]) -> PassedOver:
        """Return the numbers of some files and folders, and the first `NAMED` names of each."""
        some = (tuple(heapq.nsmallest(NAMED, names)) for names in (files, folders))
        first, hidden = some
        return PassedOver(len(files), first, len(folders), hidden)

    def caveats(self, split: str) -> tuple[str, ...]:
        """Return a sentence on the files and one on the folders, if there are any."""
        files = ("file that is no image bench reads", "files that are no images bench reads")
        folders = ("hidden folder", "hidden folders")
        found = ((self.some_files, self.files, files), (self.some_folders, self.folders, folders))
        return tuple(passed_over(split, n, what, names[0]) for names, n, what in found if n)


def passed_over(split: str, count: int, what: tuple[str, str], name: str) -> str:
    """Return the caveat that `count` things were passed over; `what` is their name and its plural.

    Examples
    --------
    >>> from bench.data.readers.listing import passed_over
    >>> passed_over("pets/test", 2, ("hidden folder", "hidden folders"), "cat/.old")
    'pets/test: passed over 2 hidden folders, such as cat/.old'
    """
    such = f"1 {what[0]}: " if count == 1 else f"{count:,} {what[1]}, such as "
    return f"{split}: passed over {such}{shortened(name, 120, keep_end=True)}"


@dataclass(frozen=True)
class Tree:
    """The images of a tree, and what was passed over in it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.fingerprints import Files
    >>> from bench.data.readers.listing import PassedOver, Tree
    >>> Tree(Files.below(Path(), []), PassedOver()).files.names
    ()
    """

    files: Files
    passed: PassedOver


@dataclass(frozen=True)
class _Listing:
    """A stored listing of a tree.

    `folders` are D paths, relative to the root if they are below it. `stamps` int64 [D, 4] holds
    their devices, inodes, mtimes and ctimes.
    """

    files: Files
    folders: tuple[str, ...]
    stamps: Stamps
    passed: PassedOver


def images_below(root: Path, folders: Sequence[str], cache: Path) -> Tree:
    """Return the images ``root/<folder>/**``, sorted by name, and what was passed over.

    Names are relative to `root`, links are followed. Hidden folders and files that are no images
    are counted, hidden files are not. Raises InputError for a file or folder that cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.listing import images_below
    >>> Path("train/cat").mkdir(parents=True)
    >>> _ = [Path("train/cat", name).touch() for name in ("2.png", "1.JPG", "note.txt")]
    >>> tree = images_below(Path("train"), ["cat"], Path("cache"))
    >>> tree.files.names, tree.passed.some_files
    (('cat/1.JPG', 'cat/2.png'), ('cat/note.txt',))
    """
    path = cache / "index" / f"{_key(root, folders)}.tree"
    try:
        listing = _load(root, path)
        if listing is not None and _unchanged(listing):
            return Tree(listing.files, listing.passed)
        new = _list_tree(root, folders)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    try:
        if len(new.files.names) >= LARGE:
            cache_arrays(path, _arrays(new))
        elif listing is not None:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot store the list of files of {root}: {error}") from error
    return Tree(new.files, new.passed)


def forget_listings(cache: Path) -> None:
    """Delete all stored listings: the next run lists every tree and checks every file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.listing import forget_listings
    >>> forget_listings(Path("cache"))
    """
    for path in (cache / "index").glob("*.tree"):
        path.unlink(missing_ok=True)


def _key(root: Path, folders: Sequence[str]) -> str:
    parts = [str(VERSION), *SUFFIXES, str(root.resolve()), *sorted(folders)]
    return hashlib.sha256(join_texts(parts)).hexdigest()[:32]


def _list_tree(root: Path, folders: Iterable[str]) -> _Listing:
    """List the images and folders below some folders of `root`."""
    found: list[tuple[str, int, int, int]] = []
    watched: dict[str, tuple[int, int, int, int]] = {}
    others: list[str] = []
    hidden: list[str] = []
    linked = False
    pending = list(folders)
    while pending:
        folder = pending.pop()
        path = os.path.join(root, folder)  # noqa: PTH118 a Path for each is slow
        watched[folder] = _identity(path)
        with os.scandir(path) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}"
                if entry.name.startswith("."):
                    hidden += [name] if entry.is_dir() else []
                elif entry.is_dir():
                    pending.append(name)
                elif name.lower().endswith(SUFFIXES):
                    status = entry.stat()
                    check_regular(status.st_mode, entry.path)
                    found.append((name, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
                    if entry.is_symlink():
                        linked = True
                        _watch_targets(entry.path, watched)
                elif entry.name.lower() not in SYSTEM:
                    others.append(name)
    found.sort()
    stamps = np.array([row[1:] for row in found], dtype="<i8").reshape(-1, 3)
    files = Files(root, tuple(row[0] for row in found), stamps, linked)
    seen = np.array([*watched.values()], "<i8").reshape(-1, 4)
    return _Listing(files, tuple(watched), seen, PassedOver.of(others, hidden))


def _watch_targets(path: str, watched: dict[str, tuple[int, int, int, int]]) -> None:
    """Add the folders that a link leads to, through further links if there are any."""
    while os.path.islink(path):  # noqa: PTH114
        path = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115 PTH118 PTH120
        folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100 PTH120
        if folder not in watched:
            watched[folder] = _identity(folder)


def _identity(folder: str) -> tuple[int, int, int, int]:
    """Return a folder's device, inode, mtime and ctime; times are -1 if it changed just now."""
    now = time.time_ns()
    status = os.stat(folder)  # noqa: PTH116
    times = status.st_mtime_ns, status.st_ctime_ns
    settled = max(times) < now - SETTLED * 1e9
    return status.st_dev, status.st_ino, *(times if settled else (-1, -1))


def _unchanged(listing: _Listing) -> bool:
    """Return whether the folders and the sampled files are unchanged."""
    root, files = listing.files.root, listing.files
    try:
        for folder, stamp in zip(listing.folders, listing.stamps.tolist(), strict=True):
            status = os.stat(os.path.join(root, folder))  # noqa: PTH116 PTH118
            found = [status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            if found != stamp:
                return False
        for row in _sample(len(files.names)):
            status = os.stat(os.path.join(root, files.names[row]))  # noqa: PTH116 PTH118
            found = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            if found != files.stamps[row].tolist():
                return False
    except OSError:
        return False
    return True


def _sample(files: int) -> range:
    """Return the rows of the files to check in this run."""
    step = max(files // SAMPLE, 1)
    return range(time.time_ns() % step, files, step)


def _arrays(listing: _Listing) -> dict[str, NDArray[Any]]:
    return {
        "names": np.frombuffer(join_texts(listing.files.names), np.uint8),
        "files": listing.files.stamps,
        "folders": np.frombuffer(join_texts(listing.folders), np.uint8),
        "stamps": listing.stamps,
        "linked": np.array(listing.files.linked),
        "passed": np.array([listing.passed.files, listing.passed.folders], "<i8"),
        "others": np.frombuffer(join_texts(listing.passed.some_files), np.uint8),
        "hidden": np.frombuffer(join_texts(listing.passed.some_folders), np.uint8),
    }


def _load(root: Path, path: Path) -> _Listing | None:
    """Return the listing stored at `path`; None if there is none or it cannot be read."""
    stored = cached_arrays(path)
    if stored is None:
        return None
    try:
        names, folders = split_texts(stored["names"]), split_texts(stored["folders"])
        files = Files(root, names, stored["files"], bool(stored["linked"].item()))
        number, hiding = map(int, stored["passed"])
        others = split_texts(stored["others"]) if number else ()
        hidden = split_texts(stored["hidden"]) if hiding else ()
        passed = PassedOver(number, others, hiding, hidden)
        listing = _Listing(files, folders, stored["stamps"], passed)
    except (ValueError, KeyError, TypeError):
        return None
    fits = files.stamps.shape == (len(names), 3) and listing.stamps.shape == (len(folders), 4)
    return listing if fits else None

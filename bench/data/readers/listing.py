"""The images below class folders: listed at every start, large trees just once.

To ask 1.28 million files for their sizes takes many seconds. From `LARGE` images on, what was found
is therefore kept under ``<cache>/index/``, and a later start asks only

- every folder that was listed, and every folder to which a linked file leads, for its identity and
  times, which change whenever an entry is added, removed, renamed or replaced in it;
- `SAMPLE` files, evenly spaced from a place that is another at each start, for their sizes and
  times.

If anything is different, the whole tree is listed anew. So what may go unnoticed is a file that was
rewritten in place, its folder left as it was: a share of SAMPLE / N of such files is seen at each
start. `forget_listings` has the next start look at every file. Folders that changed within
`SETTLED` seconds before they were listed are not trusted, since a clock may tick slowly: the next
start lists the tree again.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.core.paths import write_atomic
from bench.data.readers.fingerprints import Files, join_texts, split_texts

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What counts as an image in a class folder, in upper or lower case."""

LARGE = 100_000
"""Trees of so many images are listed once; smaller ones at every start."""

SAMPLE = 2000
"""So many files of a large tree are asked for size and times at each start."""

SETTLED = 2.0
"""Seconds in which a change of a folder may not show in its times: the coarsest clock of a disk."""

VERSION = 1
"""Raised whenever the same tree would be listed differently, or be kept in another form."""

Stamps = NDArray[np.int64]


@dataclass(frozen=True)
class _Listing:
    """What is kept of a tree.

    `folders` are paths, relative to the root where they are below it; `stamps` int64 [D, 4] are
    their devices, inodes and times.
    """

    files: Files
    folders: tuple[str, ...]
    stamps: Stamps


def images_below(root: Path, folders: Sequence[str], cache: Path) -> Files:
    """The images ``root/<folder>/**``, sorted by name; hidden files and folders are ignored.

    Names are relative to `root`; links are followed. Raises InputError for what cannot be read.
    """
    kept = cache / "index" / f"{_name(root, folders)}.tree.npz"
    try:
        listing = _kept(root, kept)
        if listing is not None and _unchanged(listing):
            return listing.files
        new = _listed(root, folders)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    try:
        if len(new.files.names) >= LARGE:
            write_atomic(kept, _packed(new), durable=False)
        elif listing is not None:
            kept.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"index of {root}: {error}") from error
    return new.files


def forget_listings(cache: Path) -> None:
    """Forget all listings: the next start lists every tree and looks at every file."""
    for kept in (cache / "index").glob("*.tree.npz"):
        kept.unlink(missing_ok=True)


def _name(root: Path, folders: Sequence[str]) -> str:
    parts = [str(VERSION), *SUFFIXES, str(root.resolve()), *sorted(folders)]
    return hashlib.sha256(join_texts(parts)).hexdigest()[:32]


def _listed(root: Path, folders: Iterable[str]) -> _Listing:
    found: list[tuple[str, int, int, int]] = []
    watched: dict[str, tuple[int, int, int, int]] = {}
    linked = False
    left = list(folders)
    while left:
        folder = left.pop()
        path = os.path.join(root, folder)  # noqa: PTH118 a Path for each is slow
        watched[folder] = _identity(path)
        with os.scandir(path) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}"
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    left.append(name)
                elif name.lower().endswith(SUFFIXES):
                    status = entry.stat()
                    found.append((name, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
                    if entry.is_symlink():
                        linked = True
                        _watch_targets(entry.path, watched)
    found.sort()
    stamps = np.array([row[1:] for row in found], dtype="<i8").reshape(-1, 3)
    files = Files(root, tuple(row[0] for row in found), stamps, linked)
    return _Listing(files, tuple(watched), np.array([*watched.values()], "<i8").reshape(-1, 4))


def _watch_targets(path: str, watched: dict[str, tuple[int, int, int, int]]) -> None:
    """Add the folders to which a link leads, over other links too."""
    while os.path.islink(path):  # noqa: PTH114
        path = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115 PTH118 PTH120
        folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100 PTH120
        if folder not in watched:
            watched[folder] = _identity(folder)


def _identity(folder: str) -> tuple[int, int, int, int]:
    """A folder's device, inode and times, the latter as -1 if it changed just now."""
    now = time.time_ns()
    status = os.stat(folder)  # noqa: PTH116
    times = status.st_mtime_ns, status.st_ctime_ns
    settled = max(times) < now - SETTLED * 1e9
    return status.st_dev, status.st_ino, *(times if settled else (-1, -1))


def _unchanged(listing: _Listing) -> bool:
    """Whether the folders, and some of the files, are as they were."""
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
    """The rows of the files that are looked at in this start."""
    step = max(files // SAMPLE, 1)
    return range(time.time_ns() % step, files, step)


def _packed(listing: _Listing) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        names=np.frombuffer(join_texts(listing.files.names), np.uint8),
        files=listing.files.stamps,
        folders=np.frombuffer(join_texts(listing.folders), np.uint8),
        stamps=listing.stamps,
        linked=np.array(listing.files.linked),
    )
    return buffer.getvalue()


def _kept(root: Path, path: Path) -> _Listing | None:
    """The listing kept at `path`; None if there is none or it is no longer readable."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            names, folders = split_texts(kept["names"]), split_texts(kept["folders"])
            files = Files(root, names, kept["files"], bool(kept["linked"]))
            listing = _Listing(files, folders, kept["stamps"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = files.stamps.shape == (len(names), 3) and listing.stamps.shape == (len(folders), 4)
    return listing if fits else None

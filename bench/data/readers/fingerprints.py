"""What the bytes of a split's files are, read once: the index behind fingerprints.

The digest of the bytes is kept under ``<cache>/index/``, under a key made of the folder and of
every file's name, size and times (of content and of status, since unpacking an archive sets the
former back). A later start only asks for those; changed files have another key and are read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.core.streams import print_line

MANY = 5000
"""So many files take a while to hash: it is said when they are."""

VERSION = 2
"""Raised whenever what the index keeps of the same files would change."""


@dataclass(frozen=True)
class Files:
    """N files below `root`, and stamps int64 [N, 3]: bytes, mtime and ctime in nanoseconds.

    `linked` is whether one of them may be a symbolic link.
    """

    root: Path
    names: tuple[str, ...]
    stamps: NDArray[np.int64]
    linked: bool = True

    @staticmethod
    def below(root: Path, found: Iterable[tuple[str, os.stat_result]]) -> Files:
        """The files found with their status, sorted by name."""
        rows = sorted((name, *_stamp(status)) for name, status in found)
        stamps = np.array([row[1:] for row in rows], dtype="<i8").reshape(-1, 3)
        return Files(root, tuple(row[0] for row in rows), stamps)

    @staticmethod
    def at(paths: Sequence[Path]) -> Files:
        """The files `paths`, in that order. Raises InputError if one of them is none."""
        stamps = []
        for path in paths:
            if not path.is_file():
                raise InputError(f"no file {path}: expected one to read")
            stamps.append(_stamp(path.stat()))
        places = tuple(str(path.resolve()) for path in paths)
        return Files(Path(os.sep), places, np.array(stamps, dtype="<i8").reshape(-1, 3))

    @cached_property
    def named(self) -> str:
        """SHA-256 of the names."""
        return sha256("\0".join(self.names))

    @property
    def size(self) -> int:
        """Bytes in all."""
        return int(self.stamps[:, 0].sum())


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content_digest(files: Files, cache: Path) -> str:
    """One digest of the bytes of all files, in order: from the index, else computed and kept.

    Raises InputError if a file cannot be read or the index not be written.
    """
    stamps = sha256(files.stamps.tobytes())
    key = key_of("index", VERSION, str(files.root.resolve()), files.named, stamps)
    path = cache / "index" / f"{key}.json"
    try:
        known = _known(path)
        if known is not None:
            return known
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            known = _known(path)
            if known is not None:
                return known
            digest = sha256("\0".join(_hashed(files)))
            entry = {"contents": digest, "files": len(files.names), "root": str(files.root)}
            write_atomic(path, json.dumps(entry, sort_keys=True).encode(), durable=False)
            return digest
    except OSError as error:
        raise InputError(f"index of {files.root}: {error}") from error


def sha256(data: str | bytes) -> str:
    """SHA-256 of bytes or text; file names that are no valid Unicode keep their bytes."""
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()


def join_texts(texts: Iterable[str]) -> bytes:
    """Texts without a zero character as bytes, to be kept; file names keep theirs."""
    return "\0".join(texts).encode("utf-8", "surrogateescape")


def split_texts(data: NDArray[np.uint8]) -> tuple[str, ...]:
    """The texts that were `join_texts`. Raises ValueError if there is none such."""
    return tuple(data.tobytes().decode("utf-8", "surrogateescape").split("\0"))


def _known(path: Path) -> str | None:
    """The digest kept at `path`; None if there is none or it is no longer readable."""
    try:
        digest = json.loads(path.read_bytes())["contents"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _hashed(files: Files) -> list[str]:
    """SHA-256 of every file's bytes, in order."""
    if len(files.names) >= MANY:
        print_line(f"indexing {len(files.names):,} files of {files.root} (once)", sys.stderr)
    blocks = [files.names[i : i + 256] for i in range(0, len(files.names), 256)]

    def block(names: Sequence[str]) -> list[str]:
        return [_file_sha256(files.root / name) for name in names]

    with ThreadPoolExecutor() as pool:
        return [digest for digests in pool.map(block, blocks) for digest in digests]


def _file_sha256(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Digests of file contents, stored in an index so that each file is read only once.

The digest of a set of files is stored in ``<cache>/index/``, and beside it a mark of each file, by
which copies are found. The key is made from the folder and from the name, size, mtime and ctime of
every file; ctime is included because unpacking an archive sets mtime back. A later run only looks
up sizes and times. Changed files have another key and are read again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.core.foreign.files import open_regular, read_regular
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.core.store.container import (
    DamagedError,
    opened_bytes,
    opened_json,
    sealed_bytes,
    sealed_json,
)

log = logging.getLogger("bench.progress")
"""Messages about long work: shown by the command line, silent in Python."""

MANY = 5000
"""From this number of files on, a line is printed before they are hashed."""

VERSION = 2
"""Increase this number whenever the index would store something else for the same files."""


Marks = NDArray[np.uint64]
"""A number for each image that is equal for equal contents."""

HASHED_BYTES = 4 * 2**30
"""Contents up to this size are fingerprinted by their bytes, larger ones by sizes."""


@dataclass(frozen=True)
class Files:
    """N files below `root` and their stamps.

    `stamps` is int64 [N, 3]: size in bytes, mtime and ctime in nanoseconds. `linked` is False if
    none of the files is a symbolic link.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.fingerprints import Files
    >>> _ = Path("a.txt").write_text("one"), Path("b.txt").write_text("two")
    >>> files = Files.at([Path("b.txt"), Path("a.txt")])
    >>> files.size, [Path(name).name for name in files.names]
    (6, ['b.txt', 'a.txt'])
    """

    root: Path
    names: tuple[str, ...]
    stamps: NDArray[np.int64]
    linked: bool = True

    @staticmethod
    def below(root: Path, found: Iterable[tuple[str, os.stat_result]]) -> Files:
        """Return files from (name, status) pairs, sorted by name."""
        rows = sorted((name, *_stamp(status)) for name, status in found)
        stamps = np.array([row[1:] for row in rows], dtype="<i8").reshape(-1, 3)
        return Files(root, tuple(row[0] for row in rows), stamps)

    @staticmethod
    def at(paths: Sequence[Path]) -> Files:
        """Return the files `paths`, in that order. InputError if one of them does not exist."""
        stamps = []
        for path in paths:
            if not path.is_file():
                raise InputError(f"file {path} does not exist: check the path")
            stamps.append(_stamp(path.stat()))
        places = tuple(str(path.resolve()) for path in paths)
        return Files(Path(os.sep), places, np.array(stamps, dtype="<i8").reshape(-1, 3))

    @cached_property
    def named(self) -> str:
        """SHA-256 of the names."""
        return sha256("\0".join(self.names))

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return int(self.stamps[:, 0].sum())


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content_digest(files: Files, cache: Path) -> str:
    """Return one digest of the contents of all files, in order.

    It is looked up in the index; if it is not there, it is computed and stored. Raises InputError
    if a file cannot be read or the index cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.fingerprints import Files, content_digest
    >>> _ = Path("c.txt").write_text("one")
    >>> first = content_digest(Files.at([Path("c.txt")]), Path("cache"))
    >>> _ = Path("c.txt").write_text("other")
    >>> content_digest(Files.at([Path("c.txt")]), Path("cache")) == first
    False
    """
    path = _entry(files, cache)
    return _stored_digest(path) or _index(files, path, lambda: _stored_digest(path) is not None)


def file_marks(files: Files, cache: Path) -> Marks:
    """Return uint64 [N]: the first 64 bits of the SHA-256 of each file.

    They are stored beside the digest of all files, and found like it. Errors as `content_digest`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.fingerprints import Files, file_marks
    >>> paths = [Path("one.png"), Path("again.png")]
    >>> _ = [path.write_bytes(b"same") for path in paths]
    >>> one, again = file_marks(Files.at(paths), Path("cache")).tolist()
    >>> one == again
    True
    """
    path = _entry(files, cache)
    count = len(files.names)
    if _stored_marks(path, count) is None:
        _index(files, path, lambda: _stored_marks(path, count) is not None)
    found = _stored_marks(path, count)
    if found is None:
        raise InputError(f"cannot index the files of {files.root}: {path} cannot be read")
    return found


def row_marks(key: str, count: int, contents: Callable[[], Iterable[bytes]], cache: Path) -> Marks:
    """Return uint64 [N]: the first 64 bits of the SHA-256 of the contents of each of N rows.

    `key` identifies the rows and their contents; marks are stored in the index under it. Raises
    InputError if the index cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.fingerprints import row_marks
    >>> row_marks("a fingerprint", 2, lambda: [b"one", b"one"], Path("cache")).tolist()
    [8544106591765445504, 8544106591765445504]
    """
    path = cache / "index" / f"{key_of('rows', VERSION, key)}.json"
    found = _stored_marks(path, count)
    if found is None:
        found = _marks([sha256(content) for content in contents()])
        try:
            _write_marks(path, found)
        except OSError as error:
            raise InputError(f"cannot index images: {error}") from error
    return found


def file_digest(path: Path, cache: Path) -> str:
    """Return the SHA-256 of a file, cached by its path, size and times.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.fingerprints import file_digest
    >>> _ = Path("weights.pt").write_bytes(b"weights")
    >>> file_digest(Path("weights.pt"), Path("cache"))[:8]
    '9a129038'
    """
    key = key_of("digest", str(path), _stamp(path.stat()))
    cached = cache / "index" / f"{key}.digest"
    with suppress(OSError, DamagedError):  # absent or damaged
        return opened_bytes(f"index/{cached.name}", read_regular(cached)).decode()
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_atomic(cached, sealed_bytes(f"index/{cached.name}", digest.encode()))
    return digest


def _entry(files: Files, cache: Path) -> Path:
    stamps = sha256(files.stamps.tobytes())
    key = key_of("index", VERSION, str(files.root.resolve()), files.named, stamps)
    return cache / "index" / f"{key}.json"


def _index(files: Files, path: Path, is_stored: Callable[[], bool]) -> str:
    """Hash all files, unless another process just did, store the hashes, and return the digest."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            stored = _stored_digest(path)
            if stored is not None and is_stored():
                return stored
            digests = _file_digests(files)
            digest = sha256("\0".join(digests))
            marks = _marks(digests)
            entry = {"contents": digest, "files": len(files.names), "root": str(files.root)}
            _write_marks(path, marks)
            write_atomic(path, sealed_json(f"index/{path.stem}", entry), durable=False)
            return digest
    except OSError as error:
        raise InputError(f"cannot index the files of {files.root}: {error}") from error


def _marks(digests: Sequence[str]) -> Marks:
    return np.array([int(digest[:16], 16) for digest in digests], dtype=np.uint64)


def _write_marks(path: Path, marks: Marks) -> None:
    data = sealed_bytes(f"marks/{path.stem}", marks.astype("<u8").tobytes())
    write_atomic(path.with_suffix(".marks"), data, durable=False)


def _stored_marks(path: Path, count: int) -> Marks | None:
    """Return the marks beside the index entry `path`; None if there are none for `count` files."""
    try:
        data = opened_bytes(f"marks/{path.stem}", read_regular(path.with_suffix(".marks")))
    except (OSError, DamagedError):
        return None
    return np.frombuffer(data, "<u8").astype(np.uint64) if len(data) == 8 * count else None


def sha256(data: str | bytes) -> str:
    """Return the SHA-256 of bytes or text; names that are not valid Unicode keep their bytes.

    Examples
    --------
    >>> from bench.data.readers.fingerprints import sha256
    >>> sha256("bench")[:8]
    '1b32c28c'
    """
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()


def join_texts(texts: Iterable[str]) -> bytes:
    """Join texts without zero characters into bytes for storage; see `split_texts`.

    Examples
    --------
    >>> from bench.data.readers.fingerprints import join_texts
    >>> join_texts(["a.png", "b.png"]).hex(" ", 6)
    '612e706e67 00622e706e67'
    """
    return "\0".join(texts).encode("utf-8", "surrogateescape")


def split_texts(data: NDArray[np.uint8]) -> tuple[str, ...]:
    """Return the texts that `join_texts` joined. Raises ValueError for invalid bytes.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.data.readers.fingerprints import join_texts, split_texts
    >>> split_texts(np.frombuffer(join_texts(["a.png", "b.png"]), np.uint8))
    ('a.png', 'b.png')
    """
    return tuple(data.tobytes().decode("utf-8", "surrogateescape").split("\0"))


def _stored_digest(path: Path) -> str | None:
    """Return the digest stored at `path`; None if there is none or it cannot be read."""
    try:
        digest = opened_json(f"index/{path.stem}", read_regular(path))["contents"]
    except (OSError, DamagedError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _file_digests(files: Files) -> list[str]:
    """Return the SHA-256 of every file's contents, in order."""
    if len(files.names) >= MANY:
        log.info("indexing %s files of %s (only once)", f"{len(files.names):,}", files.root)
    blocks = [files.names[i : i + 256] for i in range(0, len(files.names), 256)]

    def block(names: Sequence[str]) -> list[str]:
        return [_file_sha256(files.root / name) for name in names]

    with ThreadPoolExecutor() as pool:
        return [digest for digests in pool.map(block, blocks) for digest in digests]


def _file_sha256(path: Path) -> str:
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:  # which has no name when a file was opened and cannot be read
            raise OSError(error.errno, error.strerror, str(path)) from error

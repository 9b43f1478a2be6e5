"""Tar and zip files: detect a format from the first bytes, and read an archive to its end."""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bench.core.errors import DataError, InputError, reason_of
from bench.core.foreign.expansion import TarBlocks, check_expansion, check_zip
from bench.core.foreign.files import open_regular
from bench.core.progress import ByteCounter
from bench.data.readers.npy import array_header

CHUNK = 2**20
HEAD = 512
"""Number of leading bytes that identify a format: the length of a tar's first header."""

TAR, GZIP, ZIP, NPY = "a tar", "a gzip file", "a zip", "a NumPy array"
HTML, OTHER = "an HTML page", "an unknown kind of file"
KINDS = {
    ".tar": (TAR, GZIP),
    ".tar.gz": (GZIP, TAR),
    ".zip": (ZIP,),
    ".npz": (ZIP,),
    ".npy": (NPY,),
}
"""Accepted formats by suffix, the expected one first. ImageNet-V2's .tar.gz is a plain tar, and
wise-ft's guide unpacks ImageNet-A's .tar as if it were gzipped, so both accept either format."""

_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile,
    struct.error, ValueError, ArithmeticError, LookupError, NotImplementedError, RuntimeError,
)  # fmt: skip


def archive_format(head: bytes) -> str:
    """Return the format of a file, such as ``a tar``, from its first `HEAD` bytes.

    A shorter file is passed as a whole.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    formats = (
        (not head, "empty"),
        (start.startswith((b"<!doctype html", b"<html")), HTML),
        (start.startswith(b"<?xml"), "an XML document"),
        (head.startswith(b"\x1f\x8b"), GZIP),
        (head.startswith((b"PK\x03\x04", b"PK\x05\x06")), ZIP),
        (head.startswith(b"\x93NUMPY"), NPY),
        (_is_tar_header(head), TAR),
    )
    return next((kind for matches, kind in formats if matches), OTHER)


def _is_tar_header(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[:HEAD], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def check_format(head: bytes, file: str, who: str) -> None:
    """Raise DataError if a file is an HTML page, or if its format does not fit its suffix.

    `head` has its leading bytes, `file` its name; `who` starts the message, as in ``a.zip is``.
    """
    expected = next((kinds for suffix, kinds in KINDS.items() if file.endswith(suffix)), None)
    kind = archive_format(head)
    if kind == HTML or (expected and kind not in expected):
        start = f" that begins with {head[:24]!r}" * (kind == OTHER)
        raise DataError(f"{who} {kind}{start}, expected {expected[0] if expected else file}")


@contextmanager
def damage_as_data_error(who: object) -> Iterator[None]:
    """Turn the errors that Python raises for a damaged file into a DataError about `who`."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{who} is damaged or truncated: {reason_of(error)}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of bz2, and of places before a file's start
            raise
        raise DataError(f"{who} is damaged or truncated: {error.strerror or error}") from error


def tar_members(raw: IO[bytes], who: object) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield (tar, member) for each member of a tar, gzipped or not.

    Read a member before advancing to the next one. Raises DataError about `who` if the members are
    too much for the size of the file, and an error that `damage_as_data_error` translates, also for
    a tar that is truncated or damaged between two members, which Python alone accepts as complete.
    A gzip file is read to its end, so that its checksum is compared.
    """
    start = raw.tell()
    gzipped = raw.read(2) == b"\x1f\x8b"
    size = raw.seek(0, os.SEEK_END) - start
    raw.seek(start)
    blocks: Any = TarBlocks(gzip.GzipFile(fileobj=raw) if gzipped else raw)  # type: ignore[arg-type]
    total = 0
    with tarfile.open(fileobj=blocks, mode="r:") as tar:
        for member in tar:
            if member.size < 0:  # which would lead back to where it came from, without end
                raise tarfile.ReadError(f"a member of {member.size:,} bytes")
            total += tarfile.BLOCKSIZE + member.size
            check_expansion(size, total, who, DataError)
            yield tar, member
            tar.members.clear()  # type: ignore[attr-defined]  # there may be a million
        if blocks.last != bytes(HEAD) and (blocks.last or not gzipped):
            raise EOFError(f"no end-of-archive marker at byte {tar.offset:,}")
        while rest := blocks.stream.read(CHUNK):
            total += len(rest)
            check_expansion(size, total, who, DataError)


def check_readable(path: Path, count: ByteCounter) -> None:
    """Read a tar, zip or NumPy file to its end. Raises DataError if it is damaged or truncated.

    `count` receives the numbers of bytes read. Encrypted members of a zip are not read.
    """
    with damage_as_data_error(path):
        with open_regular(path) as file:
            kind = archive_format(file.read(HEAD))
        if kind in (TAR, GZIP):
            _read_tar(path, count)
        elif kind == ZIP:
            _read_zip(path, count)
        elif kind == NPY:
            try:
                array_header(path, "")
            except InputError as error:
                raise DataError(str(error)) from error


def _read_tar(path: Path, count: ByteCounter) -> None:
    with open_regular(path) as raw:
        done = 0
        for _ in tar_members(raw, path):
            count(raw.tell() - done)
            done = raw.tell()


def _read_zip(path: Path, count: ByteCounter) -> None:
    with zipfile.ZipFile(path) as packed:
        for member in check_zip(packed, path, DataError).infolist():
            if not member.flag_bits & 1:
                with packed.open(member) as file:
                    while file.read(CHUNK):
                        pass
            count(member.compress_size)

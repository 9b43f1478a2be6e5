"""Tars and zips: what a file is by its first bytes, and whether it is there to its last."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench.core.errors import DataError
from bench.core.progress import ByteCounter

CHUNK = 2**20
HEAD = 512
"""Leading bytes that tell what a file is: a tar's first header."""

TAR, GZIP, ZIP, NPY = "a tar", "a gzip file", "a zip", "a NumPy array"
HTML, OTHER = "an HTML page", "something else"
KINDS = {
    ".tar": (TAR, GZIP),
    ".tar.gz": (GZIP, TAR),
    ".zip": (ZIP,),
    ".npz": (ZIP,),
    ".npy": (NPY,),
}
"""What a file of that name may be, first what it should be: ImageNet-V2's .tar.gz is a tar, and
wise-ft's guide unpacks ImageNet-A's .tar as if it were gzipped."""

_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile, ValueError,
)  # fmt: skip


def archive_format(head: bytes) -> str:
    """What a file is by its leading bytes, `HEAD` of them if it is that long."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    signs = (
        (not head, "empty"),
        (start.startswith((b"<!doctype html", b"<html")), HTML),
        (start.startswith(b"<?xml"), "an XML document"),
        (head.startswith(b"\x1f\x8b"), GZIP),
        (head.startswith((b"PK\x03\x04", b"PK\x05\x06")), ZIP),
        (head.startswith(b"\x93NUMPY"), NPY),
        (_begins_a_tar(head), TAR),
    )
    return next((kind for found, kind in signs if found), OTHER)


def _begins_a_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[:HEAD], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def check_format(head: bytes, file: str, who: str) -> None:
    """Raise DataError if the leading bytes are an HTML page's, or not those of `file`'s suffix."""
    expected = next((kinds for suffix, kinds in KINDS.items() if file.endswith(suffix)), None)
    kind = archive_format(head)
    if kind == HTML or (expected and kind not in expected):
        shown = f" that begins with {head[:24]!r}" * (kind == OTHER)
        raise DataError(f"{who} {kind}{shown}, expected {expected[0] if expected else file}")


@contextmanager
def damage_as_data_error(who: object) -> Iterator[None]:
    """What Python raises of a damaged file is a DataError about `who`."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{who} is damaged or cut short: {error}") from error


class _Blocks:
    """A stream that a tar is read from; `last` is what was read last."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.last = stream, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def read(self, size: int = -1) -> bytes:
        self.last = self.stream.read(size)
        return self.last


def tar_members(raw: IO[bytes]) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a tar, gzipped or not, each to be read before the next.

    Raises an error of a damaged file (see `damage_as_data_error`) also where Python takes one for
    whole: a tar that is cut or damaged between two members. Of a gzip file the checksum at its end
    is read.
    """
    start = raw.tell()
    gzipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(start)
    blocks = _Blocks(gzip.GzipFile(fileobj=raw) if gzipped else raw)  # type: ignore[arg-type]
    with tarfile.open(fileobj=blocks, mode="r:") as tar:
        for member in tar:
            yield tar, member
            tar.members.clear()  # type: ignore[attr-defined]  # there may be a million
        if blocks.last != bytes(HEAD) and (blocks.last or not gzipped):
            raise EOFError(f"no mark of its end at byte {tar.offset:,}")
        while blocks.stream.read(CHUNK):
            pass


def check_readable(path: Path, count: ByteCounter) -> None:
    """Read a packed file to its end, told to `count`. Raises DataError if it is not whole.

    Members of a zip that need a password are not read.
    """
    with damage_as_data_error(path):
        with path.open("rb") as file:
            kind = archive_format(file.read(HEAD))
        if kind in (TAR, GZIP):
            _read_tar(path, count)
        elif kind == ZIP:
            _read_zip(path, count)
        elif kind == NPY:
            np.load(path, mmap_mode="r", allow_pickle=False)


def _read_tar(path: Path, count: ByteCounter) -> None:
    with path.open("rb") as raw:
        done = 0
        for _ in tar_members(raw):
            count(raw.tell() - done)
            done = raw.tell()


def _read_zip(path: Path, count: ByteCounter) -> None:
    with zipfile.ZipFile(path) as packed:
        for member in packed.infolist():
            if not member.flag_bits & 1:
                with packed.open(member) as file:
                    while file.read(CHUNK):
                        pass
            count(member.compress_size)

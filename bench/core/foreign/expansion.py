"""Bound what archives, compressed members and shared tensors become in memory or on the disk."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import IO, Any

from bench.core.errors import BenchError, InputError
from bench.core.paths import format_bytes

FREE, RATIO = 2**28, 200
"""Bytes that anything may unpack to; more only up to this multiple of its packed size. Images
hardly shrink; text and labels may do so a hundredfold; bombs do so a thousandfold."""

HEADER = 2**24
"""The most bytes that are read at once from a tar: its long names and extended headers."""


def check_expansion(
    packed: int, unpacked: int, where: object, error: type[BenchError] = InputError
) -> None:
    """Raise `error` if so many `packed` bytes must not become so many `unpacked` ones.

    Examples
    --------
    >>> from bench.core.foreign.expansion import check_expansion
    >>> check_expansion(10_000_000, 80_000_000, "pets.npz")
    >>> check_expansion(6_000_000, 6_000_000_000, "pets.npz")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: pets.npz unpacks from 6 MB to 6 GB, more than 200 times as ...
    """
    if unpacked > max(FREE, RATIO * packed):
        raise error(
            f"{where} unpacks from {format_bytes(packed)} to {format_bytes(unpacked)}, more than "
            f"{RATIO} times as much: refused; if it is what you want, store it uncompressed"
        )


def check_zip(
    archive: zipfile.ZipFile, path: Path, error: type[BenchError] = InputError
) -> zipfile.ZipFile:
    """Return an open zip. Raises `error` if its members become too much.

    Examples
    --------
    >>> import zipfile
    >>> from pathlib import Path
    >>> from bench.core.foreign.expansion import check_zip
    >>> with zipfile.ZipFile("a.zip", "w") as archive:
    ...     archive.writestr("a.txt", "one")
    ...
    >>> with zipfile.ZipFile("a.zip") as archive:
    ...     check_zip(archive, Path("a.zip")).namelist()
    ...
    ['a.txt']
    """
    total = sum(member.file_size for member in archive.infolist())
    check_expansion(path.stat().st_size, total, path, error)
    return archive


class TarBlocks:
    """A stream of a tar that remembers the block read last as `last`, and reads no giant ones.

    Examples
    --------
    >>> import io
    >>> from bench.core.foreign.expansion import TarBlocks
    >>> TarBlocks(io.BytesIO(b"abc")).read(-1)
    Traceback (most recent call last):
    ...
    tarfile.ReadError: a header of -1 bytes
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.last = stream, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. Raises ReadError for a size that no header has."""
        if not 0 <= size <= HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.last = self.stream.read(size)
        return self.last

"""Check that a file matches its card: format, size and checksums.

The result is stored beside the file in ``.FILE.checked`` (JSON with the fields of `CheckedFile`).
It saves hashing, say, 138 GB at every start; a file that has changed since is checked again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import DataError, InputError
from bench.core.foreign.documents import parse_json
from bench.core.foreign.files import open_regular, text_of
from bench.core.paths import write_atomic
from bench.core.progress import ByteCounter, Progress, byte_progress
from bench.data.cards import Archive
from bench.data.download.archives import CHUNK, HEAD, check_format, check_readable


@dataclass(frozen=True)
class CheckedFile:
    """The stored result of a successful check.

    Attributes
    ----------
    size : in bytes.
    modified : time of the last modification, in ns.
    digests : {kind: hexadecimal digits}; sha256 is always included.
    url : the address of the download; empty for a file that the user put there.
    """

    size: int
    modified: int
    digests: Mapping[str, str]
    url: str = ""


def note_path(path: Path) -> Path:
    """Return the path of the file that stores the result of checking `path`."""
    return path.with_name(f".{path.name}.checked")


def check_file(path: Path, archive: Archive, progress: Progress) -> CheckedFile:
    """Check the file `path` against its card and store the result.

    If the card has neither a size nor a checksum, an archive is read to its end instead. Raises
    DataError if the file does not match.
    """
    known = _stored_result(path)
    if known and archive.checksums.items() <= known.digests.items():
        return known
    status = path.stat()
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    check_format(head, archive.file, f"{path} is")
    expect_size(status.st_size, archive, f"{path} has")
    with byte_progress(progress, f"check {archive.file}", status.st_size) as count:
        found = file_digests(path, {"sha256", *archive.checksums}, count)
    for kind, expected in archive.checksums.items():
        if found[kind] != expected:
            raise DataError(f"{path} has {kind} {found[kind]}, expected {expected}")
    if not archive.checksums and archive.bytes is None:
        with byte_progress(progress, f"read {archive.file}", status.st_size) as count:
            check_readable(path, count)
    checked = CheckedFile(status.st_size, status.st_mtime_ns, found)
    write_note(path, checked)
    return checked


def write_note(path: Path, checked: CheckedFile) -> None:
    """Store the result of checking `path` beside it; do nothing if the folder is not writable."""
    text = json.dumps(vars(checked) | {"digests": dict(checked.digests)}, sort_keys=True)
    try:
        write_atomic(note_path(path), text.encode(), durable=False)
    except OSError:
        return


def _stored_result(path: Path) -> CheckedFile | None:
    """Return the stored result for `path`; None if there is none or the file has changed since."""
    status = path.stat()
    try:
        found = parse_json(text_of(note_path(path)))
        times = int(found["size"]), int(found["modified"])
        known = CheckedFile(*times, dict(found["digests"]), str(found["url"]))
    except (InputError, ValueError, KeyError, TypeError, OverflowError):
        return None
    now = (status.st_size, status.st_mtime_ns)
    return known if (known.size, known.modified) == now else None


def file_digests(path: Path, kinds: Iterable[str], count: ByteCounter) -> dict[str, str]:
    """Return {kind: hexadecimal digits} of a file, reading it once; kinds as in `cards.DIGITS`."""
    hashers = {}
    for kind in kinds:
        algorithm = "sha1" if kind == "git-blob" else kind
        hashers[kind] = hashlib.new(algorithm, usedforsecurity=False)
        if kind == "git-blob":
            hashers[kind].update(b"blob %d\0" % path.stat().st_size)
    with open_regular(path) as file:
        while block := file.read(CHUNK):
            for hasher in hashers.values():
                hasher.update(block)
            count(len(block))
    return {kind: hasher.hexdigest() for kind, hasher in hashers.items()}


def expect_size(size: int, archive: Archive, who: str) -> None:
    """Raise DataError if `size` differs from the card's size; pass if that is not exactly known.

    `who` starts the message, as in ``a.zip has``.
    """
    if archive.bytes is not None and size != archive.bytes:
        raise DataError(f"{who} {size:,} bytes, expected {archive.bytes:,}")

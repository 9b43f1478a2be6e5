"""Unpack tar and zip files from untrusted sources.

Nothing is written outside the target folder: absolute names, ``..``, links that lead out of it or
through other links, and devices are refused. Members are written to a folder
``.NAME.….unpacking`` beside the target. Each gets its name only once it is complete, and the folder
is renamed when all members are there. After a kill, the next run resumes and skips complete files.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import dropwhile
from multiprocessing import get_context
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from bench.core.errors import DataError, InputError
from bench.core.foreign.expansion import check_zip
from bench.core.foreign.files import open_regular
from bench.core.paths import check_room, format_bytes
from bench.core.progress import ByteCounter, Progress, byte_progress
from bench.data.download.archives import CHUNK, damage_as_data_error, tar_members

BATCH = 64
"""Number of members of a zip that a worker unpacks per task."""


LEVELS = 64
"""The most levels of folders in an archive."""

COPIED = 16 * 2**30
"""The most bytes of files that a tar names again as hard links; each is copied."""

FORBIDDEN = frozenset(
    {
        *(errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ELOOP),
        *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOTEMPTY),
    }
)
"""What the system says of a name that is too long, or is another member's."""

UNFINISHED = ".file"
"""Suffix of a file that is being written; it lies beside the folder that it will be moved to."""


class PasswordNeeded(InputError):
    """A zip is encrypted, and the password is missing or wrong."""


def unpack(packed: Path, into: Path, progress: Progress, password: str | None = None) -> None:
    """Unpack a tar or zip into the folder `into`, which must not exist yet.

    If the archive has a top-level folder with the name of `into`, that folder becomes `into`;
    otherwise `into` receives all members. Raises DataError if the archive is damaged or has unsafe
    members, PasswordNeeded for an encrypted zip without the right password, and InputError if the
    disk has too little space.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    folder = _working_folder(packed, into)
    try:
        if packed.name.endswith(".zip"):
            _unpack_zip(packed, folder, progress, password)
        else:
            _unpack_whole_tar(packed, folder, progress, into.name)
    except DataError:
        shutil.rmtree(folder, ignore_errors=True)  # of a refused archive, nothing is kept
        raise
    inner = folder / into.name
    move_into_place(inner if inner.is_dir() and not inner.is_symlink() else folder, into)
    shutil.rmtree(folder, ignore_errors=True)


def _working_folder(packed: Path, into: Path) -> Path:
    """Return the temporary folder to unpack into, and delete those of other archives.

    Its name depends on the name, size and modification time of the archive.
    """
    status = packed.stat()
    state = sha256(f"{packed.name} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()
    folder = into.with_name(f".{into.name}.{state[:8]}.unpacking")
    for other in into.parent.glob(f".{into.name}.*.unpacking"):
        clear_leftovers(other)
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(exist_ok=True)
    return folder


def clear_leftovers(folder: Path) -> None:
    """Delete the unfinished files that a killed process left beside `folder`."""
    for path in folder.parent.glob(f"{folder.name}.*{UNFINISHED}"):
        path.unlink()


def move_into_place(folder: Path, into: Path) -> None:
    """Rename a finished folder to `into` after its content has been written to disk."""
    if hasattr(os, "sync"):
        os.sync()
    folder.rename(into)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def safe_member_path(name: str, who: object) -> PurePosixPath:
    """Return the name of a member as a relative path. Raises DataError if it is unsafe."""
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    absolute = path.is_absolute() or windows.anchor
    if absolute or ".." in (*path.parts, *windows.parts) or "\0" in name:
        raise DataError(f"{who} contains {name!r:.200}, which leads out of the folder: refused")
    if not path.parts:
        raise DataError(f"{who} contains {name!r:.200}, which is the folder itself: refused")
    if len(path.parts) > LEVELS:
        raise DataError(f"{who} contains {name!r:.200}, more than {LEVELS} levels deep: refused")
    return path


@contextmanager
def _naming(name: str, who: object) -> Iterator[None]:
    """Turn the errors of writing a member, where another one or its own name forbids it."""
    try:
        yield
    except OSError as error:
        if error.errno not in FORBIDDEN:
            raise
        reason = f"which cannot be written: {error.strerror}"
        raise DataError(f"{who} contains {name!r:.200}, {reason}; refused") from error


# Tars


def _unpack_whole_tar(packed: Path, folder: Path, progress: Progress, top: str) -> None:
    """Unpack the tar `packed` into `folder`; `top` as in `unpack_tar`."""
    size = packed.stat().st_size
    check_room(folder, size - _size(folder), f"unpacking {packed.name}")
    with (
        open_regular(packed) as raw,
        byte_progress(progress, f"unpack {packed.name}", size) as count,
    ):
        unpack_tar(raw, folder, packed, count, top)


def unpack_tar(
    raw: IO[bytes], folder: Path, who: object, count: ByteCounter, top: str | None = None
) -> None:
    """Unpack a tar, gzipped or not, into `folder`; `count` receives the numbers of bytes read.

    `top` is the name of the folder in it that may become the whole. Files that exist with the same
    size are not written again. Raises DataError about `who`.
    """
    done = raw.tell()
    target = _Target(folder, who, top)
    with damage_as_data_error(who):
        for tar, member in tar_members(raw, who):
            with _naming(member.name, who):
                target.add(tar, member)
            count(raw.tell() - done)
            done = raw.tell()


@dataclass
class _Target:
    """The folder of a tar; `links` are its symbolic links, `copied` the bytes of hard links."""

    folder: Path
    who: object
    top: str | None
    links: set[PurePosixPath] = field(default_factory=set)
    copied: int = 0

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Unpack one member."""
        if member.isdir() and not PurePosixPath(member.name).parts:
            return  # the folder itself, as `tar c .` writes it
        name = safe_member_path(member.name, self.who)
        if self.links.intersection((name, *name.parents)):
            raise self._refused(member, "whose path goes through a link")
        path = self.folder / name
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
        elif member.isreg():
            source = tar.extractfile(member)
            assert source is not None
            write_member(source, path, member.size, self.folder)
        elif member.islnk():
            self._hard_link(member, path)
        elif member.issym():
            self.links.add(name)
            self._symbolic_link(member, name)
        else:
            raise self._refused(member, "a device")

    def _hard_link(self, member: tarfile.TarInfo, path: Path) -> None:
        """Write a hard link as a copy of its target, which must be an earlier file of the tar."""
        target = safe_member_path(member.linkname, self.who)
        source = self.folder / target
        if self.links.intersection((target, *target.parents)) or not source.is_file():
            raise self._refused(member, "a hard link to a missing file")
        size = source.stat().st_size
        self.copied += size
        if self.copied > COPIED:
            copies = f"one of hard links to more than {format_bytes(COPIED)}"
            raise self._refused(member, copies)
        with source.open("rb") as file:
            write_member(file, path, size, self.folder)

    def _symbolic_link(self, member: tarfile.TarInfo, name: PurePosixPath) -> None:
        """Create a symbolic link whose target is inside the folder and not behind another link."""
        to = PurePosixPath(member.linkname)
        start = f"a link to {member.linkname!r:.100}"
        if to.is_absolute():
            raise self._refused(member, f"{start}, which leads out of the folder")
        down = dropwhile("..".__eq__, to.parts)
        target = PurePosixPath(os.path.normpath(name.parent / member.linkname))
        if ".." in (*down, *target.parts) or self.links.intersection((target, *target.parents)):
            raise self._refused(member, f"{start}, which leads out of the folder or through a link")
        if name == PurePosixPath(self.top or "."):
            raise self._refused(member, f"{start} in the place of the folder of all members")
        if name.parts[0] == self.top and target.parts[:1] != (self.top,):
            raise self._refused(member, f"{start}, which leads out of the folder {self.top}")
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(member.linkname)

    def _refused(self, member: tarfile.TarInfo, what: str) -> DataError:
        return DataError(f"{self.who} contains {member.name!r:.200}, {what}: refused")


def write_member(source: IO[bytes], path: Path, size: int, folder: Path) -> None:
    """Write a file of `size` bytes and rename it to `path` once it is complete.

    An existing file of that size is not written again.
    """
    if path.is_file() and path.stat().st_size == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f"{folder.name}.{os.getpid()}{UNFINISHED}")
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
            if file.tell() != size:
                raise EOFError(f"{path.name} has {file.tell():,} of {size:,} bytes")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# Zips


def _unpack_zip(packed: Path, folder: Path, progress: Progress, password: str | None) -> None:
    """Unpack a zip into `folder`."""
    with damage_as_data_error(packed), zipfile.ZipFile(packed) as found:
        check_zip(found, packed, DataError)
        members = [member for member in found.infolist() if not member.is_dir()]
    for member in members:
        safe_member_path(member.filename, packed)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise DataError(
                f"{packed} contains {member.filename!r:.200}, a link or device: refused"
            )
    encrypted = any(member.flag_bits & 1 for member in members)
    if encrypted and password is None:
        raise PasswordNeeded(f"{packed} is encrypted: pass its password with --password")
    total = sum(member.file_size for member in members)
    check_room(folder, total - _size(folder), f"unpacking {packed.name}")
    names = [member.filename for member in members]
    batches = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    with _pool(encrypted) as pool, byte_progress(progress, f"unpack {packed.name}", total) as count:
        key = password.encode() if password is not None and encrypted else None
        tasks = [pool.submit(_unpack_names, packed, folder, batch, key) for batch in batches]
        try:
            for task in tasks:
                count(task.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pool(encrypted: bool) -> Executor:
    """Return the workers: one thread, or one process per core for an encrypted zip.

    Python decrypts only about 1 MB/s per core.
    """
    if encrypted:
        return ProcessPoolExecutor(mp_context=get_context("spawn"))
    return ThreadPoolExecutor(1)


def _unpack_names(packed: Path, folder: Path, names: Sequence[str], password: bytes | None) -> int:
    """Unpack the named members of a zip and return their total number of bytes."""
    done = 0
    with damage_as_data_error(packed), zipfile.ZipFile(packed) as found:
        for name in names:
            member = found.getinfo(name)
            try:
                path = folder / safe_member_path(name, packed)
                with _naming(name, packed), found.open(member, pwd=password) as source:
                    write_member(source, path, member.file_size, folder)
            except NotImplementedError as error:
                reason = f"{packed} uses a compression that Python cannot read ({error})"
                raise DataError(f"{reason}: unpack it yourself, for instance with 7-Zip") from error
            except RuntimeError as error:
                raise PasswordNeeded(f"{packed}: {error}") from error
            except (zipfile.BadZipFile, zlib.error) as error:
                if password is None:
                    raise
                raise PasswordNeeded(
                    f"{packed}: wrong password, or the file is damaged: {error}"
                ) from error
            done += member.file_size
    return done

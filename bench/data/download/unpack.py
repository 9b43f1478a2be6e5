"""Unpacking tars and zips that nobody vouches for.

Nothing is written outside the folder: absolute names, ``..``, links that lead out or through other
links, and devices are refused. The members go to a folder ``.NAME.….unpacking`` beside the target,
each under its name only once it is whole, and that folder is renamed when all are there. After a
kill the next run goes on: what is there is not written again.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from hashlib import sha256
from itertools import dropwhile
from multiprocessing import get_context
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from bench.core.errors import DataError, InputError
from bench.core.paths import check_room
from bench.core.progress import ByteCounter, Progress, byte_progress
from bench.data.download.archives import CHUNK, damage_as_data_error, tar_members

BATCH = 64
"""Members of a zip that a process is handed at a time."""


UNFINISHED = ".file"
"""Suffix of a file that is being written, beside the folder it will be in."""


class PasswordNeeded(InputError):
    """A zip is encrypted, and no password was given or it was a wrong one."""


def unpack(packed: Path, into: Path, progress: Progress, password: str | None = None) -> None:
    """Unpack a tar or zip so that it is the folder `into`, which is not there yet.

    If the archive has a folder named like `into` at its top, that is the folder; else it holds all
    that the archive does. Raises DataError if the archive is damaged or holds what must not be
    followed, PasswordNeeded, and InputError if the disk has not enough room.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    folder = _working_folder(packed, into)
    if packed.name.endswith(".zip"):
        _unpack_zip(packed, folder, progress, password)
    else:
        size = packed.stat().st_size
        check_room(folder, size - _size(folder), f"unpacking {packed.name}")
        with (
            packed.open("rb") as raw,
            byte_progress(progress, f"unpack {packed.name}", size) as count,
        ):
            unpack_tar(raw, folder, packed, count)
    inner = folder / into.name
    move_into_place(inner if inner.is_dir() else folder, into)
    shutil.rmtree(folder, ignore_errors=True)


def _working_folder(packed: Path, into: Path) -> Path:
    """The folder to unpack to: another one for each state of the archive. Others are removed."""
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
    """Remove what a killed process left unfinished beside `folder`."""
    for path in folder.parent.glob(f"{folder.name}.*{UNFINISHED}"):
        path.unlink()


def move_into_place(folder: Path, into: Path) -> None:
    """Give a finished folder its name, once all in it has reached the disk."""
    if hasattr(os, "sync"):
        os.sync()
    folder.rename(into)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def safe_member_path(name: str, who: object) -> PurePosixPath:
    """The name of a member as a path below the folder. Raises DataError if it is none."""
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    absolute = path.is_absolute() or windows.anchor
    if absolute or ".." in (*path.parts, *windows.parts) or "\0" in name:
        raise DataError(f"{who} holds {name!r}, which leads out of its folder: refused")
    return path


# Tars


def unpack_tar(raw: IO[bytes], folder: Path, who: object, count: ByteCounter) -> None:
    """Unpack a tar, gzipped or not, into `folder`; `count` is told the bytes of `raw`.

    A file of the same name and size that is there already stays. Raises DataError about `who`.
    """
    links: set[PurePosixPath] = set()
    done = raw.tell()
    with damage_as_data_error(who):
        for tar, member in tar_members(raw):
            _unpack_member(tar, member, folder, links, who)
            count(raw.tell() - done)
            done = raw.tell()


def _unpack_member(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    folder: Path,
    links: set[PurePosixPath],
    who: object,
) -> None:
    name = safe_member_path(member.name, who)
    if links.intersection((name, *name.parents)):
        raise DataError(f"{who} holds {member.name!r}, which lies behind a link: refused")
    path = folder / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif member.isreg():
        source = tar.extractfile(member)
        assert source is not None
        write_member(source, path, member.size, folder)
    elif member.islnk():
        _hard_link(member, path, folder, links, who)
    elif member.issym():
        links.add(name)
        _symbolic_link(member, name, folder, links, who)
    else:
        raise DataError(f"{who} holds {member.name!r}, a device: refused")


def _hard_link(
    member: tarfile.TarInfo, path: Path, folder: Path, links: set[PurePosixPath], who: object
) -> None:
    """Another name of a file that came before: a copy of it."""
    target = safe_member_path(member.linkname, who)
    source = folder / target
    if links.intersection((target, *target.parents)) or not source.is_file():
        raise DataError(f"{who} holds {member.name!r}, a link to no file in it: refused")
    with source.open("rb") as file:
        write_member(file, path, source.stat().st_size, folder)


def _symbolic_link(
    member: tarfile.TarInfo,
    name: PurePosixPath,
    folder: Path,
    links: set[PurePosixPath],
    who: object,
) -> None:
    said = f"{who} holds {member.name!r}, a link to {member.linkname!r}"
    if PurePosixPath(member.linkname).is_absolute():
        raise DataError(f"{said}, which leads out of its folder: refused")
    down = dropwhile("..".__eq__, PurePosixPath(member.linkname).parts)
    target = PurePosixPath(os.path.normpath(name.parent / member.linkname))
    if ".." in (*down, *target.parts) or links.intersection((target, *target.parents)):
        raise DataError(f"{said}, which leads out of its folder or through a link: refused")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(member.linkname)


def write_member(source: IO[bytes], path: Path, size: int, folder: Path) -> None:
    """Write a file of `size` bytes under its name once it is whole; one of that size stays."""
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
    with damage_as_data_error(packed), zipfile.ZipFile(packed) as found:
        members = [member for member in found.infolist() if not member.is_dir()]
    for member in members:
        safe_member_path(member.filename, packed)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise DataError(f"{packed} holds {member.filename!r}, a link or device: refused")
    secret = any(member.flag_bits & 1 for member in members)
    if secret and password is None:
        raise PasswordNeeded(f"{packed} is encrypted: give its password with --password")
    total = sum(member.file_size for member in members)
    check_room(folder, total - _size(folder), f"unpacking {packed.name}")
    names = [member.filename for member in members]
    batches = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    with _pool(secret) as pool, byte_progress(progress, f"unpack {packed.name}", total) as count:
        key = password.encode() if password is not None and secret else None
        tasks = [pool.submit(_unpack_names, packed, folder, batch, key) for batch in batches]
        try:
            for task in tasks:
                count(task.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pool(secret: bool) -> Executor:
    """One thread; but as many processes as cores to decrypt, which Python does at about 1 MB/s."""
    if secret:
        return ProcessPoolExecutor(mp_context=get_context("spawn"))
    return ThreadPoolExecutor(1)


def _unpack_names(packed: Path, folder: Path, names: Sequence[str], password: bytes | None) -> int:
    """Unpack some members of a zip and return how many bytes they have."""
    done = 0
    with damage_as_data_error(packed), zipfile.ZipFile(packed) as found:
        for name in names:
            member = found.getinfo(name)
            try:
                with found.open(member, pwd=password) as source:
                    write_member(
                        source, folder / safe_member_path(name, packed), member.file_size, folder
                    )
            except NotImplementedError as error:
                said = f"{packed} is packed in a way that Python cannot read ({error})"
                raise DataError(f"{said}: unpack it yourself, for instance with 7-Zip") from error
            except RuntimeError as error:
                raise PasswordNeeded(f"{packed}: {error}") from error
            except (zipfile.BadZipFile, zlib.error) as error:
                if password is None:
                    raise
                raise PasswordNeeded(f"{packed}: wrong password, or damaged: {error}") from error
            done += member.file_size
    return done

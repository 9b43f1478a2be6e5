"""Folders and files: locating them, and writing them atomically."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import platformdirs

from bench.core.errors import InputError

P = TypeVar("P", str, Path)
NO_STORES = frozenset({"file", "ftp", "hf", "http", "https", "local"})
"""Schemes of addresses that are no object stores."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")


def local_path(path: P, what: str) -> P:
    """Return a path. Raises InputError, naming `what` it is, if it is an address such as ``s3://``.

    A path object has lost the second slash of an address; it is refused as well. So is what no
    file system can hold: characters that no path has, a name that is too long, links in a circle.

    Examples
    --------
    >>> from bench.core.paths import local_path
    >>> local_path("images/train", "folder")
    'images/train'
    >>> local_path("s3://bucket/train", "folder")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: folder s3://bucket/train is an address, not a path on ...
    """
    try:
        is_there = Path(path).exists()
        Path(path).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL or a lone surrogate; a circle
        reason = getattr(error, "strerror", None) or re.sub(r" from '.*", "", f"{error}".lower())
        if isinstance(error, FileNotFoundError):  # of a relative path, in a folder that is gone
            reason = "the working folder is gone; change to one that exists"
        raise InputError(f"{what} {path} is no usable path: {reason}") from error
    found = _ADDRESS.match(str(path))
    if found is None or is_there:
        return path
    address = f"{found[1]}://{str(path)[found.end() :]}"
    raise InputError(
        f"{what} {address:.200} is an address, not a path on this machine: bench opens local files "
        "only; download or mount it, and give its local path"
    )


def store_address(path: str | Path) -> str:
    """Return the address of an object store, such as ``s3://bucket/prefix``; empty for a path.

    A path object has lost the second slash. Addresses of the web and of files are none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.paths import store_address
    >>> store_address(Path("s3://bucket/prefix/")), store_address("cache"), store_address("a:b")
    ('s3://bucket/prefix', '', '')
    """
    found = _ADDRESS.match(str(path))
    if found is None or found[1].lower() in NO_STORES:
        return ""
    with suppress(OSError, ValueError):  # of what is no path at all
        if Path(path).exists():
            return ""
    return f"{found[1].lower()}://{str(path)[found.end() :].rstrip('/')}"


def cache_path(path: P, what: str) -> P:
    """Return a path, or the address of an object store. Raises as `local_path` for another address.

    Examples
    --------
    >>> from bench.core.paths import cache_path
    >>> cache_path("s3://bucket/prefix", "--cache-dir")
    's3://bucket/prefix'
    """
    address = store_address(path)
    if not address:
        return local_path(path, what)
    if re.match(r"[^:]+://[^/]*:.*@", address):
        raise InputError(f"{what}: leave the password out of the address: it would be shown")
    if not re.fullmatch(r"[^:]+://[!-~]{1,900}", address):
        raise InputError(
            f"{what} {address:.200}: expected s3://BUCKET/PREFIX, in ASCII without spaces"
        )
    return path


def cache_address(option: Path | None) -> str:
    """Return the address of the object store that is the cache; empty if it is a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.paths import cache_address
    >>> cache_address(Path("s3://bucket/prefix")), cache_address(Path("here"))
    ('s3://bucket/prefix', '')
    """
    return store_address(os.environ.get("BENCH_CACHE", "") if option is None else option)


def cache_dir(option: Path | None) -> Path:
    """Return the cache folder: ``--cache-dir``, else ``$BENCH_CACHE``, else the platform's.

    If that is the address of an object store, the folder of its local copy, which is below
    ``$BENCH_CACHE``, if that is a folder, or the platform's.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.paths import cache_dir
    >>> cache_dir(Path("here")).name
    'here'
    """
    env = cache_path(os.environ.get("BENCH_CACHE", ""), "cache folder $BENCH_CACHE")
    own = default_cache_dir() if not env or store_address(env) else Path(env)
    found = None if option is None else cache_path(option, "cache folder")
    if not (address := cache_address(found)):
        return own if found is None else found
    mark = hashlib.sha256(address.encode()).hexdigest()[:12]
    return own / "copies" / f"{re.sub('[^a-z0-9.]+', '-', address.lower())[:60]}-{mark}"


def default_cache_dir() -> Path:
    """Return the platform's cache folder for bench.

    Examples
    --------
    >>> from bench.core.paths import default_cache_dir
    >>> default_cache_dir().name
    'bench'
    """
    return Path(platformdirs.user_cache_dir("bench"))


def data_dir(option: Path | None) -> Path | None:
    """Return the data folder: ``--data``, else ``$BENCH_DATA``, else None.

    Raises InputError if the path does not exist or is not a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.paths import data_dir
    >>> data_dir(Path("nowhere"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: data folder nowhere does not exist: set an existing ...
    """
    env = local_path(os.environ.get("BENCH_DATA", ""), "data folder $BENCH_DATA")
    found = option if option is not None else (Path(env) if env else None)
    if found is not None and not local_path(found, "data folder").is_dir():
        problem = "is not a folder" if found.exists() else "does not exist"
        raise InputError(
            f"data folder {found} {problem}: set an existing folder with --data or $BENCH_DATA"
        )
    return found


def matching_files(pattern: str, bases: Sequence[Path]) -> list[Path]:
    """Return the files that match a pattern such as ``test/*.tar``, sorted.

    The folders in `bases` are tried in order; the first one with a match is used. Empty if none
    has any.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.paths import matching_files
    >>> _ = [Path(name).touch() for name in ("1.tar", "0.tar", "readme.txt")]
    >>> [path.name for path in matching_files("*.tar", [Path("nowhere"), Path()])]
    ['0.tar', '1.tar']
    """
    where = str(Path(local_path(pattern, "pattern")).expanduser())
    for base in bases:
        if (base / where).is_file():
            return [base / where]
        found = glob.glob(where, root_dir=base, recursive=True)  # noqa: PTH207
        files = sorted(base / path for path in found if (base / path).is_file())
        if files:
            return files
    return []


def check_writable(directory: Path, what: str) -> Path:
    """Return `directory` after checking that it is writable. It need not exist yet.

    Raises InputError unless files can be created in it or, if it does not exist, in its nearest
    existing parent. Leaves no files behind. `what` describes the folder in the message.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.paths import check_writable
    >>> check_writable(Path("results/run"), "output folder").exists()
    False
    """
    local_path(directory, what)
    try:
        nearest = next(p for p in (directory, *directory.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise InputError(f"{what} {directory}: {nearest} is a file, expected a folder")
        with tempfile.TemporaryFile(dir=nearest):
            return directory
    except OSError as error:
        raise InputError(f"{what} {directory} is not writable: {error.strerror}") from error


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise InputError if the disk of `folder` has fewer than `needed` bytes free for `what`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.paths import check_room
    >>> check_room(Path(), 10**18, "ImageNet")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: ImageNet needs 1e+09 GB, but . has 71.6 GB free: free ...
    """
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(nearest).free
    if free < needed:
        raise InputError(
            f"{what} needs {format_bytes(needed)}, but {nearest} has {format_bytes(free)} free: "
            "free up disk space or use another data folder"
        )


def format_bytes(size: int) -> str:
    """Return a number of bytes in readable form: ``1.26 GB``, ``8.13 kB``, ``12 bytes``.

    Examples
    --------
    >>> from bench.core.paths import format_bytes
    >>> format_bytes(1_260_000_000), format_bytes(12)
    ('1.26 GB', '12 bytes')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def write_atomic(
    path: Path, *parts: bytes | memoryview, durable: bool = True, temporary: Path | None = None
) -> None:
    """Write `parts` to `path` atomically: write a temporary file, fsync if `durable`, rename.

    If the process is killed, either the old or the new file is there, never a partial one. The
    temporary file is `temporary`, on the same file system, or beside `path`. An OSError names
    `path`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.paths import write_atomic
    >>> write_atomic(Path("results/board.txt"), b"vrf 78.6")
    >>> Path("results/board.txt").read_text()
    'vrf 78.6'
    """
    unique = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    beside = temporary or path.with_name(f".{path.name[:100]}.{unique}")
    try:
        for folder in (path.parent, beside.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with beside.open("xb") as file:
            for part in parts:
                file.write(part)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:  # of a full disk, for example, which has no name otherwise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)

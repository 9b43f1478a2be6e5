"""Folders and files: locating, reading, and writing them atomically."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from bench.core.errors import InputError


def cache_dir(option: Path | None) -> Path:
    """Return the cache folder: ``--cache-dir``, else ``$BENCH_CACHE``, else the platform's."""
    if option is not None:
        return option
    env = os.environ.get("BENCH_CACHE")
    return Path(env) if env else Path(platformdirs.user_cache_dir("bench"))


def data_dir(option: Path | None) -> Path | None:
    """Return the data folder: ``--data``, else ``$BENCH_DATA``, else None.

    Raises InputError if the path does not exist or is not a folder.
    """
    env = os.environ.get("BENCH_DATA")
    found = option if option is not None else (Path(env) if env else None)
    if found is not None and not found.is_dir():
        problem = "is not a folder" if found.exists() else "does not exist"
        raise InputError(
            f"data folder {found} {problem}: set an existing folder with --data or $BENCH_DATA"
        )
    return found


def matching_files(pattern: str, bases: Sequence[Path]) -> list[Path]:
    """Return the files that match a pattern such as ``test/*.tar``, sorted.

    The folders in `bases` are tried in order; the first one with a match is used. Empty if none
    has any.
    """
    where = str(Path(pattern).expanduser())
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
    """
    try:
        nearest = next(p for p in (directory, *directory.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise InputError(f"{what} {directory}: {nearest} is a file, expected a folder")
        with tempfile.TemporaryFile(dir=nearest):
            return directory
    except OSError as error:
        raise InputError(f"{what} {directory} is not writable: {error.strerror}") from error


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise InputError if the disk of `folder` has fewer than `needed` bytes free for `what`."""
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(nearest).free
    if free < needed:
        raise InputError(
            f"{what} needs {format_bytes(needed)}, but {nearest} has {format_bytes(free)} free: "
            "free up disk space or use another data folder"
        )


def format_bytes(size: int) -> str:
    """Return a number of bytes in readable form: ``1.26 GB``, ``8.13 kB``, ``12 bytes``."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` atomically: write a temporary file, fsync if `durable`, rename.

    If the process is killed, either the old or the new file is there, never a partial one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def text_of(path: Path) -> str:
    """Return the text of a UTF-8 file. Raises InputError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises InputError if it cannot be read."""
    try:
        return json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


@contextmanager
def reading_form(path: Path, form: str) -> Iterator[None]:
    """Turn errors from unexpected content of file `path` into an InputError.

    The message names the file and `form`, the expected form of its content.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        what = " ".join(f"{type(error).__name__} {error}".split())
        raise InputError(f"{path}: expected {form} ({what})") from error

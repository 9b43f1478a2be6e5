"""Files of a folder that are replaced together: written beside, moved at the end.

New files are written into a hidden folder within the folder they belong to. When all are there, a
list of what is to be moved and removed makes the exchange final: a process that is killed while it
moves them leaves the rest to the next one that reads or writes the folder. Of several processes
on a machine, one moves files of a folder at a time.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.core.errors import DataError, InputError
from bench.core.foreign.documents import read_json
from bench.core.paths import write_atomic
from bench.core.store.claims import own_name, sweep

PREFIX = ".new-"
READY = "ready.json"


@contextmanager
def staged(
    folder: Path, outdated: Iterable[str] = (), check: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """Give an empty folder; afterwards its content replaces that of the same names in `folder`.

    Files and folders in `folder` with names in `outdated` that were not written again are removed;
    all others stay. If the block raises, `folder` is as it was, and so if `check` does: it is
    called last, when no other process can write what it looks at.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.staging import staged
    >>> Path("run").mkdir()
    >>> _ = Path("run/missing.jsonl").write_text("old"), Path("run/note.txt").write_text("mine")
    >>> with staged(Path("run"), outdated=["missing.jsonl"]) as new:
    ...     _ = (new / "records.jsonl").write_text("new")
    ...
    >>> sorted(path.name for path in Path("run").iterdir())
    ['note.txt', 'records.jsonl']
    """
    finish(folder)
    new = folder / f"{PREFIX}{own_name()}"
    new.mkdir(parents=True)
    is_begun = False
    try:
        yield new
        names = [path.name for path in new.iterdir()]
        removed = [name for name in outdated if name not in names]
        with _alone(folder):
            _finish(folder)
            check()
            _check_targets(new, names)
            write_atomic(new / READY, json.dumps({"moved": names, "removed": removed}).encode())
            is_begun = True
            _finish(folder)
    except BaseException:
        if not is_begun:  # else the next process goes on with it
            shutil.rmtree(new, ignore_errors=True)
        raise


def finish(folder: Path) -> None:
    """Finish exchanges that a killed process began in `folder`, and remove what it left half done.

    Raises OSError if an exchange cannot be finished, and DataError if it is not one of bench: a run
    may come from somebody else, and nothing outside of its folder is touched.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.staging import finish
    >>> finish(Path("nowhere"))
    """
    if not any(folder.glob(f"{PREFIX}*")):
        return
    with _alone(folder):
        _finish(folder)


def finished_names(folder: Path) -> list[str]:
    """Return what is in a folder, sorted, without what is being written; nothing if it is none.

    Raises as `finish` does, which is called first.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.staging import finished_names
    >>> finished_names(Path("nowhere"))
    []
    """
    if not folder.is_dir():
        return []
    finish(folder)
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(PREFIX))


def _finish(folder: Path) -> None:
    for new in sorted(folder.glob(f"{PREFIX}*")):
        if not (new / READY).exists():
            sweep(folder, PREFIX)
            continue
        moved, removed = _exchange(new)
        for name in moved:
            with _naming(folder / name, new):
                _replace(new / name, folder / name)
        for name in removed:
            with _naming(folder / name, new):
                _remove(folder / name)
        shutil.rmtree(new, ignore_errors=True)


def _exchange(new: Path) -> tuple[list[str], list[str]]:
    """The names of what is to be moved out of a folder, and of what is to be removed."""
    try:
        plan = read_json(new / READY)
        found = list(plan["moved"]), list(plan["removed"])
        if new.is_symlink() or not all(_is_plain(name) for names in found for name in names):
            raise ValueError("a name leads out of the folder")
    except (InputError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{new / READY} is not the list of an exchange that bench began: remove the folder "
            f"{new.name}"
        ) from error
    return found


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, where its file system has locks; a killed process holds none."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _naming(target: Path, new: Path) -> Iterator[None]:
    """Name the file that cannot be exchanged, and what to do. What was moved before is done."""
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        reason = (
            f"{error.strerror}: it cannot be exchanged for that in {new.name}; make it writable"
        )
        todo = f"{reason} or move it away, and run the same command again"
        raise OSError(error.errno, todo, str(target)) from error


def _check_targets(new: Path, names: Iterable[str]) -> None:
    """Raise OSError, before anything is moved, if a folder lies where a file is to go."""
    for name in names:
        target = new.parent / name
        if target.is_dir() and not (new / name).is_dir():
            text = f"{os.strerror(errno.EISDIR)}: a file is to go there; move the folder away"
            raise OSError(errno.EISDIR, text, str(target))


def _replace(source: Path, target: Path) -> None:
    if source.is_dir() and target.exists():
        _remove(target)
    source.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

"""Claims: who computes what, among processes that share a store.

A claim is a file that only one process can create; its holder touches it every `BEAT` seconds. A
claim that nobody has touched for `LEASE` seconds, or whose process on this machine is gone, is
taken over. Clocks of machines are not compared: a waiting process watches whether the file's time
changes. Locks of the file system are not used, since network file systems do not all have them.

Claims only save work. Outputs are the same whoever computes them, so a claim that is taken over by
mistake, or that cannot be written, costs time and never a result.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.foreign.files import read_bounded

BEAT, LEASE = 10.0, 60.0
"""Seconds between two touches of a claim, and after which an untouched claim is void."""

DAY = 24 * 3600
"""Seconds after which what other machines left is nobody's any more."""

OWN = re.compile(r"([^-/]+)-([0-9]{1,20})-[0-9a-f]{12}")
"""The form of `own_name`: machine, process, random digits."""

LONGEST = 10_000
"""The most bytes of a claim that are read."""

State = tuple[int, int]
"""The inode of a claim and the time of its last touch, in ns."""

log = logging.getLogger("bench")


@dataclass
class Claims:
    """The claims of this process in `folder`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.claims import Claims
    >>> mine, others = Claims(Path("claims")), Claims(Path("claims"))
    >>> with mine.held(["weights-1f0c", "weights-2e1d"]) as got:
    ...     with others.held(["weights-2e1d", "weights-3d2e"]) as rest:
    ...         print(got, rest)
    ...
    ['weights-1f0c', 'weights-2e1d'] ['weights-3d2e']
    """

    folder: Path
    _held: set[Path] = field(default_factory=set, repr=False)
    _seen: dict[Path, tuple[State, float]] = field(default_factory=dict, repr=False)
    _beating: int | None = field(default=None, repr=False)  # which process's thread does

    @contextmanager
    def held(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Hold those of the claims `names` that no other process holds, and give their names."""
        got = [name for name in names if self.take(name)]
        try:
            yield got
        finally:
            for name in got:
                self.release(name)

    def take(self, name: str) -> bool:
        """Take a claim. Returns whether it is now this process's."""
        path = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not _created(path):
                seen = _state(path)
                if seen is not None:  # else it was given up just now, and may be taken again
                    if not self._is_void(path, seen):
                        return False
                    _remove(path, seen)
                if not _created(path):  # another process was faster
                    return False
        except OSError as error:
            log.debug("no claim on %s: %s", name, error)
            return True
        self._held.add(path)
        self._beat()
        return True

    def release(self, name: str) -> None:
        """Give a claim up, if it is held."""
        path = self.folder / name
        if path in self._held:
            self._held.discard(path)
            with suppress(OSError):
                if _holder(path) == this_process():  # else it was taken over
                    path.unlink()

    def _is_void(self, path: Path, seen: State) -> bool:
        """Whether nobody works under the claim any more."""
        if path not in self._seen or self._seen[path][0] != seen:
            self._seen[path] = (seen, time.monotonic())
        return is_gone(_holder(path)) or time.monotonic() - self._seen[path][1] > LEASE

    def _beat(self) -> None:
        if self._beating != os.getpid():  # a forked process needs a thread of its own
            self._beating = os.getpid()
            threading.Thread(target=self._touch, daemon=True).start()

    def _touch(self) -> None:
        while True:
            time.sleep(BEAT)
            for path in list(self._held):
                with suppress(OSError):
                    os.utime(path)


def sweep(folder: Path, prefix: str = "") -> None:
    """Remove the `leftovers` in a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.claims import own_name, sweep
    >>> Path("tmp").mkdir()
    >>> Path("tmp", own_name()).touch()
    >>> sweep(Path("tmp"))
    >>> len(list(Path("tmp").iterdir()))  # this process still runs
    1
    """
    for path in leftovers(folder, prefix):
        with suppress(OSError):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there. OSError if it stays.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.claims import remove
    >>> remove(Path("nowhere"))
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def leftovers(folder: Path, prefix: str = "") -> list[Path]:
    """Return what processes of this machine that are gone left, named by `prefix` and `own_name`.

    What other machines left is among them after a day. Other names are not bench's: the folder may
    be somebody's own.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.claims import leftovers
    >>> Path("own").mkdir()
    >>> Path("own/thesis-1-draft").touch()
    >>> leftovers(Path("own"))
    []
    """
    found = []
    with suppress(OSError):
        for path in sorted(folder.glob(f"{prefix}*")):
            if named := OWN.fullmatch(path.name.removeprefix(prefix)):
                is_mine = named[1] == _host() and not _runs(int(named[2]))
                with suppress(OSError):
                    if is_mine or is_old(path):
                        found.append(path)
    return found


def is_old(path: Path) -> bool:
    """Return whether a file was last touched over a day ago. Raises OSError if it is not there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.claims import is_old
    >>> Path("new").touch()
    >>> is_old(Path("new"))
    False
    """
    return time.time() - path.stat().st_mtime > DAY


def void_claims(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the void claims in a folder, and for each other one who holds it, as ``HOST PID``.

    As nobody waits here, a claim of another machine is void only if it was not touched for a day.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.claims import Claims, void_claims
    >>> with Claims(Path("working")).held(["weights-1f0c"]):
    ...     void, held = void_claims(Path("working"))
    ...
    >>> len(void), len(held)
    (0, 1)
    """
    void, held = leftovers(folder), set[str]()
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path in void or OWN.fullmatch(path.name):
                continue
            with suppress(OSError):  # it is given up meanwhile
                host, pid = holder = _holder(path) or ("unknown", 0)
                if is_gone(holder) or is_old(path):
                    void.append(path)
                else:
                    held.add(f"{host} {pid}")
    return void, sorted(held)


def own_name() -> str:
    """Return a file name that no other process uses and that `sweep` understands.

    Examples
    --------
    >>> from bench.core.store.claims import own_name
    >>> own_name() == own_name()
    False
    """
    return f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def _created(path: Path) -> bool:
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(json.dumps(this_process()).encode())
    except OSError:  # of a full disk: nobody must wait for a claim that names no process
        path.unlink(missing_ok=True)
        raise
    return True


def _state(path: Path) -> State | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _remove(path: Path, seen: State) -> None:
    """Remove a void claim that looked like `seen`; of several processes, one removes it."""
    aside = path.with_name(own_name())
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _state(aside) != seen:  # it was another process's new claim
            with suppress(FileExistsError):
                os.link(aside, path)
        remove(aside)  # a folder, too, which is no claim of bench


def _holder(path: Path) -> tuple[str, int] | None:
    try:
        return holder_in(read_bounded(path, most=LONGEST))
    except (OSError, ValueError):
        return None


def holder_in(claim: bytes) -> tuple[str, int] | None:
    """Return the machine and the process that a claim names first; None if it is damaged.

    Examples
    --------
    >>> from bench.core.store.claims import holder_in
    >>> holder_in(b'["node7", 4711]'), holder_in(b"[")
    (('node7', 4711), None)
    """
    try:
        host, pid, *_ = json.loads(claim)
        return str(host), int(pid)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None  # being written, or damaged: its time decides


def is_gone(holder: tuple[str, int] | None) -> bool:
    """Whether a process is known to have ended: one of this machine that does not run.

    Examples
    --------
    >>> from bench.core.store.claims import is_gone, this_process
    >>> is_gone(this_process()), is_gone(("another machine", 4711)), is_gone(None)
    (False, False, False)
    """
    return holder is not None and holder[0] == _host() and not _runs(holder[1])


def this_process() -> tuple[str, int]:
    """Return the machine and the process that claims name.

    Examples
    --------
    >>> import os
    >>> from bench.core.store.claims import this_process
    >>> this_process()[1] == os.getpid()
    True
    """
    return _host(), os.getpid()


def _host() -> str:
    return socket.gethostname().replace("-", "_").replace("/", "_") or "unknown"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process can have so large a number
        return False
    except OSError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and nobody has asked how, as often in containers; on Linux."""
    try:
        status = read_bounded(Path(f"/proc/{pid}/stat"), most=LONGEST)
    except (OSError, ValueError):
        return False
    return status.rpartition(b")")[2].split()[:1] == [b"Z"]

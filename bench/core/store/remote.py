"""The files of a store on an object store, with a local copy of those that were used here.

The objects are what counts. A file counts as stored once its upload has ended; a copy is used only
if it is of the object's present version, and its checksum is verified as that of any stored file.
What exists is known from listings, one for each kind of output, which are remembered for a while:
`LOOK` seconds, or longer where listing takes long. Where it matters what others have stored just
now, as after a claim was taken, the store looks again.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from bench.core.store.bucket import PART, Bucket, StoredObject
from bench.core.store.claims import Claims, is_old, own_name
from bench.core.store.container import LONGEST_HEADER
from bench.core.store.files import StoreFiles
from bench.core.store.remote_claims import RemoteClaims

LOOK, SHARE = 10.0, 0.05
"""Seconds for which a listing is remembered, and the most of a run's time that listing may take."""
HEADER = 2**16
"""Bytes in which the header of most files ends."""
PARTS, HEADERS = "parts", "headers"
"""Folders of the copy: downloads that are not complete, and beginnings of files."""

Folders = dict[str, dict[str, StoredObject]]
"""Objects by folder and name."""


@dataclass
class _Listing:
    """The objects of one kind of output, as they were `at` a time of the monotonic clock."""

    folders: Folders
    at: float
    took: float

    @property
    def is_current(self) -> bool:
        return time.monotonic() - self.at < max(LOOK, self.took / SHARE)


@dataclass(eq=False)
class RemoteFiles(StoreFiles):
    """Files below the folder `copy` as copies of the objects in `bucket`; others are local files.

    Several processes may share the folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.core.store.bucket import open_bucket
    >>> from bench.core.store.remote import RemoteFiles
    >>> bucket = open_bucket("memory://examples/store")
    >>> one = Store(Path("one"), RemoteFiles(bucket, Path("one")))
    >>> other = Store(Path("other"), RemoteFiles(bucket, Path("other")))
    >>> one.write_json("trainings", "1f0c", [{"loss": 0.7}])
    >>> other.read_json("trainings", "1f0c")
    [{'loss': 0.7}]
    """

    bucket: Bucket
    copy: Path
    _listings: dict[str, _Listing] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _looking: threading.local = field(default_factory=threading.local, repr=False)

    def exists(self, path: Path) -> bool:
        """Whether there is an object."""
        name = self._name(path)
        return super().exists(path) if name is None else self._entry(name) is not None

    def names(self, folder: Path) -> set[str]:
        """Return the names of the objects in a folder."""
        place = self._name(folder)
        if place is None:
            return super().names(folder)
        with self._lock:
            self._look_again(f"{place}/")
            return set(self._listing(place).folders.get(place, ()))

    def version(self, path: Path) -> Hashable | None:
        """Return the version of an object; None if it is absent."""
        name = self._name(path)
        if name is None:
            return super().version(path)
        entry = self._entry(name)
        return None if entry is None else entry.version

    def fetched(self, path: Path) -> Path | None:
        """Return the path of a copy of the present version, which is downloaded if need be.

        None if there is no object. Raises OSError if the copy cannot be written.
        """
        name = self._name(path)
        if name is None:
            return super().fetched(path)
        entry = self._entry(name)
        if entry is None:
            return None
        if not _is_copy(path, entry):
            try:
                self._download(name, entry, path)
            except FileNotFoundError:  # somebody has just removed it
                self._note(name, None)
                return None
        return path

    def facts(self, path: Path) -> dict[str, str]:
        """Return the metadata of a safetensors file; of a large one only its beginning is read."""
        name = self._name(path)
        if name is None:
            return super().facts(path)
        entry = self._entry(name)
        if entry is None:
            return {}
        here = path
        if entry.size > HEADER and not _is_copy(path, entry):
            here = self.copy / HEADERS / name
            if not _is_copy(here, entry, whole=False):
                try:
                    self._place(here, self._beginning(name, entry), entry)
                except FileNotFoundError:
                    return {}
        elif self.fetched(path) is None:
            return {}
        return super().facts(here)

    def write(
        self,
        path: Path,
        *parts: bytes | memoryview,
        durable: bool = True,
        temporary: Path | None = None,
    ) -> None:
        """Upload a file and keep a copy. It is stored when this returns, and not before."""
        name = self._name(path)
        if name is None:
            super().write(path, *parts, durable=durable, temporary=temporary)
            return
        size, version = sum(memoryview(part).nbytes for part in parts), ""
        here = self.copy / "tmp" / own_name()
        try:
            super().write(here, *parts, durable=False)
            if size > PART:
                self.bucket.put_file(name, here)
            else:
                version = self.bucket.put(name, b"".join(parts))
            entry = StoredObject(size, version, 0.0) if version else self.bucket.entry(name)
            if entry is not None:
                _move(here, path, entry)
        finally:
            here.unlink(missing_ok=True)
        self._note(name, entry)

    def remove(self, path: Path) -> None:
        """Remove an object and its copy."""
        name = self._name(path)
        if name is not None:
            self.bucket.delete(name)
            self._note(name, None)
        super().remove(path)

    def drop_copy(self, path: Path) -> Hashable | None:
        """Drop a damaged copy and return the version that the object has now, empty if it is gone.

        The object may be good, or another by now than the one that was asked for.
        """
        name = self._name(path)
        if name is None:
            return None
        with self.looking_again():
            entry = self._entry(name)
        path.unlink(missing_ok=True)
        return "" if entry is None else entry.version

    def place(self, path: Path) -> str:
        """Return the address of a file or a folder."""
        name = self._name(path)
        return super().place(path) if name is None else self.bucket.url("" if name == "." else name)

    def claims(self, local: Claims) -> Claims:
        """Return claims in the object store for those who work in the copy's folder."""
        is_elsewhere = self._name(local.folder) is None
        return local if is_elsewhere else RemoteClaims(Path("claims"), bucket=self.bucket)

    @contextmanager
    def looking_again(self) -> Iterator[None]:
        """Give a context in which this thread asks, once, for every object that it looks at."""
        before = getattr(self._looking, "seen", None)
        self._looking.seen = set()
        try:
            yield
        finally:
            self._looking.seen = before

    def forget(self) -> None:
        """Forget the listings: the next look at each kind of output asks for it."""
        with self._lock:
            self._listings.clear()

    def original(self, path: Path) -> bytes | None:
        """Return the content of an object without keeping it; None if it is absent."""
        name = path.relative_to(self.copy).as_posix()
        entry = self._entry(name)
        if entry is None:
            return None
        starts = range(0, entry.size, PART)
        with suppress(FileNotFoundError):
            ends = [min(start + PART, entry.size) for start in starts]
            return b"".join(self.bucket.get(name, *span) for span in zip(starts, ends, strict=True))
        return None

    def sweep(self) -> None:
        """Remove downloads in the copy that nobody has gone on with for a day."""
        for part in (self.copy / PARTS).glob("*"):
            with suppress(OSError):
                if is_old(part):
                    part.unlink()

    def _name(self, path: Path) -> str | None:
        """The name of the object that a path stands for; None if it is not below the copy."""
        try:
            return path.relative_to(self.copy).as_posix()
        except ValueError:
            return None

    def _entry(self, name: str) -> StoredObject | None:
        folder, _, last = name.rpartition("/")
        with self._lock:
            self._look_again(name)
            return self._listing(name).folders.get(folder, {}).get(last)

    def _listing(self, name: str) -> _Listing:
        """The listing of the kind of output that a name belongs to."""
        kind = name.partition("/")[0]
        known = self._listings.get(kind)
        if known is None or not known.is_current:
            began = time.monotonic()
            folders: Folders = defaultdict(dict)
            for found, entry in self.bucket.entries(f"{kind}/").items():
                folder, _, last = found.rpartition("/")
                folders[folder][last] = entry
            known = _Listing(dict(folders), began, time.monotonic() - began)
            self._listings[kind] = known
        return known

    def _look_again(self, prefix: str) -> None:
        """Ask for the objects whose names begin so, where that is wanted."""
        seen: set[str] | None = getattr(self._looking, "seen", None)
        if seen is None or prefix in seen:
            return
        seen.add(prefix)
        found = self.bucket.entries(prefix)
        folders = self._listing(prefix).folders
        place = prefix.rpartition("/")[0]
        known = folders.get(place, {})
        for last in [last for last in known if f"{place}/{last}".startswith(prefix)]:
            del known[last]
        for name, entry in found.items():
            folder, _, last = name.rpartition("/")
            folders.setdefault(folder, {})[last] = entry

    def _note(self, name: str, entry: StoredObject | None) -> None:
        """Take note of what this process has stored, or removed."""
        kind, (folder, _, last) = name.partition("/")[0], name.rpartition("/")
        with self._lock:
            if known := self._listings.get(kind):
                if entry is None:
                    known.folders.get(folder, {}).pop(last, None)
                else:
                    known.folders.setdefault(folder, {})[last] = entry

    def _beginning(self, name: str, entry: StoredObject) -> bytes:
        start = self.bucket.get(name, 0, min(HEADER, entry.size))
        end = min(8 + int.from_bytes(start[:8], "little"), LONGEST_HEADER, entry.size)
        return start + self.bucket.get(name, len(start), end)

    def _download(self, name: str, entry: StoredObject, path: Path) -> None:
        if entry.size <= PART:
            self._place(path, self.bucket.get(name, 0, entry.size), entry)
            return
        mark = hashlib.sha256(f"{name} {entry.version}".encode()).hexdigest()[:32]
        part = self.copy / PARTS / mark
        part.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(part.with_suffix(".lock")):
            if _is_copy(path, entry):  # another process has just done it
                return
            with part.open("ab") as file:  # one that was killed has begun
                while (start := file.tell()) < entry.size:
                    end = min(start + PART, entry.size)
                    file.write(data := self.bucket.get(name, start, end))
                    file.flush()
                    if len(data) < end - start:  # another object by now, which its checksum shows
                        break
            _move(part, path, entry)

    def _place(self, path: Path, data: bytes, entry: StoredObject) -> None:
        here = self.copy / "tmp" / own_name()
        try:
            super().write(here, data, durable=False)
            _move(here, path, entry)
        finally:
            here.unlink(missing_ok=True)


def _stamp(entry: StoredObject) -> int:
    """The time that the file system gets for a copy, in seconds: it says of which version it is."""
    return int(hashlib.sha256(entry.version.encode()).hexdigest()[:8], 16) % 2**30


def _is_copy(path: Path, entry: StoredObject, *, whole: bool = True) -> bool:
    """Whether a file is a copy of an object as it is now; its beginning, unless it is `whole`."""
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size == entry.size or not whole) and int(status.st_mtime) == _stamp(entry)


def _move(file: Path, path: Path, entry: StoredObject) -> None:
    """Move a file to its place in the copy. Raises OSError that names the place."""
    try:
        os.utime(file, (_stamp(entry), _stamp(entry)))
        path.parent.mkdir(parents=True, exist_ok=True)
        file.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error

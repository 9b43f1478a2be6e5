"""What lies in a cache folder, whether it is intact, and what nothing needs any more.

Outputs are the files ``KIND/XX/KEY.EXT`` and ``features/XX/KEY/BLOCK.safetensors``. The folder also
has what is no output, such as the index of images; such files have no checksum of their own. Files
that are not of bench are listed as ``other`` and never touched. Folders are not removed, as a run
may just be about to write into them.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.core.store.claims import is_old, leftovers, remove, void_claims
from bench.core.store.container import (
    DamagedError,
    UnreadableOutput,
    bytes_of,
    names_in,
    opened,
    opened_json,
)
from bench.core.store.remote import RemoteFiles

KINDS = {
    "weights": "heads, trained and imported weights",
    "features": "features, in blocks of images",
    "distances": "distances to training samples",
    "fits": "what was chosen, and temperatures",
    "cells": "measured numbers",
    "samples": "predictions by sample",
    "sets": "labels of evaluation sets",
    "trainings": "losses by epoch",
    "progress": "checkpoints of unfinished trainings",
    "models": "what is known of models",
    "precision": "classes that bf16 changed",
    "renders": "images of the embedded suites",
    "index": "digests of images and lists of files",
    "imports": "descriptions of imported classifiers",
    "rates": "how fast earlier runs were",
    "scripts": "scripts for pages and pictures",
    "claims": "who computes what now",
    "locks": "locks of the embedded suites",
    "tmp": "files that are being written",
}
"""The folders of a cache and what is in them."""
OTHER = "other"
BLOCK_SIZE = 512
"""Bytes of a block in the size on the disk that file systems state."""
_DEPTH = 4
_OUTPUT = re.compile(r"([a-z]+)/(..)/(\2[^/]*)\.(safetensors|json)")
_BLOCK = re.compile(r"features/(..)/(\1[^/]*)/([0-9]+)\.safetensors")
_TEMPORARY = re.compile(r"\..+\.[0-9]+-[0-9a-f]{12}")
"""The name of a file that `bench.core.paths.write_atomic` is writing beside its place."""


@dataclass(frozen=True)
class CachedFile:
    """One file of a cache folder.

    Attributes
    ----------
    path : where it is.
    kind : one of `KINDS`, or ``other``.
    item : the output that it should be, such as ``fits/1f0c``; empty if it is none.
    size, on_disk : bytes of its content, and those it takes on the disk.
    written : when it was last changed, in seconds since 1970.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.core.store.upkeep import cached_files
    >>> Store(Path("one")).write_json("trainings", "1f0c", [{"loss": 0.7}])
    >>> [(file.kind, file.item) for file in cached_files(Path("one"))]
    [('trainings', 'trainings/1f0c')]
    """

    path: Path
    kind: str
    item: str
    size: int
    on_disk: int
    written: float


@dataclass(frozen=True)
class KindUse:
    """How much of a cache folder one kind of file takes.

    `files`, `size` and `on_disk` (bytes) are sums; `oldest` and `newest` are ages in days.

    Examples
    --------
    >>> from bench.core.store.upkeep import KindUse
    >>> KindUse("fits", files=2, size=900, on_disk=8192, oldest=3.5, newest=0.1).kind
    'fits'
    """

    kind: str
    files: int
    size: int
    on_disk: int
    oldest: float
    newest: float


def cached_files(root: Path) -> Iterator[CachedFile]:
    """Yield the files of a cache folder, sorted by path; none if it does not exist.

    Raises UnreadableOutput for a folder that cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.upkeep import cached_files
    >>> list(cached_files(Path("nowhere")))
    []
    """
    return _files(root, "", 0)


def _files(root: Path, below: str, depth: int) -> Iterator[CachedFile]:
    for name in sorted(names_in(root / below)):
        place = f"{below}/{name}" if below else name
        path = root / place
        if depth < _DEPTH and path.is_dir():
            yield from _files(root, place, depth + 1)
            continue
        with suppress(FileNotFoundError):  # as a file that a run was just writing
            status = path.lstat()
            disk = getattr(status, "st_blocks", -(-status.st_size // BLOCK_SIZE)) * BLOCK_SIZE
            kind, item = _what(place)
            yield CachedFile(path, kind, item, status.st_size, disk, status.st_mtime)


def remote_files(files: RemoteFiles) -> Iterator[CachedFile]:
    """Yield the objects of a store, sorted by name, with the paths that copies of them have.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.core.store.bucket import open_bucket
    >>> from bench.core.store.remote import RemoteFiles
    >>> from bench.core.store.upkeep import remote_files
    >>> files = RemoteFiles(open_bucket("memory://examples/listed"), Path("listed"))
    >>> Store(Path("listed"), files).write_json("trainings", "1f0c", [{"loss": 0.7}])
    >>> [(file.kind, file.item) for file in remote_files(files)]
    [('trainings', 'trainings/1f0c')]
    """
    for name, entry in sorted(files.bucket.entries("").items()):
        yield CachedFile(files.copy / name, *_what(name), entry.size, entry.size, entry.written)


def _what(place: str) -> tuple[str, str]:
    """Return the kind of a file at a place in a cache folder, and the output that it should be."""
    folder = place.partition("/")[0] if "/" in place else OTHER
    kind = folder if folder in KINDS else OTHER
    return kind, "" if kind == OTHER else _item(place)


def _item(place: str) -> str:
    """Return the name of the output at a place in a cache folder; empty if it is none."""
    if block := _BLOCK.fullmatch(place):
        return f"features/{block[2]}/{block[3]}"
    output = _OUTPUT.fullmatch(place)
    return f"{output[1]}/{output[3]}" if output else ""


def uses_of(files: Iterable[CachedFile]) -> list[KindUse]:
    """Return how much each kind of file takes, in the order of `KINDS`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.core.store.upkeep import cached_files, uses_of
    >>> Store(Path("used")).write_json("trainings", "1f0c", [{"loss": 0.7}])
    >>> [(use.kind, use.files, use.size < 200) for use in uses_of(cached_files(Path("used")))]
    [('trainings', 1, True)]
    """
    by_kind: dict[str, list[CachedFile]] = defaultdict(list)
    for file in files:
        by_kind[file.kind].append(file)
    now, found = time.time(), []
    for kind in (*KINDS, OTHER):
        if own := by_kind[kind]:
            ages = [(now - file.written) / (24 * 3600) for file in own]
            size, disk = sum(f.size for f in own), sum(f.on_disk for f in own)
            found.append(KindUse(kind, len(own), size, disk, max(ages), min(ages)))
    return found


def fault_of(file: CachedFile, read: Callable[[Path], bytes | None] = bytes_of) -> str:
    """Return what is wrong with an output, against its own checksum and name; empty if nothing is.

    `read` returns the content of a file, None if it is absent.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.core.store.upkeep import cached_files, fault_of
    >>> store = Store(Path("checked"))
    >>> store.write_json("trainings", "1f0c", [{"loss": 0.7}])
    >>> (file,) = cached_files(store.root)
    >>> fault_of(file)
    ''
    >>> _ = file.path.write_bytes(file.path.read_bytes().replace(b"0.7", b"0.6"))
    >>> bool(fault_of(file))
    True
    """
    try:
        if file.item and (data := read(file.path)) is not None:
            is_json = file.path.suffix == ".json"
            opened_json(file.item, data) if is_json else opened(file.item, data)
    except (DamagedError, UnreadableOutput) as error:
        return str(error)
    return ""


def removed(paths: Iterable[Path], act: Callable[[Path], None] = remove) -> list[Path]:
    """Remove files, by `act`, and return those that are gone; the others cannot be removed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.upkeep import removed
    >>> removed([Path("nowhere")])
    [PosixPath('nowhere')]
    """
    gone = []
    for path in paths:
        with suppress(OSError):
            act(path)
            gone.append(path)
    return gone


def leftover_files(root: Path) -> list[Path]:
    """Return what killed processes left in a cache folder: temporary files and void claims.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.upkeep import leftover_files
    >>> leftover_files(Path("nowhere"))
    []
    """
    found, (void, _) = leftovers(root / "tmp"), void_claims(root / "claims")
    for file in cached_files(root):
        if file.kind != OTHER and _TEMPORARY.fullmatch(file.path.name):
            with suppress(FileNotFoundError):
                if is_old(file.path):
                    found.append(file.path)
    return [*found, *void]


def outdated_files(
    root: Path, days: float | None, *, unfinished: bool = False, kept: Container[str] = ()
) -> list[Path]:
    """Return the outputs written over `days` days ago, and checkpoints of `unfinished` trainings.

    `kept` are keys of weights that cannot be computed again. If `days` is None, no output is too
    old. Raises InputError if a run is using the folder: it may need any of them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store import Store
    >>> from bench.core.store.upkeep import outdated_files
    >>> store = Store(Path("old"))
    >>> store.write_json("trainings", "1f0c", [{"loss": 0.7}])
    >>> len(outdated_files(store.root, days=0)), len(outdated_files(store.root, days=1))
    (1, 0)
    """
    if days is None and not unfinished:
        return []
    _, held = void_claims(root / "claims")
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise InputError(
            f"{root}: a run uses it (machine and process {held[0]}{more}), and may need what is "
            "to be removed: wait until it has ended"
        )
    now, found = time.time(), []
    for file in cached_files(root):
        is_kept = file.kind == "weights" and file.item.partition("/")[2] in kept
        is_old_output = days is not None and now - file.written > days * 24 * 3600
        is_unfinished = unfinished and file.kind == "progress"
        if file.item and not is_kept and (is_old_output or is_unfinished):
            found.append(file.path)
    return found

"""The content-addressed store of computed outputs: weights, features, fits and cells.

Layout under the cache folder: ``weights/KEY.safetensors``, ``features/KEY/BLOCK.safetensors``,
``distances/KEY.safetensors`` (to training samples), ``fits/KEY.safetensors``, ``cells/KEY.json``
(all cells of a row, seed and evaluation set), ``progress/KEY.safetensors`` (checkpoints of
unfinished training runs), ``trainings/KEY.json`` (their histories), ``samples/KEY.safetensors`` and
``sets/KEY.safetensors`` (`bench.leaderboard.samples`), ``models/KEY.safetensors`` (facts of loaded
models). Below each kind, files are grouped in folders named by the first two digits of the key.

Every file names its output and has a checksum (`bench.core.store.container`). One that is damaged
or that is another output than its name says is removed when it is read, so that it is recomputed.
Files are written in ``tmp/`` and renamed, so a killed process loses only the file that it was
writing; ``claims/`` has what processes are computing now (`bench.core.store.claims`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.core.hashing import canonical_json
from bench.core.store.blocks import BLOCK, block_count, rows_in
from bench.core.store.claims import Claims, own_name, sweep
from bench.core.store.container import (
    DamagedError,
    UnreadableOutput,
    note_of,
    opened,
    opened_json,
    packed_arrays,
    sealed,
    sealed_json,
    unpacked_arrays,
)
from bench.core.store.files import StoreFiles

RUN = "run-"
"""The beginning of the claims of runs, each of which holds one to its end."""

SUFFIX = ".safetensors"
T = TypeVar("T")
log = logging.getLogger("bench")


class MissingOutput(Exception):
    """A stored output that a computation needs is absent or was damaged.

    Examples
    --------
    >>> from bench.core.store import MissingOutput
    >>> str(MissingOutput("weights 1f0c"))
    'weights 1f0c'
    """


@dataclass(frozen=True)
class Store:
    """The store in folder `root`. Several processes may safely compute the same keys.

    `files` opens, lists, writes and removes its files, in the folder or beyond it.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.core.store import Store
    >>> store = Store(Path("store"))
    >>> store.write_arrays("weights", "1f0c", {"bias": np.array([1.5, 2.0])}, {"history": []})
    >>> store.read_arrays("weights", "1f0c"), store.read_note("weights", "1f0c")
    ({'bias': array([1.5, 2. ])}, {'history': []})
    """

    root: Path
    files: StoreFiles = field(default=StoreFiles(), repr=False)
    _cells: dict[str, tuple[Path, Hashable, dict[str, Any]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @cached_property
    def claims(self) -> Claims:
        """What this process computes while others that share the store compute other things."""
        return self.files.claims(self._uses)

    @cached_property
    def _uses(self) -> Claims:
        return Claims(self.at_work / "claims")

    @property
    def place(self) -> str:
        """Where others find the store, as ``--cache-dir`` takes it: a folder or an address."""
        return self.files.place(self.root)

    @property
    def at_work(self) -> Path:
        """The folder of claims and of temporary files, on the file system of the outputs."""
        return self.root

    def sweep(self) -> None:
        """Remove temporary files and the claims of runs that killed processes left."""
        sweep(self.at_work / "tmp")
        sweep(self.at_work / "claims", RUN)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Claim that a run uses the store, so that nobody removes outputs from it."""
        with self._uses.held([f"{RUN}{own_name()}"]):
            yield

    def path(self, kind: str, key: str, suffix: str = SUFFIX) -> Path:
        """Return the path of output `key` of `kind`, whether or not it exists."""
        return self.root / kind / key[:2] / f"{key}{suffix}"

    def has(self, kind: str, key: str) -> bool:
        """Whether an output exists. Its content is only verified when it is read."""
        return self.files.exists(self.path(kind, key))

    def read(self, kind: str, key: str) -> bytes | None:
        """Return the safetensors file of an output; None if it is absent.

        A file that is damaged, or another output, is removed and counts as absent. Raises
        UnreadableOutput if there is one that cannot be read.
        """
        return self._read(self.path(kind, key), f"{kind}/{key}")

    def write(self, kind: str, key: str, packed: bytes) -> None:
        """Store a safetensors file, with the output's name and a checksum in its metadata."""
        self._write(self.path(kind, key), *sealed(f"{kind}/{key}", packed))

    def read_json(self, kind: str, key: str) -> Any:
        """Return a stored JSON value; None if it is absent. Damaged files as in `read`."""
        return self._opened(self.path(kind, key, ".json"), partial(opened_json, f"{kind}/{key}"))

    def write_json(self, kind: str, key: str, value: Any, *, durable: bool = True) -> None:
        """Store a JSON value."""
        data = sealed_json(f"{kind}/{key}", value)
        self._write(self.path(kind, key, ".json"), data, durable=durable)

    def _read(self, path: Path, item: str) -> bytes | None:
        return self._opened(path, partial(opened, item))

    def _opened(self, path: Path, form: Callable[[bytes], T]) -> T | None:
        try:
            return self._intact(path, form)
        except DamagedError as error:
            self._remove(path, error)
            return None

    def _intact(self, path: Path, form: Callable[[bytes], T], seen: Hashable = None) -> T | None:
        """What `form` makes of a file, None if it is absent. Raises DamagedError."""
        data = self.files.read(path)
        try:
            return None if data is None else form(data)
        except DamagedError:
            if (version := self.files.drop_copy(path)) in (None, seen):
                raise
            return self._intact(path, form, version)

    def _remove(self, path: Path, error: DamagedError) -> None:
        place = self.files.place(path)
        try:
            self.files.remove(path)
        except OSError as failure:
            raise UnreadableOutput(
                f"stored output {place} is damaged ({error}) and cannot be removed: "
                f"{failure.strerror}: remove it to have it computed again"
            ) from failure
        log.warning("stored output %s is damaged, recomputing it: %s", place, error)

    def _write(self, path: Path, *parts: bytes | memoryview, durable: bool = True) -> None:
        self.files.write(path, *parts, durable=durable, temporary=self.at_work / "tmp" / own_name())

    def read_arrays(self, kind: str, key: str) -> dict[str, NDArray[np.generic]] | None:
        """Return the arrays of an output by name, or None if it is absent."""
        data = self.read(kind, key)
        return None if data is None else unpacked_arrays(data)

    def write_arrays(
        self,
        kind: str,
        key: str,
        arrays: Mapping[str, NDArray[np.generic]],
        note: Mapping[str, Any] | None = None,
    ) -> None:
        """Store arrays by name, with an optional JSON `note` that `read_note` returns."""
        self.write(kind, key, packed_arrays(arrays, {"note": canonical_json(dict(note or {}))}))

    def read_note(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the JSON note of an output, or None if it is absent."""
        data = self.read(kind, key)
        return None if data is None else note_of(data)

    def caveats(self, key: str) -> tuple[str, ...]:
        """Return what a reader should know of the weights or the fit `key`: sentences, often none.

        They stand in the metadata of weights and in the notes of fits.

        Examples
        --------
        >>> from pathlib import Path
        >>> from bench.core.store import Store
        >>> store = Store(Path("caveats"))
        >>> note = {"choice": {"b": 0.4}, "chosen_on": {}, "caveats": ["b is its largest value."]}
        >>> store.write_arrays("fits", "1f0c", {}, note)
        >>> store.caveats("1f0c"), store.caveats("2e1d")
        (('b is its largest value.',), ())
        """
        if self.has("fits", key):
            return tuple((self.read_note("fits", key) or {}).get("caveats", ()))
        return tuple(json.loads(self.files.facts(self.path("weights", key)).get("caveats", "[]")))

    def blocks(self, key: str, size: int) -> list[int]:
        """Return the missing blocks of the features `key` of a split of `size` rows.

        Examples
        --------
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from bench.core.store import Store
        >>> store = Store(Path("blocks"))
        >>> store.write_block("1f0c", 0, np.zeros((1024, 2), dtype=np.float32), "cpu")
        >>> store.blocks("1f0c", size=3000), store.read_features("1f0c", size=1024).shape
        ([1, 2], (1024, 2))
        """
        existing = self.files.names(self._folder(key))
        return [b for b in range(block_count(size)) if f"{b:06d}{SUFFIX}" not in existing]

    def has_block(self, key: str, block: int) -> bool:
        """Whether a block of features exists."""
        return self.files.exists(self._block(key, block))

    def write_block(
        self,
        key: str,
        block: int,
        features: NDArray[np.float32],
        device: str,
        made_of: Sequence[str] = (),
    ) -> None:
        """Store one block of features, float32 [rows, D], that was computed on `device`.

        `made_of` are the keys of the weights that made them; their checksums are noted.
        """
        facts = {"device": device, "made_of": self._checksums(made_of)}
        packed = packed_arrays({"features": features}, facts)
        self._write(self._block(key, block), *sealed(_block_item(key, block), packed))

    def device(self, key: str) -> str | None:
        """Return the device that computed weights or features, None for other outputs."""
        for path in (self.path("weights", key), self._block(key, 0)):
            if self.files.exists(path):
                if facts := self.files.facts(path):
                    return str(facts.get("device"))
                raise MissingOutput(f"the beginning of {path}")
        return None

    def read_features(self, key: str, size: int) -> NDArray[np.float32] | None:
        """Return all features of a split, float32 [size, D].

        None if a block is absent, damaged or has another shape than its place demands.
        """
        found: NDArray[np.float32] | None = None
        for block in range(block_count(size)):
            part = self.read_block(key, block, size)
            if part is None:
                return None
            if found is None:  # one array, filled block by block, to hold no block twice
                found = np.empty((size, part.shape[1]), dtype=np.float32)
            if part.shape[1] != found.shape[1]:
                width = DamagedError(f"its length is {part.shape[1]}, not {found.shape[1]}")
                self._remove(self._block(key, block), width)
                return None
            found[block * BLOCK : block * BLOCK + len(part)] = part
        return found

    def read_block(self, key: str, block: int, size: int) -> NDArray[np.float32] | None:
        """Return one block of the features of a split of `size` rows, float32 [rows, D].

        None if it is absent, damaged, not finite or of another shape than its place demands.
        """
        path, rows = self._block(key, block), rows_in([block], size)
        data = self._read(path, _block_item(key, block))
        if data is None:
            return None
        found: NDArray[Any] = unpacked_arrays(data)["features"]
        if len(found) != rows or not np.isfinite(found).all():
            self._remove(path, DamagedError(f"it is not finite, or not of shape [{rows}, D]"))
            return None
        return found

    def _folder(self, key: str) -> Path:
        return self.root / "features" / key[:2] / key

    def _block(self, key: str, block: int) -> Path:
        return self._folder(key) / f"{block:06d}{SUFFIX}"

    def read_cell(self, pack: str, key: str) -> dict[str, Any] | None:
        """Return the measured cell `key` of a `pack`; None if absent. A damaged pack is removed."""
        return self._pack(pack).get(key)

    def write_cells(self, pack: str, cells: Mapping[str, Mapping[str, Any]]) -> None:
        """Add cells, by key, to the pack of a row, seed and evaluation set.

        Cells are small and cheap to recompute: many share a file, and there is no fsync.

        Examples
        --------
        >>> from pathlib import Path
        >>> from bench.core.store import Store
        >>> store = Store(Path("cells"))
        >>> cell = {"value": 0.786, "data": None, "temperature": None, "trained": {}, "weight": 1.0}
        >>> cell |= {"n": 40, "environment": {}, "devices": ["cpu"]}
        >>> store.write_cells("9d8c", {"1f0c": cell})
        >>> store.read_cell("9d8c", "1f0c") == cell, store.read_cell("9d8c", "2e1d")
        (True, None)
        """
        if cells:
            with self.files.looking_again():  # another run may just have added some
                known = self._pack(pack)
            self.write_json("cells", pack, {**known, **cells}, durable=False)

    def _pack(self, pack: str) -> dict[str, Any]:
        """The cells of a pack, read again only if the file has changed."""
        if pack not in self._cells:
            self._cells[pack] = (self.path("cells", pack, ".json"), None, {})
        path, known, cells = self._cells[pack]
        try:
            now = self.files.version(path)
        except OSError:  # it cannot be read, which this says
            return self.read_json("cells", pack) or {}
        if now != known:
            cells = {} if now is None else self.read_json("cells", pack) or {}
        self._cells[pack] = (path, now, cells)
        return cells

    def made_otherwise(self, key: str, made_of: Sequence[str]) -> list[Path]:
        """Return the blocks of features that other weights made than those stored under `made_of`.

        Empty if not all of these weights are stored.
        """
        if not all(self.has("weights", name) for name in made_of):
            return []
        now, facts = self._checksums(made_of), self.files.facts
        return [path for path in self._blocks(key) if facts(path).get("made_of", now) != now]

    def _checksums(self, weights: Sequence[str]) -> str:
        facts = (self.files.facts(self.path("weights", key)) for key in weights)
        return hashlib.sha256(" ".join(f.get("sha256", "") for f in facts).encode()).hexdigest()

    def damaged(self, key: str) -> list[Path]:
        """Return the damaged files among the weights and features of `key`. Removes nothing."""
        found = []
        for path, item in self._files(key):
            try:
                self._intact(path, partial(opened, item))
            except DamagedError:
                found.append(path)
        return found

    def check(self, key: str) -> None:
        """Remove damaged files among the weights, features and fit of `key`."""
        for path, item in (*self._files(key), (self.path("fits", key), f"fits/{key}")):
            self._read(path, item)

    def _files(self, key: str) -> Iterator[tuple[Path, str]]:
        yield self.path("weights", key), f"weights/{key}"
        for path in self._blocks(key):
            yield path, f"features/{key}/{path.stem}"

    def _blocks(self, key: str) -> list[Path]:
        folder = self._folder(key)
        return [folder / n for n in sorted(self.files.names(folder)) if n.endswith(SUFFIX)]

    def discard(self, kind: str, key: str) -> None:
        """Delete an output, such as the checkpoints of a finished training run."""
        self.files.remove(self.path(kind, key))

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Hold the lock of an output, so that only one process computes it at a time."""
        from filelock import FileLock

        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{kind}-{key}"):
            yield


def _block_item(key: str, block: int) -> str:
    return f"features/{key}/{block:06d}"

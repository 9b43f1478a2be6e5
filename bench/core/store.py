"""The content-addressed store of computed outputs: weights, features, fits and cells.

Layout under the cache folder: ``weights/KEY.safetensors``, ``features/KEY/BLOCK.safetensors``,
``fits/KEY.safetensors``, ``cells/KEY.json``, ``progress/KEY.safetensors`` (checkpoints of
unfinished training runs), ``samples/KEY.safetensors`` and ``sets/KEY.safetensors``
(`bench.leaderboard.samples`), ``models/KEY.safetensors`` (facts of loaded models). Below each kind,
files are grouped in folders named by the first two digits of the key.

The SHA-256 of each file is stored in a ``.sha256`` file next to it; that of a cell is its first
line. A file that does not match its checksum when read is removed, so that it is recomputed. Files
are written under a temporary name and renamed, so a killed process loses only the file that it was
writing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.hashing import canonical_json
from bench.core.paths import write_atomic

BLOCK = 1024
"""Rows per block of features. Blocks are decoded and stored as units; a kill loses at most one."""

log = logging.getLogger("bench")


class MissingOutput(Exception):
    """A stored output that a computation needs is absent or was damaged.

    Examples
    --------
    >>> from bench.core.store import MissingOutput
    >>> str(MissingOutput("weights 1f0c"))
    'weights 1f0c'
    """


LONGEST_HEADER = 2**27
"""The most bytes that are read as the header of a stored file."""


@dataclass(frozen=True)
class Store:
    """The store in folder `root`. Several processes may safely compute the same keys.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.core.store import Store
    >>> store = Store(Path("store"))
    >>> store.write_arrays("fits", "1f0c", {"temperature": np.array([1.5, 2.0])}, note={"rows": 40})
    >>> store.read_arrays("fits", "1f0c"), store.read_note("fits", "1f0c")
    ({'temperature': array([1.5, 2. ])}, {'rows': 40})
    """

    root: Path

    def path(self, kind: str, key: str, suffix: str = ".safetensors") -> Path:
        """Return the path of output `key` of `kind`, whether or not it exists."""
        return self.root / kind / key[:2] / f"{key}{suffix}"

    def has(self, kind: str, key: str) -> bool:
        """Whether an output exists. Its checksum is only verified when it is read."""
        return self.path(kind, key).exists()

    def intact(self, path: Path) -> bool:
        """Whether a stored file exists and matches its checksum. Removes nothing."""
        try:
            return _digest(path.read_bytes()) == _checksum_path(path).read_bytes()
        except FileNotFoundError:
            return False

    def read(self, path: Path) -> bytes | None:
        """Return the bytes of a stored file; None if it is absent.

        A damaged file is removed and counts as absent.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        with suppress(FileNotFoundError):
            if _digest(data) == _checksum_path(path).read_bytes():
                return data
        self._remove_damaged(path)
        return None

    def _remove_damaged(self, path: Path) -> None:
        log.warning("stored output %s does not match its checksum: recomputing it", path)
        path.unlink(missing_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Store bytes and their checksum. The checksum is written first."""
        write_atomic(_checksum_path(path), _digest(data))
        write_atomic(path, data)

    def read_arrays(self, kind: str, key: str) -> dict[str, NDArray[np.generic]] | None:
        """Return the arrays of an output by name, or None if it is absent."""
        data = self.read(self.path(kind, key))
        return None if data is None else _arrays(data)

    def write_arrays(
        self,
        kind: str,
        key: str,
        arrays: Mapping[str, NDArray[np.generic]],
        note: Mapping[str, Any] | None = None,
    ) -> None:
        """Store arrays by name, with an optional JSON `note` that `read_note` returns."""
        self.write(
            self.path(kind, key), _packed(arrays, {"note": canonical_json(dict(note or {}))})
        )

    def read_note(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the JSON note of an output, or None if it is absent."""
        data = self.read(self.path(kind, key))
        return None if data is None else _note(data)

    def caveats(self, key: str) -> tuple[str, ...]:
        """Return what a reader should know of the weights or the fit `key`: sentences, often none.

        They stand in the metadata of weights and in the notes of fits.

        Examples
        --------
        >>> from pathlib import Path
        >>> from bench.core.store import Store
        >>> store = Store(Path("caveats"))
        >>> store.write_arrays("fits", "1f0c", {}, {"caveats": ["b = 0.4 is its largest value."]})
        >>> store.caveats("1f0c"), store.caveats("2e1d")
        (('b = 0.4 is its largest value.',), ())
        """
        if self.has("fits", key):
            return tuple((self.read_note("fits", key) or {}).get("caveats", ()))
        return tuple(json.loads(self._header(self.path("weights", key)).get("caveats", "[]")))

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
        try:
            existing = {path.name for path in self._block(key, 0).parent.iterdir()}
        except FileNotFoundError:
            existing = set()
        return [b for b in range(block_count(size)) if self._block(key, b).name not in existing]

    def write_block(self, key: str, block: int, features: NDArray[np.float32], device: str) -> None:
        """Store one block of features, float32 [rows, D], that was computed on `device`."""
        self.write(self._block(key, block), _packed({"features": features}, {"device": device}))

    def device(self, key: str) -> str | None:
        """Return the device that computed the weights or features `key`; None for other outputs."""
        for path in (self.path("weights", key), self._block(key, 0)):
            if path.exists():
                return str(self._header(path).get("device"))
        return None

    def _header(self, path: Path) -> dict[str, str]:
        """Return the metadata of a file without reading its arrays; empty if absent or damaged."""
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                return _metadata(file.read(min(length, LONGEST_HEADER)))
        except (FileNotFoundError, ValueError):
            return {}

    def read_features(self, key: str, size: int) -> NDArray[np.float32] | None:
        """Return all features of a split, float32 [size, D].

        None if a block is absent or was damaged.
        """
        rows = [self.read(self._block(key, b)) for b in range(block_count(size))]
        if any(data is None for data in rows):
            return None
        parts = [_arrays(data)["features"] for data in rows if data is not None]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def _block(self, key: str, block: int) -> Path:
        return self.root / "features" / key[:2] / key / f"{block:06d}.safetensors"

    def read_cell(self, key: str) -> dict[str, Any] | None:
        """Return a measured cell (JSON); None if it is absent.

        A damaged cell is removed and counts as absent.
        """
        path = self.path("cells", key, ".json")
        try:
            checksum, _, text = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if _digest(text) != checksum:
            self._remove_damaged(path)
            return None
        cell: dict[str, Any] = json.loads(text)
        return cell

    def write_cell(self, key: str, cell: Mapping[str, Any]) -> None:
        """Store a cell.

        Cells are small and cheap to recompute, so the checksum is in the file and there is no
        fsync.

        Examples
        --------
        >>> from pathlib import Path
        >>> from bench.core.store import Store
        >>> store = Store(Path("cells"))
        >>> store.write_cell("1f0c", {"top1": 0.786})
        >>> store.read_cell("1f0c"), store.read_cell("2e1d")
        ({'top1': 0.786}, None)
        """
        text = canonical_json(dict(cell)).encode()
        path = self.path("cells", key, ".json")
        write_atomic(path, _digest(text) + b"\n" + text, durable=False)

    def check(self, key: str) -> None:
        """Remove damaged files among the weights, features and fit of `key`."""
        blocks = self._block(key, 0).parent.glob("*.safetensors")
        for path in (self.path("weights", key), self.path("fits", key), *blocks):
            self.read(path)

    def discard(self, kind: str, key: str) -> None:
        """Delete an output, such as the checkpoints of a finished training run."""
        path = self.path(kind, key)
        path.unlink(missing_ok=True)
        _checksum_path(path).unlink(missing_ok=True)

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Hold the lock of an output, so that only one process computes it at a time."""
        from filelock import FileLock

        path = self.root / "locks" / f"{kind}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path):
            yield


def rows_in(blocks: Iterable[int], size: int) -> int:
    """Return the number of rows in `blocks` of a split of `size` rows.

    The last block of a split may have fewer than `BLOCK` rows.

    Examples
    --------
    >>> from bench.core.store import rows_in
    >>> rows_in([0, 2], size=2500)
    1476
    """
    return sum(min(BLOCK, size - b * BLOCK) for b in blocks)


def block_count(size: int) -> int:
    """Return the number of blocks of a split of `size` rows.

    Examples
    --------
    >>> from bench.core.store import block_count
    >>> block_count(2500)
    3
    """
    return -(-size // BLOCK)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _packed(arrays: Mapping[str, NDArray[np.generic]], note: Mapping[str, str]) -> bytes:
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    packed: bytes = save(contiguous, metadata=dict(note))
    return packed


def unpacked(data: bytes) -> tuple[dict[str, NDArray[np.generic]], dict[str, Any]]:
    """Return the arrays and the note of a file that `Store.write_arrays` wrote.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.core.store import Store, unpacked
    >>> store = Store(Path("unpacked"))
    >>> store.write_arrays("fits", "1f0c", {"k": np.array([4])})
    >>> unpacked(store.path("fits", "1f0c").read_bytes())
    ({'k': array([4])}, {})
    """
    return _arrays(data), _note(data)


def _note(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    note: dict[str, Any] = json.loads(_metadata(data[8 : 8 + length]).get("note", "{}"))
    return note


def _arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    from safetensors.numpy import load

    arrays: dict[str, NDArray[np.generic]] = load(data)
    return arrays


def _metadata(header: bytes) -> dict[str, str]:
    metadata: dict[str, str] = json.loads(header).get("__metadata__", {})
    return metadata

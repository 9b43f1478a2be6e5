"""The content-addressed store of computed things: weights, features, fits and cells.

Layout under the cache folder: ``weights/KEY.safetensors``, ``features/KEY/BLOCK.safetensors``,
``fits/KEY.safetensors``, ``cells/KEY.json``, ``progress/KEY.safetensors`` (unfinished trainings),
``samples/KEY.safetensors`` and ``sets/KEY.safetensors`` (`bench.leaderboard.samples`).
Each file has its SHA-256 beside it, cells theirs in their first line. A file that does not match
when it is read is removed, so that it is computed again. Files appear by rename, so a kill loses
what was being written and nothing else.
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
"""Rows per block of features: the unit of decoding, of commits and of what a kill can lose."""

log = logging.getLogger("bench")


class MissingOutput(Exception):
    """A stored output that a computation needs is absent or was found damaged when read."""


@dataclass(frozen=True)
class Store:
    """The store under folder `root`. Safe for several processes that compute the same keys."""

    root: Path

    def path(self, kind: str, key: str, suffix: str = ".safetensors") -> Path:
        """Where the output `key` of `kind` lies or will lie."""
        return self.root / kind / key[:2] / f"{key}{suffix}"

    def has(self, kind: str, key: str) -> bool:
        """Whether an output is there (its checksum is verified when it is read)."""
        return self.path(kind, key).exists()

    def intact(self, path: Path) -> bool:
        """Whether a stored file matches its checksum; nothing is removed."""
        try:
            return _digest(path.read_bytes()) == _checksum_path(path).read_bytes()
        except FileNotFoundError:
            return False

    def read(self, path: Path) -> bytes | None:
        """A stored file's bytes, or None if it is absent or was damaged and is now removed."""
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
        log.warning("stored output %s does not match its checksum: computing it again", path)
        path.unlink(missing_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Store bytes with their checksum; the checksum is there before the file is."""
        write_atomic(_checksum_path(path), _digest(data))
        write_atomic(path, data)

    def read_arrays(self, kind: str, key: str) -> dict[str, NDArray[np.generic]] | None:
        """The named arrays of an output, or None if it is absent."""
        data = self.read(self.path(kind, key))
        return None if data is None else _arrays(data)

    def write_arrays(
        self,
        kind: str,
        key: str,
        arrays: Mapping[str, NDArray[np.generic]],
        note: Mapping[str, Any] | None = None,
    ) -> None:
        """Store named arrays, with an optional JSON `note` (read back by `read_note`)."""
        self.write(
            self.path(kind, key), _packed(arrays, {"note": canonical_json(dict(note or {}))})
        )

    def read_note(self, kind: str, key: str) -> dict[str, Any] | None:
        """The JSON note of an output, or None if it is absent."""
        data = self.read(self.path(kind, key))
        return None if data is None else _note(data)

    def blocks(self, key: str, size: int) -> list[int]:
        """Which blocks of the features `key` of a split of `size` rows are missing."""
        try:
            there = {path.name for path in self._block(key, 0).parent.iterdir()}
        except FileNotFoundError:
            there = set()
        return [b for b in range(block_count(size)) if self._block(key, b).name not in there]

    def write_block(self, key: str, block: int, features: NDArray[np.float32], device: str) -> None:
        """Commit one block of features, float32 [rows, D], made on `device`."""
        self.write(self._block(key, block), _packed({"features": features}, {"device": device}))

    def device(self, key: str) -> str | None:
        """The device on which weights or features were made; None for other outputs."""
        for path in (self.path("weights", key), self._block(key, 0)):
            if path.exists():
                with path.open("rb") as file:
                    length = int.from_bytes(file.read(8), "little")
                    return str(_metadata(file.read(length)).get("device"))
        return None

    def read_features(self, key: str, size: int) -> NDArray[np.float32] | None:
        """All features of a split, float32 [size, D], or None if a block is absent or damaged."""
        rows = [self.read(self._block(key, b)) for b in range(block_count(size))]
        if any(data is None for data in rows):
            return None
        parts = [_arrays(data)["features"] for data in rows if data is not None]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def _block(self, key: str, block: int) -> Path:
        return self.root / "features" / key[:2] / key / f"{block:06d}.safetensors"

    def read_cell(self, key: str) -> dict[str, Any] | None:
        """A measured cell (JSON), or None if it is absent or was damaged and is now removed."""
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
        """Store a cell. Small and cheap to make again, so checksummed inline and not fsynced."""
        text = canonical_json(dict(cell)).encode()
        path = self.path("cells", key, ".json")
        write_atomic(path, _digest(text) + b"\n" + text, durable=False)

    def check(self, key: str) -> None:
        """Remove what is damaged of the weights, features or fit under `key`."""
        blocks = self._block(key, 0).parent.glob("*.safetensors")
        for path in (self.path("weights", key), self.path("fits", key), *blocks):
            self.read(path)

    def discard(self, kind: str, key: str) -> None:
        """Forget an output (a finished training's progress)."""
        path = self.path(kind, key)
        path.unlink(missing_ok=True)
        _checksum_path(path).unlink(missing_ok=True)

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Hold the lock of an output, so that two processes do not make it at the same time."""
        from filelock import FileLock

        path = self.root / "locks" / f"{kind}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path):
            yield


def rows_in(blocks: Iterable[int], size: int) -> int:
    """Number of rows in `blocks` of a split of `size` rows; the last block may be short."""
    return sum(min(BLOCK, size - b * BLOCK) for b in blocks)


def block_count(size: int) -> int:
    """Number of blocks of a split of `size` rows."""
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
    """The arrays and the note of a file that `Store.write_arrays` wrote."""
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

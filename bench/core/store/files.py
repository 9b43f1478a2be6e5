"""How a store opens, lists, writes and removes its files: here, those of a folder of this machine.

`bench.core.store.remote` does the same for an object store with a local copy.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from bench.core.paths import write_atomic
from bench.core.store.claims import Claims
from bench.core.store.container import DamagedError, bytes_of, metadata, names_in


class StoreFiles:
    """The files of a store in a folder of this machine.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.files import StoreFiles
    >>> files, path = StoreFiles(), Path("store/trainings/1f0c.json")
    >>> files.write(path, b"[]", durable=False)
    >>> files.exists(path), files.read(path), files.names(path.parent)
    (True, b'[]', {'1f0c.json'})
    """

    def exists(self, path: Path) -> bool:
        """Whether there is a file. Its content is not looked at."""
        return path.exists()

    def names(self, folder: Path) -> set[str]:
        """Return the names of the files in a folder, none if it is absent.

        Raises UnreadableOutput if there is one that cannot be read.
        """
        return names_in(folder)

    def version(self, path: Path) -> Hashable | None:
        """Return what changes whenever a file is replaced; None if it is absent.

        Raises OSError if the folder cannot be read.
        """
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def fetched(self, path: Path) -> Path | None:
        """Return the path of a file on this machine; None if a file is known to be absent."""
        return path

    def read(self, path: Path) -> bytes | None:
        """Return the content of a file, None if it is absent, as `bytes_of` does."""
        here = self.fetched(path)
        return None if here is None else bytes_of(here)

    def facts(self, path: Path) -> dict[str, str]:
        """Return the metadata of a safetensors file without reading its arrays.

        Empty if the file is absent, or if its beginning is damaged.
        """
        try:
            return metadata(path)
        except (OSError, DamagedError):
            return {}

    def write(
        self,
        path: Path,
        *parts: bytes | memoryview,
        durable: bool = True,
        temporary: Path | None = None,
    ) -> None:
        """Write a file atomically, as `write_atomic` does."""
        write_atomic(path, *parts, durable=durable, temporary=temporary)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there. Raises OSError if it stays."""
        path.unlink(missing_ok=True)

    def drop_copy(self, path: Path) -> Hashable | None:
        """Drop a damaged copy and return the version that the next is of; None if it is none."""
        return None

    def place(self, path: Path) -> str:
        """Return what a person calls the place of a file or a folder."""
        return str(path)

    def claims(self, local: Claims) -> Claims:
        """Return the claims on outputs; `local` are those in the store's folder."""
        return local

    def looking_again(self) -> AbstractContextManager[None]:
        """Give a context in which it counts what is there now, not what was remembered."""
        return nullcontext()

    def forget(self) -> None:
        """Forget what was remembered of the files that others write."""

"""The store of a run: in a folder, or in an object store with a local copy."""

from __future__ import annotations

from pathlib import Path

from bench.core.paths import cache_address, cache_dir, check_writable
from bench.core.store.bucket import check_writable_bucket, open_bucket
from bench.core.store.remote import RemoteFiles
from bench.core.store.store import Store


def store_at(option: Path | None, *, writes: bool = False) -> Store:
    """Return the store that ``--cache-dir`` names; see `bench.core.paths.cache_dir`.

    If it `writes`, raises InputError unless files can be written. Of an object store it raises
    InputError if a package, credentials or the bucket is missing, and DataError if it cannot be
    reached.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.opening import store_at
    >>> store_at(Path("cache")).root.name
    'cache'
    >>> store_at(Path("memory://examples/opened")).place
    'memory://examples/opened'
    """
    root, address = cache_dir(option), cache_address(option)
    if not address:
        return Store(check_writable(root, "cache folder") if writes else root)
    files = RemoteFiles(open_bucket(address), check_writable(root, f"the local copy of {address}"))
    files.bucket.entries("tmp/", patient=False)  # whether it can be reached at all
    if writes:
        check_writable_bucket(files.bucket)
    files.sweep()
    return Store(root, files)

"""Requests to an object store, such as ``s3://bucket/prefix``, through fsspec.

S3 is tested. A request that fails is sent again, by the library and here, and then ends in one line
that names the address. Objects are replaced as a whole: who reads sees the old or the new one.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench.core.errors import BenchError, DataError, InputError, one_line

PAUSES = (1.0, 5.0, 20.0, 60.0)
"""Seconds before a request is sent again that failed, besides what the library itself tries."""
PART = 32 * 2**20
"""Bytes of the parts in which large objects are read and sent."""
PARALLEL = 4
"""Parts of one object that are sent at once."""
TESTED, OWN = "s3", ("memory",)
"""Schemes of addresses that are tested on a server, and those of examples."""

_UNKNOWN = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
            "ProfileNotFound", "TokenRetrievalError", "SSOTokenLoadError",
            "UnauthorizedSSOTokenError"}  # fmt: skip
"""Errors of botocore that say that there are no credentials, by name: it may not be installed."""
_INVALID = {"ParamValidationError", "InvalidRegionError", "NoRegionError"}

T = TypeVar("T")
log = logging.getLogger("bench")


class StoredObject(NamedTuple):
    """An object as a listing shows it; `version` changes with its content, `written` is its time.

    Examples
    --------
    >>> from bench.core.store.bucket import StoredObject
    >>> StoredObject(size=1024, version='"9b2c"', written=0.0).size
    1024
    """

    size: int
    version: str
    written: float


@dataclass(frozen=True)
class Bucket:
    """The objects below `address`; `system` is the file system of fsspec that reaches them.

    Names are relative to the address, such as ``cells/1f/1f0c.json``.

    Examples
    --------
    >>> from bench.core.store.bucket import open_bucket
    >>> bucket = open_bucket("memory://examples/bucket")
    >>> _ = bucket.put("fits/1f0c", b"1.5")
    >>> bucket.get("fits/1f0c", 0, 3), [(n, e.size) for n, e in bucket.entries("fits/").items()]
    (b'1.5', [('fits/1f0c', 3)])
    """

    address: str
    system: Any

    def url(self, name: str = "") -> str:
        """Return the address of an object, or of the whole."""
        return f"{self.address}/{name}" if name else self.address

    def entries(self, prefix: str, *, patient: bool = True) -> dict[str, StoredObject]:
        """Return all objects whose names begin with `prefix`: a request for each 1000.

        Unless `patient`, a request that fails is not sent again here. Raises InputError if there is
        no such bucket.
        """

        def ask() -> Mapping[str, Mapping[str, Any]]:
            found: Any = self.system.find(self._root, prefix=prefix, detail=True)
            return dict(found)

        try:
            found = self._asked(ask, prefix, "list", patient=patient)
        except FileNotFoundError as error:
            raise InputError(
                f"{self.address}: there is no such bucket: create it, or correct the address"
            ) from error
        below = {name.removeprefix(f"{self._root}/"): info for name, info in found.items()}
        return {name: _entry(info) for name, info in below.items() if name.startswith(prefix)}

    def entry(self, name: str) -> StoredObject | None:
        """Return one object, None if there is none."""
        return self.entries(name).get(name)

    def get(self, name: str, start: int, end: int) -> bytes:
        """Return bytes `start` to `end` of an object, fewer if it is shorter.

        Raises FileNotFoundError if there is none.
        """

        def ask() -> bytes:
            found: bytes = self.system.cat_file(self._path(name), start=start, end=end)
            return found

        return b"" if end <= start else self._asked(ask, name, "read")

    def put(self, name: str, data: bytes, *, patient: bool = True) -> str:
        """Store an object; return its version, empty if the store does not say it."""

        def ask() -> Any:
            return self.system.pipe_file(self._path(name), data)

        return _version(self._asked(ask, name, "write", patient=patient))

    def put_file(self, name: str, file: Path) -> None:
        """Store a file as an object, in parts; it is there when all of them are."""
        sizes = {"chunksize": PART, "max_concurrency": PARALLEL} if self._is_tested else {}

        def ask() -> None:
            self.system.put_file(str(file), self._path(name), **sizes)

        self._asked(ask, name, "write")

    def create(self, name: str, data: bytes, *, patient: bool = True) -> str | None:
        """Store an object unless there is one; return its version, None if there was one.

        Two who do so at once are told apart only by stores that know conditional writes
        (``If-None-Match: *``): see `check_writable_bucket`.
        """

        def ask() -> Any:
            try:
                return self.system.pipe_file(self._path(name), data, mode="create")
            except OSError as error:  # s3fs knows it only if the server names the condition
                answer = getattr(error.__cause__, "response", {}).get("Error", {})
                if answer.get("Code") == "PreconditionFailed":
                    raise FileExistsError(name) from error
                raise

        try:
            return _version(self._asked(ask, name, "write", patient=patient))
        except FileExistsError:
            return None

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        try:
            self._asked(lambda: self.system.rm_file(self._path(name)), name, "delete")
        except FileNotFoundError:
            return

    @property
    def _root(self) -> str:
        found: str = self.system._strip_protocol(self.address)
        return found

    @property
    def _is_tested(self) -> bool:
        return self.address.startswith(f"{TESTED}://")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _asked(self, ask: Callable[[], T], name: str, verb: str, *, patient: bool = True) -> T:
        """Return the answer to a request, which is sent again if it fails.

        Raises FileNotFoundError, FileExistsError, InputError for what the user must change, and
        DataError if the store cannot be reached.
        """
        pauses = PAUSES if patient else ()
        for pause in (*pauses, None):
            try:
                return ask()
            except (FileNotFoundError, FileExistsError):
                raise
            except Exception as error:
                if fault := self._fault(error, name, verb):
                    raise fault from error
                if pause is None:
                    raise DataError(
                        f"{self.url(name)}: cannot {verb} after {len(pauses) + 1} tries: "
                        f"{one_line(error)}: check the network, then run the same command again"
                    ) from error
                log.debug("%s: cannot %s: %s", self.url(name), verb, one_line(error))
                time.sleep(pause)
        raise RuntimeError(pauses)

    def _fault(self, error: Exception, name: str, verb: str) -> BenchError | None:
        """Return the error for what asking again does not change; None for what it may."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & _UNKNOWN:
            return InputError(
                f"{self.address}: no credentials: {one_line(error)}: set AWS_PROFILE, or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if isinstance(error, PermissionError):
            return InputError(
                f"{self.url(name)}: may not {verb}: {one_line(error)}: use credentials with the "
                "right to do so"
            )
        if kinds & _INVALID or isinstance(error, ValueError | TypeError):
            return InputError(f"{self.address}: cannot {verb}: {one_line(error)}")
        return None


def open_bucket(address: str) -> Bucket:
    """Return the bucket of an address. Sends no request.

    Raises InputError if the package for it is not installed.

    Examples
    --------
    >>> from bench.core.store.bucket import open_bucket
    >>> open_bucket("nowhere://bucket/prefix")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: cache folder nowhere://bucket/prefix: Protocol not known: ...
    """
    scheme = address.partition("://")[0]
    advice = "s3" if scheme == TESTED else f"what fsspec needs for {scheme}"
    try:
        kind: Any = import_module("fsspec").get_filesystem_class(scheme)
    except ImportError as error:
        install = 'pip install "robust-ft-bench[s3]"' if scheme == TESTED else f"install {advice}"
        raise InputError(
            f"cache folder {address}: a package is not installed ({one_line(error)}): {install}"
        ) from error
    except ValueError as error:
        raise InputError(f"cache folder {address}: {error}") from error
    if scheme not in (TESTED, *OWN):
        log.warning("%s: only stores at s3:// are tested", address)
    system = kind(skip_instance_cache=True, use_listings_cache=False)
    return Bucket(address.rstrip("/"), system)


def check_writable_bucket(bucket: Bucket) -> None:
    """Raise InputError unless objects can be written; warn if two processes cannot exclude another.

    Two processes then may compute the same, which costs time and never a result.

    Examples
    --------
    >>> from bench.core.store.bucket import check_writable_bucket, open_bucket
    >>> check_writable_bucket(open_bucket("memory://examples/writable"))
    """
    name = f"tmp/{uuid.uuid4().hex}"
    bucket.put(name, b"", patient=False)
    try:
        if bucket.create(name, b"", patient=False) is not None:
            log.warning(
                "%s does not know conditional writes: runs at once may compute some outputs twice",
                bucket.address,
            )
    except DataError:  # a store that refuses them altogether
        log.warning("%s refuses conditional writes: runs at once compute the same outputs",
                    bucket.address)  # fmt: skip
    bucket.delete(name)


def _entry(info: Mapping[str, Any]) -> StoredObject:
    written = info.get("LastModified") or info.get("created") or info.get("mtime") or 0.0
    stamp = written.timestamp() if isinstance(written, datetime) else float(written)
    return StoredObject(int(info["size"]), _version(info) or str(stamp), stamp)


def _version(info: Any) -> str:
    found = info if isinstance(info, Mapping) else {}
    return str(found.get("ETag") or found.get("etag") or "")

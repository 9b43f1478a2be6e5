"""Claims on an object store, which machines with copies of their own share.

A claim is an object that is written only if there is none (a conditional write). Its holder writes
it again every `BEAT` seconds; one that stays the same for `LEASE` seconds, or whose process on this
machine is gone, is taken over. As all claims, these only save work: where two processes hold the
same, because the store does not know conditional writes or both took it over at once, they compute
the same.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.store.bucket import Bucket
from bench.core.store.claims import LONGEST, Claims, holder_in, is_gone, this_process

BEAT, LEASE = 15.0, 90.0
"""Seconds between two writes of a claim that is held, and after which an unchanged claim is void.
"""
ASK = 5.0
"""Seconds for which another's claim is taken to be held without asking again."""

log = logging.getLogger("bench")


@dataclass
class RemoteClaims(Claims):
    """The claims of this process in `bucket`, as objects named ``claims/NAME``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.bucket import open_bucket
    >>> from bench.core.store.remote_claims import RemoteClaims
    >>> bucket = open_bucket("memory://examples/claimed")
    >>> mine, others = (RemoteClaims(Path("claims"), bucket=bucket) for _ in range(2))
    >>> with mine.held(["weights-1f0c"]) as got, others.held(["weights-1f0c"]) as rest:
    ...     print(got, rest)
    ...
    ['weights-1f0c'] []
    """

    bucket: Bucket = field(kw_only=True)
    _token: str = field(default_factory=lambda: uuid.uuid4().hex, repr=False)
    _known: dict[Path, tuple[str, float, tuple[str, int] | None]] = field(
        default_factory=dict, repr=False
    )
    _asked: dict[Path, float] = field(default_factory=dict, repr=False)
    _written: dict[Path, float] = field(default_factory=dict, repr=False)
    _guard: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def take(self, name: str) -> bool:
        """Take a claim. Returns whether it is now this process's, or cannot be made at all."""
        path, now = self.folder / name, time.monotonic()
        if path in self._held or now - self._asked.get(path, -ASK) < ASK:
            return False
        try:
            if not self._taken(path):
                self._asked[path] = now
                return False
        except BenchError as error:
            log.debug("no claim on %s: %s", name, error)
            return True
        with self._guard:
            self._held.add(path)
            self._written[path] = now
        self._beat()
        return True

    def release(self, name: str) -> None:
        """Give a claim up, if it is held."""
        path = self.folder / name
        with self._guard, suppress(BenchError, FileNotFoundError):
            if path not in self._held:
                return
            self._held.discard(path)
            is_mine = time.monotonic() - self._written.pop(path, 0.0) < LEASE
            if is_mine or self._token.encode() in self._content(path):  # else it was taken over
                self.bucket.delete(path.as_posix())

    def _taken(self, path: Path) -> bool:
        entry = self.bucket.entry(path.as_posix())
        if entry is not None:
            if not self._is_left(path, entry.version):
                return False
            self.bucket.delete(path.as_posix())
        return self.bucket.create(path.as_posix(), self._text(), patient=False) is not None

    def _is_left(self, path: Path, version: str) -> bool:
        """Whether nobody works under a claim any more."""
        before, since, holder = self._known.get(path, ("", 0.0, None))
        if before != version:
            try:
                holder = holder_in(self._content(path))
            except FileNotFoundError:
                return True
            since = time.monotonic()
            self._known[path] = (version, since, holder)
        return is_gone(holder) or time.monotonic() - since > LEASE

    def _content(self, path: Path) -> bytes:
        entry = self.bucket.entry(path.as_posix())
        return (
            b"" if entry is None else self.bucket.get(path.as_posix(), 0, min(entry.size, LONGEST))
        )

    def _text(self) -> bytes:
        """What a claim contains; it is another text each time, and so another version."""
        return json.dumps([*this_process(), self._token, time.monotonic()]).encode()

    def _touch(self) -> None:
        while True:
            time.sleep(BEAT)
            for path in list(self._held):
                with self._guard, suppress(BenchError, FileNotFoundError):
                    if path in self._held:
                        self.bucket.put(path.as_posix(), self._text(), patient=False)
                        self._written[path] = time.monotonic()

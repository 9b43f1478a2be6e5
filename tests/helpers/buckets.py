"""For tests: an S3 server on this machine, and what was asked of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.core.store import Store
from bench.core.store.bucket import Bucket, open_bucket
from bench.core.store.remote import RemoteFiles

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}
"""Environment variables of a client that does not ask for anything else."""

Request = tuple[str, str, str]
"""Bucket, method and name of the object."""


@dataclass
class S3:
    """A bucket of a test on a server; `all_asked` has what anybody asked of the server."""

    endpoint: str
    bucket: str
    folder: Path
    all_asked: list[Request] = field(repr=False)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The requests for this bucket since the last `clear`, as (method, name)."""
        return [(method, name) for bucket, method, name in self.all_asked if bucket == self.bucket]

    def clear(self) -> None:
        """Forget what was asked."""
        self.all_asked.clear()

    @property
    def system(self) -> Any:
        """The client of all stores here, also for what a test does to objects behind their back."""
        return client(self.endpoint)

    def address(self, prefix: str = "store") -> str:
        return f"s3://{self.bucket}/{prefix}"

    def store(self, machine: str, prefix: str = "store") -> Store:
        """Return the store as a machine sees it, with a copy of its own."""
        copy = self.folder / machine
        return Store(copy, RemoteFiles(Bucket(self.address(prefix), self.system), copy))

    def objects(self, prefix: str = "store") -> dict[str, bytes]:
        """Return all objects by name."""
        bucket = Bucket(self.address(prefix), self.system)
        return {name: bucket.get(name, 0, e.size) for name, e in bucket.entries("").items()}

    def names(self, prefix: str = "") -> set[str]:
        """Return the names of the objects of the store that begin so."""
        return {*Bucket(self.address(), self.system).entries(prefix)}

    def counts(self) -> Counter[str]:
        """Return how often each kind of request was sent, listings apart from reading."""
        return Counter("LIST" if m == "GET" and not name else m for m, name in self.asked)


@lru_cache
def client(endpoint: str) -> Any:
    """Return a client of a server: making one takes half a second."""
    return open_bucket(f"s3://{urlsplit(endpoint).hostname}").system


def remote_files(store: Store) -> RemoteFiles:
    """Return the files of a store that is known to be remote."""
    assert isinstance(store.files, RemoteFiles)
    return store.files


@contextmanager
def s3_server() -> Iterator[tuple[str, list[Request]]]:
    """Run a server; gives its address and the list to which requests are added."""
    pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    threaded: Any = pytest.importorskip("moto.server").ThreadedMotoServer
    asked: list[Request] = []
    server = threaded(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    plain = server._server.app

    def noted(environ: Any, respond: Any) -> Any:
        bucket, _, name = environ["PATH_INFO"].removeprefix("/").partition("/")
        asked.append((bucket, environ["REQUEST_METHOD"], name))
        return plain(environ, respond)

    server._server.app = noted
    try:
        yield f"http://{host}:{port}", asked
    finally:
        server.stop()

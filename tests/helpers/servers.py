"""For tests: a web server on this machine that serves bytes, well or badly, and remembers."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class File:
    """What an address gives.

    `cuts` are the numbers of bytes after which the connection of the first, second, ... request
    ends; `statuses` the codes of the first ones; `length` says whether the size is told.
    """

    content: bytes = b""
    ranges: bool = True
    etag: str = '"1"'
    kind: str = "application/octet-stream"
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    length: bool = True
    location: str = ""


@dataclass
class Web:
    """A running server: `files` by path, `asked` the (path, Range or "") of all requests."""

    address: str
    files: dict[str, File] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str, file: File | bytes | None = None) -> str:
        """The address of `path`, which from now on gives `file`."""
        if file is not None:
            self.files[path] = file if isinstance(file, File) else File(file)
        return f"{self.address}/{path}"


@contextmanager
def web() -> Iterator[Web]:
    """A server while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            found.asked.append((path, self.headers.get("Range", "")))
            answer(self, found.files.get(path))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Web(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(to: BaseHTTPRequestHandler, file: File | None) -> None:
    """Answer a request for `file`."""
    status = 404 if file is None else file.statuses.pop(0) if file.statuses else 200
    if file is None or status >= 300:
        to.send_response(status)
        if file is not None and file.location:
            to.send_header("Location", file.location)
        to.send_header("Content-Length", "0")
        to.end_headers()
        return
    start = begin(to, file)
    if start > 0 and start >= len(file.content):
        to.send_response(416)
        to.send_header("Content-Range", f"bytes */{len(file.content)}")
        to.send_header("Content-Length", "0")
        to.end_headers()
        return
    rest = file.content[start:]
    to.send_response(206 if start else 200)
    to.send_header("Content-Type", file.kind)
    if file.etag:
        to.send_header("ETag", file.etag)
    if start:
        to.send_header(
            "Content-Range", f"bytes {start}-{len(file.content) - 1}/{len(file.content)}"
        )
    if file.length:
        to.send_header("Content-Length", str(len(rest)))
    to.end_headers()
    to.wfile.write(rest[: file.cuts.pop(0)] if file.cuts else rest)


def begin(to: BaseHTTPRequestHandler, file: File) -> int:
    """The byte that the answer begins with."""
    wanted = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
    version = to.headers.get("If-Range", file.etag)
    return int(wanted[1]) if wanted and file.ranges and version == file.etag else 0

"""For tests: a local web server with configurable faults that records its requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class File:
    """The answer to requests for one address.

    `cuts` are the numbers of bytes after which the connection of the first, second, ... request
    ends. `statuses` are the status codes of the first answers. `length` states whether the answer
    has a Content-Length.
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
    """A running server: `files` by path; `asked` has (path, Range header or "") per request."""

    address: str
    files: dict[str, File] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str, file: File | bytes | None = None) -> str:
        """Return the address of `path`, and serve `file` there if there is one."""
        if file is not None:
            self.files[path] = file if isinstance(file, File) else File(file)
        return f"{self.address}/{path}"


@contextmanager
def web() -> Iterator[Web]:
    """A server that runs during the block."""

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
    """Return the position of the first byte of the answer."""
    wanted = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
    version = to.headers.get("If-Range", file.etag)
    return int(wanted[1]) if wanted and file.ranges and version == file.etag else 0

"""Fetching a file of a card: resumable, from several addresses in turn, checked before it is kept.

With urllib of the standard library: of the HTTP libraries that other dependencies bring, which one
it is changes with their versions, and what is needed here is a GET with Range.

A file grows as ``FILE.part`` beside its place; ``.FILE.part.json`` says which address it came from
and by what mark of its version (ETag or Last-Modified) that address knows it. The next run goes on
from there. Only a file that passed `bench.data.download.checksums.check_file` gets its name, in one
step.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.core.errors import BenchError, DataError
from bench.core.paths import check_room, write_atomic
from bench.core.progress import Progress, SilentProgress, byte_progress
from bench.core.streams import print_line
from bench.core.version import __version__
from bench.data.cards import Archive
from bench.data.download.archives import CHUNK, HEAD, HTML, check_format
from bench.data.download.checksums import (
    CheckedFile,
    check_file,
    expect_size,
    note_path,
    write_note,
)

TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
"""HTTP codes after which the same request may work a little later."""


@dataclass(frozen=True)
class Patience:
    """How long to keep trying one address.

    Attributes
    ----------
    attempts : in a row that bring no byte.
    wait : seconds before the second one; doubled for each, up to a minute.
    timeout : seconds without an answer or a byte that end an attempt.
    """

    attempts: int = 5
    wait: float = 1.0
    timeout: float = 30.0


class _Cut(Exception):
    """The transfer ended early or could not begin: the same address may give the rest."""


class _Failed(Exception):
    """This address does not give the file."""


class _Wrong(_Failed):
    """What this address gave is not the file."""


def fetch_archive(
    archive: Archive,
    folder: Path,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """The file of `archive` in `folder`, downloaded unless it is there, and checked.

    Addresses are tried in order, a failing one is reported in a line. Raises DataError if the file
    that is there is not the right one, or if none but wrong files came; BenchError that lists all
    addresses with what went wrong otherwise. What came is kept for the next time.
    """
    progress, target = progress or SilentProgress(), folder / archive.file
    with download_lock(target):
        if target.exists():
            check_file(target, archive, progress)
            return target
        failures: list[_Failed] = []
        for url in archive.urls:
            try:
                return _from(url, archive, target, progress, patience or Patience())
            except _Failed as failure:
                failures.append(failure)
                if len(failures) < len(archive.urls):
                    print_line(f"{archive.file}: {failure}; trying the next address", sys.stderr)
        said = "; ".join(map(str, failures)) or "it has no address"
        kind = DataError if any(isinstance(f, _Wrong) for f in failures) else BenchError
        raise kind(f"cannot download {archive.file}: {said}")


@contextmanager
def download_lock(target: Path) -> Iterator[None]:
    """Hold the lock of what becomes `target`; it is said if another process has it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print_line(f"waiting for another process that works on {target}", sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass
class _Part:
    """What is there of a file, of which address and version."""

    path: Path
    url: str = ""
    mark: str = ""
    pieced: bool = False

    @classmethod
    def of(cls, target: Path) -> _Part:
        part = cls(target.with_name(f"{target.name}.part"))
        try:
            state = json.loads(part.state.read_bytes())
            part.url, part.mark = str(state["url"]), str(state["mark"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return part

    @property
    def state(self) -> Path:
        return self.path.with_name(f".{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, url: str, mark: str) -> None:
        """Note where the bytes that follow come from, before the first of them."""
        self.url, self.mark, self.pieced = url, mark, False
        self.remove()
        write_atomic(self.state, json.dumps({"url": url, "mark": mark}).encode(), durable=False)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)


def _from(url: str, archive: Archive, target: Path, progress: Progress, patience: Patience) -> Path:
    """The whole file from one address. Raises _Failed."""
    part = _Part.of(target)
    _transfer(url, archive, part, progress, patience)
    try:
        checked = _checked(url, archive, part, progress)
    except _Wrong:
        if not part.pieced:
            raise
        _transfer(url, archive, part, progress, patience)  # the pieces were of two versions
        checked = _checked(url, archive, part, progress)
    with part.path.open("rb") as file:
        os.fsync(file.fileno())
    part.path.replace(target)
    part.remove()
    write_note(target, replace(checked, url=url))
    return target


def _checked(url: str, archive: Archive, part: _Part, progress: Progress) -> CheckedFile:
    """What came. Raises _Wrong, and keeps nothing, unless it is the file."""
    try:
        return check_file(part.path, archive, progress)
    except DataError as error:
        part.remove()
        said = str(error).removeprefix(f"{part.path} ")
        raise _Wrong(f"{url}: the file that came {said}") from error
    finally:
        note_path(part.path).unlink(missing_ok=True)


def _transfer(
    url: str, archive: Archive, part: _Part, progress: Progress, patience: Patience
) -> None:
    """Request what is missing until it is there. Raises _Failed."""
    failures = 0
    while True:
        before = part.size
        try:
            return _request(url, archive, part, progress, patience.timeout)
        except _Cut as error:
            failures = failures + 1 if part.size <= before else 1
            if failures >= patience.attempts:
                raise _Failed(f"{url}: {error}") from error
            time.sleep(min(60.0, patience.wait * 2 ** (failures - 1)))


def _request(url: str, archive: Archive, part: _Part, progress: Progress, timeout: float) -> None:
    """One request for what is missing.

    Raises _Cut if not all of it came, _Failed or _Wrong if there is no sense in going on.
    """
    if archive.bytes is not None and part.size >= archive.bytes:
        if part.size == archive.bytes:
            part.pieced = True
            return
        part.remove()
    answer = _open(url, archive, part, timeout)
    if answer is not None:
        with closing(answer):
            _receive(url, archive, part, progress, answer)


def _open(url: str, archive: Archive, part: _Part, timeout: float) -> Any:
    """The answer to a request for what is missing; None if that proves to be nothing."""
    headers = {"User-Agent": f"bench/{__version__}", "Accept-Encoding": "identity"}
    same = part.url == url and part.mark
    if part.size and (same or archive.checksums):  # checksums tell whether the pieces fit
        headers["Range"] = f"bytes={part.size}-"
        headers |= {"If-Range": part.mark} if same else {}
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_Redirects(bool(archive.checksums)))
    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with closing(error):
            _refused(url, part, error)
        return None
    except (http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            said = f"{url}: its certificate is not valid: {reason.verify_message}"
            raise _Failed(said) from error
        raise _Cut(f"no connection: {reason or type(reason).__name__}") from error


def _refused(url: str, part: _Part, error: urllib.error.HTTPError) -> None:
    """An answer without content. Returns if it says that all had been received before."""
    if error.code == 416:
        whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if whole and int(whole[1]) == part.size:
            part.pieced = True
            return
        part.remove()
        raise _Cut("what is there does not fit the file") from error
    said = f"HTTP {error.code} {error.reason}"
    if error.code in TRANSIENT:
        raise _Cut(said) from error
    raise _Failed(f"{url}: {said}") from error


def _receive(url: str, archive: Archive, part: _Part, progress: Progress, answer: Any) -> None:
    headers: Message = answer.headers
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _Wrong(f"{url}: {HTML} came, expected {archive.file}")
    have, total = _extent(headers, answer.status, part.size)
    block = _block(answer)
    try:
        if not have and (len(block) >= HEAD or len(block) == total):
            check_format(block, archive.file, f"{url}: what came is")
        if total is not None:
            expect_size(total, archive, f"{url}: the file there has")
    except DataError as error:
        raise _Wrong(str(error)) from error
    total = archive.bytes if total is None else total
    if have:
        part.pieced = True
    else:
        part.begin(url, _mark(headers))
    if total is not None:
        check_room(part.path.parent, total - have, f"the rest of {archive.file}")
    with (
        byte_progress(progress, f"download {archive.file}", total) as count,
        part.path.open("ab") as file,
    ):
        count(have)
        while block:
            file.write(block)
            count(len(block))
            block = _block(answer)
    if total is not None and part.size < total:
        raise _Cut(f"connection lost after {part.size:,} of {total:,} bytes")


def _extent(headers: Message, status: int, have: int) -> tuple[int, int | None]:
    """Where the content begins in the file, and the size of the file if that is said."""
    if status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if not found or int(found[1]) != have:
            raise _Cut("an answer with another part of the file than was asked for")
        return have, None if found[2] == "*" else int(found[2])
    length = headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _mark(headers: Message) -> str:
    """What `If-Range` may say of the file: its strong ETag, else when it was changed."""
    etag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag


def _block(answer: Any) -> bytes:
    try:
        return bytes(answer.read(CHUNK))
    except (http.client.HTTPException, OSError) as error:
        raise _Cut(f"connection lost: {error or type(error).__name__}") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, to an address without https only where checksums guard what comes."""

    def __init__(self, guarded: bool) -> None:
        self.guarded = guarded

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request to `newurl`. Raises _Failed if that is not to be trusted."""
        if not newurl.startswith(("https://", "http://") if self.guarded else "https://"):
            fp.close()
            raise _Failed(f"{req.full_url}: leads to {newurl}, which is not secured")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

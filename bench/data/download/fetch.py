"""Download a file of a card: resume, try several addresses, and check the file before storing it.

This uses urllib of the standard library. The HTTP libraries that other dependencies install change
with their versions, and a GET request with Range is all that is needed here.

An unfinished download is stored as ``FILE.part``. ``.FILE.part.json`` records its address and the
version that the server reported (ETag or Last-Modified). The next run resumes from there. The file
is renamed to ``FILE`` only after it passed `bench.data.download.checksums.check_file`.
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

from bench.core import __version__
from bench.core.errors import BenchError, DataError, InputError
from bench.core.foreign.documents import parse_json
from bench.core.foreign.files import text_of
from bench.core.paths import check_room, write_atomic
from bench.core.progress import Progress, SilentProgress, byte_progress
from bench.core.streams import print_line
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
"""HTTP status codes after which the same request is retried."""


UNSTATED = 2**30
"""The most bytes of a file of unknown size; of an archive, 16 times as many."""


@dataclass(frozen=True)
class Patience:
    """How long to keep trying one address.

    Attributes
    ----------
    attempts : number of attempts in a row without any new byte before giving up.
    wait : seconds before the second attempt; doubled after each further one, up to a minute.
    timeout : seconds without a response or a byte after which an attempt ends.
    """

    attempts: int = 5
    wait: float = 1.0
    timeout: float = 30.0


class _Interrupted(Exception):
    """The transfer ended early or could not begin; it can be retried at the same address."""


class _Failed(Exception):
    """The file cannot be downloaded from this address."""


class _WrongFile(_Failed):
    """This address returned something other than the file."""


def fetch_archive(
    archive: Archive,
    folder: Path,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download the file of `archive` into `folder` unless it is there, check it, return its path.

    Addresses are tried in order; one line is printed for each that fails. An interrupted download
    is resumed by the next call. Raises DataError if an existing file is not the right one or if
    some address returned a wrong file, and BenchError if all addresses fail for other reasons. The
    message lists every address with its error.
    """
    progress, target = progress or SilentProgress(), folder / archive.file
    with download_lock(target):
        if target.exists():
            check_file(target, archive, progress)
            return target
        failures: list[_Failed] = []
        for url in archive.urls:
            try:
                return _fetch_from(url, archive, target, progress, patience or Patience())
            except _Failed as failure:
                failures.append(failure)
                if len(failures) < len(archive.urls):
                    print_line(f"{archive.file}: {failure}; trying the next address", sys.stderr)
        reasons = "; ".join(map(str, failures)) or "its card lists no address"
        kind = DataError if any(isinstance(f, _WrongFile) for f in failures) else BenchError
        raise kind(f"cannot download {archive.file}: {reasons}")


@contextmanager
def download_lock(target: Path) -> Iterator[None]:
    """Hold a lock while `target` is created; print a line if another process holds it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print_line(f"waiting for another process that is working on {target}", sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass
class _Part:
    """An unfinished download.

    Attributes
    ----------
    path : the file ``FILE.part``.
    url : the address of the bytes in it; empty if unknown.
    version : ETag or Last-Modified of the file at `url`; empty if unknown.
    joined : whether it was put together from more than one response.
    """

    path: Path
    url: str = ""
    version: str = ""
    joined: bool = False

    @classmethod
    def of(cls, target: Path) -> _Part:
        part = cls(target.with_name(f"{target.name}.part"))
        try:
            state = parse_json(text_of(part.state))
            part.url, part.version = str(state["url"]), str(state["mark"])
        except (InputError, ValueError, KeyError, TypeError):
            pass
        return part

    @property
    def state(self) -> Path:
        return self.path.with_name(f".{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, url: str, version: str) -> None:
        """Start from an empty file; record the source before the first byte is written."""
        self.url, self.version, self.joined = url, version, False
        self.remove()
        source = {"url": url, "mark": version}
        write_atomic(self.state, json.dumps(source).encode(), durable=False)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)


def _fetch_from(
    url: str, archive: Archive, target: Path, progress: Progress, patience: Patience
) -> Path:
    """Download the file from one address, check it and return its path. Raises _Failed."""
    part = _Part.of(target)
    _transfer(url, archive, part, progress, patience)
    try:
        checked = _check(url, archive, part, progress)
    except _WrongFile:
        if not part.joined:
            raise
        # The joined pieces were of two versions: download the file in one piece.
        _transfer(url, archive, part, progress, patience)
        checked = _check(url, archive, part, progress)
    with part.path.open("rb") as file:
        os.fsync(file.fileno())
    part.path.replace(target)
    part.remove()
    write_note(target, replace(checked, url=url))
    return target


def _check(url: str, archive: Archive, part: _Part, progress: Progress) -> CheckedFile:
    """Check the downloaded file. If it is the wrong one, delete it and raise _WrongFile."""
    try:
        return check_file(part.path, archive, progress)
    except DataError as error:
        part.remove()
        reason = str(error).removeprefix(f"{part.path} ")
        raise _WrongFile(f"{url}: the downloaded file {reason}") from error
    finally:
        note_path(part.path).unlink(missing_ok=True)


def _transfer(
    url: str, archive: Archive, part: _Part, progress: Progress, patience: Patience
) -> None:
    """Request the missing bytes until the file is complete. Raises _Failed."""
    failures = 0
    while True:
        before = part.size
        try:
            return _request(url, archive, part, progress, patience.timeout)
        except _Interrupted as error:
            failures = failures + 1 if part.size <= before else 1
            if failures >= patience.attempts:
                raise _Failed(f"{url}: {error}") from error
            time.sleep(min(60.0, patience.wait * 2 ** (failures - 1)))


def _request(url: str, archive: Archive, part: _Part, progress: Progress, timeout: float) -> None:
    """Request the missing bytes once.

    Raises _Interrupted if some are still missing, _Failed or _WrongFile if a retry is useless.
    """
    if archive.bytes is not None and part.size >= archive.bytes:
        if part.size == archive.bytes:
            part.joined = True
            return
        part.remove()
    response = _open(url, archive, part, timeout)
    if response is not None:
        with closing(response):
            _receive(url, archive, part, progress, response)


def _open(url: str, archive: Archive, part: _Part, timeout: float) -> Any:
    """Request the missing bytes and return the response; None if no bytes are missing."""
    headers = {"User-Agent": f"bench/{__version__}", "Accept-Encoding": "identity"}
    same = part.url == url and part.version
    if part.size and (same or archive.checksums):  # checksums show whether the pieces fit
        headers["Range"] = f"bytes={part.size}-"
        headers |= {"If-Range": part.version} if same else {}
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_Redirects(bool(archive.checksums)))
    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with closing(error):
            _handle_http_error(url, part, error)
        return None
    except (http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            message = f"{url}: the server's certificate is not valid: {reason.verify_message}"
            raise _Failed(message) from error
        raise _Interrupted(f"no connection: {reason or type(reason).__name__}") from error


def _handle_http_error(url: str, part: _Part, error: urllib.error.HTTPError) -> None:
    """Raise _Interrupted or _Failed, unless the server reports that no bytes are missing."""
    if error.code == 416:
        whole = re.fullmatch(r"bytes \*/(\d{1,18})", error.headers.get("Content-Range", ""))
        if whole and int(whole[1]) == part.size:
            part.joined = True
            return
        part.remove()
        raise _Interrupted("the partial download does not fit the file") from error
    status = f"HTTP {error.code} {error.reason}"
    if error.code in TRANSIENT:
        raise _Interrupted(status) from error
    raise _Failed(f"{url}: {status}") from error


def _receive(url: str, archive: Archive, part: _Part, progress: Progress, response: Any) -> None:
    """Append the content of a response to the unfinished download."""
    headers: Message = response.headers
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _WrongFile(f"{url}: {HTML} was returned, expected {archive.file}")
    have, total = _extent(headers, response.status, part.size)
    block = _read_block(response)
    try:
        if not have and (len(block) >= HEAD or len(block) == total):
            check_format(block, archive.file, f"{url}: the returned file is")
        if total is not None:
            expect_size(total, archive, f"{url}: the file at this address has")
    except DataError as error:
        raise _WrongFile(str(error)) from error
    total = archive.bytes if total is None else total
    most, stated = _most(archive, total)
    if total is not None and total > most:
        where = f"{url}: the file at this address has {total:,} bytes"
        raise _WrongFile(f"{where}: more than {most:,}, {stated}")
    if have:
        part.joined = True
    else:
        part.begin(url, _version(headers))
    if total is not None:
        check_room(part.path.parent, total - have, f"the rest of {archive.file}")
    with (
        byte_progress(progress, f"download {archive.file}", total) as count,
        part.path.open("ab") as file,
    ):
        count(have)
        while block:
            have += len(block)
            if have > most:
                break
            file.write(block)
            count(len(block))
            block = _read_block(response)
    if have > most:
        part.remove()
        raise _WrongFile(f"{url}: more than {most:,} bytes were sent: {stated}")
    if total is not None and part.size < total:
        raise _Interrupted(f"connection lost after {part.size:,} of {total:,} bytes")


def _most(archive: Archive, total: int | None) -> tuple[int, str]:
    """Return the most bytes that are taken from an address, and where that number is from."""
    if archive.near and isinstance(archive.size, int):
        return 2 * archive.size, f"twice what its card states, {archive.exact}"
    if total is not None:
        return total, "the size that its card or the server states"
    most = UNSTATED * 16 if archive.packed else UNSTATED
    return most, "the most of a file whose size neither its card nor the server states"


def _extent(headers: Message, status: int, have: int) -> tuple[int, int | None]:
    """Return the offset of the content in the file, and the file's size if it is reported."""
    if status == 206:
        found = re.fullmatch(
            r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", headers.get("Content-Range", "")
        )
        if not found or int(found[1]) != have:
            raise _Interrupted("the server returned another byte range than was requested")
        return have, None if found[2] == "*" else int(found[2])
    length = headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None


def _version(headers: Message) -> str:
    """Return the value for `If-Range`: the strong ETag if there is one, else Last-Modified."""
    etag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag


def _read_block(response: Any) -> bytes:
    try:
        return bytes(response.read(CHUNK))
    except (http.client.HTTPException, OSError) as error:
        raise _Interrupted(f"connection lost: {error or type(error).__name__}") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects; to addresses without https only if the file has checksums."""

    def __init__(self, has_checksums: bool) -> None:
        self.has_checksums = has_checksums

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to `newurl`. Raises _Failed if it is insecure and unchecked."""
        if not newurl.startswith(("https://", "http://") if self.has_checksums else "https://"):
            fp.close()
            raise _Failed(f"{req.full_url}: redirects to {newurl}, which does not use https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

"""Downloads are resumed, try one address after the other, and accept only the right file."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from servers import File, Web, web

from bench.core.errors import BenchError, DataError
from bench.core.progress import SilentProgress
from bench.data.cards import Archive
from bench.data.download.archives import archive_format
from bench.data.download.checksums import check_file, note_path
from bench.data.download.fetch import Patience, fetch_archive

BRIEF = Patience(attempts=3, wait=0.01, timeout=5)
CONTENT = np.random.default_rng(0).bytes(300_000)
PAGE = b"<!DOCTYPE html>\n<html><body>Please log in." + b" " * 900 + b"</body></html>"


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as found:
        yield found


@pytest.fixture
def net(server: Web) -> Web:
    server.files.clear()
    server.asked.clear()
    return server


def archive(*urls: str, content: bytes = CONTENT, file: str = "data.bin", **other: Any) -> Archive:
    sums = {"sha256": hashlib.sha256(content).hexdigest()}
    fields = {"size": len(content), "checksums": sums, "into": "there", "note": "-", **other}
    return Archive.model_construct(file=file, holds="test", urls=urls, **fields)


def get(wanted: Archive, folder: Path) -> Path:
    return fetch_archive(wanted, folder, patience=BRIEF)


def left(folder: Path) -> set[str]:
    """The names of the files that are not hidden."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def packed_tar(mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for number in range(8):
            member = tarfile.TarInfo(f"images/{number}.bin")
            member.size = 5000
            tar.addfile(member, io.BytesIO(np.random.default_rng(number).bytes(5000)))
    return buffer.getvalue()


def packed_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("images/0.bin", CONTENT[:9000])
    return buffer.getvalue()


def test_a_file_comes_whole_and_only_once(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", CONTENT))
    path = get(wanted, tmp_path / "new")
    assert path == tmp_path / "new" / "data.bin"
    assert path.read_bytes() == CONTENT
    assert get(wanted, tmp_path / "new") == path
    assert len(net.asked) == 1
    assert left(path.parent) == {"data.bin"}
    assert json.loads(note_path(path).read_bytes())["url"] == wanted.urls[0]


def test_a_cut_connection_is_resumed_where_it_ended(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", File(CONTENT, cuts=[100_000, 70_000])))
    assert get(wanted, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in net.asked] == ["", "bytes=100000-", "bytes=170000-"]


def test_progress_allows_any_number_of_cuts(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", File(CONTENT, cuts=[30_000] * 9)))
    assert get(wanted, tmp_path).read_bytes() == CONTENT
    assert len(net.asked) == 10 > BRIEF.attempts


def test_a_killed_download_is_resumed_by_the_next_run(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", File(CONTENT, cuts=[100_000, 0, 0])), checksums={})
    with pytest.raises(BenchError, match=r"connection lost after 100,000 of 300,000 bytes"):
        get(wanted, tmp_path)
    assert left(tmp_path) == {"data.bin.part"}
    net.asked.clear()
    assert get(wanted, tmp_path).read_bytes() == CONTENT
    assert net.asked == [("data.bin", "bytes=100000-")]


def test_a_server_without_ranges_begins_again(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", File(CONTENT, ranges=False, cuts=[100_000])))
    assert get(wanted, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in net.asked] == ["", "bytes=100000-"]


def test_a_file_that_changed_meanwhile_begins_again(net: Web, tmp_path: Path) -> None:
    net.url("data.bin", File(bytes(300_000), etag='"old"', cuts=[100_000, 0, 0]))
    wanted = archive(net.url("data.bin"), checksums={})
    with pytest.raises(BenchError):
        get(wanted, tmp_path)
    net.url("data.bin", File(CONTENT, etag='"new"'))
    assert get(wanted, tmp_path).read_bytes() == CONTENT


def test_pieces_without_a_mark_or_a_checksum_are_not_joined(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", File(CONTENT, etag="", cuts=[100_000])), checksums={})
    assert get(wanted, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in net.asked] == ["", ""]


def test_pieces_that_do_not_fit_are_fetched_once_more_in_one(net: Web, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"of another file" * 100)
    wanted = archive(net.url("data.bin", CONTENT))
    assert get(wanted, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in net.asked] == ["bytes=1500-", ""]


@pytest.mark.parametrize("size", [len(CONTENT), "unknown"])
def test_a_part_that_was_complete_is_only_checked(net: Web, tmp_path: Path, size: object) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    wanted = archive(net.url("data.bin", CONTENT), size=size)
    assert get(wanted, tmp_path).read_bytes() == CONTENT
    assert left(tmp_path) == {"data.bin"}


def test_a_part_that_is_too_long_begins_again(net: Web, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT + b"more")
    for size in (len(CONTENT), "unknown"):
        wanted = archive(net.url("data.bin", CONTENT), size=size)
        assert get(wanted, tmp_path).read_bytes() == CONTENT


def test_errors_that_pass_are_waited_for(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", File(CONTENT, statuses=[503, 429])))
    assert get(wanted, tmp_path).read_bytes() == CONTENT


def test_a_size_that_is_only_near_is_not_compared(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", CONTENT), size=len(CONTENT) + 4096, near=True)
    assert get(wanted, tmp_path).read_bytes() == CONTENT


def other(**changes: Any) -> dict[str, Any]:
    return changes


GOOD_TAR, GOOD_ZIP = packed_tar(), packed_zip()
BAD = {
    "404": (None, other(), "HTTP 404"),
    "page by its type": (File(PAGE, kind="text/html; charset=utf-8"), other(), "an HTML page"),
    "page by its content": (File(b"\n " + PAGE), other(file="data.tar.gz"), "an HTML page"),
    "page, nothing known": (
        File(PAGE),
        other(file="data.bin", size="unknown", checksums={}),
        "an HTML page",
    ),
    "short page, no size": (
        File(b"<html>no</html>", length=False),
        other(file="data.tar.gz", content=GOOD_TAR),
        "an HTML page",
    ),
    "error document": (
        File(b"<?xml version='1.0'?><Error/>", length=False),
        other(file="data.zip", content=GOOD_ZIP),
        "an XML document, expected a zip",
    ),
    "other kind": (File(GOOD_ZIP), other(file="data.tar", size="unknown"), "expected a tar"),
    "wrong size": (File(CONTENT[:-1]), other(checksums={}), "299,999 bytes, expected 300,000"),
    "wrong checksum": (File(bytes(300_000)), other(), "has sha256"),
    "truncated, no size told": (
        File(CONTENT[:1000], length=False),
        other(size="unknown"),
        "has sha256",
    ),
    "truncated gzip": (
        File(GOOD_TAR[:-9], length=False),
        other(file="data.tar.gz", size="unknown", checksums={}, content=GOOD_TAR),
        "damaged or truncated",
    ),
    "truncated tar": (
        File(packed_tar("w")[: 4 * (512 + 5120)], length=False),
        other(file="data.tar", size="unknown", checksums={}, content=packed_tar("w")),
        "damaged or truncated",
    ),
    "truncated zip": (
        File(GOOD_ZIP[:-30], length=False),
        other(file="data.zip", size="unknown", checksums={}, content=GOOD_ZIP),
        "damaged or truncated",
    ),
    "empty": (File(b""), other(size="unknown", file="data.zip", content=GOOD_ZIP), "empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_the_next_address_is_tried_and_the_bad_one_reported(
    net: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    bad, changes, said = BAD[name]
    right = changes.get("content", CONTENT)
    if changes.get("file", "").endswith(".tar.gz"):
        right = GOOD_TAR
    elif changes.get("file") == "data.tar":
        right = packed_tar("w")
    changes = {**changes, "content": right}
    urls = [net.url("bad", bad), net.url("good", right)]
    assert get(archive(*urls, **changes), tmp_path).read_bytes() == right
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0] and urls[0] in lines[0]
    assert len(left(tmp_path)) == 1


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_never_gets_the_name(net: Web, tmp_path: Path, name: str) -> None:
    bad, changes, said = BAD[name]
    wanted = archive(net.url("bad", bad), **changes)
    with pytest.raises(BenchError) as error:
        get(wanted, tmp_path)
    assert said in str(error.value) and wanted.file in str(error.value)
    assert isinstance(error.value, DataError) == (bad is not None)
    assert not (tmp_path / wanted.file).exists()


def test_when_all_addresses_fail_all_are_listed(net: Web, tmp_path: Path) -> None:
    urls = [
        net.url("no"),
        net.url("busy", File(CONTENT, statuses=[500] * 9)),
        net.url("page", File(PAGE, kind="text/html")),
    ]
    with pytest.raises(DataError) as error:
        get(archive(*urls), tmp_path)
    for url, said in zip(urls, ("HTTP 404", "HTTP 500", "an HTML page"), strict=True):
        assert f"{url}: {said}" in str(error.value)
    with pytest.raises(BenchError) as error:
        get(archive(*urls[:2]), tmp_path)
    assert type(error.value) is BenchError


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"127\.0\.0\.1:9/x: no connection"):
        get(archive("http://127.0.0.1:9/x"), tmp_path)


def test_a_download_goes_on_from_another_address(net: Web, tmp_path: Path) -> None:
    first = net.url("first", File(CONTENT, cuts=[100_000, 0, 0]))
    second = net.url("second", File(CONTENT, etag='"of the second"'))
    assert get(archive(first, second), tmp_path).read_bytes() == CONTENT
    assert net.asked[-1] == ("second", "bytes=100000-")


def test_redirects_stay_secured_unless_checksums_guard(net: Web, tmp_path: Path) -> None:
    target = net.url("target", CONTENT)
    moved = net.url("moved", File(statuses=[302, 302], location=target))
    with pytest.raises(BenchError, match="does not use https"):
        get(archive(moved, checksums={}), tmp_path)
    assert get(archive(moved), tmp_path).read_bytes() == CONTENT
    away = net.url("away", File(statuses=[302], location="file:///etc/passwd"))
    with pytest.raises(BenchError, match="not allowed"):
        get(archive(away), tmp_path / "other")


def test_a_file_that_is_there_must_be_the_right_one(net: Web, tmp_path: Path) -> None:
    wanted = archive(net.url("data.bin", CONTENT))
    (tmp_path / "data.bin").write_bytes(bytes(300_000))
    with pytest.raises(DataError, match="has sha256"):
        get(wanted, tmp_path)
    (tmp_path / "data.bin").write_bytes(CONTENT)
    get(wanted, tmp_path)
    assert not net.asked
    (tmp_path / "data.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="299,999 bytes, expected 300,000"):
        get(wanted, tmp_path)


def test_a_checked_file_is_not_read_again_unless_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(CONTENT)
    first = check_file(path, archive(), SilentProgress())
    assert first.digests["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert check_file(path, archive(), SilentProgress()) == first
    note_path(path).write_text("{")
    assert check_file(path, archive(), SilentProgress()) == first
    with pytest.raises(DataError, match="has md5"):
        check_file(path, archive(checksums={"md5": "0" * 32}), SilentProgress())


def test_git_names_are_checksums(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"hello\n")
    name = "ce013625030ba8dba906f756967f9e9ca394464a"  # what `git hash-object` says
    wanted = archive(content=b"hello\n", checksums={"git-blob": name})
    assert check_file(path, wanted, SilentProgress()).digests["git-blob"] == name


def test_two_processes_do_not_write_one_file(
    net: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = archive(net.url("data.bin", CONTENT))
    lock = FileLock(tmp_path / ".data.bin.lock")
    thread = threading.Thread(target=get, args=(wanted, tmp_path))
    with lock:
        thread.start()
        thread.join(0.3)
        assert thread.is_alive() and not net.asked
    thread.join()
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert "waiting for another process" in capsys.readouterr().err


def test_kinds_by_first_bytes() -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    kinds = {
        packed_tar("w"): "a tar",
        GOOD_TAR: "a gzip file",
        GOOD_ZIP: "a zip",
        array.getvalue(): "a NumPy array",
        b"\xef\xbb\xbf  <HTML>": "an HTML page",
        gzip.compress(b"x"): "a gzip file",
        b"": "empty",
        b"text": "an unknown kind of file",
        bytes(10240): "an unknown kind of file",
    }
    for content, kind in kinds.items():
        assert archive_format(content[:512]) == kind

"""Archives and servers that are damaged or made to hurt are refused, and nothing leaves the set."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hostile import damaged, readable_or_refused, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import File, Web, web

from bench.core.errors import DataError
from bench.core.foreign import expansion
from bench.core.progress import SilentProgress
from bench.data.cards import Archive
from bench.data.download import fetch, unpack
from bench.data.download.archives import archive_format, check_readable
from bench.data.download.checksums import check_file
from bench.data.download.file_checks import files_below
from bench.data.download.imagenet import read_devkit, unpack_train

Fields = dict[str, Any]
Member = tuple[str, bytes, Fields]
SYMLINK, HARD = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
FOLDER: Fields = {"type": tarfile.DIRTYPE}


def tarred(*members: Member, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def run(place: Path, data: bytes, name: str = "a.tar") -> None:
    """Unpack an archive into the folder ``set``."""
    (place / name).write_bytes(data)
    unpack.unpack(place / name, place / "data" / "set", SilentProgress())


def linked(name: str, to: str, kind: Fields = SYMLINK) -> Member:
    return name, b"", {**kind, "linkname": to}


IMAGE: Member = ("set/cat/a.png", b"image", {})

BAD: dict[str, tuple[list[Member], str]] = {
    "absolute": ([("/etc/passwd", b"x", {})], "leads out of the folder"),
    "up": ([("set/../../x", b"x", {})], "leads out of the folder"),
    "drive": ([("C:\\x", b"x", {})], "leads out of the folder"),
    "the folder itself": ([(".", b"x", {})], "which is the folder itself"),
    "a link in its place": ([linked(".", "x")], "which is the folder itself"),
    "deep": ([("/".join(["d"] * 1500), b"x", {})], "more than 64 levels deep"),
    "deep folder": ([("/".join(["d"] * 1500), b"", FOLDER)], "more than 64 levels deep"),
    "long": ([("d" * 300, b"x", {})], "which cannot be written: File name too long"),
    "long folder": ([("d" * 300, b"", FOLDER)], "File name too long"),
    "below a file": ([("a", b"x", {}), ("a/b", b"x", {})], "which cannot be written"),
    "folder on a file": ([("a", b"x", {}), ("a", b"", FOLDER)], "which cannot be written"),
    "file on a folder": ([("a/b", b"x", {}), ("a", b"x", {})], "which cannot be written"),
    "link on a folder": ([("a/b", b"x", {}), linked("a", "b")], "which cannot be written"),
    "device": ([("a", b"", {"type": tarfile.CHRTYPE})], "a device"),
    "pipe": ([("a", b"", {"type": tarfile.FIFOTYPE})], "a device"),
    "link out": ([linked("set/a", "../../x")], "leads out of the folder"),
    "absolute link": ([linked("set/a", "/etc")], "leads out of the folder"),
    "link out of the top": ([IMAGE, linked("set/a", "../other")], "out of the folder set"),
    "link to a sibling": (
        [IMAGE, ("other", b"x", {}), linked("set/cat/b", "../../other")],
        "out of the folder set",
    ),
    "link as the top": ([("x/a.png", b"x", {}), linked("set", "x")], "in the place of"),
    "through a link": ([linked("set/a", "cat"), ("set/a/b", b"x", {})], "through a link"),
    "link to a link": ([linked("set/a", "cat"), linked("set/b", "a")], "through a link"),
    "hard link out": ([linked("set/a", "../../x", HARD)], "leads out of the folder"),
    "absolute hard link": ([linked("set/a", "/etc/passwd", HARD)], "leads out of the folder"),
    "hard link to nothing": ([linked("set/a", "set/b", HARD)], "a hard link to a missing file"),
    "zero": ([("a", b"", {"pax_headers": {"path": "a\0b"}})], "leads out of the folder"),
    "less than nothing": (
        [("a", b"", {"pax_headers": {"size": "-1024"}})], "a member of -1,024 bytes",
    ),
}  # fmt: skip
"""Tars that once wrote elsewhere, hung or ended in a traceback, and what is said of them."""


@pytest.mark.parametrize("name", BAD)
def test_bad_members_of_tars(name: str, tmp_path: Path) -> None:
    members, said = BAD[name]
    told = refused(lambda: run(tmp_path, tarred(*members)), said)
    assert told.startswith(str(tmp_path / "a.tar"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "data"}
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4")
@pytest.mark.parametrize("name", BAD)
def test_nothing_that_pythons_filter_refuses_is_unpacked(name: str, tmp_path: Path) -> None:
    members, _ = BAD[name]
    if name in ("zero", "less than nothing"):
        return  # which the filter does not see
    with tarfile.open(fileobj=io.BytesIO(tarred(*members))) as archive:
        for member in archive:
            try:
                tarfile.data_filter(member, str(tmp_path))
            except tarfile.FilterError:
                with pytest.raises(DataError):
                    run(tmp_path, tarred((member.name, b"", vars_of(member))))


def vars_of(member: tarfile.TarInfo) -> Fields:
    return {"type": member.type, "linkname": member.linkname}


def test_links_that_stay_are_kept(tmp_path: Path) -> None:
    more = [linked("set/dog/b.png", "../cat/a.png"), linked("set/c.png", "set/cat/a.png", HARD)]
    run(tmp_path, tarred(("./", b"", FOLDER), IMAGE, *more))
    into = tmp_path / "data" / "set"
    assert (into / "dog/b.png").read_bytes() == (into / "c.png").read_bytes() == b"image"
    assert (into / "dog/b.png").is_symlink()
    assert not (into / "c.png").is_symlink()


def test_hard_links_have_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "COPIED", 2000)
    copies = [linked(f"set/{n}", "set/a", HARD) for n in range(3)]
    data = tarred(("set/a", bytes(900), {}), *copies)
    refused(lambda: run(tmp_path, data), "'set/2', one of hard links to more than 2 kB")


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("/etc/passwd", "leads out of the folder"),
        ("../x", "leads out of the folder"),
        ("a\\..\\..\\x", "leads out of the folder"),
        (".", "which is the folder itself"),
        ("/".join(["d"] * 1500), "more than 64 levels deep"),
        ("d" * 300, "File name too long"),
        (special("set", stat.S_IFLNK | 0o777), "a link or device"),
        (special("set/a", stat.S_IFLNK | 0o777), "a link or device"),
        (special("set/a", stat.S_IFIFO), "a link or device"),
    ],
)
def test_bad_members_of_zips(member: str | zipfile.ZipInfo, said: str, tmp_path: Path) -> None:
    refused(lambda: run(tmp_path, zipped((member, b"x")), "a.zip"), said, "a.zip contains")


def test_files_below_files_in_zips(tmp_path: Path) -> None:
    data = zipped(("a", b"x"), ("a/b", b"x"))
    refused(lambda: run(tmp_path, data, "a.zip"), "which cannot be written")


BOMBS = {
    "a.zip": zipped(("a", bytes(2**23)), ("b", bytes(2**23))),
    "a.tar.gz": gzip.compress(tarred(("a", bytes(2**24), {}))),
    "b.tar.gz": gzip.compress(tarred(*[(f"{n}", b"", {}) for n in range(9000)]), 9),
    "c.tar.gz": gzip.compress(tarred(IMAGE) + bytes(2**24)),
}
"""Many members, and zeros behind the last one, as well as large members."""


@pytest.mark.parametrize("name", BOMBS)
def test_archives_that_become_too_much(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "FREE", 2**20)
    monkeypatch.setattr(expansion, "RATIO", 50)
    refused(lambda: run(tmp_path, BOMBS[name], name), "more than 50 times as much: refused")
    refused(lambda: check_readable(tmp_path / name, lambda _: None), "more than 50 times as much")


def test_a_name_of_gigabytes(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3 * 2**30
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)
    refused(lambda: run(tmp_path, data), "a header of 3,221,225,472 bytes")
    refused(lambda: run(tmp_path, gzip.compress(data), "a.tar.gz"), "a header of 3,221,225,472")


def test_a_sparse_member_of_a_terabyte(tmp_path: Path) -> None:
    sparse = {"GNU.sparse.size": str(2**40), "GNU.sparse.map": "0,1", "GNU.sparse.major": "0"}
    data = tarred(("a", b"x", {"pax_headers": {**sparse, "GNU.sparse.numblocks": "1"}}))
    refused(lambda: run(tmp_path, data), "to 1.1e+03 GB, more than 200 times as much")


def test_pipes_in_the_place_of_archives(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    wanted = archive("a.tar", 10)
    for read in (
        lambda: check_file(tmp_path / "a.tar", wanted, SilentProgress()),
        lambda: fetch.fetch_archive(wanted, tmp_path),
    ):
        refused(read, "a.tar: it is a pipe")


TAR = tarred(IMAGE, ("set/dog/b.png", b"another", {}), linked("set/c.png", "cat/a.png"))
DEVKIT = gzip.compress(tarred(("kit/data/meta.mat", b"MATLAB", {}), ("kit/x", b"y", {})))
TRAIN = tarred(("n00000001.tar", tarred(("n00000001_1.JPEG", b"image", {})), {}))
VALID = {
    "a.tar": TAR,
    "a.tar.gz": gzip.compress(TAR),
    "a.zip": zipped(("set/cat/a.png", b"image"), ("set/dog/b.png", b"another" * 99)),
    "train.tar": TRAIN,
    "devkit.tar.gz": DEVKIT,
}


@pytest.mark.parametrize("name", VALID)
@given(st.data())
@settings(max_examples=30)
def test_damaged_archives_are_unpacked_or_refused(
    name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("archive")
    content = data.draw(damaged(VALID[name]))
    archive_format(content[:512])
    (place / name).write_bytes(content)
    (place / "outside").touch()
    if name == "train.tar":
        readable_or_refused(lambda: unpack_train(place / name, place / "data", SilentProgress()))
    elif name == "devkit.tar.gz":
        readable_or_refused(lambda: read_devkit(place / name))
    else:
        readable_or_refused(lambda: run(place, content, name))
        readable_or_refused(lambda: check_readable(place / name, lambda _: None))
    assert {path.name for path in place.iterdir() if path.name[0] != "."} <= {
        name, "outside", "data",
    }  # fmt: skip


# Servers


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as found:
        yield found


def archive(file: str, size: object, *urls: str, **other: Any) -> Archive:
    fields: Fields = {"checksums": {}, "into": "there", "note": "-", **other}
    return Archive.model_construct(file=file, holds="test", urls=urls, size=size, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": 10_000}, "more than 10,000 bytes were sent: the size that its card or the"),
        ({"size": 10_000, "near": True}, "more than 20,000 bytes were sent: twice what its card"),
        ({"size": "unknown"}, "more than 50,000 bytes were sent: the most of a file whose size"),
    ],
)
def test_a_server_that_sends_on_is_cut_off(
    fields: Fields, said: str, server: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "UNSTATED", 50_000)
    monkeypatch.setattr(fetch, "CHUNK", 4096)
    address = server.url("data.bin", File(bytes(3_000_000), length=False))
    wanted = archive("data.bin", None, address).model_copy(update=fields)
    told = refused(lambda: fetch.fetch_archive(wanted, tmp_path), said)
    assert told.startswith("cannot download data.bin")
    assert not (tmp_path / "data.bin.part").exists()


def test_a_stated_length_is_compared_before_anything_is_taken(server: Web, tmp_path: Path) -> None:
    address = server.url("data.bin", bytes(300_000))
    refused(lambda: fetch.fetch_archive(archive("data.bin", 10_000, address), tmp_path), "300,000")
    near = archive("data.bin", 10_000, address, near=True)
    refused(lambda: fetch.fetch_archive(near, tmp_path), "300,000 bytes: more than 20,000")


def test_a_file_within_the_slack_is_taken(server: Web, tmp_path: Path) -> None:
    address = server.url("data.bin", File(bytes(15_000), length=False))
    path = fetch.fetch_archive(archive("data.bin", 10_000, address, near=True), tmp_path)
    assert path.stat().st_size == 15_000


def test_lengths_that_are_no_sizes() -> None:
    for text in ("7" * 5000, "-1", "1e9", ""):
        headers = Message()
        headers["Content-Length"] = text
        assert fetch._extent(headers, 200, 0) == (0, None)
        headers["Content-Range"] = f"bytes 5-9/{text}"
        with pytest.raises(fetch._Interrupted):
            fetch._extent(headers, 206, 5)


@pytest.mark.parametrize("text", ["[" * 9000, '{"size": 1e999}', '{"size": "' + "7" * 5000 + '"}'])
def test_notes_that_are_none(text: str, server: Web, tmp_path: Path) -> None:
    for name in (".data.bin.part.json", ".data.bin.checked"):
        (tmp_path / name).write_text(text)
    wanted = archive("data.bin", 300, server.url("data.bin", bytes(300)))
    assert fetch.fetch_archive(wanted, tmp_path).stat().st_size == 300


def test_folders_in_folders(tmp_path: Path) -> None:
    made = [tmp_path]
    for _ in range(1200):  # more than Python's calls in each other, less than the longest path
        made.append(made[-1] / "d")
        made[-1].mkdir()
    (tmp_path / "d/d/a.txt").touch()
    try:
        assert list(files_below(tmp_path)) == ["d/d/a.txt"]
    finally:
        (tmp_path / "d/d/a.txt").unlink()
        for folder in reversed(made[1:]):  # which pytest could not remove
            folder.rmdir()

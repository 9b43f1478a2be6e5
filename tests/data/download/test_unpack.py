"""Unpacking writes nothing outside the folder, leaves no partial files and resumes after a kill."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from encrypted_archive import ENCRYPTED

from bench.core.errors import DataError, InputError
from bench.core.progress import SilentProgress
from bench.data.download import unpack as module
from bench.data.download.unpack import PasswordNeeded, unpack

FILES = {f"images/{number}.bin": bytes([number]) * 3000 for number in range(6)}
Member = tuple[str, bytes, dict[str, Any]]


def tar(path: Path, members: Sequence[Member]) -> Path:
    """A tar of (name, content, fields of TarInfo)."""
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, content, fields in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in fields.items():
                setattr(member, key, value)
            file.addfile(member, io.BytesIO(content))
    return path


def plain(prefix: str = "") -> list[Member]:
    return [(prefix + name, content, {}) for name, content in FILES.items()]


def zipped(path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in FILES.items():
            file.writestr(prefix + name, content)
    return path


MAKERS: dict[str, Callable[[Path, str], Path]] = {
    "a.tar": lambda path, prefix: tar(path, plain(prefix)),
    "a.tar.gz": lambda path, prefix: tar(path, plain(prefix)),
    "a.zip": zipped,
}
KINDS = pytest.mark.parametrize("kind", MAKERS)


def found(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run(packed: Path, into: Path, password: str | None = None) -> None:
    unpack(packed, into, SilentProgress(), password)


@KINDS
@pytest.mark.parametrize("prefix", ["", "./", "set/", "./set/"])
def test_the_folder_holds_what_the_archive_does(tmp_path: Path, kind: str, prefix: str) -> None:
    into = tmp_path / "data" / "set"
    run(MAKERS[kind](tmp_path / kind, prefix), into)
    assert found(into) == FILES
    assert [path.name for path in into.parent.iterdir()] == ["set"]


@KINDS
def test_other_things_beside_the_folder_are_dropped(tmp_path: Path, kind: str) -> None:
    packed = MAKERS[kind](tmp_path / kind, "set/")
    if kind == "a.zip":
        with zipfile.ZipFile(packed, "a") as file:
            file.writestr("__MACOSX/._set", b"x")
        run(packed, tmp_path / "set")
        assert found(tmp_path / "set") == FILES


def test_a_tar_under_the_name_of_a_gzip_file(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", plain()).rename(tmp_path / "a.tar.gz")
    run(tmp_path / "a.tar.gz", tmp_path / "set")
    assert found(tmp_path / "set") == FILES


class Killed(BaseException):
    """Raised in place of a kill."""


@KINDS
def test_a_kill_leaves_nothing_that_looks_whole_and_the_next_run_goes_on(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, into = MAKERS[kind](tmp_path / kind, "set/"), tmp_path / "set"
    copy, copied = shutil.copyfileobj, 0

    def some(source: Any, target: Any, length: int) -> None:
        nonlocal copied
        copied += 1
        if copied == 4:
            target.write(b"half")
            raise Killed
        copy(source, target, length)

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "copyfileobj", some)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a kill cleans nothing up
        with pytest.raises(Killed):
            run(packed, into)
    assert not into.exists()
    left = [path for path in tmp_path.iterdir() if path != packed]
    assert len(left) == 2 and all(path.name.startswith(".set.") for path in left)
    written: list[str] = []

    def counting(source: Any, target: Any, length: int) -> None:
        written.append(target.name)
        copy(source, target, length)

    monkeypatch.setattr(module.shutil, "copyfileobj", counting)
    run(packed, into)
    assert found(into) == FILES
    assert len(written) == 3
    assert {path.name for path in tmp_path.iterdir()} == {packed.name, "set"}


def test_what_was_unpacked_of_another_archive_is_not_taken(tmp_path: Path) -> None:
    packed, into = tar(tmp_path / "a.tar", plain()), tmp_path / "set"
    other = tmp_path / ".set.01234567.unpacking"
    (other / "images").mkdir(parents=True)
    (other / "images" / "0.bin").write_bytes(b"?" * 3000)
    run(packed, into)
    assert found(into) == FILES
    assert not other.exists()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    return name, b"", {"type": kind, "linkname": target}


EVIL: dict[str, list[Member]] = {
    "parent": [("../evil", b"x", {})],
    "parent inside": [("a/../../evil", b"x", {})],
    "absolute": [("/tmp/evil", b"x", {})],
    "windows": [("..\\evil", b"x", {})],
    "drive": [("C:\\evil", b"x", {})],
    "link out": [link("a", "../..")],
    "link out below": [link("a/b", "../../evil")],
    "absolute link": [link("a", "/etc")],
    "link that climbs later": [link("p/l", "a/../../../x"), link("p/a", "q")],
    "through a link": [("d/x", b"x", {}), link("a", "d"), ("a/evil", b"x", {})],
    "over a link": [("d", b"x", {}), link("a", "d"), ("a", b"y", {})],
    "link to a link": [("d", b"x", {}), link("a", "d"), link("b", "a/x")],
    "hard link out": [link("a", "../evil", tarfile.LNKTYPE)],
    "absolute hard link": [link("a", "/etc/passwd", tarfile.LNKTYPE)],
    "hard link to nothing": [link("a", "b", tarfile.LNKTYPE)],
    "hard link through a link": [link("l", "."), link("a", "l/x", tarfile.LNKTYPE)],
    "character device": [("a", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
    "block device": [("a", b"", {"type": tarfile.BLKTYPE})],
    "pipe": [("a", b"", {"type": tarfile.FIFOTYPE})],
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz"])
def test_an_evil_tar_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    home = tmp_path / "home" / "data"
    home.mkdir(parents=True)
    packed = tar(home / kind, [*plain("set/"), *EVIL[name]])
    with pytest.raises(DataError, match="refused") as error:
        run(packed, home / "set")
    assert "\n" not in str(error.value)
    assert not (home / "set").exists()
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]


def test_links_within_an_archive_are_kept(tmp_path: Path) -> None:
    members = [
        *plain(),
        link("same.bin", "images/1.bin"),
        link("below/same.bin", "../images/2.bin"),
        link("copy.bin", "images/3.bin", tarfile.LNKTYPE),
    ]
    for _ in range(2):
        run(tar(tmp_path / "a.tar", members), tmp_path / "set")
        expected = {"same.bin": 1, "below/same.bin": 2, "copy.bin": 3}
        names = {name: FILES[f"images/{number}.bin"] for name, number in expected.items()}
        assert found(tmp_path / "set") == FILES | names
        shutil.rmtree(tmp_path / "set")


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "C:/evil"])
def test_an_evil_zip_is_refused(tmp_path: Path, name: str) -> None:
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("fine", b"x")
        file.writestr(name, b"x")
    with pytest.raises(DataError, match="refused"):
        run(packed, tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR])
def test_links_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    packed, member = tmp_path / "a.zip", zipfile.ZipInfo("a")
    member.external_attr = (kind | 0o644) << 16
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(member, b"/etc/passwd")
    with pytest.raises(DataError, match="refused"):
        run(packed, tmp_path / "set")


def damaged_gzip() -> bytes:
    """A gzip file that decompresses to a complete tar, but has a wrong checksum."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("a"))
    whole = bytearray(gzip.compress(buffer.getvalue()))
    whole[-6] ^= 1
    return bytes(whole)


DAMAGED: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "short tar": ("a.tar", lambda p: tar(p, plain()).read_bytes()[:9000]),
    "tar cut between members": ("a.tar", lambda p: tar(p, plain()).read_bytes()[: 3 * 3584]),
    "tar with a spoilt header": (
        "a.tar",
        lambda p: (b := tar(p, plain()).read_bytes())[:3584] + b"x" * 512 + b[4096:],
    ),
    "short gzip": ("a.tar.gz", lambda p: tar(p, plain()).read_bytes()[:-20]),
    "gzip without its end": ("a.tar.gz", lambda p: tar(p, plain()).read_bytes()[:-8]),
    "wrong gzip checksum": ("a.tar.gz", lambda p: damaged_gzip()),
    "no tar": ("a.tar", lambda p: b"hello" * 1000),
    "short zip": ("a.zip", lambda p: zipped(p).read_bytes()[:-30]),
    "spoilt zip": ("a.zip", lambda p: spoilt(zipped(p))),
}


def spoilt(packed: Path) -> bytes:
    content = bytearray(packed.read_bytes())
    content[40] ^= 255
    return bytes(content)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str) -> None:
    kind, make = DAMAGED[name]
    packed = tmp_path / kind
    packed.write_bytes(make(packed))
    with pytest.raises(DataError) as error:
        run(packed, tmp_path / "set")
    assert str(packed) in str(error.value)
    assert not (tmp_path / "set").exists()


@KINDS
def test_a_full_disk_is_said_before(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - 50, 50)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=rf"unpacking {kind} needs .*, but .* has 50 bytes free"):
        run(MAKERS[kind](tmp_path / kind, ""), tmp_path / "set")


def test_a_password_opens_a_zip(tmp_path: Path) -> None:
    packed = tmp_path / "a.zip"
    packed.write_bytes(ENCRYPTED)
    with pytest.raises(PasswordNeeded, match="--password"):
        run(packed, tmp_path / "set")
    with pytest.raises(PasswordNeeded, match=r"a\.zip"):
        run(packed, tmp_path / "set", "close sesame")
    assert not (tmp_path / "set").exists()
    run(packed, tmp_path / "set", "open sesame")
    assert found(tmp_path / "set") == {"secret.txt": b"robust\n" * 200}


def test_a_password_that_is_not_needed_is_ignored(tmp_path: Path) -> None:
    run(zipped(tmp_path / "a.zip"), tmp_path / "set", "open sesame")
    assert found(tmp_path / "set") == FILES


def test_rights_in_an_archive_are_not_taken_over(tmp_path: Path) -> None:
    members = [("a", b"x", {"mode": 0o4777, "uid": 1, "gid": 1})]
    run(tar(tmp_path / "a.tar", members), tmp_path / "set")
    status = (tmp_path / "set" / "a").stat()
    assert not status.st_mode & 0o7111
    assert status.st_uid == os.getuid()

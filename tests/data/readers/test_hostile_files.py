"""Images, arrays, pickles, shards and lists that are damaged or made to hurt are refused."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import PICKLES, damaged, documents, npz_bomb, readable_or_refused, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.core.errors import DataError
from bench.core.foreign import expansion
from bench.data.classes import Classes
from bench.data.download.file_checks import html_pages, read_below
from bench.data.readers import pickles
from bench.data.readers.arrays import array_split, images_of_file
from bench.data.readers.cifar_stl import cifar102, cifar_batches, stl10
from bench.data.readers.decoding import decode_image
from bench.data.readers.folders import folder_split
from bench.data.readers.image_lists import list_split
from bench.data.readers.listing import images_below
from bench.data.readers.npy import array_header, cached_arrays, read_array, read_objects
from bench.data.readers.pickles import read_pickle
from bench.data.readers.webdataset import shards_split
from bench.testing.synthetic.cifar import make_cifar

PETS = Classes(("cat", "dog"), ("cat", "dog"))
CAT = Classes(("cat",), ("cat",))


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (200, 100, 0)).save(buffer, kind)
    return buffer.getvalue()


def saved(save: Callable[..., None], *arrays: Any, **members: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **members)
    return buffer.getvalue()


def shard(*members: tuple[str, bytes], **fields: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def opened(path: Path) -> None:
    arrays = images_of_file(path, None, PETS)
    images = array_split("t", arrays, path.parent / "cache").load().images
    images[0]


def unpacked(path: Path) -> None:
    images = shards_split("t", [path], PETS, path.parent / "cache").load().images
    images[0]


def batch(path: Path) -> None:
    cifar_batches(path.parent, [path.name]).pixels()


BATCH = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
PIXELS = {"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.array([0, 1])}
OLD = {"images": np.zeros((1, 32, 32, 3), np.uint8), "labels": [0], "label_names": ["cat"]}
SHARD = shard(("a.png", encoded("PNG")), ("a.json", b'{"label": 1}'))

READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    **{
        kind: (f"a.{kind}", encoded(kind), lambda path: decode_image(path, path))
        for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
    },
    "npy": ("a.npy", saved(np.save, np.arange(6)), lambda path: read_array(path, "").sum()),
    "old npy": ("a.npy", saved(np.save, np.array([OLD], object)), cifar102),
    "npz": ("a.npz", saved(np.savez_compressed, **PIXELS), opened),
    "header": ("a.npz", saved(np.savez, **PIXELS), lambda path: array_header(path, "images")),
    "index": ("a.npz", saved(np.savez, **PIXELS), cached_arrays),
    "pickle": ("a", pickle.dumps(BATCH, 2), read_pickle),
    "new pickle": ("a", pickle.dumps(BATCH, 4), read_pickle),
    "batch": ("batch", pickle.dumps(BATCH, 2), batch),
    "names": (
        "batches.meta",
        pickle.dumps({"label_names": list("abcdefghij")}, 2),
        lambda path: cifar_batches(path.parent, ["test_batch"]),
    ),
    "shard": ("a.tar", SHARD, unpacked),
    "list": (
        "a.csv",
        b"path,label\nimage.png,cat\n",
        lambda path: list_split("t", path, PETS, path.parent / "cache"),
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    make_cifar(folder / "data")
    for file in ("batches.meta", "test_batch"):
        os.link(folder / "data/cifar-10-batches-py" / file, folder / f"{file}.valid")
    (folder / "image.png").write_bytes(encoded("PNG"))
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
@given(st.data())
@settings(max_examples=25)
def test_damaged_files_are_read_or_refused(name: str, place: Path, data: st.DataObject) -> None:
    file, valid, read = READERS[name]
    text = documents() if name in ("list", "names") else st.nothing()
    path = place / name / file
    path.parent.mkdir(exist_ok=True)
    for other in ("batches.meta", "test_batch", "image.png"):
        if not (path.parent / other).exists():
            source = place / other if other == "image.png" else place / f"{other}.valid"
            (path.parent / other).write_bytes(source.read_bytes())
    path.write_bytes(data.draw(damaged(valid) | text))
    readable_or_refused(lambda: read(path))


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name: str, place: Path) -> None:
    file, valid, read = READERS[name]
    path = place / f"whole {name}" / file
    path.parent.mkdir()
    for other in ("batches.meta", "test_batch"):
        (path.parent / other).write_bytes((place / f"{other}.valid").read_bytes())
    (path.parent / "image.png").write_bytes(encoded("PNG"))
    path.write_bytes(valid)
    read(path)


@pytest.mark.parametrize("name", PICKLES)
def test_pickle_bombs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "VALUES", 100_000)
    data, said = PICKLES[name]
    (tmp_path / "batch").write_bytes(data)
    refused(lambda: read_pickle(tmp_path / "batch"), str(tmp_path / "batch"), said)


def test_arrays_of_one_shared_text_are_no_larger_than_the_file(tmp_path: Path) -> None:
    text = b"X\x10'\x00\x00" + bytes(10_000) + b"q\0"
    encode = b"c_codecs\nencode\nq\1X\6\0\0\0latin1q\2"
    again = b"h\1h\0h\2\x86R0" * 5000  # each a copy of the text
    (tmp_path / "batch").write_bytes(b"\x80\x02" + text + encode + again + b".")
    refused(lambda: read_pickle(tmp_path / "batch"), "more bytes than the file")


def test_a_compressed_member_of_a_thousand_times_the_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = npz_bomb(tmp_path / "a.npz")
    array_header(path, "images")  # small enough for any ratio
    monkeypatch.setattr(expansion, "FREE", 2**20)
    for read in (lambda: opened(path), lambda: read_objects(path, "images")):
        refused(read, "unpacks from 16", "to 16.8 MB, more than 200 times as much")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_giant_header_is_not_read(version: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY" + bytes([version, 0]) + b"\xff" * 4)
        file.truncate(5 * 2**30)
    refused(lambda: read_array(path, ""), "truncated, damaged or not in the .npy format")


def into_pipe(path: Path) -> None:
    os.mkfifo(path)


def into_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [into_pipe, into_device])
def test_pipes_and_devices_under_the_names_of_files(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    make(folder / "a.png")
    cache = tmp_path / "cache"
    refused(lambda: images_below(folder.parent, ["cat"], cache), "a.png: it is a ")
    refused(lambda: folder_split("t", folder.parent, CAT, cache), "it is a ")
    with pytest.raises(DataError, match=r"cannot read image .*it is a "):
        decode_image(folder / "a.png", folder / "a.png")
    problems, hashes = read_below(folder.parent, lambda _: None)
    assert "it is a " in problems[0]
    assert hashes == {}
    assert list(html_pages(folder.parent)) == []
    for name, (file, _, read) in READERS.items():
        path = tmp_path / name / file
        path.parent.mkdir()
        make(path)
        if name == "index":
            assert read(path) is None
        else:
            assert refused(lambda read=read, path=path: read(path))  # type: ignore[misc]
    for one in ("X", "y"):
        (tmp_path / "stl").mkdir(exist_ok=True)
        make(tmp_path / "stl" / f"test_{one}.bin")
    refused(lambda: stl10(tmp_path / "stl", "test"), "test_X.bin: it is a ")
    (tmp_path / "list.csv").write_text("path,label\ntrain/cat/a.png,cat\n")
    refused(lambda: list_split("t", tmp_path / "list.csv", PETS, cache), "is not a file")


@pytest.mark.parametrize(
    "label", [b"[" * 100_000, b'{"label": ' + b"7" * 5000 + b"}", b'{"label": "\\ud800"}']
)
def test_labels_that_are_no_labels(label: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(shard(("a.png", encoded("PNG")), ("a.json", label)))
    refused(lambda: unpacked(path), "a.json cannot be read")


@pytest.mark.parametrize("label", [b"7" * 5000, b"dog" * 5000])
def test_labels_of_thousands_of_characters(label: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(shard(("a.png", encoded("PNG")), ("a.cls", label)))
    refused(lambda: unpacked(path), "unknown class")


def test_a_member_of_less_than_no_bytes_does_not_lead_back(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {"size": "-1024"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    refused(lambda: unpacked(tmp_path / "a.tar"), "a member of -1,024 bytes")


def test_a_name_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3 * 2**30
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(3 * 2**30 + 10_240)
    refused(lambda: unpacked(path), "a header of 3,221,225,472 bytes")


def test_a_zero_in_the_path_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"path,label\na\0.png,cat\n")
    refused(lambda: list_split("t", tmp_path / "a.csv", PETS, tmp_path), "zero bytes")


def test_what_is_no_image_format_of_bench_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(DataError, match="damaged or none of JPEG"):
        decode_image(tmp_path / "a.png", "a.png")


def test_an_image_of_a_billion_pixels_is_not_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 40000 40000 255\n" + bytes(99))
    with pytest.raises(DataError, match="exceeds limit"):
        decode_image(tmp_path / "a.ppm", "a.ppm")

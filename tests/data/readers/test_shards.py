"""WebDataset shards: samples, order, labels, the index of members, and invalid shards."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import SAME_BENCH
from PIL import Image

from bench.api.splits import LocatedImages, Split
from bench.core.errors import BenchError, DataError, InputError
from bench.data.classes import Classes
from bench.data.readers import webdataset as shards
from bench.data.readers.webdataset import shards_split

PETS = Classes(("cat", "dog"), ("tabby cat", "golden retriever"))
Member = tuple[str, bytes]


def picture(colour: int, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def pack(path: Path, *members: Member | tarfile.TarInfo, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def sample(key: str, colour: int, label: object, ending: str = "png") -> list[Member]:
    kind = {"jpg": "jpeg"}.get(ending.lower(), ending)
    return [(f"{key}.{ending}", picture(colour, kind)), (f"{key}.cls", str(label).encode())]


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    root = tmp_path / "data"
    return [
        pack(root / "b.tar", *sample("9", 9, 1), *sample("10", 10, 0)),
        pack(root / "a.tar", *sample("x", 1, "dog"), *sample("w", 2, "tabby cat")),
    ]


def reds(split: Split) -> list[int]:
    images = split.load().images
    return [images[i].convert("RGB").getpixel((0, 0))[0] for i in range(len(images))]  # type: ignore[index]


def refused(
    call: Callable[[], object], *parts: object, kind: type[BenchError] = InputError
) -> None:
    with pytest.raises(kind) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert str(part) in text, text


def test_samples_have_a_canonical_order_and_labels(pair: list[Path], cache: Path) -> None:
    split = shards_split("pets/test", pair, PETS, cache)
    manifest = split.load().manifest
    assert manifest.ids == ("a/w", "a/x", "b/10", "b/9")
    assert manifest.first.tolist() == [0, 1, 0, 1]
    assert reds(split) == [2, 1, 10, 9]
    assert shards_split("t", pair[::-1], PETS, cache).fingerprint == split.fingerprint


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "JPEG", "webp", "PNG"])
def test_kinds_of_images(tmp_path: Path, cache: Path, ending: str) -> None:
    path = pack(tmp_path / "a.tar", *sample("folder/one", 200, 1, ending))
    split = shards_split("t", [path], PETS, cache)
    assert split.load().manifest.ids == ("a/folder/one",)
    assert abs(reds(split)[0] - 200) < 4


def test_labels_in_json_and_members_that_are_none(tmp_path: Path, cache: Path) -> None:
    path = pack(
        tmp_path / "a.tar",
        ("./1.jpg", picture(1)), ("./1.json", b'{"label": 1, "width": 4}'), ("1.txt", b"a dog"),
        ("2.json", b'{"label": "dog"}'), ("2.jpg", picture(2)), ("__index__", b"x"),
        ("3.jpg", picture(3)), ("3.cls", b"cat\n"), ("3.json", b'{"caption": "no label"}'),
        ("4.json", b'{"label": 1}'), ("4.cls", b"0"), ("4.jpg", picture(4)), ("._1.jpg", b"apple"),
    )  # fmt: skip
    split = shards_split("t", [path], PETS, cache)
    assert split.load().manifest.ids == ("a/1", "a/2", "a/3", "a/4")
    assert split.load().manifest.first.tolist() == [1, 1, 0, 0]
    assert reds(split) == [1, 2, 3, 4]


def test_the_layout_of_clip_benchmark(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "wds_pets"
    for number in range(2):
        members = [m for i in range(3) for m in sample(f"s{number}{i:06d}", 3 * number + i, i % 2)]
        pack(root / f"test/{number}.tar", *members)
    (root / "test/nshards.txt").write_text("2")
    split = shards_split("t", list((root / "test").glob("*.tar")), PETS, cache)
    assert split.load().manifest.first.tolist() == [0, 1, 0, 0, 1, 0]
    assert reds(split) == [0, 1, 2, 3, 4, 5]


def test_members_are_looked_for_once(
    pair: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shards_split("t", pair, PETS, cache)
    monkeypatch.setattr(shards, "_find_samples", None)
    second = shards_split("t", pair, PETS, cache)
    assert first.fingerprint == second.fingerprint
    assert reds(second) == reds(first)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", "cut"])
def test_a_damaged_index_is_made_again(pair: list[Path], cache: Path, damage: bytes | str) -> None:
    first = shards_split("t", pair, PETS, cache)
    for kept in (cache / "index").glob("*.shard"):
        content = kept.read_bytes()
        kept.write_bytes(damage if isinstance(damage, bytes) else content[: len(content) // 2])
    assert shards_split("t", pair, PETS, cache).fingerprint == first.fingerprint


@pytest.mark.parametrize("limit", [0, 2**30])
def test_a_fingerprint_follows_contents_labels_and_keys_not_place(
    pair: list[Path], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(shards, "HASHED_BYTES", limit)
    marks = [shards_split("t", pair, PETS, cache).fingerprint]
    moved = [path.rename(tmp_path / path.name) for path in pair]
    assert shards_split("other", moved, PETS, cache).fingerprint == marks[0]
    for members in (
        [*sample("9", 9, 1), *sample("10", 10, 1)],
        [*sample("9", 9, 1), *sample("11", 10, 0)],
        [("9.png", picture(9) + b"longer"), ("9.cls", b"1"), *sample("10", 10, 0)],
    ):
        pack(moved[0], *members)
        marks.append(shards_split("t", moved, PETS, cache).fingerprint)
    assert len(set(marks)) == 4


def test_places_tell_shared_samples(pair: list[Path], tmp_path: Path, cache: Path) -> None:
    (tmp_path / "link.tar").symlink_to(pair[0])

    def places(*paths: Path) -> set[tuple[str, object]]:
        images = shards_split("t", paths, PETS, cache).load().images
        assert isinstance(images, LocatedImages)
        return {(place, key) for place, keys in images.places().items() for key in keys}

    assert len(places(*pair)) == 4
    assert places(pair[0]) == places(tmp_path / "link.tar") < places(*pair)
    assert not places(pair[0]) & places(pair[1])


def test_other_processes_read_the_same(pair: list[Path], cache: Path) -> None:
    """Processes that decode images get a copy and open the files themselves."""
    images = shards_split("t", pair, PETS, cache).load().images
    images[0]
    assert isinstance(images, shards.ShardImages)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)[2].getpixel((0, 0))[0])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(images), capture_output=True, env=SAME_BENCH, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"10\n"), done.stderr


def test_a_broken_image_is_named(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "a.tar", ("7.png", b"no image"), ("7.cls", b"0"))
    images = shards_split("t", [path], PETS, cache).load().images
    refused(lambda: images[0], "cannot read image 7 of", path, kind=DataError)
    path.unlink()
    refused(lambda: images[0], "cannot read image 7 of", path, "No such file", kind=DataError)


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


GOOD = sample("0", 0, 0)
REFUSED: dict[str, tuple[list[Member | tarfile.TarInfo], list[str]]] = {
    "symlink": ([*GOOD, link("1.png", tarfile.SYMTYPE)], ["1.png", "link"]),
    "hard link": ([*GOOD, link("1.cls", tarfile.LNKTYPE)], ["1.cls", "link"]),
    "device": ([*GOOD, link("1.png", tarfile.CHRTYPE)], ["1.png", "special file"]),
    "no image": ([*GOOD, ("1.cls", b"0")], ["1 has no image", ".jpg"]),
    "no label": ([*GOOD, ("1.png", b"")], ["1 has no label", "1.cls"]),
    "json without": ([*GOOD, ("1.png", b""), ("1.json", b"{}")], ["1 has no label"]),
    "two images": ([*GOOD, ("0.jpg", b"")], ["sample 0 has two image members"]),
    "two labels": ([*GOOD, ("0.cls", b"1")], ["sample 0 has two cls members"]),
    "unknown class": (sample("0", 0, "dig"), ["0: unknown class 'dig'", "did you mean 'dog'"]),
    "high index": (sample("0", 0, 2), ["unknown class '2'", "if these count from 1, subtract 1"]),
    "no text": (
        [("0.png", b""), ("0.cls", b"\xff")],
        ["0.cls cannot be read: expected UTF-8 text"],
    ),
    "no json": ([("0.png", b""), ("0.json", b"{")], ["0.json cannot be read: expected JSON"]),
    "odd label": ([("0.png", b""), ("0.json", b'{"label": [1]}')], ["label [1]"]),
    "true": ([("0.png", b""), ("0.json", json.dumps({"label": True}).encode())], ["label True"]),
    "nothing": ([("readme", b"hello")], ["has no samples"]),
    "empty": ([], ["has no samples"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_set_of_samples_is_refused(tmp_path: Path, cache: Path, case: str) -> None:
    members, parts = REFUSED[case]
    path = pack(tmp_path / "a.tar", *members)
    refused(lambda: shards_split("t", [path], PETS, cache), path, *parts)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_compressed_shards_are_refused(tmp_path: Path, cache: Path, kind: str) -> None:
    path = pack(tmp_path / "a.tar", *GOOD, mode=f"w:{kind}")
    refused(lambda: shards_split("t", [path], PETS, cache), path, "compressed", "decompress it")


@pytest.mark.parametrize("size", [0, 100, 700, 1700])
def test_a_shard_cut_short_is_refused(tmp_path: Path, cache: Path, size: int) -> None:
    noise = np.random.default_rng(0).bytes(1000)
    path = pack(tmp_path / "a.tar", ("0.cls", b"0"), ("0.png", noise), ("1.cls", b"0"))
    path.write_bytes(path.read_bytes()[:size])
    refused(lambda: shards_split("t", [path], PETS, cache), path)


def test_shards_are_files_of_different_names(pair: list[Path], tmp_path: Path, cache: Path) -> None:
    other = pack(tmp_path / "other/a.tar", *GOOD)
    refused(lambda: shards_split("t", [*pair, other], PETS, cache), other, "the same name")
    refused(lambda: shards_split("t", [tmp_path / "none.tar"], PETS, cache), "none.tar")
    path = tmp_path / "page.tar"
    path.write_text("<html>" * 200)
    refused(lambda: shards_split("t", [path], PETS, cache), path, "not a tar file")


def test_keys_with_dots_are_samples_where_no_other_has_them(tmp_path: Path, cache: Path) -> None:
    members = [*sample("a.b", 1, "dog"), *sample("a.c", 2, "cat"), *sample("x/v1.0", 3, "dog")]
    split = shards_split("t", [pack(tmp_path / "s.tar", *members)], PETS, cache)
    assert split.load().manifest.ids == ("s/a.b", "s/a.c", "s/x/v1.0")
    assert reds(split) == [1, 2, 3] and split.caveats == ()


@pytest.mark.parametrize(
    ("others", "count"),
    [
        ([("0.left.png", picture(9)), ("0.right.jpg", picture(9, "jpeg"))], 2),
        ([("0.b.png", picture(9)), ("0.b.cls", b"1")], 1),
        ([("README.md", b""), ("notes.heic", b"")], 2),
        ([("0.txt", b"a dog"), ("0.meta.json", b"{"), ("0.npy", b"")], 0),
    ],
)
def test_members_of_no_sample_are_counted_and_named(
    tmp_path: Path, cache: Path, others: list[Member], count: int
) -> None:
    path = pack(tmp_path / "s.tar", *others, *sample("0", 1, "dog"))
    for _ in range(2):  # found, then from the index
        split = shards_split("t", [path], PETS, cache)
        assert split.load().manifest.ids == ("s/0",) and len(split.caveats) == bool(count)
        for caveat in split.caveats:
            assert min(name for name, _ in others if not name.endswith("cls")) in caveat
            assert ("1 member " if count == 1 else f"{count} members ") in caveat


def test_a_dotted_sample_without_a_label_is_refused(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "s.tar", *sample("0", 1, "dog"), ("1.b.png", picture(2)))
    refused(lambda: shards_split("t", [path], PETS, cache), "sample 1.b has no label")


@pytest.mark.parametrize("kept", ["one member", "one sample", "all members", "half the end"])
def test_a_shard_cut_between_members_is_refused(tmp_path: Path, cache: Path, kept: str) -> None:
    members = (*sample("a", 1, 0), *sample("b", 2, 1))
    path = pack(tmp_path / "s.tar", *members)
    with tarfile.open(path) as archive:
        starts = [member.offset for member in archive]
        ends = archive.offset
    sizes = {"one member": starts[1], "one sample": starts[2], "all members": ends}
    content = path.read_bytes()
    path.write_bytes(content[: sizes.get(kept, ends + 256)])
    with pytest.raises(InputError, match=r"s\.tar ends without its end mark: it was cut; copy it"):
        shards_split("pets/test", [path], PETS, cache)
    path.write_bytes(content[: ends + 512])
    assert shards_split("pets/test", [path], PETS, cache).size == 2


def test_a_shard_with_a_damaged_header_is_refused(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "s.tar", *sample("a", 1, 0), *sample("b", 2, 1))
    with tarfile.open(path) as archive:
        start = [member.offset for member in archive][2]
    content = bytearray(path.read_bytes())
    content[start : start + 512] = b"x" * 512
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"s\.tar is damaged at byte {start:,}: "):
        shards_split("pets/test", [path], PETS, cache)

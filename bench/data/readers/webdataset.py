"""Splits of WebDataset shards: tar files of ``KEY.jpg`` with ``KEY.cls`` or ``KEY.json``.

The key of a sample is the member's name up to the first dot after its folder; the rest of the name
is the type of the member. Image types are `IMAGES`. The label is a class index or name, in ``.cls``
or under the key ``label`` of ``.json``. Where no sample has that key, a name with several dots is
split at the last one: ``a.b.jpg`` and ``a.b.cls`` are the sample ``a.b``. Other members are passed
over; images among them, and members of no sample, are counted in the split's `caveats`. A sample
id is the name of the shard without ``.tar``, followed by the key: ``train-0003/000017``. Samples
are sorted by shard and key. The fingerprint is a hash of ids, labels and contents. Contents are the
bytes of the shards for up to `HASHED_BYTES` in total, and the sizes of the images above that.

The position of each image in its shard is determined once and stored in ``<cache>/index/``, with a
key made from the shard's path, size and times. Images are then read from that position; nothing is
unpacked.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import DataError, InputError, one_line, shortened
from bench.core.foreign.documents import parse_json
from bench.core.foreign.expansion import TarBlocks
from bench.core.foreign.files import open_regular
from bench.core.hashing import key_of
from bench.core.paths import format_bytes
from bench.data.classes import Classes
from bench.data.readers.decoding import SUFFIXES, decode_image
from bench.data.readers.fingerprints import (
    HASHED_BYTES,
    Files,
    content_digest,
    join_texts,
    row_marks,
    sha256,
    split_texts,
)
from bench.data.readers.listing import PassedOver, passed_over
from bench.data.readers.npy import cache_arrays, cached_arrays

IMAGES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
"""Suffixes of images, in upper or lower case."""

KINDS = (*IMAGES, "cls", "json")
"""Suffixes of members that are read."""

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of compressed files: single images cannot be read from their position there."""

VERSION = 1
"""Increase this number whenever the same shards would yield other samples."""

LABEL = 2**24
"""The most bytes of a label, or of the JSON that has it."""

STORED = 3
"""Increase this number whenever the index would store something else for the same shard."""


@dataclass(frozen=True)
class _Shard:
    """The samples of a shard, sorted by key; `spans` int64 [n, 2]: offset and size of images."""

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    spans: NDArray[np.int64]
    passed: PassedOver


@dataclass(frozen=True)
class ShardImages:
    """Images in shards; each read opens the shard and decodes one image from its position.

    `shards` int64 [N] are positions in `paths`. `spans` int64 [N, 2] are the offset and the size of
    each image in bytes.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from bench.data.readers.webdataset import ShardImages
    >>> Image.new("RGB", (8, 6)).save("a.png")
    >>> span = np.array([[0, Path("a.png").stat().st_size]])
    >>> ShardImages((Path("a.png"),), ("a",), np.array([0]), span)[0].size
    (8, 6)
    """

    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    shards: NDArray[np.int64]
    spans: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Image.Image:
        where = f"{self.keys[index]} of {self.paths[self.shards[index]]}"
        return decode_image(io.BytesIO(self._bytes(index)), where)

    def contents(self) -> Iterator[bytes]:
        """Yield the bytes of each image."""
        return (self._bytes(index) for index in range(len(self)))

    def _bytes(self, index: int) -> bytes:
        path, (start, size) = self.paths[self.shards[index]], self.spans[index].tolist()
        try:
            with open_regular(path) as file:
                file.seek(start)
                return bytes(file.read(size))
        except OSError as error:
            where = f"{self.keys[index]} of {path}"
            raise DataError(f"cannot read image {where}: {error.strerror}") from error

    def places(self) -> Mapping[str, Sequence[str]]:
        """Return {real shard: keys of its samples}."""
        starts = np.searchsorted(self.shards, np.arange(len(self.paths) + 1)).tolist()
        return {
            f"{os.path.realpath(path)}: ": self.keys[starts[i] : starts[i + 1]]
            for i, path in enumerate(self.paths)
        }


def shards_split(name: str, paths: Sequence[Path], classes: Classes, cache: Path) -> Split:
    """Return the split `name` of the samples in the tar files `paths`.

    Raises InputError, naming shard and member, for a shard that is compressed, damaged or empty or
    contains links, for a sample without image or label, an unknown label, and a duplicate key or
    shard name.

    Examples
    --------
    >>> import tarfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.classes import Classes
    >>> from bench.data.readers.webdataset import shards_split
    >>> Image.new("RGB", (8, 8)).save("a.png")
    >>> _ = Path("a.cls").write_text("1")
    >>> with tarfile.open("shard.tar", "w") as shard:
    ...     for name in ("a.png", "a.cls"):
    ...         shard.add(name)
    >>> classes = Classes(("cat", "dog"), ("cat", "dog"))
    >>> shards_split("pets/test", [Path("shard.tar")], classes, Path("cache")).load().manifest.ids
    ('shard/a',)
    """
    found = sorted(paths, key=lambda path: path.name)
    for one, other in pairwise(sorted(found, key=lambda path: path.stem)):
        if one.stem == other.stem:
            raise InputError(
                f"{one} and {other} have the same name, which is part of the sample ids: rename "
                "one of them"
            )
    files = Files.at(found)
    stamps = files.stamps.tolist()
    shards = [_load_index(path, stamp, cache) for path, stamp in zip(found, stamps, strict=True)]
    spans = np.concatenate([shard.spans for shard in shards])
    keys = tuple(key for shard in shards for key in shard.keys)
    numbers = np.repeat(np.arange(len(shards)), [len(shard.keys) for shard in shards])
    ids = [f"{found[n].stem}/{key}" for n, key in zip(numbers.tolist(), keys, strict=True)]
    labels = np.concatenate([_labels(p, s, classes) for p, s in zip(found, shards, strict=True)])
    manifest = single_label(ids, labels)
    images = ShardImages(tuple(found), keys, numbers, spans)
    large = files.size > HASHED_BYTES
    mark = key_of(
        "shards",
        VERSION,
        sha256("\0".join(ids)),
        sha256(labels.astype("<i8").tobytes()),
        sha256(spans[:, 1].astype("<i8").tobytes()) if large else content_digest(files, cache),
    )
    others = [one for shard in shards for one in shard.passed.some_files]
    count = sum(shard.passed.files for shard in shards)
    what = ("member that no sample reads", "members that no sample reads")
    caveats = (passed_over(name, count, what, others[0]),) if count else ()
    marks = None if large else lambda: row_marks(mark, len(manifest), images.contents, cache)
    return Split(
        name,
        mark,
        len(manifest),
        lambda: Loaded(images, manifest),
        caveats=caveats,
        contents=marks,
    )


def _labels(path: Path, shard: _Shard, classes: Classes) -> NDArray[np.int64]:
    """Return int64 [n]: the class indices of a shard's samples."""
    spellings = classes.spellings()
    known: dict[str, int] = {}
    for key, text in zip(shard.keys, shard.labels, strict=True):
        if text not in known:
            try:
                known[text] = classes.index(text, spellings)
            except InputError as error:
                raise InputError(f"{path}: {key}: {error}") from error
    return np.array([known[text] for text in shard.labels], dtype=np.int64)


# The index of a shard


def _load_index(path: Path, stamp: list[int], cache: Path) -> _Shard:
    """Return a shard's samples from the index; if they are not there, find and store them."""
    stored = cache / "index" / f"{key_of('shard', STORED, str(path.resolve()), stamp)}.shard"
    shard = _stored_samples(stored)
    if shard is not None:
        return shard
    try:
        shard = _find_samples(path)
    except InputError:
        raise
    except Exception as error:  # of damaged headers, tarfile raises more than its own errors
        reason = shortened(getattr(error, "strerror", None) or one_line(error), 200)
        raise InputError(
            f"{path} is truncated, damaged or not a tar file: {reason}; get the file again"
        ) from error
    keys, labels = (np.frombuffer(join_texts(t), np.uint8) for t in (shard.keys, shard.labels))
    passed = np.frombuffer(join_texts(shard.passed.some_files), np.uint8)
    number = np.array(shard.passed.files)
    arrays = {"keys": keys, "labels": labels, "passed": passed, "number": number}
    try:
        cache_arrays(stored, arrays | {"spans": shard.spans})
    except OSError as error:
        raise InputError(f"cannot store the index of {path}: {error}") from error
    return shard


def _stored_samples(path: Path) -> _Shard | None:
    """Return the samples stored at `path`; None if there are none or they cannot be read."""
    stored = cached_arrays(path)
    if stored is None:
        return None
    try:
        keys, labels = split_texts(stored["keys"]), split_texts(stored["labels"])
        number = int(stored["number"].item())
        passed = PassedOver(number, split_texts(stored["passed"]) if number else ())
        shard = _Shard(keys, labels, stored["spans"], passed)
    except (ValueError, KeyError, TypeError):
        return None
    fits = len(shard.labels) == len(shard.keys) and shard.spans.shape == (len(shard.keys), 2)
    return shard if fits else None


@dataclass
class _Sample:
    """The members of a sample found so far: offset and size of its image, and its label."""

    image: tuple[int, int] | None = None
    label: str | None = None
    seen: set[str] = field(default_factory=set)


def _find_samples(path: Path) -> _Shard:
    """Read the table of contents of a shard, and its labels."""
    samples: dict[str, _Sample] = {}
    others: list[tuple[tarfile.TarInfo, str, str]] = []
    with open_regular(path) as file:
        begin = file.read(6)
        for magic, kind in COMPRESSED.items():
            if begin.startswith(magic):
                raise InputError(
                    f"{path} is compressed ({kind}): decompress it to a plain tar file"
                )
        file.seek(0)
        blocks: Any = TarBlocks(file)
        with tarfile.open(fileobj=blocks, mode="r:") as archive:
            for member in archive:
                if member.size < 0:  # which would lead back to where it came from, without end
                    raise tarfile.ReadError(f"a member of {member.size:,} bytes")
                found = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]*)", member.name, re.DOTALL)
                if found is None or member.isdir():
                    continue
                key, kind = found[1].removeprefix("./"), found[2]
                if kind.lower() in KINDS:
                    _add_member(path, archive, member, (key, kind), samples)
                else:
                    others.append((member, key, kind))
            _check_end(path, file, archive.offset)
            passed = _dotted_members(path, archive, others, samples)
    for key, sample in samples.items():
        if sample.image is None:
            kinds = ", ".join(f".{kind}" for kind in IMAGES)
            raise InputError(
                f"{path}: sample {key} has no image: expected {key} with one of {kinds}"
            )
        if sample.label is None:
            raise InputError(
                f"{path}: sample {key} has no label: expected {key}.cls, or {key}.json with the "
                "key 'label'"
            )
    if not samples:
        raise InputError(f"{path} has no samples: expected pairs of KEY.jpg and KEY.cls")
    keys = tuple(sorted(samples))
    spans = np.array([samples[key].image for key in keys], dtype=np.int64)
    labels = tuple(str(samples[key].label) for key in keys)
    return _Shard(keys, labels, spans, PassedOver.of(passed, ()))


def _check_end(path: Path, file: IO[bytes], end: int) -> None:
    """Raise InputError unless a block of zeros, the end mark, is where the last member ends.

    `tarfile` takes the end of a file, and a damaged header, for the end of the archive.
    """
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise InputError(f"{path} ends without its end mark: it was cut; copy it again")
    if any(block):
        raise InputError(
            f"{path} is damaged at byte {end:,}: no member starts there; copy it again"
        )


def _dotted_members(
    path: Path,
    archive: tarfile.TarFile,
    others: Sequence[tuple[tarfile.TarInfo, str, str]],
    samples: dict[str, _Sample],
) -> list[str]:
    """Add samples whose keys have dots, and return the names of members that were passed over.

    Members of other types beside a sample, such as captions, are not returned.
    """
    plain, left = set(samples), []
    for member, key, kind in others:
        more, _, last = kind.rpartition(".")
        dotted = f"{key}.{more}"
        if more and last.lower() in KINDS and key not in plain:
            _add_member(path, archive, member, (dotted, last), samples)
        else:
            left.append((member.name, {key, dotted}, more and last.lower() in IMAGES))
    return [name for name, keys, is_image in left if is_image or not keys & samples.keys()]


def _add_member(
    path: Path,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    name: tuple[str, str],
    samples: dict[str, _Sample],
) -> None:
    """Add a member of a shard, with the `name` (key, kind), to its sample."""
    key, kind = name[0], name[1].lower()
    if not member.isreg() or member.sparse is not None:
        raise InputError(
            f"{path}: {member.name} is a link or a special file: expected a regular file; pack the "
            "shard again"
        )
    sample = samples.setdefault(key, _Sample())
    role = "image" if kind in IMAGES else kind
    if role in sample.seen:
        raise InputError(f"{path}: sample {key} has two {role} members: expected one; remove one")
    sample.seen.add(role)
    if role == "image":
        sample.image = (member.offset_data, member.size)
        return
    if member.size > LABEL:
        raise InputError(
            f"{path}: {member.name} has {format_bytes(member.size)}: expected a label, of no more "
            f"than {format_bytes(LABEL)}"
        )
    stream = archive.extractfile(member)
    label = _label(kind, b"" if stream is None else stream.read(), f"{path}: {member.name}")
    if kind == "cls" or "cls" not in sample.seen:
        sample.label = label


def _label(kind: str, content: bytes, where: str) -> str | None:
    """Return the label in a member; None if it is a `.json` without a label."""
    try:
        text = content.decode("utf-8").strip()
        if kind == "cls":
            return text
        found = parse_json(text)
    except ValueError as error:
        expected = "UTF-8 text" if kind == "cls" else "JSON in UTF-8"
        raise InputError(f"{where} cannot be read: expected {expected}: {error}") from error
    label = found.get("label") if isinstance(found, dict) else None
    if label is None:
        return None
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise InputError(f"{where}: label {label!r:.50}: expected a class index or a class name")
    return str(label).strip()

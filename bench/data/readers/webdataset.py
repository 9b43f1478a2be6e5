"""Webdataset shards as splits: tar files of samples ``KEY.jpg`` with ``KEY.cls`` or ``KEY.json``.

A key is a member's name up to the first dot behind its folder; what follows says what the member
is. Images are `IMAGES`; a label is the class's index or name in ``.cls``, or under the key
``label`` of ``.json``; other members are ignored. A sample's id is the shard's name without
``.tar``, and its key: ``train-0003/000017``. Samples are sorted by shard and key. A fingerprint is
a hash of (ids, labels, contents), where contents are the bytes of the shards, for up to
`HASHED_BYTES` in all, and the sizes of the images above that.

Where each member lies in its shard is found once and kept under ``<cache>/index/``, under a key
made of the shard's path, size and times. Images are then read from their place alone; nothing is
unpacked.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import DataError, InputError
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.data.readers.decoding import decode_image
from bench.data.readers.fingerprints import Files, content_digest, join_texts, sha256, split_texts
from bench.data.readers.folders import HASHED_BYTES, Classes

IMAGES = ("jpeg", "jpg", "png", "webp")
"""The endings of images; the case does not matter."""

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""How compressed files begin, in which no image can be read from its place alone."""

VERSION = 1
"""Raised whenever the same shards would get other samples, or be kept in another form."""


@dataclass(frozen=True)
class _Shard:
    """The samples of a shard, sorted by key; `spans` int64 [n, 2]: where images begin, bytes."""

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    spans: NDArray[np.int64]


@dataclass(frozen=True)
class ShardImages:
    """Images in shards, each read from its place when asked for; the file is opened anew.

    `shards` int64 [N] are positions in `paths`, `spans` int64 [N, 2]: where each begins, its bytes.
    """

    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    shards: NDArray[np.int64]
    spans: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Image.Image:
        path, (start, size) = self.paths[self.shards[index]], self.spans[index].tolist()
        where = f"{self.keys[index]} of {path}"
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(start)
                return decode_image(io.BytesIO(file.read(size)), where)
        except OSError as error:
            raise DataError(f"cannot read image {where}: {error.strerror}") from error

    def places(self) -> Mapping[str, Sequence[str]]:
        """{real shard: the keys of samples in it}."""
        ends = np.searchsorted(self.shards, np.arange(len(self.paths) + 1)).tolist()
        return {
            f"{os.path.realpath(path)}: ": self.keys[ends[i] : ends[i + 1]]
            for i, path in enumerate(self.paths)
        }


def shards_split(name: str, paths: Sequence[Path], classes: Classes, cache: Path) -> Split:
    """The split `name` of the samples in the tar files `paths`.

    Raises InputError, naming shard and member, for a shard that is compressed or damaged, holds
    links or nothing, for a sample without image or label, an unknown label, and a key or shard
    that is there twice.
    """
    found = sorted(paths, key=lambda path: path.name)
    for one, other in pairwise(sorted(found, key=lambda path: path.stem)):
        if one.stem == other.stem:
            raise InputError(f"{one} and {other} have the same name: rename one, as ids are of it")
    files = Files.at(found)
    stamps = files.stamps.tolist()
    shards = [_indexed(path, stamp, cache) for path, stamp in zip(found, stamps, strict=True)]
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
    return Split(name, mark, len(manifest), lambda: Loaded(images, manifest))


def _labels(path: Path, shard: _Shard, classes: Classes) -> NDArray[np.int64]:
    """int64 [n]: the classes of a shard's samples."""
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


def _indexed(path: Path, stamp: list[int], cache: Path) -> _Shard:
    """A shard's samples: from the index, else found and kept there."""
    kept = cache / "index" / f"{key_of('shard', VERSION, str(path.resolve()), stamp)}.shard.npz"
    shard = _kept(kept)
    if shard is not None:
        return shard
    try:
        shard = _found(path)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InputError(f"{path} is cut short, damaged or no tar file: {error}") from error
    buffer = io.BytesIO()
    keys, labels = (np.frombuffer(join_texts(t), np.uint8) for t in (shard.keys, shard.labels))
    np.savez(buffer, keys=keys, labels=labels, spans=shard.spans)
    try:
        write_atomic(kept, buffer.getvalue(), durable=False)
    except OSError as error:
        raise InputError(f"index of {path}: {error}") from error
    return shard


def _kept(path: Path) -> _Shard | None:
    """The samples kept at `path`; None if there are none or they are no longer readable."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            shard = _Shard(split_texts(kept["keys"]), split_texts(kept["labels"]), kept["spans"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = len(shard.labels) == len(shard.keys) and shard.spans.shape == (len(shard.keys), 2)
    return shard if fits else None


@dataclass
class _Sample:
    """What is found of a sample: where its image begins, its size, its label."""

    image: tuple[int, int] | None = None
    label: str | None = None
    seen: set[str] = field(default_factory=set)


def _found(path: Path) -> _Shard:
    samples: dict[str, _Sample] = {}
    with path.open("rb") as file:
        begin = file.read(6)
        for magic, kind in COMPRESSED.items():
            if begin.startswith(magic):
                raise InputError(f"{path} is compressed ({kind}): unpack it to a plain tar file")
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                _see(path, archive, member, samples)
    for key, sample in samples.items():
        if sample.image is None:
            kinds = ", ".join(f".{kind}" for kind in IMAGES)
            raise InputError(f"{path}: {key} has no image: expected one of {kinds}")
        if sample.label is None:
            raise InputError(
                f"{path}: {key} has no label: expected {key}.cls, or {key}.json with the key label"
            )
    if not samples:
        raise InputError(f"{path} has no samples: expected images with labels (KEY.jpg, KEY.cls)")
    keys = tuple(sorted(samples))
    spans = np.array([samples[key].image for key in keys], dtype=np.int64)
    return _Shard(keys, tuple(str(samples[key].label) for key in keys), spans)


def _see(
    path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, samples: dict[str, _Sample]
) -> None:
    """Take a member of a shard into its sample, if it is part of one."""
    split = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]*)", member.name, re.DOTALL)
    if split is None or member.isdir():
        return
    key, kind = split[1].removeprefix("./"), split[2].lower()
    if kind not in (*IMAGES, "cls", "json"):
        return
    if not member.isreg() or member.sparse is not None:
        raise InputError(f"{path}: {member.name} is a link or no plain file: store it as a file")
    sample = samples.setdefault(key, _Sample())
    role = "image" if kind in IMAGES else kind
    if role in sample.seen:
        raise InputError(f"{path}: {key} has two members of the kind {role}: expected one")
    sample.seen.add(role)
    if role == "image":
        sample.image = (member.offset_data, member.size)
        return
    stream = archive.extractfile(member)
    label = _label(kind, b"" if stream is None else stream.read(), f"{path}: {member.name}")
    if kind == "cls" or "cls" not in sample.seen:
        sample.label = label


def _label(kind: str, content: bytes, where: str) -> str | None:
    """The label that a member states; None if it is a `.json` without one."""
    try:
        text = content.decode("utf-8").strip()
        if kind == "cls":
            return text
        found: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} cannot be read as {kind}: {error}") from error
    label = found.get("label") if isinstance(found, dict) else None
    if label is None:
        return None
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise InputError(f"{where}: label {label!r:.50}: expected a class's index or name")
    return str(label).strip()

"""Build ImageNet's class folders from the archives that users download after registration.

The archive of train is a tar with one tar per class. The archive of val is flat. Its labels are in
the devkit: a list of class numbers, one per image in the order of the image names, and a MATLAB
table that maps the numbers to WordNet ids. Every step can be killed and repeated: an image gets its
name only when it is complete, and a folder only when all its images are there.
"""

from __future__ import annotations

import filecmp
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import scipy.io

from bench.core.errors import DataError
from bench.core.foreign.expansion import HEADER
from bench.core.foreign.files import open_regular
from bench.core.paths import check_room
from bench.core.progress import Progress, byte_progress
from bench.data.download.archives import damage_as_data_error, tar_members
from bench.data.download.unpack import clear_leftovers, move_into_place, unpack_tar, write_member

TABLE = "data/meta.mat"
TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
CLASS = re.compile(r"(n\d{8})\.tar")


@dataclass(frozen=True)
class Devkit:
    """The labels in ImageNet's devkit.

    Attributes
    ----------
    classes : the WordNet ids of the classes, sorted.
    folders : {file name of an image of val: WordNet id}.
    """

    classes: tuple[str, ...]
    folders: Mapping[str, str]


def read_devkit(path: Path) -> Devkit:
    """Read the devkit from its archive. Raises DataError if it is damaged or not a devkit."""
    found: dict[str, bytes] = {}
    with damage_as_data_error(path), open_regular(path) as raw:
        for tar, member in tar_members(raw, path):
            for name in (TABLE, TRUTH):
                if member.isreg() and member.name.endswith(f"/{name}"):
                    found[name] = _content(tar, member)
    for name in (TABLE, TRUTH):
        if name not in found:
            raise DataError(f"{path} does not contain {name}: expected ImageNet's devkit")
    try:
        ids = _ids(found[TABLE])
        numbers = [int(line) for line in found[TRUTH].split()]
        names = (f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(len(numbers)))
        folders = dict(zip(names, (ids[number] for number in numbers), strict=True))
    except Exception as error:  # a parser may raise anything on a broken file
        raise DataError(f"{path} is not ImageNet's devkit: {error!r}") from error
    return Devkit(tuple(sorted(ids.values())), folders)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > HEADER:
        raise tarfile.ReadError(f"{member.name:.80} of {member.size:,} bytes")
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _ids(table: bytes) -> dict[int, str]:
    """Return {class number: WordNet id} of the synsets without children, which are the classes."""
    content = scipy.io.loadmat(BytesIO(table), squeeze_me=True, variable_names=["synsets"])
    found: dict[int, str] = {}
    for synset in content["synsets"]:
        wnid = str(synset["WNID"])
        if not re.fullmatch(r"n\d{8}", wnid):
            raise ValueError(f"{wnid!r} is not a WordNet id")
        if int(synset["num_children"]) == 0:
            found[int(synset["ILSVRC2012_ID"])] = wnid
    return found


# Train


def unpack_train(packed: Path, into: Path, progress: Progress) -> None:
    """Unpack the archive of train into ``into/<WordNet id>/``.

    Raises DataError if the archive is damaged or has other members than one tar per class.
    """
    folder = into.with_name(f".{into.name}.unpacking")
    size = packed.stat().st_size
    unpacked = sum(p.stat().st_size for p in folder.rglob("*.JPEG")) if folder.exists() else 0
    check_room(into.parent, size - unpacked, f"unpacking {packed.name}")
    folder.mkdir(parents=True, exist_ok=True)
    with (
        damage_as_data_error(packed),
        open_regular(packed) as raw,
        byte_progress(progress, f"unpack {packed.name}", size) as count,
    ):
        done = 0
        for tar, member in tar_members(raw, packed):
            name = CLASS.fullmatch(member.name)
            inner = tar.extractfile(member) if name and member.isreg() else None
            if not name or inner is None:
                raise DataError(
                    f"{packed} contains {member.name!r:.200}: expected one tar per class"
                )
            _unpack_class(inner, folder / name[1], f"{packed}: {member.name}")
            count(raw.tell() - done)
            done = raw.tell()
    move_into_place(folder, into)


def _unpack_class(inner: IO[bytes], folder: Path, who: str) -> None:
    """Unpack the tar of one class, unless its folder is there."""
    if folder.exists():
        return
    part = folder.with_name(f".{folder.name}")
    part.mkdir(exist_ok=True)
    clear_leftovers(part)
    unpack_tar(inner, part, who, lambda _: None)
    part.rename(folder)


# Val


def is_sorted(place: Path) -> bool:
    """Whether a folder of val has class folders and no image that is not sorted yet."""
    if _sorting(place).exists() or next(_flat(place), None):
        return False
    return any(path.is_dir() for path in place.glob("n????????"))


def is_sorting_begun(place: Path) -> bool:
    """Whether a folder, or the temporary folder for sorting beside it, has images of val."""
    return _sorting(place).exists() or next(_images(place), None) is not None


def _sorting(place: Path) -> Path:
    """Return the temporary folder in which images are sorted, beside the folder or its target."""
    real = place.resolve()
    return real.with_name(f".{real.name}.sorting")


def sort_val(into: Path, devkit: Devkit, packed: Path | None, progress: Progress) -> None:
    """Build ``into/<WordNet id>/`` from the images in `into` and the archive `packed`.

    Images in `into` are moved; the others are unpacked from the archive. Without an archive,
    DataError is raised before anything is moved if images are missing. DataError is also raised if
    the archive lacks images or has unknown ones, or if two images of the same name differ.
    """
    into, folder = into.resolve(), _sorting(into)
    clear_leftovers(folder)
    present = {path.name for place in (into, folder) for path in _images(place)}
    missing = sorted(devkit.folders.keys() - present)
    if missing and packed is None:
        total = len(devkit.folders)
        raise DataError(
            f"{into} has {total - len(missing):,} of {total:,} images, {missing[0]} is missing: "
            "nothing was moved; add the missing images or the archive of val"
        )
    if missing and packed is not None:
        each = packed.stat().st_size // len(devkit.folders)
        check_room(into.parent, each * len(missing), f"unpacking {packed.name}")
    for wnid in devkit.classes:
        (folder / wnid).mkdir(parents=True, exist_ok=True)
    with progress.task("sort val", len(present)) as task:
        for path in list(_images(into)):
            if path.name in devkit.folders:
                _move(path, folder / devkit.folders[path.name] / path.name)
            task.advance(1)
    if packed is not None:
        _unpack_val(packed, folder, devkit, progress)
    _move_other_files(into, folder)
    move_into_place(folder, into)


def _flat(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*.JPEG") if IMAGE.fullmatch(path.name))


def _images(folder: Path) -> Iterator[Path]:
    """Yield the images of val in a folder, in class folders or not."""
    if folder.is_dir():
        yield from _flat(folder)
        for inner in folder.glob("n????????"):
            yield from _flat(inner)


def _move(source: Path, target: Path) -> None:
    """Rename a file. If the target exists, it must be identical, so that nothing is lost."""
    if target.exists():
        if not filecmp.cmp(source, target, shallow=False):
            raise DataError(f"{source} and {target} differ: delete the damaged one")
        source.unlink()
    else:
        source.rename(target)


def _unpack_val(packed: Path, folder: Path, devkit: Devkit, progress: Progress) -> None:
    """Unpack the images of val that are not there yet into class folders."""
    size = packed.stat().st_size
    missing = set(devkit.folders)
    with (
        damage_as_data_error(packed),
        open_regular(packed) as raw,
        byte_progress(progress, f"unpack {packed.name}", size) as count,
    ):
        done = 0
        for tar, member in tar_members(raw, packed):
            wnid = devkit.folders.get(member.name)
            source = tar.extractfile(member) if member.isreg() else None
            if wnid is None or source is None:
                raise DataError(
                    f"{packed} contains {member.name!r:.200}, which is not in the devkit"
                )
            write_member(source, folder / wnid / member.name, member.size, folder)
            missing.discard(member.name)
            count(raw.tell() - done)
            done = raw.tell()
    if missing:
        raise DataError(f"{packed} lacks {len(missing):,} images, such as {min(missing)}")


def _move_other_files(into: Path, folder: Path) -> None:
    """Move everything else from `into` to `folder`, so that it is not lost, and remove `into`."""
    if not into.is_dir():
        return
    for path in list(into.iterdir()):
        target = folder / path.name
        if path.is_dir() and target.is_dir():
            for inner in path.iterdir():
                inner.rename(target / inner.name)
            path.rmdir()
        else:
            path.rename(target)
    into.rmdir()

"""Images in arrays as splits: what `.npy`, `.npz` and binary files hold.

A sample's id is a prefix, mostly the split's role, and the image's row in its file: ``test-00017``.
Images stay in the order of their files. A fingerprint is a hash of (ids, labels, how bytes become
pixels, the files' bytes); bytes are hashed whole, whatever their size, since arrays of one shape
are of one size, and just once (see `bench.data.readers.fingerprints`). Where the files lie does not
enter it.

Files are read without pickle. An `.npy` file is mapped; a member of an `.npz` file is read into the
memory of every process that decodes images, so that `.npy` suits large data better.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import InputError, unknown_name
from bench.core.hashing import key_of
from bench.data.readers.fingerprints import Files, content_digest, sha256
from bench.data.readers.folders import Classes
from bench.data.readers.pickles import unpickled

LAYOUTS = ("channels-last", "channels-first")
"""[N, H, W, 3] and [N, 3, H, W]; flat rows [N, 3 S S] are square images in the same order."""

VERSION = 1
"""Raised whenever the same files would get other pixels or labels."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Arrays:
    """Labelled images in arrays, the pixels not yet opened.

    Attributes
    ----------
    pixels : opens all images of the files, uint8 [M, H, W, 3]; to be picklable, since processes
        that decode open the files themselves.
    labels : int64 [N], indices into `classes`.
    classes : C names.
    files : the files that hold images and labels, in a fixed order.
    form : how the files' bytes become pixels; enters the fingerprint.
    rows : int64 [N], the images' rows among the M; all of them if left out.
    """

    pixels: Callable[[], Pixels]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    form: str
    rows: NDArray[np.int64] | None = None

    def only(self, names: Sequence[str]) -> Arrays:
        """The images of the classes `names`, labelled in that order; rows and so ids are kept.

        Raises InputError for a name that is no class.
        """
        for name in names:
            if name not in self.classes:
                raise unknown_name(f"class of {self.files[0]}", name, self.classes)
        new = np.full(len(self.classes), -1, dtype=np.int64)
        new[[self.classes.index(name) for name in names]] = np.arange(len(names))
        labels = new[self.labels]
        kept = np.flatnonzero(labels >= 0)
        rows = kept if self.rows is None else self.rows[kept]
        return replace(self, labels=labels[kept], classes=tuple(names), rows=rows)


def array_split(name: str, arrays: Arrays, cache: Path, prefix: str = "test") -> Split:
    """The split `name` of images in arrays; ids begin with `prefix`.

    Raises InputError if there is no image or a file cannot be read.
    """
    rows = np.arange(len(arrays.labels)) if arrays.rows is None else arrays.rows
    if not len(rows):
        raise InputError(f"no image in {arrays.files[0]}: expected some")
    manifest = single_label([f"{prefix}-{row:05d}" for row in rows], arrays.labels)
    images = ArrayImages(arrays.pixels, rows, arrays.files[0], arrays.form)
    mark = key_of(
        "arrays",
        VERSION,
        arrays.form,
        sha256("\0".join(manifest.ids)),
        sha256(arrays.labels.astype("<i8").tobytes()),
        content_digest(Files.at(arrays.files), cache),
    )
    return Split(name, mark, len(manifest), lambda: Loaded(images, manifest))


@dataclass(frozen=True)
class ArrayImages:
    """The images ``pixels()[rows]``, opened when the first is asked for, in every process anew."""

    pixels: Callable[[], Pixels]
    rows: NDArray[np.int64]
    file: Path
    form: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(self._opened[self.rows[index]]))

    @cached_property
    def _opened(self) -> Pixels:
        return self.pixels()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def places(self) -> Mapping[str, Sequence[int]]:
        """{the file, and how it is read: rows}."""
        return {f"{os.path.realpath(self.file)} ({self.form}), row ": self.rows.tolist()}


# .npy and .npz


def images_of_file(
    images: Path,
    labels: Path | None,
    classes: Classes,
    *,
    layout: str = "channels-last",
    members: tuple[str, str] = ("images", "labels"),
) -> Arrays:
    """Images of an `.npy` or `.npz` file with the labels of another, or of the same `.npz`.

    Images are uint8, laid out as in `LAYOUTS`. Labels are whole numbers [N] or names [N] in an
    `.npy` or `.npz` file, or a text file with a name or index per line. `members` are the names
    of images and labels inside `.npz` files. Raises InputError that names the file and says what
    was expected.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout of images", layout, LAYOUTS)
    of_labels = images if labels is None else labels
    if labels is None and not _is_zip(images):
        raise InputError(f"no labels for {images}: name a file of them, or give both in an .npz")
    shape = _pixel_shape(images, members[0], layout)
    found = _labels(of_labels, members[1], classes)
    if len(found) != shape[0]:
        raise InputError(
            f"{of_labels} has {len(found):,} labels for {shape[0]:,} images of {images}: "
            "expected one each"
        )
    where = f"member {members[0]}, " if _is_zip(images) else ""
    return Arrays(
        partial(_stored_pixels, images, members[0], layout),
        found,
        classes.keys,
        tuple(dict.fromkeys([images, of_labels])),
        f"{where}{layout}",
    )


def _pixel_shape(path: Path, member: str, layout: str) -> tuple[int, ...]:
    """The shape [N, H, W, 3] of the images of a file. Raises InputError if they are none."""
    shape, dtype = array_header(path, member)
    if dtype != np.uint8:
        raise InputError(f"{member_name(path, member)} is {dtype}: expected images as uint8")
    try:
        return _laid_out(np.broadcast_to(np.uint8(0), shape), layout).shape
    except ValueError as error:
        form = "[N, H, W, 3]" if layout == LAYOUTS[0] else "[N, 3, H, W]"
        raise InputError(
            f"{member_name(path, member)} has the shape {list(shape)}: expected {form} ({layout}) "
            "or flat rows [N, 3 S S] of square images"
        ) from error


def _laid_out(pixels: Pixels, layout: str) -> Pixels:
    """[N, H, W, 3] without a copy of what is stored in a layout; ValueError if it cannot be."""
    if pixels.ndim == 2:
        side = round((pixels.shape[1] / 3) ** 0.5)
        square = (3, side, side) if layout == "channels-first" else (side, side, 3)
        if not side:
            raise ValueError("no pixel")
        pixels = pixels.reshape(len(pixels), *square)
    if pixels.ndim != 4 or not all(pixels.shape[1:]):
        raise ValueError("no images")
    if layout == "channels-first":
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.shape[3] != 3:
        raise ValueError("no colours")
    return pixels


def _stored_pixels(path: Path, member: str, layout: str) -> Pixels:
    return _laid_out(read_array(path, member), layout)


def _labels(path: Path, member: str, classes: Classes) -> NDArray[np.int64]:
    """int64 [N]: the class of each label of a file."""
    if path.suffix in (".npy", ".npz"):
        found = read_array(path, member)
        if found.ndim == 2 and found.shape[1] == 1:
            found = found[:, 0]
        if found.ndim != 1 or found.dtype.kind not in "iuU":
            raise InputError(
                f"{member_name(path, member)} is {found.dtype} {list(found.shape)}: expected "
                "labels as whole numbers [N], or as names [N]"
            )
        if found.dtype.kind != "U":
            return check_labels(found, len(classes), member_name(path, member))
        texts = [str(text) for text in found]
    else:
        try:
            texts = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read labels {path}: {error}") from error
    spellings = classes.spellings()
    try:
        return np.array([classes.index(text.strip(), spellings) for text in texts], np.int64)
    except InputError as error:
        raise InputError(f"{member_name(path, member)}: {error}") from error


def check_labels(labels: Any, classes: int, where: object) -> NDArray[np.int64]:
    """Labels as int64 [N]. Raises InputError, naming `where`, if one is no class's index."""
    found = np.asarray(labels)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise InputError(f"{where} has no list of labels: expected whole numbers [N]")
    wrong = np.flatnonzero((found < 0) | (found >= classes))
    if len(wrong):
        raise InputError(
            f"{where}: label {found[wrong[0]]} of image {wrong[0]}: expected 0 to {classes - 1}"
        )
    return found.astype(np.int64)


def member_name(path: Path, member: str) -> str:
    """A file, or a member of an `.npz` file, in words."""
    return f"{path} ({member})" if _is_zip(path) else str(path)


def array_header(path: Path, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """(shape, dtype) of an array, of which no more is read. Raises InputError as `read_array`."""
    if not _is_zip(path):
        array = read_array(path, member)
        return array.shape, array.dtype
    shape, _, dtype = _in_zip(path, member, npy_header)
    if dtype.hasobject:
        raise _pickled(path, member)
    return shape, dtype


def read_array(path: Path, member: str) -> NDArray[Any]:
    """The array of an `.npy` file, mapped, or the member of an `.npz` file, read.

    Raises InputError if it is absent, cut short, damaged or a pickle.
    """
    found = read_objects(path, member) if _is_zip(path) else _mapped(path)
    if not isinstance(found, np.ndarray):
        raise _pickled(path, member)
    return found


def read_objects(path: Path, member: str) -> Any:
    """What an `.npy` file or the member of an `.npz` file holds: an array, read into memory.

    An array of objects, which is a pickle, becomes a list (see `bench.data.readers.pickles`).
    Raises InputError if it is absent, cut short or damaged, or holds anything but numbers, texts
    and dictionaries.
    """

    def read(file: IO[bytes]) -> Any:
        shape, fortran, dtype = npy_header(file)
        if dtype.hasobject:
            return unpickled(file, path)
        return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")

    if _is_zip(path):
        return _in_zip(path, member, read)
    with _reading(path, path), path.open("rb") as file:
        return read(file)


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether in Fortran's order, dtype) of an open `.npy` file, which stands after it."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _mapped(path: Path) -> NDArray[Any] | None:
    """The array of an `.npy` file; None if it is a pickle."""
    with _reading(path, path), path.open("rb") as file:
        if npy_header(file)[2].hasobject:
            return None
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array


def _in_zip(path: Path, member: str, read: Callable[[IO[bytes]], Any]) -> Any:
    with _reading(path, member_name(path, member)), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if member not in names:
            raise unknown_name(f"array in {path}", member, names)
        with archive.open(f"{member}.npy") as file:
            return read(file)


@contextmanager
def _reading(path: Path, where: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        kind = "an .npz file" if _is_zip(path) else "an .npy file"
        raise InputError(f"{where} is cut short, damaged or not from {kind}") from error


def _pickled(path: Path, member: str) -> InputError:
    return InputError(
        f"{member_name(path, member)} holds pickled objects, which are not read since a pickle may "
        "run anything: store plain numbers or texts with numpy.save or numpy.savez"
    )


def _is_zip(path: Path) -> bool:
    return path.suffix == ".npz"

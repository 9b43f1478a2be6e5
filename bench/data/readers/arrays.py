"""Splits of images stored in arrays: `.npy`, `.npz` and binary files.

A sample id is a prefix, usually the role of the split, followed by the row of the image in its
file: ``test-00017``. Images keep the order of their files. The fingerprint is a hash of the ids,
the labels, the rule that turns bytes into pixels, and the bytes of the files. It does not depend on
the location of the files. All bytes are hashed, however large the file, because arrays of the same
shape have the same size. They are hashed once (see `bench.data.readers.fingerprints`).

Files are read without pickle. An `.npy` file is memory-mapped. A member of an `.npz` file is read
into the memory of every process that decodes images, so prefer `.npy` for large data.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import InputError, label_hint, unknown_name
from bench.core.foreign.files import TABLE, text_of
from bench.core.hashing import key_of
from bench.data.classes import Classes
from bench.data.readers.fingerprints import HASHED_BYTES, Files, content_digest, row_marks, sha256
from bench.data.readers.npy import array_header, first_bytes, is_npz, member_name, read_array

LAYOUTS = ("channels-last", "channels-first")
"""[N, H, W, 3] and [N, 3, H, W]; flat rows [N, 3*S*S] are square images in the same order."""

SHORT = {"hwc": LAYOUTS[0], "chw": LAYOUTS[1]}
"""Other names of the layouts."""

VERSION = 1
"""Increase this number whenever the same files would yield other pixels or labels."""

SAMPLED = 2**20
"""Number of bytes of an array whose range is looked at first."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Arrays:
    """Labelled images in arrays; the pixels are not opened yet.

    Attributes
    ----------
    pixels : function that opens all images of the files, uint8 [M, H, W, 3]. It must be picklable
        because every process that decodes images opens the files itself.
    labels : int64 [N], indices into `classes`.
    classes : C names.
    files : the files that hold images and labels, in a fixed order.
    form : how the bytes of the files become pixels; part of the fingerprint.
    rows : int64 [N], rows of these images among the M; None means all rows.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.arrays import Arrays
    >>> labels, pixels = np.array([0, 1, 1]), np.zeros((3, 8, 8, 3), np.uint8)
    >>> arrays = Arrays(lambda: pixels, labels, ("cat", "dog"), (Path("a.npy"),), "npy")
    >>> arrays.only(["dog"]).rows
    array([1, 2])
    """

    pixels: Callable[[], Pixels]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    form: str
    rows: NDArray[np.int64] | None = None

    def only(self, names: Sequence[str]) -> Arrays:
        """Return the images of the classes `names`, labelled in that order.

        Rows, and therefore sample ids, do not change. Raises InputError for an unknown class name.
        """
        for name in names:
            if name not in self.classes:
                raise unknown_name(f"class in {self.files[0]}", name, self.classes)
        new = np.full(len(self.classes), -1, dtype=np.int64)
        new[[self.classes.index(name) for name in names]] = np.arange(len(names))
        labels = new[self.labels]
        selected = np.flatnonzero(labels >= 0)
        rows = selected if self.rows is None else self.rows[selected]
        return replace(self, labels=labels[selected], classes=tuple(names), rows=rows)


def array_split(name: str, arrays: Arrays, cache: Path, prefix: str = "test") -> Split:
    """Return the split `name` of images in arrays; sample ids begin with `prefix`.

    Raises InputError if there are no images or a file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.arrays import array_split, images_of_file
    >>> from bench.data.classes import Classes
    >>> np.savez("pets.npz", images=np.zeros((3, 8, 8, 3), np.uint8), labels=np.array([0, 1, 1]))
    >>> classes = Classes(("cat", "dog"), ("cat", "dog"))
    >>> arrays = images_of_file(Path("pets.npz"), None, classes)
    >>> array_split("pets/test", arrays, Path("cache")).load().manifest.ids
    ('test-00000', 'test-00001', 'test-00002')
    """
    rows = np.arange(len(arrays.labels)) if arrays.rows is None else arrays.rows
    if not len(rows):
        raise InputError(
            f"{arrays.files[0]} has no images of the {len(arrays.classes)} classes: expected at "
            "least one; check the path and the class names"
        )
    manifest = single_label([f"{prefix}-{row:05d}" for row in rows], arrays.labels)
    images = ArrayImages(arrays.pixels, rows, arrays.files[0], arrays.form)
    files = Files.at(arrays.files)
    mark = key_of(
        "arrays",
        VERSION,
        arrays.form,
        sha256("\0".join(manifest.ids)),
        sha256(arrays.labels.astype("<i8").tobytes()),
        content_digest(files, cache),
    )

    def contents() -> NDArray[np.uint64]:
        return row_marks(mark, len(manifest), images.contents, cache)

    marks = None if files.size > HASHED_BYTES else contents
    return Split(name, mark, len(manifest), lambda: Loaded(images, manifest), contents=marks)


@dataclass(frozen=True)
class ArrayImages:
    """The images ``pixels()[rows]``; each process opens them when it first reads an image.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.arrays import ArrayImages
    >>> def pixels():
    ...     return np.zeros((3, 8, 8, 3), np.uint8)
    ...
    >>> images = ArrayImages(pixels, np.array([0, 2]), Path("a.npy"), "npy")
    >>> len(images), images[1].size
    (2, (8, 8))
    """

    pixels: Callable[[], Pixels]
    rows: NDArray[np.int64]
    file: Path
    form: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(self._opened[self.rows[index]]))

    def contents(self) -> Iterator[bytes]:
        """Yield the pixels of each image, with the shape before them."""
        pixels = self.pixels()
        shape = np.array(pixels.shape[1:]).tobytes()
        return (shape + np.ascontiguousarray(pixels[row]).tobytes() for row in self.rows)

    @cached_property
    def _opened(self) -> Pixels:
        return self.pixels()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def places(self) -> Mapping[str, Sequence[int]]:
        """Return {file and how it is read: rows}."""
        return {f"{os.path.realpath(self.file)} ({self.form}), row ": self.rows.tolist()}


# .npy and .npz


def images_of_file(
    images: Path,
    labels: Path | None,
    classes: Classes,
    *,
    layout: str | None = None,
    members: tuple[str, str] = ("images", "labels"),
) -> Arrays:
    r"""Return the labelled images of an `.npy` or `.npz` file.

    Images are uint8 in one of the `LAYOUTS`, by default [N, H, W, 3]. Where the shape cannot tell
    the layout, as that of flat rows and of [N, 3, H, 3], it must be given. Labels are
    integers [N] or class names [N] in an `.npy` or `.npz` file, or lines of a text file with a name
    or an index each. If `labels` is None, they are read from the `.npz` file of the images.
    `members` are the names of images and labels inside `.npz` files. Raises InputError
    that names the file and what was expected.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.arrays import images_of_file
    >>> from bench.data.classes import Classes
    >>> np.save("images.npy", np.zeros((2, 8, 8, 3), np.uint8))
    >>> _ = Path("labels.txt").write_text("dog\ncat")
    >>> classes = Classes(("cat", "dog"), ("cat", "dog"))
    >>> images_of_file(Path("images.npy"), Path("labels.txt"), classes).labels
    array([1, 0])
    """
    layout = None if layout is None else SHORT.get(layout, layout)
    if layout not in (None, *LAYOUTS):
        raise unknown_name("layout of images", str(layout), (*LAYOUTS, *SHORT))
    labels_file = images if labels is None else labels
    if labels is None and not is_npz(images):
        raise InputError(
            f"no labels for {images}: set 'labels' to a file of labels, or store images and labels "
            "together in one .npz file"
        )
    layout = layout or _default_layout(images, members[0])
    shape = _pixel_shape(images, members[0], layout)
    _check_range(images, members[0])
    found = _labels(labels_file, members[1], classes)
    if len(found) != shape[0]:
        raise InputError(
            f"{labels_file} has {len(found):,} labels for the {shape[0]:,} images of {images}: "
            "expected one label per image; check that both files belong together"
        )
    where = f"member {members[0]}, " if is_npz(images) else ""
    return Arrays(
        partial(_stored_pixels, images, members[0], layout),
        found,
        classes.keys,
        tuple(dict.fromkeys([images, labels_file])),
        f"{where}{layout}",
    )


def _default_layout(path: Path, member: str) -> str:
    """Return the layout of images whose shape tells it. InputError if it could be either."""
    shape, _ = array_header(path, member)
    is_flat = len(shape) == 2 and shape[1] > 0 and shape[1] == 3 * round((shape[1] / 3) ** 0.5) ** 2
    if is_flat or (len(shape) == 4 and shape[1] == shape[3] == 3):
        raise InputError(
            f"{member_name(path, member)} has the shape {list(shape)}, which does not tell the "
            "order of the colour channels: set 'layout' to channels-first (chw, as in CIFAR's own "
            "rows) or channels-last (hwc)"
        )
    return LAYOUTS[0]


def _pixel_shape(path: Path, member: str, layout: str) -> tuple[int, ...]:
    """Return the shape [N, H, W, 3] of the images in a file. InputError if it holds no images."""
    shape, dtype = array_header(path, member)
    if dtype != np.uint8:
        raise InputError(
            f"{member_name(path, member)} has the dtype {dtype}: expected uint8 images; save the "
            "pixels as uint8 with values from 0 to 255"
        )
    try:
        return _laid_out(np.broadcast_to(np.uint8(0), shape), layout).shape
    except ValueError as error:
        form = "[N, H, W, 3]" if layout == LAYOUTS[0] else "[N, 3, H, W]"
        raise InputError(
            f"{member_name(path, member)} has the shape {list(shape)}: expected {form} ({layout}) "
            "or flat rows [N, 3*S*S] of square images; reshape the array or change 'layout'"
        ) from error


def _check_range(path: Path, member: str) -> None:
    """Raise InputError if the pixels in a file are only 0 and 1.

    All of them are read only if the first ones are so.
    """
    if (
        max(first_bytes(path, member, SAMPLED), default=0) == 1
        and read_array(path, member).max() == 1
    ):
        raise InputError(
            f"{member_name(path, member)} has only the values 0 to 1: expected pixels from 0 to "
            "255; multiply by 255"
        )


def _laid_out(pixels: Pixels, layout: str) -> Pixels:
    """Return a view [N, H, W, 3] of stored pixels. ValueError if the shape does not fit."""
    if pixels.ndim == 2:
        side = round((pixels.shape[1] / 3) ** 0.5)
        square = (3, side, side) if layout == "channels-first" else (side, side, 3)
        if not side:
            raise ValueError("no pixels")
        pixels = pixels.reshape(len(pixels), *square)
    if pixels.ndim != 4 or not all(pixels.shape[1:]):
        raise ValueError("no images")
    if layout == "channels-first":
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.shape[3] != 3:
        raise ValueError("not three colour channels")
    return pixels


def _stored_pixels(path: Path, member: str, layout: str) -> Pixels:
    return _laid_out(read_array(path, member), layout)


def _labels(path: Path, member: str, classes: Classes) -> NDArray[np.int64]:
    """Return int64 [N]: the class index of each label in a file."""
    if path.suffix in (".npy", ".npz"):
        found = read_array(path, member)
        if found.ndim == 2 and found.shape[1] == 1:
            found = found[:, 0]
        if found.ndim != 1 or found.dtype.kind not in "iuU":
            raise InputError(
                f"{member_name(path, member)} is {found.dtype} {list(found.shape)}: expected "
                "labels as integers [N] or as class names [N]; save one label per image"
            )
        if found.dtype.kind != "U":
            where = member_name(path, member)
            return check_labels(classes.of_numbers(found, where), len(classes), where)
        texts = [str(text) for text in found]
    else:
        texts = text_of(path, TABLE).splitlines()
    spellings = classes.spellings()
    try:
        return np.array([classes.index(text.strip(), spellings) for text in texts], np.int64)
    except InputError as error:
        raise InputError(f"{member_name(path, member)}: {error}") from error


def check_labels(labels: Any, classes: int, where: object) -> NDArray[np.int64]:
    """Return labels as int64 [N]. InputError names `where` and the first index out of range.

    Examples
    --------
    >>> from bench.data.readers.arrays import check_labels
    >>> check_labels([0, 2], classes=2, where="pets.npz")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: pets.npz: image 1 has the label 2: expected 0 to 1; ...
    """
    try:
        found = np.asarray(labels)
    except ValueError:  # lists of different lengths
        found = np.empty(0, object)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise InputError(f"{where} has no list of labels: expected integers [N]; check the file")
    wrong = np.flatnonzero((found < 0) | (found >= classes))
    if len(wrong):
        hint = label_hint(int(found.min()), int(found.max()), classes)
        hint = hint or "; check the labels and the list of classes"
        raise InputError(
            f"{where}: image {wrong[0]} has the label {found[wrong[0]]}: expected 0 to "
            f"{classes - 1}{hint}"
        )
    return found.astype(np.int64)

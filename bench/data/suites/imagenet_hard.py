"""ImageNet-Hard's files: parquet, with an image and the list of its ImageNet classes in each row.

They are read with pyarrow, which the extra ``arrow`` has. Row groups are read one by one, and each
process keeps the last one. A sample id is the number of the row over all files in sorted order:
``hard-00017``. The fingerprint is a hash of the ids, the labels and the files.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Manifest, Split
from bench.core.errors import DataError, InputError, one_line
from bench.core.hashing import key_of
from bench.data.readers.decoding import decode_image
from bench.data.readers.fingerprints import HASHED_BYTES, Files, content_digest, row_marks, sha256

VERSION = 1
"""Increase this number whenever the same files would yield other labels or images."""


@dataclass(frozen=True)
class RowGroups:
    """The images of parquet files, each decoded when it is read.

    Attributes
    ----------
    groups : (file, number of a row group in it), in order.
    ends : number of rows up to the end of each group.

    Examples
    --------
    >>> from bench.data.suites.imagenet_hard import RowGroups
    >>> len(RowGroups((), (0,)))
    0
    """

    groups: tuple[tuple[Path, int], ...]
    ends: tuple[int, ...]

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Image.Image:
        at = bisect_right(self.ends, index)
        file, group = self.groups[at]
        row = index - (self.ends[at - 1] if at else 0)
        content = _images(file, group)[row]
        return decode_image(io.BytesIO(content), f"in row {row} of row group {group} of {file}")

    def contents(self) -> Iterator[bytes]:
        """Yield the bytes of each image."""
        for file, group in self.groups:
            yield from _images(file, group)


def hard_split(name: str, root: Path, classes: int, cache: Path) -> Split:
    """Return the split `name` of the parquet files in a folder.

    Labels are class indices below `classes`; an image may have several. Raises InputError if
    pyarrow is missing, or if a file is damaged or has other columns.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.imagenet_hard import hard_split
    >>> hard_split("imagenet/hard", Path("nowhere"), 1000, Path("cache"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: nowhere has no parquet files: expected those of ImageNet-Hard
    """
    files = sorted(root.glob("*.parquet"))
    if not files:
        raise InputError(f"{root} has no parquet files: expected those of ImageNet-Hard")
    located = Files.at(files)
    groups: list[tuple[Path, int]] = []
    ends: list[int] = []
    labels: list[list[int]] = []
    for file in files:
        rows, found = _read(file)
        groups += [(file, number) for number in range(len(rows))]
        ends += (len(labels) + np.cumsum(rows)).tolist()
        labels += found
        for row, one in enumerate(found):
            if not one or not 0 <= min(one) <= max(one) < classes:
                raise InputError(
                    f"{file}: row {row} has the labels {one!s:.80}: expected one or more from "
                    f"0 to {classes - 1}"
                )
    if not labels:
        raise InputError(f"{root}: the parquet files have no rows: get them again")
    table = _table(labels)
    manifest = Manifest(tuple(f"hard-{row:05d}" for row in range(len(labels))), table)
    coded = sha256(table.astype("<i8").tobytes())
    mark = key_of("hard", VERSION, len(labels), coded, content_digest(located, cache))
    images = RowGroups(tuple(groups), tuple(ends))
    loaded = Loaded(images, manifest)

    def contents() -> NDArray[np.uint64]:
        return row_marks(mark, len(manifest), images.contents, cache)

    marks = None if located.size > HASHED_BYTES else contents
    return Split(name, mark, len(manifest), lambda: loaded, contents=marks)


def _table(labels: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return int64 [N, L]: the labels of each row, padded with -1."""
    table = np.full((len(labels), max(map(len, labels))), -1, dtype=np.int64)
    for row, several in enumerate(labels):
        table[row, : len(several)] = several
    return table


def _parquet(file: Path) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        how = "pip install 'robust-ft-bench[arrow]'"
        raise InputError(f"{file}: the package pyarrow, which reads it, is not installed: {how}")
    return importlib.import_module("pyarrow.parquet").ParquetFile(file)


def _read(file: Path) -> tuple[list[int], list[list[int]]]:
    """Return (rows of each row group, labels of each row without repeats)."""
    try:
        opened = _parquet(file)
        with opened:
            footer = opened.metadata
            rows = [footer.row_group(n).num_rows for n in range(footer.num_row_groups)]
            _check_types(opened.schema_arrow)
            labels = opened.read(columns=["label"]).column("label").to_pylist()
            return rows, [list(dict.fromkeys(map(int, several))) for several in labels]
    except InputError:
        raise
    except Exception as error:  # pyarrow raises many types of errors on damaged files
        reason = one_line(error)
        raise InputError(
            f"{file}: expected a parquet file with the columns image and label ({reason:.200}): "
            "get it again"
        ) from error


def _check_types(schema: Any) -> None:
    """Raise TypeError unless labels are lists of integers, and images bytes.

    Texts could be read as lists of digits, and fractions be cut off.
    """
    types = importlib.import_module("pyarrow.types")
    label, image = schema.field("label").type, schema.field("image").type.field("bytes").type
    is_list = types.is_list(label) or types.is_large_list(label)
    if not (is_list and types.is_integer(label.value_type)):
        raise TypeError(f"labels are {label}, expected lists of integers")
    if not (types.is_binary(image) or types.is_large_binary(image)):
        raise TypeError(f"images are {image}, expected binary")


@lru_cache(maxsize=1)
def _images(file: Path, group: int) -> list[bytes]:
    """Return the encoded images of a row group; of a row without one, no bytes."""
    try:
        with _parquet(file) as opened:
            column = opened.read_row_group(group, columns=["image.bytes"], use_threads=False)
            return [(image or {}).get("bytes") or b"" for image in column["image"].to_pylist()]
    except InputError:
        raise
    except Exception as error:  # as in `_read`
        reason = one_line(error)
        raise DataError(
            f"{file}: row group {group} cannot be read ({reason:.200}): get the file again"
        ) from error

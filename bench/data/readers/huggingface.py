"""Hugging Face data sets as splits: folders of ``save_to_disk``, parquet files, names on the hub.

The package ``datasets`` is an optional extra. A sample's id is a prefix, mostly the split's role,
and its row: ``test-00017``. A fingerprint is a hash of (ids, labels, the bytes of the files that
hold the rows): of a parquet file itself, else of the Arrow files that are read. The package's own
fingerprints are not used, since they change with paths and times. Images have to be inside the
files; Arrow copies of parquet files are made under ``<cache>/datasets``.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import InputError, one_line, unknown_name
from bench.core.hashing import key_of
from bench.core.paths import matching_files
from bench.data.readers.decoding import decode_image
from bench.data.readers.fingerprints import Files, content_digest, sha256
from bench.data.readers.folders import Classes, shorten_list

VERSION = 1
"""Raised whenever the same files would get other labels or images."""


@dataclass(frozen=True)
class _Table:
    """Rows of images and labels, and the files whose bytes they are, in a fixed order.

    `counts` are the rows of each file; of Arrow files, which belong together, the first has all.
    """

    rows: Any
    files: tuple[Path, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class HubImages:
    """The images of a column, decoded when asked for; `files` and `counts` as of a `_Table`."""

    rows: Any
    column: str
    files: tuple[Path, ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        content = self.rows[int(index)][self.column]["bytes"]
        return decode_image(io.BytesIO(content), f"in row {index} of {self.files[0]}")

    def places(self) -> Mapping[str, Sequence[int]]:
        """{a file and the column: rows of it}."""
        real = [f"{os.path.realpath(file)} ({self.column}): row " for file in self.files]
        return {place: range(count) for place, count in zip(real, self.counts, strict=True)}


def hub_split(
    name: str,
    source: str,
    bases: Sequence[Path],
    classes: Classes,
    cache: Path,
    *,
    split: str | None = None,
    image: str = "image",
    label: str = "label",
    prefix: str = "test",
) -> Split:
    """The split `name` of a Hugging Face data set; ids begin with `prefix`.

    `source` is, looked for below `bases`, a folder of ``save_to_disk``, or a pattern that parquet
    files match; else a name on the hub. `split` is one of several that the source has; `image`
    and `label` are columns. Labels are class names or indices; see `_labels` for labels that have
    names of their own. Raises InputError if the package or the source is not there, or if a
    column is not what it should be.
    """
    library = _library()
    try:
        table = _table(library, source, bases, split, cache)
        rows, files = table.rows, table.files
        for column in (image, label):
            if column not in rows.column_names:
                raise unknown_name(f"column of {source}", column, rows.column_names)
        labels = _labels(rows, label, classes, source)
        rows = _images(library, rows, image, source)
    except InputError:
        raise
    except Exception as error:  # the package raises errors of many others
        reason = one_line(error)
        raise InputError(f"{source} cannot be read by the package datasets: {reason}") from error
    manifest = single_label([f"{prefix}-{row:05d}" for row in range(len(labels))], labels)
    mark = key_of(
        "hub",
        VERSION,
        image,
        sha256("\0".join(manifest.ids)),
        sha256(labels.astype("<i8").tobytes()),
        content_digest(Files.at(files), cache),
    )
    loaded = Loaded(HubImages(rows, image, files, table.counts), manifest)
    return Split(name, mark, len(manifest), lambda: loaded)


def _library() -> Any:
    found = importlib.util.find_spec("datasets")
    if found is None or found.origin is None:  # a folder of that name is no package
        raise InputError("the package datasets is not installed: pip install 'robust-ft-bench[hf]'")
    library = importlib.import_module("datasets")
    library.disable_progress_bars()
    return library


# Sources


def _table(
    library: Any, source: str, bases: Sequence[Path], split: str | None, cache: Path
) -> _Table:
    for base in bases:
        folder = base / Path(source).expanduser()
        if folder.is_dir():
            return _saved(library, folder, split)
    found = matching_files(source, bases)
    if found:
        if split is not None:
            raise InputError(f"split {split!r} does not go with parquet files: name its files")
        return _parquet(library, found, cache)
    looked = " and ".join(str(base / source) for base in bases)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise InputError(f"{source}: no folder, no parquet file and no name: looked for {looked}")
    if split is None or not re.fullmatch(r"\w+(\.\w+)*", split):
        raise InputError(f"{source} on the hub: expected a split by its name, got {split!r}")
    try:
        return _whole(library.load_dataset(source, split=split))
    except Exception as error:  # of the network, of the hub, of the data
        reason = one_line(error)
        raise InputError(f"neither {looked} nor, on the hub, {source}: {reason}") from error


def _saved(library: Any, folder: Path, split: str | None) -> _Table:
    if (folder / "dataset_dict.json").is_file():
        names = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        if split is None or split not in names:
            raise unknown_name(f"split of {folder}", str(split), names)
        folder = folder / split
    elif split is not None:
        raise InputError(f"{folder} has no splits: expected none to be named, got {split!r}")
    if not (folder / "state.json").is_file():
        raise InputError(
            f"{folder} is no folder of save_to_disk; name parquet files by a pattern: DIR/*.parquet"
        )
    return _whole(library.load_from_disk(str(folder)))


def _parquet(library: Any, files: Sequence[Path], cache: Path) -> _Table:
    for file in files:
        if file.suffix != ".parquet":
            raise InputError(f"{file}: expected parquet files or a folder of save_to_disk")
    names = [str(file) for file in files]
    place = str(cache / "datasets")
    rows = library.load_dataset("parquet", data_files=names, split="train", cache_dir=place)
    footers = importlib.import_module("pyarrow.parquet")
    counts = tuple(int(footers.read_metadata(file).num_rows) for file in files)
    return _Table(rows, tuple(files), counts)


def _whole(rows: Any) -> _Table:
    """Rows with the Arrow files that hold them, in which nothing else may be."""
    files = tuple(Path(file["filename"]) for file in rows.cache_files)
    if not files or rows._indices is not None:
        raise InputError("rows are not just those of files: save the data set with save_to_disk")
    return _Table(rows, files, (len(rows), *[0] * (len(files) - 1)))


# Columns


def _labels(rows: Any, column: str, classes: Classes, source: str) -> NDArray[np.int64]:
    """int64 [N]: the classes of a column's labels.

    Where the column has class names of its own, they decide, not the order of the classes. If
    some of them name no class, labels are taken as indices, provided that there are as many
    classes and that none of the names stands for another one.
    """
    values = list(rows[column][:])
    names = getattr(rows.features[column], "names", None)
    count = len(classes) if names is None else len(names)
    for row, value in enumerate(values):
        if not isinstance(value, int | str):
            raise InputError(f"{source}: column {column!r}: expected class names or indices")
        if isinstance(value, int) and not 0 <= value < count:
            raise InputError(f"{source}: label {value} in row {row}: expected 0 to {count - 1}")
    if not values:
        raise InputError(f"{source} has no rows")
    spellings = classes.spellings()
    if names is not None and all(name in spellings for name in names):
        values = [names[value] for value in values]
    elif names is not None:
        other = [name for i, name in enumerate(names) if spellings.get(name, i) != i]
        if len(names) != len(classes) or other:
            strange = other or [name for name in names if name not in spellings]
            raise InputError(
                f"{source}: its {len(names)} classes are not the {len(classes)} that are expected: "
                f"{shorten_list(strange or names, 5)}"
            )
    known = {v: v if isinstance(v, int) else classes.index(v, spellings) for v in set(values)}
    return np.array([known[value] for value in values], dtype=np.int64)


def _images(library: Any, rows: Any, column: str, source: str) -> Any:
    """The rows with the bytes of the images alone. InputError if these are not in the files."""
    if not isinstance(rows.features[column], library.Image):
        kind = type(rows.features[column]).__name__
        raise InputError(f"{source}: column {column!r} holds {kind}: expected images")
    rows = rows.select_columns([column]).cast_column(column, library.Image(decode=False))
    lacking = sum(chunk.field("bytes").null_count for chunk in rows.data.column(column).chunks)
    if lacking:
        raise InputError(
            f"{source}: {lacking:,} images are files elsewhere: expected all of them inside, as "
            "save_to_disk and to_parquet put them"
        )
    return rows

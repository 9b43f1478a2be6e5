"""Splits of Hugging Face data sets: ``save_to_disk`` folders, parquet files, names on the hub.

The package ``datasets`` is an optional extra. A sample id is a prefix, usually the role of the
split, followed by the row: ``test-00017``. The fingerprint is a hash of the ids, the labels and the
bytes of the files with the rows: the parquet files themselves, otherwise the Arrow files. The
package's own fingerprints are not used because they change with paths and times. Images must be
stored inside the files. Arrow copies of parquet files are written to ``<cache>/datasets``.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import InputError, one_line, shortened, unknown_name
from bench.core.foreign.documents import read_json
from bench.core.hashing import key_of
from bench.core.paths import local_path, matching_files
from bench.data.classes import Classes, respelled, shorten_list
from bench.data.readers.decoding import decode_image
from bench.data.readers.fingerprints import HASHED_BYTES, Files, content_digest, row_marks, sha256

VERSION = 1
"""Increase this number whenever the same files would yield other labels or images."""


@dataclass(frozen=True)
class _Table:
    """Rows of images and labels, and the files that hold them, in a fixed order.

    `counts` is the number of rows per file. Arrow files belong together: all their rows are counted
    for the first one.
    """

    rows: Any
    files: tuple[Path, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class HubImages:
    """The images of a column, each decoded when it is read; `files`, `counts` as in `_Table`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.readers.huggingface import HubImages
    >>> Image.new("RGB", (8, 6)).save("a.png")
    >>> rows = [{"image": {"bytes": Path("a.png").read_bytes()}}]
    >>> HubImages(rows, "image", (Path("rows.arrow"),), (1,))[0].size
    (8, 6)
    """

    rows: Any
    column: str
    files: tuple[Path, ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        content = self.rows[int(index)][self.column]["bytes"]
        return decode_image(io.BytesIO(content), f"in row {index} of {self.files[0]}")

    def contents(self) -> Iterator[bytes]:
        """Yield the bytes of each image."""
        return (row[self.column]["bytes"] for row in self.rows)

    def places(self) -> Mapping[str, Sequence[int]]:
        """Return {file and column: its rows}."""
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
    """Return the split `name` of a Hugging Face data set; sample ids begin with `prefix`.

    `source` is a ``save_to_disk`` folder or a pattern of parquet files, relative to one of `bases`;
    if neither is found, it is a name on the hub. `split` selects a split if the source has several.
    `image` and `label` are columns. Labels are class names or indices; `_labels` explains columns
    with class names of their own. Raises InputError if the package or the source is missing, or if
    a column is missing or has another type.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.classes import Classes
    >>> from bench.data.readers.huggingface import hub_split
    >>> classes = Classes(("cat", "dog"), ("cat", "dog"))
    >>> hub_split("pets/test", "nowhere/*.parquet", [Path()], classes, Path("cache"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: nowhere/*.parquet not found: looked for ...
    """
    library = _library()
    try:
        table = _table(library, source, bases, split, cache)
        rows, files = table.rows, table.files
        for column in (image, label):
            if column not in rows.column_names:
                raise unknown_name(f"column of {source}", column, rows.column_names)
        labels, said = _labels(rows, label, classes, source)
        rows = _images(library, rows, image, source)
    except InputError:
        raise
    except Exception as error:  # errors of other packages also surface here
        reason = one_line(error)
        raise InputError(f"the package datasets cannot read {source}: {reason}") from error
    manifest = single_label([f"{prefix}-{row:05d}" for row in range(len(labels))], labels)
    found = Files.at(files)
    mark = key_of(
        "hub",
        VERSION,
        image,
        sha256("\0".join(manifest.ids)),
        sha256(labels.astype("<i8").tobytes()),
        content_digest(found, cache),
    )
    images = HubImages(rows, image, files, table.counts)
    loaded = Loaded(images, manifest)
    caveats = tuple(f"{name}: {one}" for one in said)

    def contents() -> NDArray[np.uint64]:
        return row_marks(mark, len(manifest), images.contents, cache)

    marks = None if found.size > HASHED_BYTES else contents
    return Split(name, mark, len(manifest), lambda: loaded, caveats=caveats, contents=marks)


def _library() -> Any:
    found = importlib.util.find_spec("datasets")
    if found is None or found.origin is None:  # no origin: a folder of that name
        raise InputError("the package datasets is not installed: pip install 'robust-ft-bench[hf]'")
    library = importlib.import_module("datasets")
    library.disable_progress_bars()
    return library


# Sources


def _table(
    library: Any, source: str, bases: Sequence[Path], split: str | None, cache: Path
) -> _Table:
    local_path(source, "data set")
    for base in bases:
        folder = base / Path(source).expanduser()
        if folder.is_dir():
            return _saved(library, folder, split)
    found = matching_files(source, bases)
    if found:
        if split is not None:
            raise InputError(
                f"{source}: parquet files have no split {split!r}: remove 'split' and name its "
                "files"
            )
        return _parquet(library, found, cache)
    places = " and ".join(str(base / source) for base in bases)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise InputError(
            f"{source} not found: looked for {places}; expected a folder of save_to_disk, parquet "
            "files or a name on the hub"
        )
    if split is None or not re.fullmatch(r"\w+(\.\w+)*", split):
        raise InputError(
            f"{source} is looked up on the hub: expected 'split' to be the name of a split, got "
            f"{split!r}"
        )
    try:
        return _file_backed(library.load_dataset(source, split=split))
    except Exception as error:  # from the network, the hub or the data
        reason = one_line(error)
        raise InputError(
            f"{source} not found: looked for {places}, then on the hub: {reason}"
        ) from error


def _saved(library: Any, folder: Path, split: str | None) -> _Table:
    if (folder / "dataset_dict.json").is_file():
        names = read_json(folder / "dataset_dict.json")["splits"]
        if split is None or split not in names:
            raise unknown_name(f"split of {folder}", str(split), names)
        folder = folder / split
    elif split is not None:
        raise InputError(f"{folder} has no named splits: remove 'split', got {split!r}")
    if not (folder / "state.json").is_file():
        raise InputError(
            f"{folder} was not written by save_to_disk: name such a folder, or parquet files by a "
            "pattern such as DIR/*.parquet"
        )
    return _file_backed(library.load_from_disk(str(folder)))


def _parquet(library: Any, files: Sequence[Path], cache: Path) -> _Table:
    for file in files:
        if file.suffix != ".parquet":
            raise InputError(f"{file}: expected a parquet file or a folder of save_to_disk")
    names = [str(file) for file in files]
    copies = str(cache / "datasets")
    rows = library.load_dataset("parquet", data_files=names, split="train", cache_dir=copies)
    footers = importlib.import_module("pyarrow.parquet")
    counts = tuple(int(footers.read_metadata(file).num_rows) for file in files)
    return _Table(rows, tuple(files), counts)


def _file_backed(rows: Any) -> _Table:
    """Return rows with their Arrow files. InputError unless they are all rows of the files."""
    files = tuple(Path(file["filename"]) for file in rows.cache_files)
    if not files or rows._indices is not None:
        raise InputError(
            "the data set is filtered, reordered or held in memory: expected all rows of its "
            "files; save it again with save_to_disk"
        )
    return _Table(rows, files, (len(rows), *[0] * (len(files) - 1)))


# Columns


def _labels(
    rows: Any, column: str, classes: Classes, source: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return int64 [N], the class index of each label in a column, and what to say of them.

    If the column has class names of its own, labels are matched by name (see `Classes.matched`).
    Only if no name is known are labels used as indices, which requires as many names as classes.
    """
    values = list(rows[column][:])
    names = getattr(rows.features[column], "names", None)
    count = len(classes) if names is None else len(names)
    if names is None and values and all(isinstance(value, int) for value in values):
        values = classes.of_numbers(np.array(values, dtype=np.int64), source).tolist()
    for row, value in enumerate(values):
        if not isinstance(value, int | str):
            raise InputError(
                f"{source}: column {column!r} holds {type(value).__name__} in row {row}: expected "
                "class names or indices; set 'label' to the right column"
            )
        if isinstance(value, int) and not 0 <= value < count:
            raise InputError(
                f"{source}: label {value} in row {row}: expected 0 to {count - 1}; check the "
                f"column {column!r} and the list of classes"
            )
    if not values:
        raise InputError(f"{source} has no rows: expected at least one image")
    spellings = classes.spellings()
    if names is not None:
        matched = classes.matched(names)
        if matched and all(name in matched for name in names):
            labels = np.array([matched[names[value]] for value in values], dtype=np.int64)
            return labels, respelled(matched, classes)
        if matched or len(names) != len(classes):
            unmatched = [name for name in names if name not in matched]
            others = [key for i, key in enumerate(classes.shown) if i not in matched.values()]
            its, expected = (
                shortened(shorten_list(map(repr, found), 3), 120)
                for found in (unmatched or names, others or classes.shown)
            )
            raise InputError(
                f"{source}: its {len(names)} classes do not match the {len(classes)} expected "
                f"ones: its {its}; expected {expected}; use the class names of the data, such as "
                "classes: {their name: prompt}"
            )
        first = f"{names[0]!r:.60} as {classes.shown[0]!r:.60}"
        said = (f"took labels by their position, since none of their names is a class: {first}",)
        return np.array(values, dtype=np.int64), said
    known = {v: v if isinstance(v, int) else classes.index(v, spellings) for v in set(values)}
    return np.array([known[value] for value in values], dtype=np.int64), ()


def _images(library: Any, rows: Any, column: str, source: str) -> Any:
    """Return rows with encoded images only. InputError if images are not stored in the files."""
    if not isinstance(rows.features[column], library.Image):
        kind = type(rows.features[column]).__name__
        raise InputError(
            f"{source}: column {column!r} holds {kind}: expected images; set 'image' to the column "
            "with the images"
        )
    rows = rows.select_columns([column]).cast_column(column, library.Image(decode=False))
    external = sum(chunk.field("bytes").null_count for chunk in rows.data.column(column).chunks)
    if external:
        raise InputError(
            f"{source}: {external:,} images are only references to other files: expected images "
            "stored inside the data set; write it again with save_to_disk or to_parquet"
        )
    return rows

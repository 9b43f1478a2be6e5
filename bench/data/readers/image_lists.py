"""Splits of the images that a CSV or TSV file lists; ids and fingerprints as in `folders`."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from bench.api.splits import Split
from bench.core.errors import InputError, shortened, unknown_name
from bench.core.foreign.files import TABLE, text_of
from bench.data.classes import Classes
from bench.data.readers.fingerprints import Files
from bench.data.readers.folders import GroupCodes, encode_group, split_of_files


def list_split(
    name: str, path: Path, classes: Classes, cache: Path, groups: Sequence[str] = ()
) -> Split:
    r"""Return the split `name` of the images in a CSV or TSV file with the columns ``path,label``.

    Paths are relative to the folder of the file. A label is a class name or index; several labels
    are separated by ``|``. The columns `groups` become groups of the manifest (see `_parse_group`).
    Other columns are ignored. Raises InputError, naming file and line, for a missing image, an
    unknown label or a duplicate image.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.classes import Classes
    >>> from bench.data.readers.image_lists import list_split
    >>> Image.new("RGB", (8, 8)).save("a.png")
    >>> _ = Path("test.csv").write_text("path,label,region\na.png,dog,Asia")
    >>> classes = Classes(("cat", "dog"), ("cat", "dog"))
    >>> split = list_split("pets/test", Path("test.csv"), classes, Path("cache"), ["region"])
    >>> split.load().manifest.first, split.load().manifest.names
    (array([1]), {'region': ('Asia',)})
    """
    spellings = classes.spellings()
    found: dict[str, tuple[os.stat_result, list[int]]] = {}
    texts: dict[str, tuple[str, ...]] = {}
    for line, (image, text, *others) in _read_rows(path, groups):
        try:
            if image in found:
                raise InputError(f"image {image} is listed twice: remove one of the lines")
            labels = dict.fromkeys(classes.index(t.strip(), spellings) for t in text.split("|"))
            found[image] = (_status(path.parent, image), list(labels))
            texts[image] = tuple(others)
        except InputError as error:
            raise InputError(f"{path}:{line}: {error}") from error
    if not found:
        raise InputError(f"image list {path} is empty: expected one line 'path,label' per image")
    files = Files.below(path.parent, ((image, status) for image, (status, _) in found.items()))
    width = max(len(labels) for _, labels in found.values())
    table = np.full((len(files.names), width), -1, dtype=np.int64)
    for row, image in enumerate(files.names):
        own_labels = found[image][1]
        table[row, : len(own_labels)] = own_labels
    columns = zip(*(texts[image] for image in files.names), strict=True)
    coded = {group: _parse_group(column) for group, column in zip(groups, columns, strict=True)}
    return split_of_files(name, files, table, cache, coded)


def _parse_group(column: Sequence[str]) -> GroupCodes:
    """Turn a column into a group: integers are codes, other texts become names of codes."""
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", text) for text in column):
        return np.array(list(map(int, column)), dtype=np.int64), None
    return encode_group(column)


def _read_rows(path: Path, groups: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, [image path with forward slashes, label text, *groups]) of a list."""
    file = io.StringIO(text_of(path, TABLE))
    try:
        header = file.readline()
        delimiter = "\t" if "\t" in header else ","
        columns = [c.strip() for c in next(csv.reader([header], delimiter=delimiter), [])]
        if not {"path", "label"} <= set(columns):
            raise InputError(f"{path}:1: expected a header path,label, got {header.strip()!r:.80}")
        for group in groups:
            if group not in columns:
                raise unknown_name(f"column in {path}", group, columns)
        at = [columns.index(name) for name in ("path", "label", *groups)]
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            line = reader.line_num + 1
            if not row:
                continue
            if len(row) != len(columns) or not all(row[i].strip() for i in at):
                raise InputError(f"{path}:{line}: expected {len(columns)} non-empty fields")
            image, *others = (row[i].strip() for i in at)
            yield line, [PurePosixPath(image.replace("\\", "/")).as_posix(), *others]
    except csv.Error as error:
        raise InputError(f"cannot read image list {path}: {error}") from error


def _status(root: Path, image: str) -> os.stat_result:
    try:
        status = (root / image).stat()
    except OSError as error:
        shown = shortened(str(root / image), 200, keep_end=True)
        raise InputError(
            f"image {shown} does not exist: paths are relative to the folder of the list"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{root / image} is not a file: expected an image file")
    return status

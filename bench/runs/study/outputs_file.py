"""One file of external outputs: its values are checked, and read when they are needed, by blocks.

So no array of a training set is held whole, only what is asked of it (`OutputsOfSplit`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from bench.api.splits import Loaded, Manifest
from bench.core.errors import CellError, InputError, label_hint
from bench.posthoc.scores import (
    ScoreFacts,
    checked_matrix,
    log_of_probabilities,
    shifted_logits,
)

ALL = slice(None)
NUMBERS = 2**18
"""Numbers of an array that are handled at a time: a megabyte in float32, as caches hold."""


def _blocks(array: Any, part: slice = ALL) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the rows `part` of an array in a file by blocks, with their places in that part.

    Half-precision numbers become float32, which holds them exactly and is several times as fast.
    """
    size, *shape = array.get_shape()
    first, stop, _ = part.indices(size)
    rows = max(1, NUMBERS // max(1, int(np.prod(shape))))
    for start in range(first, stop, rows):
        block = array[start : min(start + rows, stop)]
        is_half = block.dtype == np.float16
        place = slice(start - first, start - first + len(block))
        yield place, block.astype(np.float32) if is_half else block


def check_given_values(path: Path, name: str, array: Any) -> list[str]:
    """Return what to know of the values of an array of a file, one sentence each.

    `array` is a slice of safetensors. Raises InputError for values that are not finite as float32
    (of scores: without the largest of each row), and for scores of another kind.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from safetensors import safe_open
    >>> from safetensors.numpy import save_file
    >>> from bench.runs.study.outputs_file import check_given_values
    >>> path, name = Path("id.safetensors"), "zs.logits"
    >>> save_file({name: np.array([[2.0, 2.0], [3.0, 5.0]])}, path)
    >>> with safe_open(path, framework="numpy") as file:
    ...     (said,) = check_given_values(path, name, file.get_slice(name))
    >>> said
    'zs.logits: 1 of 2 rows has one value for all classes, so its prediction is the first class.'
    """
    where, kind = f"{path}: {name}", name.rpartition(".")[2]
    is_scores = kind in ("logits", "probabilities") and not name.startswith("groups.")
    facts = ScoreFacts()
    for place, block in _blocks(array):
        rows = block.reshape(len(block), -1)
        is_bad, what = ~np.isfinite(rows).all(axis=1), "is not finite"
        if not is_bad.any() and rows.dtype == np.float64:
            with np.errstate(over="ignore"):
                used = shifted_logits(rows) if is_scores else rows.astype(np.float32)
            is_bad, what = ~np.isfinite(used).all(axis=1), "is beyond float32 (3.4e38)"
        if is_bad.any():
            row = place.start + int(is_bad.argmax())
            raise InputError(f"{where} {what} in row {row} (counted from 0)")
        if kind == "probabilities" and is_scores:
            log_of_probabilities(where, rows, place.start)
        elif is_scores:
            facts = facts.and_of(ScoreFacts.of([checked_matrix(where, rows)]))
    if facts.refusal:
        mend = "save the scores before the softmax"
        if not facts.one_hot:
            model = name.rpartition(".")[0]
            mend += f", or name the array {model}.probabilities"
            mend += "" if facts.probabilities else " after dividing it by 100"
        raise InputError(f"{where}: {facts.refusal}; {mend}")
    return list(facts.remarks(name))


def check_given_labels(path: Path, labels: NDArray[np.integer], classes: int) -> None:
    """Raise InputError that names the first of the labels [N] of a file outside [0, classes).

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.runs.study.outputs_file import check_given_labels
    >>> check_given_labels(Path("id.safetensors"), np.array([0, 1]), 2)
    """
    is_bad = (labels < 0) | (labels >= classes)
    if is_bad.any():
        row = int(is_bad.argmax())
        hint = label_hint(int(labels.min()), int(labels.max()), classes)
        raise InputError(
            f"{path}: label {labels[row]} in row {row}, expected 0 to {classes - 1}{hint}"
        )


@dataclass(frozen=True)
class _NoImages:
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        raise CellError("not computable: the method needs images, but only outputs were supplied")


@dataclass(frozen=True)
class OutputsOfSplit:
    """A checked file of outputs, the names of its arrays and its number of samples.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from safetensors.numpy import save_file
    >>> from bench.runs.study.outputs_file import OutputsOfSplit
    >>> scores, labels = np.array([[2.0, 1.0], [3.0, 5.0]]), np.array([0, 0])
    >>> save_file({"zs.logits": scores, "labels": labels}, "id.safetensors")
    >>> found = OutputsOfSplit(Path("id.safetensors"), frozenset({"zs.logits", "labels"}), 2)
    >>> found.given("zs", "correct"), found.given("zs", "logits", slice(1, 2))
    (array([ True, False]), array([[-2.,  0.]], dtype=float32))
    """

    path: Path
    names: frozenset[str]
    size: int

    def load(self) -> Loaded:
        """Return the labels and groups; reading an image raises CellError."""
        labels = self._read("labels", np.int64)
        groups = {
            name.removeprefix("groups."): self._read(name, np.int64)
            for name in sorted(self.names)
            if name.startswith("groups.")
        }
        ids = tuple(map(str, range(len(labels))))
        return Loaded(_NoImages(len(labels)), Manifest(ids, labels[:, None], groups))

    def given(self, model: str, kind: str, part: slice = ALL) -> NDArray[Any]:
        """Return ``features`` or ``logits`` as float32, or ``correct``, if need be from logits.

        `part` has the rows to return, all by default. Of float64 logits the largest of each row is
        taken off before: float32 could not hold them beside a large common offset. Those of
        probabilities are their logarithms. Raises CellError if the file does not have the array.
        """
        if kind == "correct":
            return self._correct(model, part)
        name = f"{model}.{kind}"
        if kind == "logits" and name not in self.names and f"{model}.probabilities" in self.names:
            name = f"{model}.probabilities"
        return self._read(name, np.float32, part)

    def _correct(self, model: str, part: slice) -> NDArray[np.bool_]:
        if f"{model}.correct" in self.names:
            return self._read(f"{model}.correct", np.bool_, part)
        first, stop, _ = part.indices(self.size)
        labels, found = self._read("labels", np.int64, part), np.empty(stop - first, np.bool_)
        for start in range(0, len(found), BLOCK):
            rows = slice(first + start, min(first + start + BLOCK, stop))
            top = self.given(model, "logits", rows).argmax(axis=1)
            found[start : start + BLOCK] = top == labels[start : start + BLOCK]
        return found

    def _read(self, name: str, dtype: type[Any], part: slice = ALL) -> NDArray[Any]:
        """Return the rows `part` of an array as `dtype`. Raises CellError if there is no array."""
        if name not in self.names:
            raise CellError(f"not computable: {self.path.name} has no {name}")
        kind = name.rpartition(".")[2] if not name.startswith("groups.") else ""
        first, stop, _ = part.indices(self.size)
        with safe_open(self.path, framework="numpy") as file:
            array: Any = file.get_slice(name)
            found = np.empty((stop - first, *array.get_shape()[1:]), dtype)
            for place, block in _blocks(array, part):
                if kind == "probabilities":
                    block = log_of_probabilities(name, block, first + place.start)
                found[place] = shifted_logits(block) if kind in SCORES else block
        return found


BLOCK = 4096
"""Rows whose logits are in memory at a time to find the correct ones."""

SCORES = ("logits", "probabilities")

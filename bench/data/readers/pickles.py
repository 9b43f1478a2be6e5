"""Dictionaries of arrays that old data sets keep in pickles, read without running anything.

CIFAR's batches and the first form of CIFAR-10.2 are pickles, and a pickle may run any program.
This reader imports nothing that a file names: it knows arrays, dtypes and scalars of NumPy and the
bytes of Python 2 by name, rebuilds them itself, and ends at any other name.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError


def read_pickle(path: Path) -> Any:
    """What a pickle holds: texts, numbers, lists, dictionaries, arrays of numbers or texts.

    Bytes of Python 2 become text, and NumPy's arrays of objects become lists. Raises InputError
    if the file is cut short or damaged, or if it names anything else.
    """
    try:
        with path.open("rb") as file:
            return unpickled(file, path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def unpickled(file: IO[bytes], path: Path) -> Any:
    """`read_pickle` of an open file, from where it stands; `path` is for errors."""
    try:
        return _plain(_Reader(file, path).load())
    except InputError:
        raise
    except Exception as error:  # damaged pickles raise almost anything
        raise InputError(f"{path} is cut short, damaged or no pickle: get it again") from error


class _Dtype:
    """A dtype of NumPy as pickles build it: its code, and its byte order as state."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    @property
    def plain(self) -> np.dtype[Any] | None:
        """The dtype if it is one of numbers or texts, None if it is one of objects."""
        found = np.dtype(self.code)
        if found.kind == "O":
            return None
        if found.kind not in "biufSU":
            raise ValueError(f"no dtype of numbers or texts: {self.code}")
        return found.newbyteorder(">") if self.order == ">" else found


class _Array:
    """An array as pickles build it: empty at first, then with everything as state."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.plain is None:
            self.value = list(data)
        else:
            self.value = _numbers(dtype, data).reshape(shape, order="F" if fortran else "C")


class _Reader(pickle.Unpickler):
    """An unpickler that calls only functions that are made anew for every file.

    A pickle may set attributes of what it names, so that nothing of it may outlive the file.
    """

    def __init__(self, file: IO[bytes], source: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.source = source

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        admitted = {
            "__builtin__.bytes": lambda: b"",
            "_codecs.encode": lambda text, _: text.encode("latin1"),
            "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
            "numpy.core.multiarray.scalar": lambda dtype, data: _numbers(dtype, data)[0].item(),
            "numpy.dtype": lambda code, *_: _Dtype(str(code)),
            "numpy.ndarray": None,
        }
        if path in admitted:
            return admitted[path]
        raise InputError(
            f"{self.source} is a pickle that names {path!r:.100}: expected only arrays, and "
            "not read further, since a pickle may run anything"
        )


def _numbers(dtype: _Dtype, data: str | bytes) -> NDArray[Any]:
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.plain)


def _plain(value: Any) -> Any:
    """`value` with the arrays in place of what built them."""
    if isinstance(value, _Array):
        return _plain(value.value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray):
        return value
    raise ValueError(f"no value: {type(value).__name__}")

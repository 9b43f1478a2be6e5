"""Safe reader of the pickled dictionaries of arrays in old data sets.

CIFAR's batches and the first version of CIFAR-10.2 are pickles, and loading a pickle can run any
code. This reader imports nothing that a file names. It recognises NumPy's arrays, dtypes and
scalars and Python 2's bytes by name, rebuilds them itself, and rejects every other name.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench.core.errors import InputError, one_line, shortened
from bench.core.foreign.files import open_regular, reading
from bench.core.foreign.opcodes import check_opcodes

VALUES = 2_000_000
"""The most values in a pickle, shared ones counted as often as they are named."""


def read_pickle(path: Path) -> Any:
    """Load a pickle of strings, numbers, lists, dictionaries and arrays of numbers or strings.

    Python 2's bytes become text, and NumPy's arrays of objects become lists. Raises InputError if
    the file is truncated or damaged, or if it contains anything else.

    Examples
    --------
    >>> import pickle
    >>> from pathlib import Path
    >>> from bench.data.readers.pickles import read_pickle
    >>> _ = Path("batch").write_bytes(pickle.dumps({"labels": [3, 1]}))
    >>> read_pickle(Path("batch"))
    {'labels': [3, 1]}
    >>> _ = Path("bad").write_bytes(pickle.dumps(Path("/")))
    >>> read_pickle(Path("bad"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: bad is a pickle that refers to 'pathlib.PosixPath': ...
    """
    with reading(path), open_regular(path) as file:
        return unpickled(file, path)


def unpickled(file: IO[bytes], path: Path) -> Any:
    """Load a pickle from the current position of an open file; `path` is for error messages.

    Examples
    --------
    >>> import io
    >>> import pickle
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.pickles import unpickled
    >>> unpickled(io.BytesIO(pickle.dumps(np.arange(3))), Path("memory"))
    array([0, 1, 2])
    """
    start = file.tell()
    try:
        check_opcodes(file)
        size = file.tell() - start
        file.seek(start)
        return _Plain(VALUES).of(_Reader(file, path, size).load())
    except (InputError, OSError):
        raise
    except Exception as error:  # damaged pickles raise many types of errors
        raise InputError(
            f"{path} is truncated, damaged or not a pickle ({shortened(one_line(error), 120)}): "
            "get the file again"
        ) from error


class _Dtype:
    """A NumPy dtype as a pickle builds it: from its code, then its byte order as state."""

    def __init__(self, code: str) -> None:
        self.code = _text(code)
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])

    @property
    def plain(self) -> np.dtype[Any] | None:
        """The dtype of numbers or strings; None for objects."""
        found = np.dtype(self.code)
        if found.kind == "O":
            return None
        if found.kind not in "biufSU":
            raise ValueError(f"not a dtype of numbers or strings: {self.code}")
        return found.newbyteorder(">") if self.order == ">" else found


class _Array:
    """An array as a pickle builds it: first empty, then filled from its state."""

    value: Any = None

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.plain is None:
            self.value = list(data)
        else:
            raw = self.reader.encoded(data) if isinstance(data, str) else data
            numbers = np.frombuffer(raw, dtype.plain)
            self.value = numbers.reshape(shape, order="F" if fortran else "C")


class _Reader(pickle.Unpickler):
    """An unpickler that calls only functions created for this one file.

    A pickle can set attributes of the objects it names, so these objects must not be reused for
    another file. `size` is the pickle's; copies of what it names again and again are no larger.
    """

    def __init__(self, file: IO[bytes], source: Path, size: int) -> None:
        super().__init__(file, encoding="latin1")
        self.source, self.left = source, size

    def encoded(self, text: str | bytes) -> bytes:
        """Return a copy of data as bytes."""
        self.left -= len(text)
        if self.left < 0:
            raise pickle.UnpicklingError("its arrays have more bytes than the file")
        return text.encode("latin1") if isinstance(text, str) else text

    def scalar(self, dtype: _Dtype, data: str | bytes) -> Any:
        """Return a number or a string that NumPy saved."""
        return np.frombuffer(self.encoded(data), dtype.plain)[0].item()

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        allowed = {
            "__builtin__.bytes": lambda: b"",
            "_codecs.encode": lambda text, _: self.encoded(text),
            "numpy.core.multiarray._reconstruct": lambda *_: _Array(self),
            "numpy.core.multiarray.scalar": lambda *given: self.scalar(*given),
            "numpy.dtype": lambda code, *_: _Dtype(code),
            "numpy.ndarray": None,
        }
        if path in allowed:
            return allowed[path]
        raise InputError(
            f"{self.source} is a pickle that refers to {path!r:.100}: expected only arrays; it was "
            "not loaded because a pickle can run any code. Get the file from its official source"
        )


def _text(value: object) -> str:
    if not isinstance(value, str):  # whose text may be longer than any memory
        raise pickle.UnpicklingError(f"{type(value).__name__} in the place of a text")
    return value


class _Plain:
    """Puts the built arrays in the place of the helper objects, in `left` values at the most."""

    def __init__(self, left: int) -> None:
        self.left = left

    def of(self, value: Any) -> Any:
        """Return a value without helper objects."""
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"more than {VALUES:,} values, shared ones counted")
        if isinstance(value, _Array):
            return self.of(value.value)
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if isinstance(value, dict):
            return {self.of(key): self.of(item) for key, item in value.items()}
        if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray):
            return value
        raise ValueError(f"not a plain value: {type(value).__name__}")

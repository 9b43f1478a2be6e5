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
from numpy.typing import NDArray

from bench.core.errors import InputError


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
    try:
        with path.open("rb") as file:
            return unpickled(file, path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


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
    try:
        return _plain(_Reader(file, path).load())
    except InputError:
        raise
    except Exception as error:  # damaged pickles raise many types of errors
        raise InputError(
            f"{path} is truncated, damaged or not a pickle: get the file again"
        ) from error


class _Dtype:
    """A NumPy dtype as a pickle builds it: from its code, then its byte order as state."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

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

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.plain is None:
            self.value = list(data)
        else:
            self.value = _numbers(dtype, data).reshape(shape, order="F" if fortran else "C")


class _Reader(pickle.Unpickler):
    """An unpickler that calls only functions created for this one file.

    A pickle can set attributes of the objects it names, so these objects must not be reused for
    another file.
    """

    def __init__(self, file: IO[bytes], source: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.source = source

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        allowed = {
            "__builtin__.bytes": lambda: b"",
            "_codecs.encode": lambda text, _: text.encode("latin1"),
            "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
            "numpy.core.multiarray.scalar": lambda dtype, data: _numbers(dtype, data)[0].item(),
            "numpy.dtype": lambda code, *_: _Dtype(str(code)),
            "numpy.ndarray": None,
        }
        if path in allowed:
            return allowed[path]
        raise InputError(
            f"{self.source} is a pickle that refers to {path!r:.100}: expected only arrays; it was "
            "not loaded because a pickle can run any code. Get the file from its official source"
        )


def _numbers(dtype: _Dtype, data: str | bytes) -> NDArray[Any]:
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.plain)


def _plain(value: Any) -> Any:
    """Return `value` with the built arrays in place of the helper objects."""
    if isinstance(value, _Array):
        return _plain(value.value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray):
        return value
    raise ValueError(f"not a plain value: {type(value).__name__}")

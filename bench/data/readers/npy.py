"""Arrays in `.npy` and `.npz` files, read without pickle.

An `.npy` file is memory-mapped; a member of an `.npz` file is read into memory.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, unknown_name
from bench.core.foreign.expansion import check_zip
from bench.core.foreign.files import open_regular
from bench.core.paths import write_atomic
from bench.core.store.container import (
    DamagedError,
    opened,
    packed_arrays,
    sealed,
    unpacked_arrays,
)
from bench.data.readers.pickles import unpickled

HEADER = 2**16
"""The most bytes of a header, as NumPy itself writes none."""


def is_npz(path: Path) -> bool:
    """Whether a file has several arrays, by its name.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.npy import is_npz
    >>> is_npz(Path("images.npz")), is_npz(Path("images.npy"))
    (True, False)
    """
    return path.suffix == ".npz"


def member_name(path: Path, member: str) -> str:
    """Return the name of a file, or of a member of an `.npz` file, for messages.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.npy import member_name
    >>> member_name(Path("pets.npz"), "labels"), member_name(Path("labels.npy"), "labels")
    ('pets.npz (labels)', 'labels.npy')
    """
    return f"{path} ({member})" if is_npz(path) else str(path)


def array_header(path: Path, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return (shape, dtype) of an array without reading its data. InputError as `read_array`.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.npy import array_header
    >>> np.save("labels.npy", np.arange(3))
    >>> array_header(Path("labels.npy"), "")
    ((3,), dtype('int64'))
    """
    if not is_npz(path):
        array = read_array(path, member)
        return array.shape, array.dtype
    shape, _, dtype = _in_zip(path, member, _header)
    if dtype.hasobject:
        raise _pickle_error(path, member)
    return shape, dtype


def read_array(path: Path, member: str) -> NDArray[Any]:
    """Return the array of an `.npy` file, memory-mapped, or a member of an `.npz` file, loaded.

    Raises InputError if it is missing, truncated, damaged or a pickle.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.npy import read_array
    >>> np.savez("pets.npz", labels=np.arange(3))
    >>> read_array(Path("pets.npz"), "labels")
    array([0, 1, 2])
    """
    found = read_objects(path, member) if is_npz(path) else _memory_map(path)
    if not isinstance(found, np.ndarray):
        raise _pickle_error(path, member)
    return found


def read_objects(path: Path, member: str) -> Any:
    """Load the array of an `.npy` file or of a member of an `.npz` file into memory.

    An array of objects, which is stored as a pickle, is returned as a list (see
    `bench.data.readers.pickles`). Raises InputError if it is missing, truncated or damaged, or if
    it holds anything but numbers, strings and dictionaries.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.npy import read_objects
    >>> np.save("names.npy", np.array(["cat", 3], dtype=object))
    >>> read_objects(Path("names.npy"), "")
    ['cat', 3]
    """

    def read(file: IO[bytes]) -> Any:
        shape, fortran, dtype = _header(file)
        if dtype.hasobject:
            return unpickled(file, path)
        return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")

    if is_npz(path):
        return _in_zip(path, member, read)
    with _explain_errors(path, path), open_regular(path) as file:
        return read(file)


def cache_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a file of the cache's index, with its name and a checksum inside.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.npy import cache_arrays, cached_arrays
    >>> cache_arrays(Path("index/one.shard"), {"sizes": np.arange(3)})
    >>> cached_arrays(Path("index/one.shard")), cached_arrays(Path("index/none.shard"))
    ({'sizes': array([0, 1, 2])}, None)
    """
    write_atomic(path, *sealed(f"index/{path.name}", packed_arrays(arrays, {})), durable=False)


def cached_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return the arrays of `cache_arrays`; None if there are none, damaged or others.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.npy import cached_arrays
    >>> cached_arrays(Path("index/none.shard")) is None
    True
    """
    try:
        with open_regular(path) as file:
            return unpacked_arrays(opened(f"index/{path.name}", file.read()))
    except (OSError, InputError, DamagedError):
        return None


def first_bytes(path: Path, member: str, count: int) -> bytes:
    """Return up to `count` bytes of the values of an array. Errors as in `array_header`.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.data.readers.npy import first_bytes
    >>> np.save("a.npy", np.array([1, 2, 3], np.uint8))
    >>> first_bytes(Path("a.npy"), "", 2)
    b'\\x01\\x02'
    """

    def read(file: IO[bytes]) -> bytes:
        _header(file)
        return file.read(count)

    if is_npz(path):
        found: bytes = _in_zip(path, member, read)
        return found
    with _explain_errors(path, path), open_regular(path) as file:
        return read(file)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an open `.npy` file: (shape, whether in Fortran order, dtype)."""
    start = file.tell()
    head = io.BytesIO(file.read(HEADER))  # NumPy reads headers of gigabytes
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        found = np.lib.format.read_array_header_1_0(head)
    else:
        found = np.lib.format.read_array_header_2_0(head)
    if any(isinstance(size, bool) for size in found[0]):  # NumPy takes them for whole numbers
        raise ValueError(f"its shape is {found[0]}")
    file.seek(start + head.tell())
    return found


def _memory_map(path: Path) -> NDArray[Any] | None:
    """Return the memory-mapped array of an `.npy` file; None if it is a pickle."""
    with _explain_errors(path, path), open_regular(path) as file:
        if _header(file)[2].hasobject:
            return None
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array


def _in_zip(path: Path, member: str, read: Callable[[IO[bytes]], Any]) -> Any:
    with (
        _explain_errors(path, member_name(path, member)),
        open_regular(path) as whole,
        zipfile.ZipFile(whole) as archive,
    ):
        check_zip(archive, path)
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if member not in names:
            raise unknown_name(f"array in {path}", member, names)
        with archive.open(f"{member}.npy") as file:
            return read(file)


@contextmanager
def _explain_errors(path: Path, where: object) -> Iterator[None]:
    """Turn errors from reading `path` into an InputError that names `where`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # NumPy, zipfile and what they call raise almost anything
        kind, save = ("npz", "numpy.savez") if is_npz(path) else ("npy", "numpy.save")
        raise InputError(
            f"{where} is truncated, damaged or not in the .{kind} format: get the file again or "
            f"save it with {save}"
        ) from error


def _pickle_error(path: Path, member: str) -> InputError:
    return InputError(
        f"{member_name(path, member)} holds pickled objects, which are not loaded because a pickle "
        "can run any code: save plain numbers or strings with numpy.save or numpy.savez"
    )

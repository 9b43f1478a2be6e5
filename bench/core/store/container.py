"""The form of stored files: each says which output it is, and carries a checksum of itself.

Arrays are safetensors files whose metadata holds ``item``, the name of the output, and ``sha256``,
the checksum of the whole file with zeros in its own place. JSON files have both in their first
line. So a file that was damaged, or that stands under another output's name, is told from a good
one by itself: alone, in another folder or on another machine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import DataError
from bench.core.foreign.files import TABLE, open_regular
from bench.core.hashing import canonical_json
from bench.core.store.forms import check_arrays, check_value

ZEROS = "0" * 64
LONGEST_HEADER = 2**27
"""The most bytes that are read as the header of a stored file."""


class DamagedError(Exception):
    """A stored file is damaged or is another output than the one that was wanted.

    Examples
    --------
    >>> from bench.core.store.container import DamagedError
    >>> str(DamagedError("it does not match its checksum"))
    'it does not match its checksum'
    """


class UnreadableOutput(DataError):
    """A stored output is there and cannot be read: it may be good, so it is not removed.

    Examples
    --------
    >>> from bench.core.store import UnreadableOutput
    >>> UnreadableOutput("fits/1f0c: permission denied").exit_code
    4
    """

    ends_run = False


def bytes_of(path: Path) -> bytes | None:
    """Return the content of a stored file, None if it is absent.

    Of a file that is longer than its beginning says, only so much is read that its checksum cannot
    match. Raises UnreadableOutput if there is one that cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.container import bytes_of
    >>> bytes_of(Path("nowhere")) is None
    True
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            is_json = path.suffix == ".json"
            return file.read(min(size, TABLE)) if is_json else _safetensors_of(file, size)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def names_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder of stored files, none if it is absent.

    Raises UnreadableOutput if there is one that cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.container import names_in
    >>> names_in(Path("nowhere"))
    set()
    """
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: Path, error: OSError) -> UnreadableOutput:
    return UnreadableOutput(
        f"stored output {path} cannot be read: {error.strerror}: make it readable, or remove "
        "it to have it computed again"
    )


def _safetensors_of(file: BufferedReader, size: int) -> bytes:
    """Return the bytes of a safetensors file up to the one after the last that it should have."""
    start = file.read(8)
    header = file.read(min(int.from_bytes(start, "little"), LONGEST_HEADER, size))
    try:
        places = [a["data_offsets"][1] for n, a in _json(header).items() if n != "__metadata__"]
        rest = file.read(min(max([0, *places]) + 1, size))
    except (DamagedError, LookupError, TypeError):
        rest = b""
    return start + header + rest


def sealed(item: str, packed: bytes) -> tuple[bytes, memoryview]:
    """Return a safetensors file with the name `item` and a checksum, as a header and the rest.

    Examples
    --------
    >>> import numpy as np
    >>> from safetensors.numpy import load, save
    >>> from bench.core.store.container import opened, sealed
    >>> data = b"".join(sealed("weights/1f0c", save({"b": np.array([0.4])})))
    >>> load(opened("weights/1f0c", data))
    {'b': array([0.4])}
    """
    length = int.from_bytes(packed[:8], "little")
    found = json.loads(packed[8 : 8 + length])
    facts = found.get("__metadata__", {}) | {"item": item, "sha256": ZEROS}
    found["__metadata__"] = dict(sorted(facts.items()))  # safetensors has no order of its own
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header, rest = len(text).to_bytes(8, "little") + text, memoryview(packed)[8 + length :]
    digest = hashlib.sha256(header)
    digest.update(rest)
    return header.replace(_place(ZEROS), _place(digest.hexdigest())), rest


def opened(item: str, data: bytes) -> bytes:
    """Return `data` if it is the intact file of `item`, of the form of its kind.

    Raises DamagedError otherwise.

    Examples
    --------
    >>> from bench.core.store.container import opened, packed_arrays, sealed
    >>> data = b"".join(sealed("fits/1f0c", packed_arrays({}, {})))
    >>> opened("fits/2e1d", data)
    Traceback (most recent call last):
    ...
    bench.core.store.container.DamagedError: it holds fits/1f0c, not fits/2e1d
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = _json(data[8:end])
    facts = _facts_of(header)
    stated = facts.get("sha256", "")
    digest = hashlib.sha256(data[:end].replace(_place(stated), _place(ZEROS)))
    digest.update(memoryview(data)[end:])
    _compare(item, facts.get("item"), stated, digest.hexdigest())
    with _form_of(item):
        check_arrays(_kind(item), header, len(data) - end)
    return data


def sealed_json(item: str, content: Any) -> bytes:
    """Return `content` as a JSON file with the name `item` and a checksum in its first line.

    Examples
    --------
    >>> from bench.core.store.container import opened_json, sealed_json
    >>> opened_json("trainings/1f0c", sealed_json("trainings/1f0c", [{"epoch": 1}]))
    [{'epoch': 1}]
    """
    return sealed_bytes(item, canonical_json(content).encode())


def opened_json(item: str, data: bytes) -> Any:
    """Return the content of a JSON file of `item`.

    Raises DamagedError if it is not intact, or not of the form of its kind.

    Examples
    --------
    >>> from bench.core.store.container import opened_json, sealed_json
    >>> opened_json("cells/1f0c", sealed_json("cells/1f0c", [1]).replace(b"[1]", b"[2]"))
    Traceback (most recent call last):
    ...
    bench.core.store.container.DamagedError: it does not match its checksum
    """
    content = opened_bytes(item, data)
    with _form_of(item):
        check_value(_kind(item), content)
        return json.loads(content)


def sealed_bytes(item: str, data: bytes) -> bytes:
    """Return `data` after a line with the name `item` and a checksum.

    Examples
    --------
    >>> from bench.core.store.container import opened_bytes, sealed_bytes
    >>> opened_bytes("index/1f0c", sealed_bytes("index/1f0c", b"a digest"))
    b'a digest'
    """
    head = {"item": item, "sha256": hashlib.sha256(data).hexdigest()}
    return json.dumps(head).encode() + b"\n" + data


def opened_bytes(item: str, data: bytes) -> bytes:
    """Return the content of a file of `sealed_bytes`. Raises DamagedError if it is not intact.

    Examples
    --------
    >>> from bench.core.store.container import opened_bytes
    >>> opened_bytes("index/1f0c", b"a digest")
    Traceback (most recent call last):
    ...
    bench.core.store.container.DamagedError: its beginning cannot be read
    """
    head, _, content = data.partition(b"\n")
    facts = _json(head)
    _compare(item, facts.get("item"), facts.get("sha256"), hashlib.sha256(content).hexdigest())
    return content


def metadata(path: Any) -> dict[str, str]:
    """Return the metadata of a safetensors file without reading its arrays.

    Raises OSError if it cannot be read, DamagedError if it has none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.store.container import metadata, packed_arrays
    >>> _ = Path("a.safetensors").write_bytes(packed_arrays({}, {"device": "cpu"}))
    >>> metadata(Path("a.safetensors"))
    {'device': 'cpu'}
    """
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        return _metadata(file.read(min(length, LONGEST_HEADER)))


def packed_arrays(arrays: Mapping[str, NDArray[np.generic]], facts: Mapping[str, str]) -> bytes:
    """Return arrays by name as a safetensors file with the metadata `facts`.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.core.store.container import packed_arrays, unpacked_arrays
    >>> unpacked_arrays(packed_arrays({"b": np.array([0.4])}, {}))
    {'b': array([0.4])}
    """
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    packed: bytes = save(contiguous, metadata=dict(facts) or None)
    return packed


def unpacked_arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a safetensors file by name.

    Examples
    --------
    >>> from bench.core.store.container import packed_arrays, unpacked_arrays
    >>> unpacked_arrays(packed_arrays({}, {}))
    {}
    """
    from safetensors.numpy import load

    arrays: dict[str, NDArray[np.generic]] = load(data)
    return arrays


def note_of(data: bytes) -> dict[str, Any]:
    """Return the JSON note in the metadata of a safetensors file; empty if there is none.

    Examples
    --------
    >>> from bench.core.store.container import note_of, packed_arrays
    >>> note_of(packed_arrays({}, {"note": '{"rows": 40}'}))
    {'rows': 40}
    """
    length = int.from_bytes(data[:8], "little")
    note: dict[str, Any] = json.loads(_metadata(data[8 : 8 + length]).get("note", "{}"))
    return note


def _compare(item: str, found: Any, stated: Any, digest: str) -> None:
    if stated != digest:
        raise DamagedError("it does not match its checksum")
    if found != item:
        raise DamagedError(f"it holds {found}, not {item}")


def _place(digest: str) -> bytes:
    """The bytes around a checksum in a header; quotes inside of other texts are escaped."""
    return f'"sha256":"{digest}"'.encode(errors="replace")


def _kind(item: str) -> str:
    return item.partition("/")[0]


@contextmanager
def _form_of(item: str) -> Iterator[None]:
    """Turn what is wrong with the form of an output into a DamagedError."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is no output of {_kind(item)}: {error}") from error


def _metadata(header: bytes) -> dict[str, str]:
    return _facts_of(_json(header))


def _facts_of(header: Mapping[str, Any]) -> dict[str, str]:
    found = header.get("__metadata__")
    if not isinstance(found, dict):
        raise DamagedError("it has no metadata")
    return found


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError("its beginning cannot be read") from error
    return found if isinstance(found, dict) else {}

"""Open files of unknown origin: regular files only, and of text only so much."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.errors import InputError, shortened
from bench.core.paths import format_bytes

DOCUMENT = 32 * 2**20
"""The most bytes of a file that is parsed as a whole, such as JSON, YAML and lists of classes."""

TABLE = 2**29
"""The most bytes of a file with a line per image, per label or per number."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file to read its bytes; a pipe or a device, which may never end, is not opened.

    Raises OSError, whose `strerror` says what the path is instead, as for any other reason.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.foreign.files import open_regular
    >>> open_regular(Path("/dev/zero"))
    Traceback (most recent call last):
    ...
    OSError: [Errno 22] it is a device, expected a regular file: '/dev/zero'
    """
    try:
        file = open(path, "rb", opener=without_waiting)  # noqa: SIM115 the caller closes it
    except ValueError as error:  # a zero character in the name
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from error
    try:
        check_regular(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def check_regular(mode: int, path: object) -> None:
    """Raise OSError unless the mode of a file, from `os.stat`, is that of a regular file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.foreign.files import check_regular
    >>> check_regular(Path("/").stat().st_mode, "/")
    Traceback (most recent call last):
    ...
    IsADirectoryError: [Errno 21] it is a folder, expected a regular file: '/'
    """
    if not stat.S_ISREG(mode):
        what = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"it is {what}, expected a regular file", str(path))


def without_waiting(path: str, flags: int) -> int:
    """Open a path, as the `opener` of `open`; that of a pipe without waiting for its other end.

    Examples
    --------
    >>> import os
    >>> from bench.core.foreign.files import without_waiting
    >>> os.mkfifo("pipe")
    >>> open("pipe", "a", opener=without_waiting)
    Traceback (most recent call last):
    ...
    OSError: [Errno 6] No such device or address: 'pipe'
    """
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_regular(path: Path) -> bytes:
    """Return the bytes of a file of any size that bench wrote. Raises OSError as `open_regular`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.foreign.files import read_regular
    >>> read_regular(Path("/dev/zero"))
    Traceback (most recent call last):
    ...
    OSError: [Errno 22] it is a device, expected a regular file: '/dev/zero'
    """
    with open_regular(path) as file:
        return file.read()


def read_bounded(path: Path, most: int = DOCUMENT) -> bytes:
    """Return the bytes of a file. Raises OSError if it cannot be read, or has more than `most`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.foreign.files import read_bounded
    >>> _ = Path("note.txt").write_text("one")
    >>> read_bounded(Path("note.txt"))
    b'one'
    >>> read_bounded(Path("note.txt"), most=2)
    Traceback (most recent call last):
    ...
    OSError: [Errno 27] it has more than 2 bytes, the most that are read: 'note.txt'
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        found = b"" if size > most else file.read(most + 1)  # the size may be wrong, as in /proc
    if max(size, len(found)) > most:
        reason = f"it has more than {format_bytes(most)}, the most that are read"
        raise OSError(errno.EFBIG, reason, str(path))
    return found


def text_of(path: Path, most: int = DOCUMENT) -> str:
    r"""Return the text of a UTF-8 file of at most `most` bytes. InputError if it cannot be read.

    Line ends are ``\n`` in the result, whatever they are in the file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.foreign.files import text_of
    >>> _ = Path("note.txt").write_text("one\ntwo")
    >>> text_of(Path("note.txt")).splitlines()
    ['one', 'two']
    """
    with reading(path):
        text = read_bounded(path, most).decode("utf-8-sig")
    if "\0" in text:
        raise InputError(
            f"cannot read {path}: it has zero bytes, so it is not UTF-8 text; save it as UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Turn the errors of reading a file, or of decoding its text, into an InputError.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.foreign.files import reading, read_bounded
    >>> with reading("no.txt"):
    ...     read_bounded(Path("no.txt"))
    ...
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: cannot read no.txt: No such file or directory
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: it is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def reading_form(path: object, form: str) -> Iterator[None]:
    """Turn errors from unexpected content of file `path` into an InputError.

    The message names the file and `form`, the expected form of its content.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.foreign.files import reading_form
    >>> with reading_form(Path("classes.json"), "a list of names"):
    ...     names = {}["names"]
    ...
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: classes.json: expected a list of names (KeyError 'names')
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        what = shortened(" ".join(f"{type(error).__name__} {error}".split()), 200)
        raise InputError(f"{path}: expected {form} ({what})") from error

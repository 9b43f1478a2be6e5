"""Every error a user can cause, with the exit code it ends in.

An error's text is one line: it names the thing, what was expected and what to do. The CLI prints
the line and exits with `exit_code`; ``--debug`` adds the traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class BenchError(Exception):
    """Root of all errors that bench raises on purpose."""

    exit_code = 1


class CellError(BenchError):
    """Some cells could not be computed; the others stand."""

    exit_code = 1


class InputError(BenchError):
    """The command line, a configuration file or the user's data is not usable."""

    exit_code = 2


class RegressionError(BenchError):
    """Numbers are not those they were to be: published or recorded ones."""

    exit_code = 3


class DataError(BenchError):
    """Files are incomplete, altered, or no data at all."""

    exit_code = 4


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> InputError:
    """The error for a name that does not exist: the nearest valid names first, then the rest."""
    names = list(valid)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    ordered = near + sorted(set(names) - set(near))
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {kind} {name!r}: {hint}valid: {', '.join(ordered) or 'none'}")


def escape_control(text: str) -> str:
    """Text without characters that a terminal would obey: they are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(error: BaseException) -> str:
    """What an error says, in one line, with its type unless bench raised it on purpose.

    Control characters, which files of others may bring into it, are escaped.

    An error from one of torch's loader processes carries the whole traceback of that process in
    its text: what was raised there stands in the last line.
    """
    text = str(error).strip()
    if "Original Traceback" in text:
        text = re.sub(r"^[\w.]+: ", "", text.splitlines()[-1])
    text = escape_control(" ".join(text.split()))
    if isinstance(error, BenchError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""Errors that a user can cause, each with its exit code.

An error message is one line that names the thing, what was expected and what to do. The CLI prints
the message and exits with `exit_code`; ``--debug`` adds the traceback.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence

INTERRUPTED = 130
"""The exit code after Ctrl-C or SIGTERM."""


class BenchError(Exception):
    """Base class of all errors that bench raises on purpose.

    `exit_code` is that of a command that ends with the error; `ends_run` states whether one in the
    midst of a run ends the run, and not only what was being computed.

    Examples
    --------
    >>> from bench.core.errors import CellError, DataError, InputError, RegressionError
    >>> [error.exit_code for error in (CellError, InputError, RegressionError, DataError)]
    [1, 2, 3, 4]
    """

    exit_code = 1
    ends_run = False

    def __str__(self) -> str:
        """The message as one line without control characters, however long what it quotes is."""
        return concise(super().__str__())


class CellError(BenchError):
    """Some cells could not be computed; the other results remain valid.

    Examples
    --------
    >>> from bench.core.errors import CellError
    >>> CellError("nll is inf: a true class has probability 0").exit_code
    1
    """

    exit_code = 1


class InputError(BenchError):
    """The command line, a configuration file or the user's data cannot be used.

    Examples
    --------
    >>> from bench.core.errors import InputError
    >>> InputError("unknown method 'vfr': did you mean 'vrf'?").exit_code
    2
    """

    exit_code = 2
    ends_run = True


class RegressionError(BenchError):
    """Numbers differ from the published or recorded ones they were checked against.

    Examples
    --------
    >>> from bench.core.errors import RegressionError
    >>> RegressionError("2 of 40 cells missed").exit_code
    3
    """

    exit_code = 3


class DataError(BenchError):
    """Data files are missing, incomplete, altered or not in a readable format.

    Examples
    --------
    >>> from bench.core.errors import DataError
    >>> DataError("sketch: 12 files are missing").exit_code
    4
    """

    exit_code = 4
    ends_run = True


class CaveatWarning(UserWarning):
    """What a reader should know of a run's data, model or rows: in Python, each caveat is one.

    Examples
    --------
    >>> import warnings
    >>> from bench.core.errors import CaveatWarning
    >>> warnings.simplefilter("ignore", CaveatWarning)  # they also stand in `Run.caveats`
    """


def code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with an error.

    Examples
    --------
    >>> from bench.core.errors import InputError, code_of
    >>> code_of(InputError("no data")), code_of(OSError(28, "No space left")), code_of(ValueError())
    (2, 2, 1)
    """
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    # click's errors have a code, too; what the system refuses is the user's to mend.
    default = InputError.exit_code if isinstance(error, OSError) else 1
    return int(getattr(error, "exit_code", default))


LONGEST = 499
"""The most characters of an error message."""

QUOTED = 160
"""The most characters in a row without a space, such as a path, in an error message."""

LISTED = 300
"""The most characters of valid names in an error."""

NEAREST = 3
"""The number of names that stand for a list that is longer than `LISTED`."""


def unknown_name(kind: str, name: str, valid: Iterable[str], listing: str = "") -> InputError:
    """Return the error for an unknown name; it lists the valid names, the closest ones first.

    Of more names than `LISTED` characters can hold, only the `NEAREST` are listed and the others
    counted. `listing` is the command that lists them all, if there is one.

    Examples
    --------
    >>> from bench.core.errors import unknown_name
    >>> str(unknown_name("method", "vfr", ["ose", "vrf", "wise-ft"]))
    "unknown method 'vfr': did you mean 'vrf'? valid: vrf, ose, wise-ft"
    >>> names = [f"method-{number}" for number in range(100)]
    >>> str(unknown_name("method", "metod-7", names, listing="bench list methods"))
    "unknown method 'metod-7': did you mean 'method-7'? valid: method-7, ... and 97 more (all: ...)"
    """
    names = sorted(set(valid))
    near = _nearest(name, names)
    ordered = near + [other for other in names if other not in near]
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = ordered if len(", ".join(ordered)) <= LISTED else ordered[:NEAREST]
    while len(", ".join(shown)) > LISTED:
        shown = shown[:-1]
    others = f" and {len(ordered) - len(shown)} more" if len(shown) < len(ordered) else ""
    where = f" (all: {listing})" if others and listing else ""
    listed = f"{', '.join(shown) or 'none'}{others}{where}"
    return InputError(f"unknown {kind} {shortened(repr(name), 80)}: {hint}valid: {listed}")


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    """Return the names that are most like `name`, whose case may differ."""
    folded = {other.casefold(): other for other in reversed(names)}
    found = difflib.get_close_matches(name.casefold(), folded, n=NEAREST, cutoff=0.5)
    return [folded[other] for other in found]


def label_hint(low: int, high: int, classes: int) -> str:
    """Return what labels outside 0 to C - 1 may mean and what to do, or an empty text.

    Examples
    --------
    >>> from bench.core.errors import label_hint
    >>> label_hint(1, 10, classes=10)
    ': they seem to count from 1: subtract 1'
    >>> label_hint(-1, 9, classes=10)
    ': leave out the samples without a label'
    """
    if low == 1 and high == classes:
        return ": they seem to count from 1: subtract 1"
    if low == -1 and high < classes:
        return ": leave out the samples without a label"
    return ""


def escape_control(text: str) -> str:
    r"""Return `text` with control characters escaped, so that it is safe to print in a terminal.

    Examples
    --------
    >>> from bench.core.errors import escape_control
    >>> escape_control("red \033[31m")
    'red \\x1b[31m'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, most: int, *, keep_end: bool = False) -> str:
    r"""Return at most `most` characters of a text, control characters escaped; "..." for the rest.

    `keep_end` keeps the end, as for paths, instead of the start, which ends with a whole word
    unless that is a long one.

    Examples
    --------
    >>> from bench.core.errors import shortened
    >>> shortened("a photo of a cat", 10), shortened("images/train/cat/1.png", 10, keep_end=True)
    ('a photo...', '...t/1.png')
    """
    shown = escape_control(text)
    if len(shown) <= most:
        return shown
    if keep_end:
        return f"...{shown[3 - most :]}"
    words, _, _ = shown[: most - 2].rpartition(" ")
    return f"{words if 2 * len(words) > most else shown[: most - 3]}..."


def reason_of(error: BaseException, most: int = 200) -> str:
    r"""Return what an error of a library says, as one line of at most `most` characters.

    It is for the parentheses of a message that says what was expected and what to do.

    Examples
    --------
    >>> from bench.core.errors import reason_of
    >>> reason_of(ValueError("404: Not found\nCheck the name"), 25), reason_of(OSError())
    ('404: Not found Check...', 'OSError')
    """
    return shortened(" ".join(str(error).split()) or type(error).__name__, most)


def concise(text: str) -> str:
    r"""Return a message as one line of at most `LONGEST` characters, control characters escaped.

    Of a long word, such as a path, the start and the end are kept, and so they are of the message,
    of which whole words are left out.

    Examples
    --------
    >>> from bench.core.errors import concise
    >>> concise("no file\n red\033[31m.png")
    'no file red\\x1b[31m.png'
    >>> len(concise("--out " + "x" * 10_000)), len(concise("word " * 10_000))
    (166, 497)
    """
    shown = " ".join(_middle_cut(escape_control(word), QUOTED) for word in text.split())
    if len(shown) <= LONGEST:
        return shown
    end = LONGEST // 3
    start, _, _ = shown[: LONGEST - end - 3].rpartition(" ")
    return f"{start}... {shown[-end:].partition(' ')[2]}"


def _middle_cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3]}...{text[-end:]}"


def one_line(error: BaseException) -> str:
    r"""Return the message of `error` as one line.

    The error's type is prepended unless bench raised it on purpose; of an error of the operating
    system, the path and what is wrong with it are said. The message is as `concise` makes it. An
    error from a worker process of a torch data loader holds the traceback of that process in its
    message; only its last line is returned.

    Examples
    --------
    >>> from bench.core.errors import one_line
    >>> one_line(ValueError("first\nsecond"))
    'ValueError: first second'
    >>> one_line(OSError(28, "No space left on device", "results/run/report.md"))
    'results/run/report.md: No space left on device'
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        name = error.filename
        named = os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else f"{name}"
        return concise(f"{named}: {error.strerror}")
    try:
        text = str(error).strip()
    except Exception:  # the error is that of a plugin, whose text may fail as well
        text = ""
    if "Original Traceback" in text:
        text = re.sub(r"^[\w.]+: ", "", text.splitlines()[-1])
    if isinstance(error, BenchError):
        return concise(text)
    return concise(f"{type(error).__name__}: {text}" if text else type(error).__name__)

"""Printing to standard output and standard error."""

from __future__ import annotations

import os
from typing import TextIO

from bench.core.errors import escape_control

SHOW_CURSOR = "\033[?25h"
"""Live displays hide it."""


def print_line(text: str, file: TextIO, *, styled: bool = False) -> None:
    r"""Print a line, or several, and flush it.

    Control characters in `text`, which may come from names of files, are escaped, except for line
    ends and, if it is `styled`, the sequences for colours; so is what the file's encoding lacks. If
    the reader closed the pipe (``| head -1``), this and later lines are discarded without an error.

    Examples
    --------
    >>> import sys
    >>> from bench.core.streams import print_line
    >>> print_line("vrf 78.6", sys.stdout)
    vrf 78.6
    >>> print_line("red \033[31m.png", sys.stdout)
    red \x1b[31m.png
    """
    shown = text if styled else "\n".join(map(escape_control, text.split("\n")))
    encoding = getattr(file, "encoding", None) or "utf-8"
    shown = shown.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(shown, file=file, flush=True)
    except BrokenPipeError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, file.fileno())
        os.close(devnull)

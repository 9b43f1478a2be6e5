"""Printing to standard output and standard error."""

from __future__ import annotations

import os
from typing import TextIO


def print_line(text: str, file: TextIO) -> None:
    """Print a line and flush it.

    If the reader closed the pipe (``| head -1``), this and later lines are discarded without an
    error.

    Examples
    --------
    >>> import sys
    >>> from bench.core.streams import print_line
    >>> print_line("vrf 78.6", sys.stdout)
    vrf 78.6
    """
    try:
        print(text, file=file, flush=True)
    except BrokenPipeError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, file.fileno())
        os.close(devnull)

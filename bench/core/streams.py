"""Lines for standard output and standard error."""

from __future__ import annotations

import os
from typing import TextIO


def print_line(text: str, file: TextIO) -> None:
    """Print a line at once. After nobody reads on (``| head -1``) lines go nowhere, no error."""
    try:
        print(text, file=file, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())
        os.close(nowhere)

"""What the safetensors library does not check of the files of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.errors import InputError, shortened
from bench.core.foreign.files import open_regular

LONGEST = 100_000_000
"""The most bytes of a header, as the library has it."""


def refuse_repeated_names(path: Path) -> None:
    """Raise InputError if a safetensors file, which the library can open, has a name twice.

    The library takes the last array of that name, other readers the first.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from safetensors.numpy import save_file
    >>> from bench.core.foreign.tensors import refuse_repeated_names
    >>> save_file({"labels": np.array([0, 1])}, "a.safetensors")
    >>> refuse_repeated_names(Path("a.safetensors"))
    """
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, LONGEST))
    names: list[str] = []

    def last(pairs: list[tuple[str, Any]]) -> None:
        names[:] = [name for name, _ in pairs]  # of the outermost mapping in the end

    json.loads(header, object_pairs_hook=last)
    seen = set[str]()
    for name in names:
        if name in seen:
            told = shortened(repr(name), 100)
            raise InputError(f"{path} has the array {told} more than once: save each name once")
        seen.add(name)

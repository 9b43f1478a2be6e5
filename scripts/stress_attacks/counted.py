"""The bench command, with the path of each stored file appended to a list when it is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.cli.main import main
from bench.core.store import Store

LIST = sys.argv.pop(1)
write = Store._write


def counted(self: Store, path: Path, *parts: bytes | memoryview, durable: bool = True) -> None:
    write(self, path, *parts, durable=durable)
    with open(LIST, "ab", buffering=0) as file:  # noqa: PTH123
        file.write(os.fsencode(f"{path}\n"))


if __name__ == "__main__":
    Store._write = counted  # type: ignore[method-assign]
    main()

"""Look through a pickle before it is loaded: Python's reader has no bounds of its own.

A pickle of a few hundred bytes can ask for gigabytes (an index of the memo), for hours (the hash of
tuples that share their parts) or for more levels than the machine's stack has. Its instructions are
therefore followed here on sizes alone, and nothing is built.
"""

from __future__ import annotations

import os
import pickle
import pickletools
from dataclasses import dataclass
from typing import IO, Any

from bench.core.errors import shortened

PARTS = 50_000_000
"""The most parts that all instructions take together, shared ones as often as they are named."""

DEPTH = 200
"""The most levels of values in each other."""

GROWING = frozenset({"ADDITEMS", "APPEND", "APPENDS", "BUILD", "SETITEM", "SETITEMS"})
"""Instructions that change the value they take first."""


class OpcodeError(pickle.UnpicklingError):
    """The instructions of a pickle are damaged, or would take too much memory or time.

    Examples
    --------
    >>> from bench.core.foreign.opcodes import OpcodeError
    >>> str(OpcodeError("it has more than 50,000,000 parts"))
    'it has more than 50,000,000 parts'
    """


@dataclass(eq=False)
class _Size:
    """How many parts a value has, and in how many levels."""

    parts: int = 1
    depth: int = 0


_MARK = _Size()


def check_opcodes(file: IO[bytes]) -> None:
    r"""Read one pickle from a file, to just behind it.

    Raises OpcodeError.

    Examples
    --------
    >>> import io
    >>> import pickle
    >>> from bench.core.foreign.opcodes import check_opcodes
    >>> check_opcodes(io.BytesIO(pickle.dumps({"labels": [3, 1]})))
    >>> check_opcodes(io.BytesIO(b"Nr\xff\xff\xff\x7f."))  # keep None at place 2,147,483,647
    Traceback (most recent call last):
    ...
    bench.core.foreign.opcodes.OpcodeError: it keeps its value 1 at place 2,147,483,647
    """
    reader = _Follower()
    start = file.tell()
    rest: Any = _Rest(file, file.seek(0, os.SEEK_END) - start)
    file.seek(start)
    try:
        for opcode, given, _ in pickletools.genops(rest):
            reader.follow(opcode, given)
    except OpcodeError:
        raise
    except Exception as error:  # of a damaged pickle, almost anything
        raise OpcodeError(f"damaged instructions: {shortened(repr(error), 100)}") from error


class _Rest:
    """The `left` bytes of a file; a file reserves memory for all that it is asked for."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self.file, self.left = file, left

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        found = self.file.read(min(size, self.left))
        self.left -= len(found)
        return found

    def readline(self) -> bytes:
        """Return the bytes of the next line."""
        found = self.file.readline()
        self.left -= len(found)
        return found

    def tell(self) -> int:
        """Return the position in the file."""
        return self.file.tell()


class _Follower:
    """Does with sizes what instructions do with values."""

    def __init__(self) -> None:
        self.stack: list[_Size] = []
        self.memo: dict[int, _Size] = {}
        self.count = self.parts = 0

    def follow(self, opcode: pickletools.OpcodeInfo, given: object) -> None:
        """Follow one instruction."""
        stack, name = self.stack, opcode.name
        if name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name.endswith("PUT"):
            place = int(str(given))
            if not 0 <= place <= self.count:  # pickles number their values one by one
                told = f"its value {self.count} at place {place:,}"
                raise OpcodeError(f"it keeps {told}")
            self.memo[place] = stack[-1]
        elif name.endswith("GET"):
            stack.append(self.memo[int(str(given))])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in ("GLOBAL", "INST") and str(given).split()[-1:] == ["bytearray"]:
            raise OpcodeError("it makes a bytearray, which may be of any size")
        else:
            taken = self._taken(opcode)
            size = taken.pop() if name in GROWING else _Size()
            self.parts += sum(part.parts for part in taken)
            size.parts += sum(part.parts for part in taken)
            size.depth = max([size.depth, *(part.depth + 1 for part in taken)])
            if self.parts > PARTS:
                raise OpcodeError(f"it has more than {PARTS:,} parts")
            if size.depth > DEPTH:
                raise OpcodeError(f"it nests values more than {DEPTH} levels deep")
            self.count += 1
            stack.extend(size for _ in opcode.stack_after)

    def _taken(self, opcode: pickletools.OpcodeInfo) -> list[_Size]:
        """Return what an instruction takes from the stack, from the top downwards."""
        before, found = list(opcode.stack_before), list[_Size]()
        if pickletools.markobject in before:
            while (size := self.stack.pop()) is not _MARK:
                found.append(size)
            before = before[: before.index(pickletools.markobject)]
        return found + [self.stack.pop() for _ in before]

"""For tests: files that are damaged at random, and the bombs that once hung or stopped a reader."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from bench.core.errors import BenchError, DataError, InputError

LEVELS = 60


def damaged(valid: bytes) -> st.SearchStrategy[bytes]:
    """Bytes at random; valid ones that are cut, with flipped bits, or with other bytes inside."""

    def flip(places: list[tuple[int, int]]) -> bytes:
        found = bytearray(valid)
        for place, bit in places:
            found[place % len(found)] ^= 1 << bit
        return bytes(found)

    place = st.integers(0, len(valid) - 1)
    spots = st.lists(st.tuples(place, st.integers(0, 7)), min_size=1, max_size=6)
    return st.one_of(
        st.binary(max_size=64),
        place.map(lambda end: valid[:end]),
        spots.map(flip),
        # The first bytes are headers, where damage does most.
        st.lists(st.tuples(st.integers(0, 300), st.integers(0, 7)), min_size=1).map(flip),
        st.tuples(place, st.binary(max_size=8)).map(
            lambda cut: valid[: cut[0]] + cut[1] + valid[cut[0] :]
        ),
    )


def readable_or_refused(call: Callable[[], object]) -> BenchError | None:
    """Call a reader: it returns, or raises an error of bench of one short line."""
    try:
        call()
    except (InputError, DataError) as error:
        text = str(error)
        assert "\n" not in text
        assert len(text) < 700, text
        return error
    return None


def refused(call: Callable[[], object], *words: str) -> str:
    """Call a reader: it refuses, with these words."""
    with pytest.raises((InputError, DataError)) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700, text
    for word in words:
        assert word in text, text
    return text


# Text


def laughs(width: int = 10, depth: int = 9) -> str:
    """A YAML mapping whose last value has width ** depth parts, by names for shared ones."""
    lines = ["a0: &a0 [" + ",".join(["ha"] * width) + "]"]
    for level in range(1, depth):
        inner = ",".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} [{inner}]")
    return "\n".join(lines)


YAML = {
    "laughs": (laughs(), "repetitions counted"),
    "long laughs": (f"a: &a {'ha' * 50_000}\nb: [{'*a,' * 2000}]", "repetitions counted"),
    "merged laughs": (
        "a0: &a0 {x: 1, y: 2}\n"
        + "\n".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)),
        "repetitions counted",
    ),
    "itself": ("a: &a [*a]", "contains itself"),
    "deep": ("[" * 5000 + "]" * 5000, "nested more than 64 levels"),
    "deep keys": ("? " * 3000 + "a", "nested more than 64 levels"),
    "digits": (f"a: {'7' * 5000}", "a number of 5,000 characters"),
    "hexadecimal": (f"a: 0x{'f' * 5000}", "a number of 5,002 characters"),
    "base 60": (f"a: 1{':10' * 5000}", "a number of 15,001 characters"),
    "no date": ("a: 2001-13-45", "month must be in 1..12"),
    "no number": ("a: !!int x", "is not a number"),
    "no truth": ("a: !!bool x", "invalid YAML"),
    "no time": ("a: !!timestamp x", "invalid YAML"),
    "half a character": (r'a: "\ud800"', "characters that no text can have"),
    "beyond Unicode": (r'a: "\U00110000"', "invalid YAML"),
    "zero": (r'a: "\0"', "characters that no text can have"),
    "code": ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "no key": ("? [a]\n: 1", "unhashable"),
    "twice": ("a: 1\na: 2", "appears twice"),
}
"""YAML that once hung or stopped a reader, and what is said of it."""

JSON = {
    "deep": ("[" * 200_000, "nested more than 64 levels"),
    "rather deep": ("[" * 500 + "]" * 500, "nested more than 64 levels"),
    "deep keys": ('{"a":' * 500 + "1" + "}" * 500, "nested more than 64 levels"),
    "digits": ('{"a": ' + "7" * 5000 + "}", "more than 4,300 digits"),
    "half a character": (r'{"a": "\ud800"}', "characters that no text can have"),
    "zero": (r'["\u0000"]', "characters that no text can have"),
    "cut": ('{"a": [1,', "invalid JSON"),
    "twice": ('[{"label": 1, "label": 0}]', "key 'label' appears twice"),
    "wide": ("[" + "0," * 2_100_000 + "0]", "more than 2,000,000 values"),
}
"""JSON that once hung or stopped a reader, and what is said of it."""

ODD_JSON = ("[]", "{}", "3", "null", '"a"', "[[]]", '{"a": null}', "NaN", "1e999", '{"0": 1e999}')
"""Valid JSON of other forms than any reader expects."""


def trees() -> st.SearchStrategy[Any]:
    """Content of documents: lists and mappings of odd values."""
    leaf = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
        st.sampled_from(["cat", "0", "name", "labels", "9" * 40, "a photo of a {}."]),
    )  # fmt: skip
    key = st.sampled_from(["classes", "name", "0", "1", "key", "labels", "file", "cat"])
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(key, inner, max_size=4),
        max_leaves=12,
    )


def documents() -> st.SearchStrategy[bytes]:
    """JSON documents, which are YAML as well."""
    return trees().map(lambda tree: json.dumps(tree).encode())


# Bytes


def npz_bomb(path: Path, size: int = 2**24) -> Path:
    """An `.npz` file whose member `images` is a thousand times as large."""
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (size // 3072, 32, 32, 3)}
    np.lib.format.write_array_header_1_0(header, shape)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        member.write(bytes(size))
    return path


def shared_tuples(levels: int = LEVELS) -> bytes:
    """A pickle of a dictionary, whose key has 2 ** levels parts: hashing it takes for ever."""
    parts = b")" + b"".join(b"q%c2\x86" % n for n in range(levels))
    return b"\x80\x02}" + parts + b"K\x01s."


def shared_lists(levels: int = LEVELS) -> bytes:
    """A pickle of lists that name the next one twice before it is filled."""
    start = b"\x80\x02" + b"".join(b"]q%c0" % n for n in range(levels))
    fill = b"".join(b"h%ch%cah%ca0" % (n, n + 1, n + 1) for n in range(levels - 1))
    return start + fill + b"h\x00."


PICKLES = {
    "shared tuples": (shared_tuples(), "more than 50,000,000 parts"),
    "shared lists": (shared_lists(), "values, shared ones counted"),
    "deep tuples": (b"(" * 5000 + b"t" * 5000 + b".", "nests values more than 200 levels"),
    "far place": (b"\x80\x02Nr\xff\xff\xff\x7f.", "at place 2,147,483,647"),
    "giant bytes": (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"a.", "only 2 remain"),
    "giant number": (b"I" + b"7" * 5000 + b"\n.", "4300"),
    "other code": (b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00lstR.", "refers to 'os.system'"),
}
"""Pickles that once hung or stopped a reader, and what is said of them."""

"""Names that forked processes read without a copy of their own."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.readers.folders import PackedNames

NAMES = st.lists(st.text(st.characters(), max_size=8), max_size=20)
"""Any texts, also half of a surrogate pair, as file systems have them."""


@given(NAMES, st.data())
def test_packed_names_are_those_of_a_tuple(names: list[str], data: st.DataObject) -> None:
    packed, plain = PackedNames(names), tuple(names)
    assert tuple(packed) == plain and len(packed) == len(plain)
    cut = data.draw(st.slices(len(names)))
    assert packed[cut] == plain[cut]
    for index in range(-len(names), len(names)):
        assert packed[index] == plain[index]
    for beyond in (len(names), -len(names) - 1):
        with pytest.raises(IndexError):
            packed[beyond]
    assert tuple(pickle.loads(pickle.dumps(packed))) == plain


def test_packed_names_are_smaller_than_strings() -> None:
    """One object for all, so a process that reads them counts no references in their memory."""
    packed = PackedNames([f"train/n{i:08d}.JPEG" for i in range(1000)])
    assert len(packed.data) + packed.ends.nbytes < 1000 * 32

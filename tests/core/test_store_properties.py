"""Whatever is stored is read back, bit by bit; whatever is not of its kind's form is refused."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from bench.core.store.container import (
    LONGEST_HEADER,
    DamagedError,
    bytes_of,
    metadata,
    opened,
    opened_bytes,
    opened_json,
    packed_arrays,
    sealed,
    sealed_bytes,
    sealed_json,
    unpacked_arrays,
)
from bench.core.store.forms import check_arrays

Arrays = dict[str, NDArray[Any]]
DTYPES = ("?", "u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "i8", "u8", "f8")
LIKE_A_CHECKSUM = '"sha256":"' + "0" * 64 + '"'
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.just(LIKE_A_CHECKSUM)
names = texts.filter(lambda name: name not in ("__metadata__", "item", "sha256", "note", "caveats"))
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
any_arrays = st.dictionaries(names, hnp.arrays(st.sampled_from(DTYPES), shapes), max_size=4)


def file_of(kind: str, arrays: Arrays, note: object = None, **facts: str) -> bytes:
    facts |= {} if note is None else {"note": json.dumps(note)}
    return b"".join(sealed(f"{kind}/f", packed_arrays(arrays, facts)))


def opens(kind: str, data: bytes) -> bool:
    try:
        return opened(f"{kind}/f", data) == data
    except DamagedError:
        return False


@given(any_arrays, st.dictionaries(names, texts, max_size=4))
def test_arrays_and_facts_of_all_types_are_read_back(arrays: Arrays, facts: dict[str, str]) -> None:
    data = file_of("weights", arrays, **facts)
    found = unpacked_arrays(opened("weights/f", data))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    assert all(text.encode() in data for text in facts.values() if text.isalpha())  # UTF-8
    assert b"".join(sealed("weights/f", data)) == data
    assert not opens("weights", data[:-1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f.safetensors")
        for more in (b"", b"more"):  # of what is too long, only so much is read that one can tell
            path.write_bytes(data + more)
            assert bytes_of(path) == data + more[:1]
            assert opens("weights", bytes_of(path) or b"") == (not more)
        told = metadata(path)
    assert told == {"item": "weights/f", "sha256": told["sha256"]} | facts


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_odd_number_of_values_of_each_type_is_as_long_as_it_should_be(dtype: str) -> None:
    assert opens("weights", file_of("weights", {"a": np.ones(3, dtype), "b": np.ones(1, dtype)}))


@given(texts, st.binary())
def test_bytes_below_a_line_are_read_back(item: str, content: bytes) -> None:
    data = sealed_bytes(item, content)
    assert opened_bytes(item, data) == content
    for wrong in (data + b"\n", data[1:], *([data[:-1]] if content else [])):
        with pytest.raises(DamagedError):
            opened_bytes(item, wrong)
    with pytest.raises(DamagedError, match="it holds"):
        opened_bytes(f"{item}/", data)


def test_no_more_memory_is_filled_than_a_header_may_take(tmp_path: Path) -> None:
    """The beginning of a file may say that its header takes all of a terabyte."""
    path = tmp_path / "f.safetensors"
    path.write_bytes((2**40).to_bytes(8, "little"))
    with path.open("ab") as file:
        file.truncate(2**40)
    assert len(bytes_of(path) or b"") <= 8 + LONGEST_HEADER < 2**30
    with pytest.raises(DamagedError):
        metadata(path)


A, B = ({"dtype": "F32", "shape": [2, 1], "data_offsets": [start, start + 8]} for start in (0, 8))
HEADERS: dict[str, tuple[dict[str, Any], int, bool]] = {
    "none": ({}, 0, True),
    "in the order of places": ({"a": A, "b": B}, 16, True),
    "in another order": ({"a": B, "b": A}, 16, True),
    "one number": ({"a": A | {"shape": [], "data_offsets": [0, 4]}}, 4, True),
    "bfloat16": ({"a": A | {"dtype": "BF16", "shape": [4]}}, 8, True),
    "without numbers": ({"a": A | {"shape": [3, 0], "data_offsets": [0, 0]}}, 0, True),
    "a gap before": ({"b": B}, 16, False),
    "a gap between": ({"a": A, "b": B | {"data_offsets": [9, 17]}}, 17, False),
    "on one another": ({"a": A, "b": A}, 8, False),
    "a value too few": ({"a": A | {"shape": [3]}}, 8, False),
    "a value too many": ({"a": A | {"shape": [1]}}, 8, False),
    "less than nothing": ({"a": A | {"shape": [-2, -1]}}, 8, False),
    "of no length": ({"a": A | {"shape": [0, -1], "data_offsets": [0, 0]}}, 0, False),
    "backwards": ({"a": A | {"shape": [-2], "data_offsets": [0, -8]}}, -8, False),
    "bytes after the last": ({"a": A}, 9, False),
    "bytes of nothing": ({}, 1, False),
    "cut": ({"a": A}, 7, False),
    "of no known type": ({"a": A | {"dtype": "F7"}}, 8, False),
    "of no type": ({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8, False),
    "without a place": ({"a": {"dtype": "F32", "shape": [2]}}, 8, False),
    "of half a place": ({"a": A | {"data_offsets": [0]}}, 8, False),
    "no description": ({"a": 3}, 8, False),
}


@pytest.mark.parametrize(("header", "size", "is_good"), HEADERS.values(), ids=HEADERS)
def test_arrays_fill_the_file_without_a_gap(
    header: dict[str, Any], size: int, is_good: bool
) -> None:
    try:
        check_arrays("other", header, size)
    except ValueError as error:
        assert not is_good and "its arrays do not fit" in str(error)
    else:
        assert is_good


def of_samples(n: int) -> Arrays:
    right = np.packbits(np.arange(n) % 2 == 0)
    return {"right": right, "confidence": np.zeros(n, "u2"), "predicted": np.zeros(n, "u1")}


FACTS = {"activation": "gelu", "image_size": 32, "mean": [0.5], "std": [0.5],
         "interpolation": "bicubic", "resize": "squash"}  # fmt: skip
FORMS: dict[str, tuple[str, Arrays, dict[str, Any]]] = {
    "features": ("features", {"features": np.ones((3, 4), "f4")}, {}),
    "distances": ("distances", {"distance": np.ones(3, "f4")}, {}),
    "renders": ("renders", {"pixels": np.ones((2, 8, 8, 3), "u1"), "labels": np.arange(2)}, {}),
    "samples": ("samples", of_samples(9), {"n": 9, "set": "1f0c"}),
    "sets": ("sets", {"labels": np.ones((3, 2), "i4")},
             {"ids": "1f", "labels": "2e", "n": 3, "names": {"place": ["here"]}}),
    "a fit": ("fits", {}, {"choice": {"b": 0.4}, "chosen_on": {"n": 3}, "caveats": ["It is."],
                           "redrawn": [{"b": 0.5}]}),
    "a temperature": ("fits", {}, {"temperature": 0.5, "criterion": "nll", "split": "val",
                                   "caveats": []}),
    "a calibration": ("fits", {}, {"criterion": "nll", "split": "val", "caveats": []}),
    "a model": ("models", {}, {"facts": FACTS, "caveats": []}),
    "weights": ("weights", {}, {"history": [{"epoch": 1, "loss": 0.7}]}),
}  # fmt: skip
TYPES = {"features": "f4", "distance": "f4", "pixels": "u1", "right": "u1", "confidence": "u2",
         "predicted": "u1 u2 u4 u8", "labels of renders": "i8", "labels of sets": "i4"}  # fmt: skip
OPTIONAL = {"redrawn", "history", "caveats of cells"}


@pytest.mark.parametrize("name", FORMS)
def test_arrays_of_a_kind_have_their_names_types_and_dimensions(name: str) -> None:
    kind, arrays, note = FORMS[name]
    assert opens(kind, file_of(kind, arrays, note))
    for array, values in arrays.items():
        for dtype in DTYPES:
            changed = file_of(kind, arrays | {array: values.astype(dtype)}, note)
            fitting = TYPES.get(array) or TYPES[f"{array} of {kind}"]
            assert opens(kind, changed) == (dtype in fitting.split()), (array, dtype)
        for other in (values[..., None], values[0] if kind != "samples" else values[:-1]):
            assert not opens(kind, file_of(kind, arrays | {array: other}, note)), array
        rest = {other: arrays[other] for other in arrays if other != array}
        assert not opens(kind, file_of(kind, rest, note)), array


def without_or_wrong(value: Any, where: str = "") -> Iterator[tuple[str, bool, Any]]:
    """Each field of a note left out, of another type, and one more: its name and the note."""
    fields = value if isinstance(value, dict) else {}
    for name, field in fields.items():
        rest = {other: fields[other] for other in fields if other != name}
        yield name, True, rest
        yield name, False, rest | {name: [None]}
        if name == "facts":
            for inner, is_absent, changed in without_or_wrong(field):
                yield inner, is_absent, rest | {name: changed}
    yield "unknown", False, fields | {"unknown": 1}


@pytest.mark.parametrize("name", [name for name in FORMS if FORMS[name][2]])
def test_notes_of_a_kind_have_its_fields_and_no_others(name: str) -> None:
    kind, arrays, note = FORMS[name]
    for field, is_absent, changed in without_or_wrong(note):
        may_be = is_absent and field in OPTIONAL
        if (name, field, is_absent) != ("a temperature", "temperature", True):  # a calibration
            assert opens(kind, file_of(kind, arrays, changed)) == may_be, (field, changed)


@given(st.integers(1, 40), st.integers(-9, 9))
def test_all_arrays_of_samples_are_of_as_many_as_the_note_says(n: int, more: int) -> None:
    note, arrays = {"n": n, "set": "1f0c"}, of_samples(n)
    free = {"redrawn": np.zeros(abs(more), "f4")}  # one number for each resample
    assert opens("samples", file_of("samples", arrays | free, note))
    for name, values in of_samples(max(0, n + more)).items():
        is_same = values.shape == arrays[name].shape
        assert opens("samples", file_of("samples", arrays | {name: values}, note)) == is_same
    labels = {"labels": np.zeros((n, 1), "i4"), "group.place": np.zeros(n, "i8")}
    of_set = {"ids": "1f", "labels": "2e", "n": n, "names": {}}
    assert opens("sets", file_of("sets", labels, of_set))
    groups = labels | {"group.place": np.zeros(max(0, n + more), "i8")}
    assert opens("sets", file_of("sets", groups, of_set)) == (len(groups["group.place"]) == n)


@pytest.mark.parametrize(
    ("name", "changes", "is_good"),
    [
        ("a temperature", {"temperature": 1e-9}, True),
        ("a temperature", {"temperature": 0}, False),
        ("a temperature", {"temperature": -1e-9}, False),
        ("a temperature", {"temperature": float("inf")}, False),
        ("a fit", {"choice": {}, "redrawn": None}, True),
        ("a fit", {"redrawn": []}, False),
        ("a fit", {"redrawn": [{"b": 1}, {"b": 2, "a": 1}]}, False),
        ("a fit", {"redrawn": [{"b": 1}, {}]}, False),
        ("a fit", {"choice": {"b": float("nan")}}, False),
        ("weights", {"history": []}, True),
        ("weights", {"history": [{}]}, False),
        ("weights", {"history": [{"loss": 1.0}, {}]}, False),
    ],
)
def test_numbers_of_notes_are_within_their_bounds(
    name: str, changes: dict[str, Any], is_good: bool
) -> None:
    kind, arrays, note = FORMS[name]
    assert opens(kind, file_of(kind, arrays, note | changes)) == is_good


@pytest.mark.parametrize("n", [0, -1, True, 1.0, "1"])
def test_a_number_of_samples_is_a_whole_one_above_zero(n: Any) -> None:
    for kind in ("samples", "sets"):
        _, arrays, note = FORMS[kind]
        few = {name: values[:1] for name, values in arrays.items()}
        assert opens(kind, file_of(kind, few, note | {"n": 1}))
        assert not opens(kind, file_of(kind, few, note | {"n": n}))


def test_caveats_of_weights_are_sentences() -> None:
    for caveats, is_good in (("[]", True), ('["Cut."]', True), ('"Cut."', False), ("[3]", False)):
        assert opens("weights", file_of("weights", {}, caveats=caveats)) == is_good
        assert opens("progress", file_of("progress", {}, caveats=caveats))


CELL: dict[str, Any] = {"value": 0.5, "data": {"n": 4}, "temperature": 1.5, "trained": {"lr": 0.1},
                        "weight": 1.0, "n": 1, "environment": {"torch": "2"}, "devices": ["cpu"],
                        "caveats": ["It is."]}  # fmt: skip
VALUES: list[tuple[str, Any, bool]] = [
    *(("cells", {"a": CELL, "b": changed}, field == "caveats" and is_absent)
      for field, is_absent, changed in without_or_wrong(CELL)),
    *(("cells", {"a": CELL | {field: None}}, True) for field in ("data", "temperature")),
    *(("cells", {"a": CELL | {"n": n}}, False) for n in (0, -1, 1.5)),
    *(("cells", {"a": CELL | {"caveats": None}}, False), ("cells", [], False)),
    *(("trainings", [{"loss": 0.7}], True), ("trainings", [{"loss": 0.7}, {}], False)),
    *(("trainings", [], False), ("trainings", [{"loss": "0.7"}], False)),
    *(("precision", [0, 1], True), ("precision", [7, 40], True), ("precision", [-1, 1], False)),
    *(("precision", [0, 0], False), ("precision", [0], False), ("precision", [0, 1, 1], False)),
    ("another kind", {"of": "any form"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "is_good"), VALUES, ids=lambda v: str(v)[:60])
def test_values_of_a_kind_have_its_form(kind: str, value: Any, is_good: bool) -> None:
    data = sealed_json(f"{kind}/f", value)
    if is_good:
        assert opened_json(f"{kind}/f", data) == value
        return
    with pytest.raises(DamagedError, match=f"it is no output of {kind}"):
        opened_json(f"{kind}/f", data)

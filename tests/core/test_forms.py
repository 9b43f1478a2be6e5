"""Stored files whose name and checksum fit, and whose content is that of no output."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.core.store import Store
from bench.core.store.container import DamagedError, opened, packed_arrays, sealed, unpacked_arrays

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}
NOTE = {"choice": {"alpha": 0.5}, "chosen_on": {"n": 20}, "caveats": []}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def forged(kind: str, arrays: dict[str, NDArray[Any]], note: object) -> bytes:
    """A file by hand: its name and checksum fit, its content is what it is."""
    facts = {"note": note if isinstance(note, str) else json.dumps(note)}
    return b"".join(sealed(f"{kind}/f", packed_arrays(arrays, facts)))


SAMPLES = {
    "right": np.array([160], np.uint8),
    "predicted": np.array([3, 1, 3], np.uint8),
    "confidence": np.array([9, 8, 7], np.uint16),
}
HAND_LAID: dict[str, tuple[str, dict[str, NDArray[Any]], object]] = {
    "no note": ("fits", ARRAYS, "{}"),
    "no JSON": ("fits", ARRAYS, "not json"),
    "a note of another kind": ("fits", ARRAYS, {"n": 3, "set": "1f0c"}),
    "deep": ("fits", ARRAYS, "[" * 50_000),
    "caveats that are a text": ("fits", ARRAYS, NOTE | {"caveats": "x"}),
    "a choice of texts": ("fits", ARRAYS, NOTE | {"choice": {"alpha": "0.5"}}),
    "a choice that is not finite": ("fits", ARRAYS, NOTE | {"choice": {"alpha": math.nan}}),
    "a truth as choice": ("fits", ARRAYS, NOTE | {"choice": {"alpha": True}}),
    "other choices in resamples": ("fits", ARRAYS, NOTE | {"redrawn": [{"a": 0.5}]}),
    "no choices in resamples": ("fits", ARRAYS, NOTE | {"redrawn": []}),
    "a negative temperature": (
        "fits",
        {},
        {"temperature": -1.0, "criterion": "nll", "split": "val", "caveats": []},
    ),
    "too few samples": ("samples", SAMPLES, {"n": 4, "set": "1f0c"}),
    "too few bits": ("samples", SAMPLES | {"right": SAMPLES["right"][:0]}, {"n": 3, "set": "1"}),
    "no confidence": ("samples", {n: SAMPLES[n] for n in ("right", "predicted")}, {"n": 3}),
    "real predictions": (
        "samples",
        SAMPLES | {"predicted": np.ones(3, np.float32)},
        {"n": 3, "set": "1f0c"},
    ),
    "a history of texts": ("weights", ARRAYS, {"history": [{"epoch": "one"}]}),
    "no distances": ("distances", ARRAYS, {}),
    "distances in float64": ("distances", {"distance": np.ones(3)}, {}),
    "distances to each of several": ("distances", {"distance": np.ones((3, 2), np.float32)}, {}),
    "facts of no model": ("models", {}, {"facts": {}, "caveats": []}),
}


@pytest.mark.parametrize("name", HAND_LAID)
def test_content_of_another_form_counts_as_damaged(
    name: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Right checksums do not make an output: these gave internal errors and wrong numbers."""
    kind, arrays, note = HAND_LAID[name]
    path = store.path(kind, "f")
    path.parent.mkdir(parents=True)
    path.write_bytes(forged(kind, arrays, note))
    assert store.read_note(kind, "f") is None and not path.exists()
    assert f"{path} is damaged" in caplog.text


@pytest.mark.parametrize(
    "features",
    [
        np.full((3, 4), np.nan, np.float32),
        np.full((3, 4), np.inf, np.float32),
        np.zeros((3, 4), np.float16),
        np.zeros((3, 4), np.uint8),
        np.zeros((3, 4, 1), np.float32),
        np.zeros((2, 4), np.float32),
        np.zeros((4, 4), np.float32),
    ],
    ids=lambda f: f"{f.dtype}{f.shape}{f.flat[0]}",
)
def test_features_of_another_form_count_as_damaged(features: NDArray[Any], store: Store) -> None:
    path = store.root / "features" / "kk" / "kkk" / "000000.safetensors"
    path.parent.mkdir(parents=True)
    packed = packed_arrays({"features": features}, {"device": "cpu"})
    path.write_bytes(b"".join(sealed("features/kkk/000000", packed)))
    assert store.read_features("kkk", 3) is None and not path.exists()


@pytest.mark.parametrize(
    "value",
    [
        *([], {}, None, [{}], [{"loss": None}], [{"loss": "0.7"}], {"c": {"value": 0.25}}, 3),
        *([1], ["1", 10], [1.5, 10], [-1, 10], [0, 0], [1, 10, 3]),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["trainings", "cells", "precision"])
def test_values_of_another_form_count_as_damaged(kind: str, value: object, store: Store) -> None:
    if (kind, value) == ("cells", {}):
        return  # a pack without cells
    store.write_json(kind, "f", value)
    assert store.read_json(kind, "f") is None and not store.path(kind, "f", ".json").exists()


@given(st.integers(0, 200), st.sampled_from(["shape", "data_offsets"]), st.integers(-2, 9))
def test_places_of_arrays_that_do_not_fit_are_damage(place: int, what: str, number: int) -> None:
    """A header by hand, under a checksum of its own, never makes the reader fail."""
    packed = packed_arrays(ARRAYS, {})
    length = int.from_bytes(packed[:8], "little")
    header, name = json.loads(packed[8 : 8 + length]), sorted(ARRAYS)[place % 2]
    header[name][what][place % len(header[name][what])] = number
    text = json.dumps(header).encode()
    data = b"".join(
        sealed("weights/f", len(text).to_bytes(8, "little") + text + packed[8 + length :])
    )
    try:
        found = unpacked_arrays(opened("weights/f", data))
    except DamagedError:
        return
    assert {n: a.nbytes for n, a in found.items()} == {n: a.nbytes for n, a in ARRAYS.items()}


@pytest.mark.parametrize(
    ("shape", "is_good"), [((3, 8, 8, 3), True), ((3, 8, 8), False), ((3, 8, 8, 3, 1), False)]
)
def test_rendered_pictures_have_rows_columns_and_colours(
    shape: tuple[int, ...], is_good: bool, store: Store
) -> None:
    arrays = {"pixels": np.zeros(shape, np.uint8), "labels": np.arange(3)}
    store.write_arrays("renders", "r", arrays)
    assert (store.read_arrays("renders", "r") is not None) == is_good
    assert store.has("renders", "r") == is_good

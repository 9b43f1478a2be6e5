"""The store: what is written is read back; a damaged file counts as absent."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from bench.core.errors import InputError
from bench.core.paths import check_writable, write_atomic
from bench.core.store import BLOCK, MissingOutput, Store, UnreadableOutput, block_count

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}
NOTE = {"choice": {"alpha": 0.5}, "chosen_on": {"n": 20}, "caveats": []}
FEATURES = np.random.default_rng(0).normal(size=(BLOCK + 3, 4)).astype(np.float32)


def cell(value: float) -> dict[str, object]:
    known = {"data": None, "temperature": None, "trained": {}, "weight": 1.0, "environment": {}}
    return {"value": value, "n": 3, "devices": ["cpu"]} | known


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def write_all(store: Store) -> None:
    store.write_arrays("fits", "f", ARRAYS, NOTE)
    for block in range(block_count(len(FEATURES))):
        rows = FEATURES[block * BLOCK : (block + 1) * BLOCK]
        store.write_block("k", block, rows, "cpu")
    store.write_cells("p", {"c": cell(0.25)})


READERS: dict[str, Callable[[Store], object]] = {
    "fits": lambda s: s.read_arrays("fits", "f"),
    "note": lambda s: s.read_note("fits", "f"),
    "features": lambda s: s.read_features("k", len(FEATURES)),
    "cells": lambda s: s.read_cell("p", "c"),
}


def test_round_trip(store: Store) -> None:
    write_all(store)
    arrays = store.read_arrays("fits", "f")
    assert arrays is not None
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert store.read_note("fits", "f") == NOTE
    features = store.read_features("k", len(FEATURES))
    np.testing.assert_array_equal(features, FEATURES, strict=True)  # type: ignore[arg-type]
    assert store.read_cell("p", "c") == cell(0.25)
    assert store.device("k") == "cpu"
    assert store.device("f") is None


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_absent(reader: Callable[[Store], object], store: Store) -> None:
    assert reader(store) is None


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    write_all(one)
    write_all(other)
    files = [p.relative_to(one.root) for p in one.root.rglob("*") if p.is_file()]
    assert len(files) == 4
    for file in files:
        assert (one.root / file).read_bytes() == (other.root / file).read_bytes()


@pytest.mark.parametrize("kind", ["fits", "features", "cells"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "begins later", "other", "checksum"])
def test_damage_is_noticed_and_removed(kind: str, damage: str, store: Store) -> None:
    write_all(store)
    reader = READERS[kind]
    path = next(p for p in sorted((store.root / kind).rglob("*.*")))
    data = bytearray(path.read_bytes())
    match damage:
        case "flip":
            data[len(data) // 2] ^= 1
        case "cut":
            del data[-1:]
        case "empty":
            data.clear()
        case "begins later":
            del data[:1]
        case "other":  # an intact file of the same kind, under this one's name
            store.write_arrays("fits", "g", ARRAYS, NOTE)
            store.write_block("l", 0, FEATURES[:BLOCK], "cpu")
            store.write_cells("q", {"c": cell(0.5)})
            others = (p for p in sorted((store.root / kind).rglob("*.*")) if p != path)
            data[:] = [o for o in others if o.parent != path.parent][-1].read_bytes()
        case "checksum":
            at = data.index(b'sha256":') + 10
            data[at : at + 64] = data[at : at + 64][::-1]
    path.write_bytes(data)
    assert reader(store) is None
    assert not path.exists()
    write_all(store)
    assert reader(store) is not None


@given(st.sampled_from(["fits", "features", "cells"]), st.integers(0), st.integers(1, 255))
def test_any_other_byte_is_noticed(kind: str, place: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.write_arrays("fits", "f", ARRAYS, NOTE)
        store.write_block("k", 0, FEATURES[:3], "cpu")
        store.write_cells("p", {"c": cell(0.25)})
        (path,) = (p for p in (store.root / kind).rglob("*.*"))
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= change
        path.write_bytes(data)
        readers = READERS | {"features": lambda s: s.read_features("k", 3)}
        assert readers[kind](store) is None


def test_damage_is_named_without_removing_anything(store: Store) -> None:
    write_all(store)
    assert store.damaged("k") == [] == store.damaged("nothing")  # without weights, too
    second = sorted((store.root / "features").rglob("*.*"))[1]
    second.write_bytes(second.read_bytes()[:-1])
    assert store.damaged("k") == [second] and second.exists()
    store.check("k")
    assert store.damaged("k") == [] and not second.exists()


def test_of_two_that_find_the_same_damage_none_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_before_another_removes_it(path: Path) -> bytes:
        path.unlink()
        return b"damaged"

    write_all(store)
    monkeypatch.setattr("bench.core.store.files.bytes_of", read_before_another_removes_it)
    assert store.read_arrays("fits", "f") is None


def test_features_know_which_weights_made_them(store: Store) -> None:
    assert store.made_otherwise("k", ["w"]) == []
    store.write_arrays("weights", "w", ARRAYS)
    store.write_block("k", 0, FEATURES[:BLOCK], "cpu", ["w"])
    store.write_block("k", 1, FEATURES[BLOCK:], "cpu", ["w"])
    assert store.made_otherwise("k", ["w"]) == []
    store.write_arrays("weights", "w", {"a": ARRAYS["a"] + 1})
    assert store.made_otherwise("k", ["w"]) == sorted((store.root / "features").rglob("*.*"))


@pytest.mark.parametrize("length", range(8))
def test_arrays_begin_at_a_multiple_of_eight_bytes(store: Store, length: int) -> None:
    store.write_arrays("fits", "f" * (1 + length), ARRAYS)
    data = store.path("fits", "f" * (1 + length)).read_bytes()
    header = int.from_bytes(data[:8], "little")
    assert header % 8 == 0 and data[8 : 8 + header].rstrip().endswith(b"}")


def test_blocks_whose_features_have_another_length_are_noticed(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_block("k", 0, FEATURES[:BLOCK], "cpu")
    store.write_block("k", 1, FEATURES[BLOCK:, :2], "cpu")
    assert store.read_features("k", len(FEATURES)) is None
    assert "its length is 2, not 4" in caplog.text
    assert store.blocks("k", len(FEATURES)) == [1]


def test_a_block_of_another_shape_is_noticed(store: Store) -> None:
    write_all(store)
    store.write_block("k", 1, FEATURES[:2], "cpu")  # three rows are left for the second block
    assert store.read_features("k", len(FEATURES)) is None
    assert store.blocks("k", len(FEATURES)) == [1]


def test_stored_files_are_plain_safetensors(store: Store) -> None:
    store.write_arrays("fits", "f", ARRAYS)
    loaded = load_file(store.path("fits", "f"))
    assert np.array_equal(loaded["a"], ARRAYS["a"])


def test_cells_of_a_pack_are_added(store: Store) -> None:
    store.write_cells("p", {"a": cell(1)})
    other = Store(store.root)
    assert other.read_cell("p", "a") == cell(1)
    store.write_cells("p", {"b": cell(2)})
    assert other.read_cell("p", "a") == cell(1) and other.read_cell("p", "b") == cell(2)
    store.write_cells("q", {})
    assert not store.has("cells", "q") and other.read_cell("q", "a") is None


def test_missing_blocks(store: Store) -> None:
    size = 3 * BLOCK + 1
    assert store.blocks("k", size) == [0, 1, 2, 3]
    store.write_block("k", 2, FEATURES[:BLOCK], "cpu")
    assert store.blocks("k", size) == [0, 1, 3]
    assert store.read_features("k", size) is None


def test_discarded(store: Store) -> None:
    store.write_arrays("progress", "p", ARRAYS)
    store.discard("progress", "p")
    store.discard("progress", "p")
    assert not [p for p in store.root.rglob("*") if p.is_file()]


def test_a_write_that_fails_names_its_file(store: Store) -> None:
    (store.root / "fits").write_text("a file in the way")
    with pytest.raises(OSError, match="fits") as caught:
        store.write_arrays("fits", "f", ARRAYS)
    assert caught.value.filename == str(store.path("fits", "f"))
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == ["fits"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_keeps_others_out(store: Store) -> None:
    order: list[str] = []
    inside = threading.Event()

    def other() -> None:
        inside.wait()
        with Store(store.root).lock("weights", "k"):
            order.append("second")

    thread = threading.Thread(target=other)
    thread.start()
    with store.lock("weights", "k"):
        inside.set()
        thread.join(timeout=0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert check_writable(folder, "output folder") == folder
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", "sub/folder"])
def test_a_file_in_the_way(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output folder .* is a file"):
        check_writable(tmp_path / "file" / below, "output folder")


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cache folder /proc/bench is not writable"):
        check_writable(Path("/proc/bench"), "cache folder")
    with pytest.raises(InputError, match="File name too long"):
        check_writable(tmp_path / ("x" * 300), "cache folder")


@pytest.mark.parametrize("left", [0, 5, 60])
def test_no_device_is_made_up_for_a_cut_block(left: int, store: Store) -> None:
    write_all(store)
    path = store.root / "features" / "k" / "k" / "000000.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(MissingOutput, match="000000"):
        store.device("k")
    store.check("k")
    assert store.device("k") is None and store.blocks("k", len(FEATURES)) == [0]


@pytest.mark.parametrize("kind", ["features", "cells"])
def test_a_file_or_a_circle_of_links_in_place_of_a_folder(kind: str, store: Store) -> None:
    folder = store.root / kind / ("k" if kind == "features" else "p")
    folder.parent.mkdir(parents=True)
    for obstacle in (folder.touch, lambda: folder.symlink_to(folder)):
        obstacle()
        with pytest.raises(UnreadableOutput, match=str(folder)):
            store.blocks("k", 3) if kind == "features" else store.read_cell("p", "c")
        folder.unlink()


def test_half_a_character_in_place_of_a_checksum(store: Store) -> None:
    header = b'{"__metadata__":{"item":"fits/f","sha256":"' + rb'\ud800"}}'
    path = store.path("fits", "f")
    path.parent.mkdir(parents=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert store.read("fits", "f") is None

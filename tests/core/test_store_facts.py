"""What the store says of its outputs: where they lie, who made them, what is wrong with them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.store import BLOCK, Store, UnreadableOutput, block_count, claims, rows_in
from bench.core.store.claims import Claims, own_name, sweep
from bench.core.store.container import (
    DamagedError,
    bytes_of,
    metadata,
    names_in,
    note_of,
    opened,
    opened_bytes,
    packed_arrays,
    sealed,
    sealed_bytes,
)

ONES = np.ones((3, 4), np.float32)
NOTE = {"choice": {"b": 0.4}, "chosen_on": {}, "caveats": ["b is its largest value."]}
CELL: dict[str, Any] = {
    "value": 0.5,
    "data": None,
    "temperature": None,
    "trained": {},
    "weight": 1.0,
    "n": 4,
    "environment": {},
    "devices": ["cpu"],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def test_outputs_lie_by_kind_and_the_first_two_letters_of_their_key(store: Store) -> None:
    store.write_arrays("weights", "1f0c", {})
    store.write_json("trainings", "2e1d", [{"epoch": 1}])
    store.write_block("3d2e", 12, ONES, "cpu")
    found = sorted(p.relative_to(store.root).as_posix() for p in store.root.rglob("*.*"))
    assert found == [
        "features/3d/3d2e/000012.safetensors",
        "trainings/2e/2e1d.json",
        "weights/1f/1f0c.safetensors",
    ]
    assert store.has("weights", "1f0c") and not store.has("trainings", "2e1d")
    assert store.has_block("3d2e", 12) and not store.has_block("3d2e", 1)
    assert [store.has("weights", "1f0d"), store.has("fits", "1f0c")] == [False, False]
    assert store.at_work == store.root and not list((store.root / "tmp").iterdir())


def test_a_store_is_its_folder_whatever_was_read_of_it(store: Store) -> None:
    store.write_cells("p", {"a": CELL})
    assert repr(store) == f"Store(root={store.root!r})" and store.place == str(store.root)
    assert store == Store(store.root) and hash(store) == hash(Store(store.root))
    assert store != Store(store.root / "other")


def test_blocks_are_those_with_a_number_among_any_files(store: Store) -> None:
    assert store.blocks("k", 11 * BLOCK) == list(range(11))
    for block in (10, 0, 2):
        store.write_block("k", block, ONES, "cpu")
    folder = store.root / "features" / "k" / "k"
    for name in ("000001.txt", "notes", "1.safetensors"):
        (folder / name).touch()
    assert store.blocks("k", 11 * BLOCK) == [1, *range(3, 10)]
    assert store.blocks("k", 2 * BLOCK) == [1] and store.blocks("k", BLOCK) == []


def test_a_lock_is_held_where_there_was_no_folder(store: Store) -> None:
    for _ in range(2):
        with store.lock("renders", "k"):
            assert [path.name for path in (store.root / "locks").iterdir()] == ["renders-k"]


def test_a_run_claims_the_store_until_it_ends(store: Store) -> None:
    with pytest.raises(KeyError), store.in_use():
        (claim,) = (store.root / "claims").iterdir()
        assert claim.name.startswith("run-")
        store.sweep()
        assert claim.exists()
        raise KeyError
    assert not claim.exists()


def test_sweeping_removes_what_killed_runs_left_and_nothing_else(store: Store) -> None:
    gone = own_name().replace(f"-{os.getpid()}-", f"-{2**31}-")
    names = [f"tmp/{gone}", f"tmp/{own_name()}", "tmp/notes", f"claims/run-{gone}",
             f"claims/run-{own_name()}", "claims/weights-1", f"locks/{gone}", gone]  # fmt: skip
    for name in names:
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).touch()
    store.sweep()
    left = [name for name in names if (store.root / name).exists()]
    assert left == [name for name in names if name not in (f"tmp/{gone}", f"claims/run-{gone}")]


@given(st.integers(1, 5 * BLOCK))
def test_blocks_cover_the_rows(size: int) -> None:
    every = range(block_count(size))
    rows = [rows_in([block], size) for block in every]
    assert sum(rows) == size == rows_in(every, size)
    assert all(row == BLOCK for row in rows[:-1]) and 1 <= rows[-1] <= BLOCK


def test_caveats_of_weights_and_fits(store: Store) -> None:
    assert store.caveats("none") == ()
    store.write_arrays("fits", "f", {}, NOTE)
    store.write("weights", "w", packed_arrays({}, {"caveats": json.dumps(["Prompts are cut."])}))
    store.write_arrays("weights", "x", {})
    assert store.caveats("f") == ("b is its largest value.",)
    assert store.caveats("w") == ("Prompts are cut.",) and store.caveats("x") == ()
    path = store.path("fits", "f")
    path.write_bytes(path.read_bytes()[:-1])
    assert store.caveats("f") == ()


def test_the_device_is_that_of_weights_or_of_the_first_block(store: Store) -> None:
    store.write("weights", "w", packed_arrays({}, {"device": "gpu"}))
    store.write_block("k", 0, ONES, "cpu")
    store.write_block("k", 1, ONES, "other")
    store.write_block("l", 1, ONES, "other")
    assert [store.device(key) for key in ("w", "k", "l", "n")] == ["gpu", "cpu", None, None]


def test_features_note_checksums_of_all_weights_in_order(store: Store) -> None:
    for key, value in (("v", 1.0), ("w", 2.0)):
        store.write_arrays("weights", key, {"a": np.array([value])})
    store.write_block("k", 0, ONES, "cpu", ["v", "w"])
    (path,) = (store.root / "features").rglob("*.*")
    assert store.made_otherwise("k", ["v", "w"]) == []
    assert store.made_otherwise("k", ["w", "v"]) == [path] == store.made_otherwise("k", ["v"])
    assert store.made_otherwise("k", ["v", "gone"]) == []
    store.write_arrays("weights", "w", {"a": np.array([3.0])})
    assert store.made_otherwise("k", ["v", "w"]) == [path]
    store.write_block("k", 1, ONES, "cpu", ["v", "w"])
    assert store.made_otherwise("k", ["v", "w"]) == [path]
    path.write_bytes(b"")  # it says nothing, which is another fault
    assert store.made_otherwise("k", ["v", "w"]) == []


def test_check_looks_at_weights_blocks_and_the_fit_of_a_key_alone(store: Store) -> None:
    for key in ("k", "l"):
        store.write_arrays("weights", key, {"a": ONES})
        store.write_arrays("fits", key, {}, NOTE)
        store.write_block(key, 0, ONES, "cpu")
    files = sorted(store.root.rglob("*.safetensors"))
    for path in files:
        path.write_bytes(path.read_bytes() + b"\0")
    store.check("k")
    assert [p for p in files if p.exists()] == [
        p for p in files if "/l/" in str(p) or p.stem == "l"
    ]
    assert {path.stem for path in store.damaged("l")} == {"l", "000000"}  # no fits: they are read


def test_a_block_between_absent_ones_is_no_set_of_features(store: Store) -> None:
    many = np.ones((BLOCK, 2), np.float32)
    for block in (0, 2):
        store.write_block("k", block, block + many, "cpu")
    assert store.read_features("k", 2 * BLOCK + 5) is None
    store.write_block("k", 1, 1 + many, "cpu")
    store.write_block("k", 2, 2 + many[:5], "cpu")
    found = store.read_features("k", 2 * BLOCK + 5)
    assert found is not None and found.shape == (2 * BLOCK + 5, 2) and found.dtype == np.float32
    assert np.bincount(found[:, 0].astype(int)).tolist() == [0, BLOCK, BLOCK, 5]


def test_a_pack_is_read_again_only_when_it_has_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_cells("p", {"a": CELL})
    reads = list[str]()
    read = Store.read_json
    monkeypatch.setattr(
        Store, "read_json", lambda self, kind, key: (reads.append(key), read(self, kind, key))[1]
    )
    other = Store(store.root)
    for _ in range(3):
        assert other.read_cell("p", "a") == CELL
    assert reads == ["p"]
    store.write_cells("p", {"b": CELL | {"value": 0.75}})
    assert other.read_cell("p", "b") == CELL | {"value": 0.75} and other.read_cell("p", "a") == CELL
    path = store.path("cells", "p", ".json")
    path.write_bytes(path.read_bytes()[:-1])
    assert other.read_cell("p", "a") is None and not path.exists()


def test_what_cannot_be_read_or_removed_is_named(store: Store, monkeypatch: Any) -> None:
    path = store.path("weights", "w")
    path.mkdir(parents=True)
    with pytest.raises(UnreadableOutput, match="make it readable, or remove") as caught:
        store.read("weights", "w")
    assert str(path) in str(caught.value) and caught.value.exit_code == 4
    path.rmdir()
    path.write_bytes(b"damaged")

    def refused(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(UnreadableOutput, match=r"is damaged .*cannot be removed: Permission"):
        store.read("weights", "w")


def test_of_a_file_that_is_too_long_only_one_byte_more_is_read(tmp_path: Path) -> None:
    """So that its checksum cannot match, and memory is not filled."""
    path = tmp_path / "w.safetensors"
    whole = b"".join(sealed("weights/w", packed_arrays({"a": ONES}, {})))
    for more in (b"", b"\0", b"\0" * 10_000):
        path.write_bytes(whole + more)
        assert bytes_of(path) == whole + more[:1]
    for wrong in (b"", b"\0" * 4, b"\xff" * 8 + whole[8:], whole[:20]):
        path.write_bytes(wrong)
        assert bytes_of(path) == wrong[: len(bytes_of(path) or b"")]
        with pytest.raises(DamagedError):
            opened("weights/w", bytes_of(path) or b"")
    assert bytes_of(tmp_path / "none") is None and names_in(tmp_path / "none") == set()
    assert names_in(tmp_path) == {"w.safetensors"}
    with pytest.raises(UnreadableOutput, match="cannot be read"):
        names_in(path)


def test_names_notes_and_sums_stand_in_the_metadata(tmp_path: Path) -> None:
    facts = {"note": json.dumps({"history": []}), "device": 'a "quoted" one, "sha256":"0"'}
    data = b"".join(sealed("weights/w", packed_arrays({"b": ONES, "a": ONES[0]}, facts)))
    (tmp_path / "w").write_bytes(data)
    found = metadata(tmp_path / "w")
    assert {n: found[n] for n in facts} == facts and found["item"] == "weights/w"
    assert list(found) == sorted(found) and len(found["sha256"]) == 64
    assert note_of(data) == {"history": []}
    assert note_of(b"".join(sealed("weights/w", packed_arrays({}, {})))) == {}
    assert opened("weights/w", data) == data
    again = b"".join(sealed("weights/w", data))
    assert opened("weights/w", again) == again  # sealing anew gives a file that opens
    text = sealed_bytes("index/i", b"a\nb")
    assert opened_bytes("index/i", text) == b"a\nb"
    for wrong in (b"", b"{}\na\nb", b"[]\na", text.replace(b"a\nb", b"a\nc"), text[1:]):
        with pytest.raises(DamagedError):
            opened_bytes("index/i", wrong)


def test_claims_are_held_together_and_given_up_after_an_error(tmp_path: Path) -> None:
    mine, others = Claims(tmp_path), Claims(tmp_path)
    assert others.take("b")
    with pytest.raises(KeyError), mine.held(["a", "b", "c"]) as got:
        assert got == ["a", "c"] and sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]
        assert json.loads((tmp_path / "a").read_text()) == [own_name().split("-")[0], os.getpid()]
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    mine.release("b")  # it is not its own
    assert not mine.take("b")


def test_a_claim_that_was_taken_over_stays_with_the_other(tmp_path: Path) -> None:
    mine = Claims(tmp_path)
    assert mine.take("a")
    (tmp_path / "a").write_text('["elsewhere", 1]')
    mine.release("a")
    assert (tmp_path / "a").read_text() == '["elsewhere", 1]'


def test_a_running_process_that_touches_its_claim_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.2)
    path, mine = tmp_path / "a", Claims(tmp_path)
    path.write_text(json.dumps([own_name().split("-")[0], os.getpid()]))
    for _ in range(3):
        assert not mine.take("a")
        time.sleep(0.12)
        path.touch()
    assert not mine.take("a")
    time.sleep(0.3)  # nobody touches it any more: another program may have its process's number
    assert mine.take("a")


def test_folders_of_gone_processes_and_of_yesterday_are_swept(tmp_path: Path) -> None:
    host = own_name().split("-")[0]
    end = "0123456789ab"
    for name, age in ((f"new-elsewhere-1-{end}", 25), (f"new-elsewhere-2-{end}", 23),
                      (f"old-x-1-{end}", 48), (f"new-{host}-{2**31}-{end}", 0),
                      (f"new-{own_name()}", 1)):  # fmt: skip
        (tmp_path / name / "inner").mkdir(parents=True)
        os.utime(tmp_path / name, (time.time() - age * 3600,) * 2)
    sweep(tmp_path, "new-")
    left = sorted(path.name.split("-")[1] for path in tmp_path.iterdir())
    assert left == sorted(["elsewhere", "x", host])
    assert (tmp_path / f"new-elsewhere-2-{end}").exists()


def test_what_is_expensive_is_flushed_to_the_disk_and_cells_are_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = list[int]()
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (flushed.append(handle), sync(handle)))
    for count, write in enumerate(
        (
            lambda: store.write("weights", "w", packed_arrays({"a": ONES}, {})),
            lambda: store.write_block("k", 0, ONES, "cpu"),
            lambda: store.write_arrays("fits", "f", {}, NOTE),
            lambda: store.write_json("trainings", "t", [{"epoch": 1}]),
        ),
        start=1,
    ):
        write()
        assert len(flushed) == count
    store.write_cells("p", {"a": CELL})
    assert len(flushed) == 4

"""What lies in a cache is listed, checked and cleaned; what is used or foreign is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.core.store import Store
from bench.core.store.claims import Claims, own_name, sweep
from bench.core.store.upkeep import (
    cached_files,
    fault_of,
    leftover_files,
    outdated_files,
    removed,
    uses_of,
)

KEYS = ("1f0c", "2e1d")
HEX = "0123456789ab"
CELL = {
    "value": 0.25, "data": None, "temperature": None, "trained": {}, "weight": 0.0, "n": 1,
    "environment": {}, "devices": [],
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a file of every form."""
    made = Store(tmp_path / "cache")
    for key in KEYS:
        made.write_arrays("weights", key, {"head.weight": np.ones((2, 3), dtype=np.float32)})
        made.write_block(key, 0, np.ones((5, 3), dtype=np.float32), "cpu")
        made.write_arrays(
            "fits", key, {}, {"choice": {"alpha": 0.5}, "chosen_on": {}, "caveats": []}
        )
        made.write_cells(key, {"c": CELL})
        made.write_json("trainings", key, [{"loss": 0.7}])
        made.write_arrays("progress", f"{key}-0", {"step": np.array([3])})
    made.root.joinpath("index").mkdir()
    made.root.joinpath("index", "1f.json").write_text("{}")
    made.root.joinpath("thesis.tex").write_text("mine")
    return made


def items(store: Store) -> set[str]:
    return {file.item for file in cached_files(store.root) if file.item}


def aged(path: Path, days: float) -> Path:
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))
    return path


def test_files_are_listed_by_what_they_are(store: Store) -> None:
    forms = ("weights/{}", "features/{}/000000", "fits/{}", "cells/{}", "trainings/{}")
    expected = {form.format(key) for form in forms for key in KEYS}
    assert items(store) == expected | {f"progress/{key}-0" for key in KEYS}
    assert not any(map(fault_of, cached_files(store.root)))
    uses = {use.kind: use for use in uses_of(cached_files(store.root))}
    assert uses["weights"].files == 2 and uses["other"].files == 1
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert sum(use.files for use in uses.values()) == len(files)
    assert sum(use.size for use in uses.values()) == sum(path.stat().st_size for path in files)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99])
def test_a_damaged_byte_of_any_output_is_found(store: Store, place: float) -> None:
    outputs = [file for file in cached_files(store.root) if file.item]
    for file in outputs:
        data = bytearray(file.path.read_bytes())
        data[int(place * len(data))] ^= 1
        file.path.write_bytes(data)
    assert all(map(fault_of, outputs))


def test_an_output_under_another_name_is_found(store: Store) -> None:
    one, other = (store.path("fits", key) for key in KEYS)
    shutil.copy(one, other)
    assert [file.path for file in cached_files(store.root) if fault_of(file)] == [other]


def test_an_output_that_cannot_be_read_is_a_fault(store: Store) -> None:
    path = store.path("fits", KEYS[0])
    path.unlink()
    path.symlink_to("/dev/zero")
    (fault,) = filter(None, map(fault_of, cached_files(store.root)))
    assert "cannot be read" in fault


def test_what_others_put_into_the_folders_stays(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    names = ("notes.txt", "a-1-b", "draft-2-final", f"host-x-{HEX}", f"host-1-{HEX}.txt")
    for name in names:
        aged(folder / name, 0) if (folder / name).exists() else (folder / name).touch()
        aged(folder / name, days=30)
    (folder / "old").mkdir()
    aged(folder / "old", days=30)
    sweep(folder)
    assert {path.name for path in folder.iterdir()} == {*names, "old"}
    assert leftover_files(tmp_path) == []


def test_leftovers_of_the_dead_are_found_and_those_of_the_living_stay(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.core.store import Store;"
        "from bench.core.store.claims import own_name; store = Store(Path(sys.argv[1]));"
        "store.claims.take('weights-1'); Path(store.root, 'tmp', own_name()).touch();"
        "import os; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    living = [store.root / "tmp" / own_name(), store.root / "rates" / f".a.json.1-{HEX}"]
    for path in living:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    old = aged(shutil.copy(living[1], living[1].with_name(f".b.json.1-{HEX}")), days=2)
    with store.claims.held(["fits-1"]):
        found = leftover_files(store.root)
        assert {path.parent.name for path in found} == {"tmp", "claims", "rates"}
        assert len(found) == 3 and old in found
        assert removed(found) == found
        assert leftover_files(store.root) == []
        assert all(path.exists() for path in (*living, store.root / "claims" / "fits-1"))


def test_old_outputs_are_found_without_those_that_are_kept(store: Store) -> None:
    files = [file for file in cached_files(store.root) if KEYS[0] in file.path.name]
    for file in files:
        aged(file.path, days=40)
    found = outdated_files(store.root, 30, kept={KEYS[0]})
    assert set(found) == {file.path for file in files if file.item and file.kind != "weights"}
    assert store.path("weights", KEYS[0]) in outdated_files(store.root, 30)
    assert len(outdated_files(store.root, 0)) == len(items(store))
    assert outdated_files(store.root, None) == []
    unfinished = outdated_files(store.root, None, unfinished=True)
    assert {path.name for path in unfinished} == {f"{key}-0.safetensors" for key in KEYS}


def test_nothing_that_a_run_may_use_is_outdated(store: Store) -> None:
    with Claims(store.root / "claims").held(["run-1"]):
        for options in ({"days": 0}, {"days": None, "unfinished": True}):
            with pytest.raises(InputError, match="a run uses it"):
                outdated_files(store.root, **options)  # type: ignore[arg-type]
    assert outdated_files(store.root, 0)

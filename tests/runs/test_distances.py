"""Distances to training samples: each is computed once and stored; no training set is held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray
from outputs_folders import alter, folder, found, score

import bench.runs.outputs as module
import bench.runs.study.outputs_file as file_module
from bench.api.recipes import External
from bench.core.store import Store
from bench.posthoc.ensembles import distance_to_kth
from bench.runs.outputs import ArrayCache, LabelledStoredOutputs, StoredOutputs
from bench.runs.study.outputs_file import OutputsOfSplit
from bench.runs.study.outputs_folder import load_outputs_folder

SETS = 3  # the selection split, the test set and one shift
BASE = External("tuned", "outputs")


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of queries of each search."""
    made: list[int] = []

    def counted(queries: Any, reference: Any, k: int) -> Any:
        made.append(len(queries))
        return distance_to_kth(queries, reference, k)

    monkeypatch.setattr(module, "distance_to_kth", counted)
    return made


def test_each_distance_is_computed_once(tmp_path: Path, searches: list[int]) -> None:
    path = folder(tmp_path / "given")
    assert score(path, "--methods", "vrf", "--controls").code == 0
    rows = {record.method for record in found(path)}
    assert {"vrf", "vrf-shuffled", "vrf-constant", "vrf-global", "vrf-all-correct"} <= rows
    assert len(searches) == 2 * SETS  # to V, and to all that are correct

    (path / "out" / "records.jsonl").unlink()
    searches.clear()
    assert score(path, "--methods", "vrf", "--controls", "--set", "vrf.b_grid=[0.3]").code == 0
    assert not searches  # other candidates, the same distances


def test_damaged_distances_are_computed_again(tmp_path: Path, searches: list[int]) -> None:
    path = folder(tmp_path / "given")
    assert score(path, "--methods", "vrf").code == 0
    first = found(path)
    searches.clear()
    stored = sorted((path / "cache" / "distances").rglob("*.safetensors"))
    assert len(stored) == SETS
    for one in stored:
        one.write_bytes(one.read_bytes()[:-3] + b"abc")
    for kind in ("cells", "fits"):
        for one in (path / "cache" / kind).rglob("*.*"):
            one.unlink()
    assert score(path, "--methods", "vrf").code == 0
    assert found(path) == first
    assert len(searches) == SETS


@pytest.mark.parametrize(
    "change",
    [
        *(lambda d: d[:-1], lambda d: np.append(d, d[:1]), lambda d: d[:0], lambda d: -1 - d),
        *(lambda d: d[:, None], lambda d: d.astype(np.float64), lambda d: d * np.float32(np.nan)),
    ],
)
def test_what_is_no_distance_of_each_sample_is_computed_again(
    change: Callable[[NDArray[Any]], NDArray[Any]], tmp_path: Path, searches: list[int]
) -> None:
    """Laid into the cache by hand, with a right name and checksum."""
    path = folder(tmp_path / "given")
    train, test = outputs_of(path)
    rows = np.ones(60, bool)
    first = test.distance(BASE, train, rows, 2)
    (stored,) = (path / "cache" / "distances").rglob("*.safetensors")
    test.store.write_arrays("distances", stored.stem, {"distance": change(first)})
    assert np.array_equal(test.distance(BASE, train, rows, 2), first)
    assert np.array_equal(test.distance(BASE, train, rows, 2), first)
    assert len(searches) == 2


def test_a_search_that_fails_leaves_the_next_to_others(
    tmp_path: Path, searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "given")
    train, test = outputs_of(path)
    rows = np.ones(60, bool)
    with monkeypatch.context() as full, pytest.raises(OSError, match="full"):
        full.setattr(Store, "write_arrays", Mock(side_effect=OSError("full")))
        test.distance(BASE, train, rows, 2)
    assert not list((path / "cache" / "claims").iterdir())
    again = replace(test, store=Store(path / "cache")).distance(BASE, train, rows, 2)
    assert np.array_equal(again, distance_to_kth(test.features(BASE), train.features(BASE), 2))


def outputs_of(path: Path) -> tuple[LabelledStoredOutputs, StoredOutputs]:
    suite = load_outputs_folder(path, path / "cache").suite
    store, train = Store(path / "cache"), suite.task.train
    labelled = LabelledStoredOutputs(
        store, ArrayCache(), train, "fp32", read_labels=lambda: train.load().manifest.first
    )
    return labelled, StoredOutputs(store, ArrayCache(), suite.test, "fp32")


def test_who_comes_second_waits_for_who_is_first(
    tmp_path: Path, searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "given")
    train, test = outputs_of(path)
    rows, results, enough = np.ones(60, bool), list[NDArray[Any]](), threading.Event()
    plain = module.distance_to_kth

    def slow(*given: Any) -> Any:
        enough.wait(5)
        return plain(*given)

    monkeypatch.setattr(module, "distance_to_kth", slow)

    def ask() -> None:
        own = replace(test, store=Store(path / "cache"))
        results.append(own.distance(BASE, train, rows, 2))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    enough.set()
    for thread in threads:
        thread.join()
    assert len(results) == 3 and len(searches) == 1
    assert all(np.array_equal(one, results[0]) for one in results)


def test_no_distance_is_kept_for_other_samples_or_another_k(
    tmp_path: Path, searches: list[int]
) -> None:
    train, test = outputs_of(folder(tmp_path / "given"))
    first, rest = np.arange(60) < 30, np.arange(60) >= 30
    distances = [test.distance(BASE, train, rows, k) for rows in (first, rest) for k in (1, 2)]
    assert len(searches) == 4
    features = test.features(BASE), train.features(BASE)
    expected = [
        distance_to_kth(features[0], features[1][r], k) for r in (first, rest) for k in (1, 2)
    ]
    assert all(np.array_equal(*pair) for pair in zip(distances, expected, strict=True))
    assert np.isinf(test.distance(BASE, train, np.zeros(60, bool), 1)).all()


def test_of_a_training_set_only_blocks_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, size = folder(tmp_path / "given"), 5000
    rng = np.random.default_rng(1)

    def longer(arrays: dict[str, NDArray[Any]]) -> None:
        row = rng.integers(60, size=size)
        for name in arrays:
            arrays[name] = arrays[name][row]

    alter(path, "train", longer)
    read: list[tuple[str, int]] = []
    given = OutputsOfSplit.given

    def watched(self: OutputsOfSplit, model: str, kind: str, part: slice) -> NDArray[Any]:
        array = given(self, model, kind, part)
        if self.size == size:
            read.append((kind, len(array)))
        return array

    monkeypatch.setattr(OutputsOfSplit, "given", watched)
    monkeypatch.setattr(file_module, "NUMBERS", 300)
    train, test = outputs_of(path)
    whole = given(OutputsOfSplit(path / "train.safetensors", frozenset({"tuned.logits"}), size),
                  "tuned", "logits", slice(None))  # fmt: skip
    labels = train.labels
    right = train.correct(BASE)
    assert np.array_equal(right, whole.argmax(axis=1) == labels)
    test.distance(BASE, train, right, 1)
    rows = {kind: max(n for k, n in read if k == kind) for kind, _ in read if kind != "correct"}
    assert rows == {"logits": file_module.BLOCK, "features": module.BLOCK}

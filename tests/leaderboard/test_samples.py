"""Stored samples of a run: their content, their integrity, and what is computed from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import run_of_chance
from commands import Finished, bench, contents
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api.metrics import METRICS, LogProbs, correct, ece, macro_f1
from bench.api.splits import Manifest, single_label
from bench.core.errors import DataError, InputError
from bench.core.records import Record, read_records
from bench.core.store import Store
from bench.core.store.container import metadata, packed_arrays, sealed, unpacked_arrays
from bench.leaderboard.build import build_boards
from bench.leaderboard.comparability import rankable_rows
from bench.leaderboard.samples import (
    FOLDER,
    KIND,
    SUMS,
    SampleOutputs,
    drop_damaged_samples,
    has_samples,
    has_stored_samples,
    sample_outputs,
    store_samples,
    write_samples,
)
from bench.leaderboard.stats.row_samples import samples_by_board
from bench.leaderboard.stats.significance import ZERO_SHOT, comparison
from bench.leaderboard.suite_results import measured
from bench.posthoc.functional import log_softmax


def test_every_accuracy_has_its_samples(small: Finished) -> None:
    records = {
        (r.method, r.shift, r.metric): r
        for r in read_records(small.out / "records.jsonl")
        if r.kind == "cell"
    }
    found = list(sample_outputs(small.out))
    assert len(found) == 5 * 3
    assert [o.record for o in found] == [r for r in records.values() if has_samples(r)]
    sets: dict[str, set[str]] = {}
    for output in found:
        record = output.record
        assert len(output.right) == len(output.predicted) == len(output.confidence) == record.n
        assert output.right.mean() == record.value
        is_right = (output.on.labels == output.predicted[:, None]).any(axis=1)
        assert (output.right == is_right).all()
        edges = np.arange(1, 15) / 15
        bins = np.searchsorted(edges, output.confidence, side="left")
        gap = np.bincount(bins, weights=output.right - output.confidence)
        expected = records[record.method, record.shift, "ece"].value
        assert np.abs(gap).sum() / record.n == pytest.approx(expected, abs=1e-5)
        sets.setdefault(record.shift, set()).add(output.on.ids + output.on.labels_digest)
    assert [len(digests) for digests in sets.values()] == [1, 1, 1]
    assert len(set.union(*sets.values())) == 3


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), bins=st.sampled_from([1, 15, 257]))
def test_what_can_be_computed_again(
    seed: int, bins: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any log-probabilities, also with several labels, unequal groups and certain predictions."""
    store = Store(tmp_path_factory.mktemp("store"))
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(1, 60)), int(rng.choice([2, 10, 256, 257, 300]))
    log_probs = log_softmax(rng.normal(scale=rng.choice([0.1, 3, 300]), size=(n, classes)))
    labels = rng.integers(classes, size=(n, 1))
    several = np.concatenate([labels, rng.integers(-1, classes, size=(n, 1))], axis=1)
    groups = {"region": rng.integers(3, size=n)}
    for given_labels in (labels, several):
        manifest = Manifest(
            tuple(map(str, range(n))), given_labels, groups, {"region": ("a", "b", "c")}
        )
        output = through(store, log_probs, manifest, tmp_path_factory.mktemp("run"))
        assert (output.right == correct(log_probs, manifest)).all()
        assert (output.on.labels == given_labels).all()
        assert (output.on.groups["region"] == groups["region"]).all()
        assert output.on.names == manifest.names
        assert output.on.ids == manifest.ids_digest
        confidence = np.exp(log_probs.max(axis=1))
        assert np.abs(output.confidence - confidence).max() <= 1 / 131070 + 1e-7
        known = np.eye(classes)[output.predicted]
        if given_labels is labels:
            assert macro_f1(known, manifest) == macro_f1(log_probs, manifest)
        wanted = ece(log_probs, manifest, bins=bins)
        bin_of = np.searchsorted(np.arange(1, bins) / bins, output.confidence, side="left")
        gap = np.abs(np.bincount(bin_of, weights=output.right - output.confidence)).sum() / n
        assert gap == pytest.approx(wanted, abs=1e-5)


def through(store: Store, log_probs: LogProbs, manifest: Manifest, run: Path) -> SampleOutputs:
    """Store the outputs of log-probabilities, write them to a run's folder and read them."""
    value = METRICS["top1"](log_probs, manifest)
    key = manifest.ids_digest[:-1] + str(manifest.labels.shape[1])
    store_samples(store, key, key, log_probs, manifest)
    record = Record.model_validate(
        {
            "suite": "s",
            "model": "m",
            "method": "a",
            "base": None,
            "title": "A",
            "seed": 0,
            "shift": "id",
            "order": 0,
            "shifts_in_suite": 1,
            "metric": "top1",
            "value": value,
            "n": len(manifest),
            "provenance": {"key": key},
        }
    )
    (run / "records.jsonl").write_text(record.model_dump_json() + "\n")
    write_samples(run, store, [record])
    (output,) = sample_outputs(run)
    return output


def test_any_altered_byte_is_found(own: Finished) -> None:
    rng = np.random.default_rng(0)
    for path in sorted((own.out / FOLDER).iterdir()):
        data = path.read_bytes()
        for place in {0, len(data) - 1, *rng.integers(len(data), size=6)}:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(DataError) as caught:
                list(sample_outputs(own.out))
            assert caught.value.exit_code == 4
            assert "\n" not in str(caught.value)
        path.write_bytes(data[:-1])
        with pytest.raises(DataError):
            list(sample_outputs(own.out))
        path.write_bytes(data)
    assert list(sample_outputs(own.out))


def test_what_is_missing_is_named(own: Finished) -> None:
    path = next((own.out / FOLDER).glob("*.safetensors"))
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        list(sample_outputs(own.out))
    (own.out / FOLDER / SUMS).unlink()
    with pytest.raises(InputError, match="no samples"):
        list(sample_outputs(own.out))


def test_samples_of_another_record_are_refused(own: Finished) -> None:
    path = own.out / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    changed = [line.replace('"value": 0.', '"value": 0.0') for line in lines]
    path.write_text("".join(changed))
    with pytest.raises(DataError, match=r"the record of .* says"):
        list(sample_outputs(own.out))


@pytest.mark.usefixtures("no_engine")
def test_files_of_an_earlier_run_go(own: Finished) -> None:
    stale = own.out / FOLDER / f"{'0' * 32}.safetensors"
    stale.write_bytes(b"")
    before = contents(own.out)
    result = bench(*own.command, "--cache-dir", own.cache, "--out", own.out)
    assert result.code == 0, result.err
    after = contents(own.out)
    assert before.keys() - after.keys() == {f"{FOLDER}/{stale.name}"}
    assert all(before[name] == after[name] for name in after)


def test_the_store_loses_what_is_damaged(tmp_path: Path) -> None:
    store, rng = Store(tmp_path), np.random.default_rng(0)
    manifest = Manifest(("a", "b"), np.zeros((2, 1), np.int64))
    store_samples(store, "k" * 32, "split", log_softmax(rng.normal(size=(2, 3))), manifest)
    assert has_stored_samples(store, "k" * 32, "split")
    drop_damaged_samples(store, "k" * 32, "split")
    assert has_stored_samples(store, "k" * 32, "split")
    store.path(KIND, "k" * 32).write_bytes(b"")
    drop_damaged_samples(store, "k" * 32, "split")
    assert not has_stored_samples(store, "k" * 32, "split")


def reportable(outputs: Iterable[SampleOutputs]) -> list[SampleOutputs]:
    """Return the samples as if the run had not been limited."""
    whole = {"notes": (), "shifts_in_suite": 2}
    return [replace(o, record=o.record.model_copy(update=whole)) for o in outputs]


def test_only_what_is_comparable_is_ranked(small: Finished) -> None:
    outputs = reportable(sample_outputs(small.out))
    records = [output.record for output in outputs]
    (board,) = build_boards(records)
    found = comparison(board, samples_by_board(outputs)[board.key])
    assert found is not None and found.last is not None
    assert [name[0] for name in found.last.ranks] == [
        "zero-shot",
        "e2e-ft",
        "wise-ft",
        "ose",
        "vrf",
    ]
    assert all(low <= high for low, high in found.last.ranks.values())
    zero = board.rows[0].cells[-1].mean or 0
    for row in board.rows[1:]:
        value, (low, high) = found.last.differences[(row.method, row.base), ZERO_SHOT]
        assert value == pytest.approx((row.cells[-1].mean or 0) - zero) and low < value < high
    (limited,) = build_boards([o.record for o in sample_outputs(small.out)])
    assert not rankable_rows(limited)
    (partial,) = build_boards([r.model_copy(update={"shifts_in_suite": 3}) for r in records])
    assert not rankable_rows(partial)
    (other,) = build_boards(
        [
            r.model_copy(update={"primary_metric": "macro-f1"}) if r.shift == "v2" else r
            for r in records
        ]
    )
    assert not rankable_rows(other)
    changed = [
        r.model_copy(update={"role": "control"}) if r.method == "vrf" else r
        for r in records
        if (r.method, r.shift) != ("ose", "v2")
    ]
    (lacking,) = build_boards(changed)
    assert [row.method for row in rankable_rows(lacking)] == ["zero-shot", "e2e-ft", "wise-ft"]


def test_differences_are_of_the_seeds_that_both_rows_have() -> None:
    """Difference rows and paired differences agree, whatever seeds the rows have."""
    records, outputs = run_of_chance({"id": 200, "v2": 200, "sketch": 200}, seeds=(0, 1, 2))
    pair = ("vrf", "e2e-ft"), ("ose", "e2e-ft")
    for lacks in ({}, {"vrf": (2,)}, {"vrf": (1, 2)}, {"vrf": (0,), "ose": (2,)},
                  {"vrf": (0, 1), "ose": (2,)}):  # fmt: skip

        def has(record: Record, lacks: Any = lacks) -> bool:
            return record.seed not in lacks.get(record.method, ())

        (numbers,) = measured(
            filter(has, records),
            samples=samples_by_board(o for o in outputs if has(o.record)),
        )
        assert numbers.comparison is not None
        rows = [
            row for group in numbers.board.groups for row in group.differences
            if row.method == "vrf - ose" and row.base == "e2e-ft"
        ]  # fmt: skip
        assert bool(rows) == (lacks.get("vrf") != (0, 1))  # no seed in common, no difference
        cells = rows[0].cells if rows else ()
        for cell, column in zip(cells, numbers.comparison.columns, strict=bool(rows)):
            assert column is not None
            if cell.mean is None:
                assert pair not in column.differences and pair not in column.mcnemar
                continue
            assert column.differences[pair][0] == pytest.approx(cell.mean)
            if pair in column.mcnemar:
                assert len(column.mcnemar[pair]) == cell.seeds


def test_a_set_is_stored_once_by_runs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs on one store measure two rows on a set: each found that the set was not there."""
    manifest, log_probs = single_label(["a", "b"], [0, 1]), np.log([[0.9, 0.1], [0.8, 0.2]])
    written, write = list[str](), Store.write_arrays

    def slow(self: Store, kind: str, key: str, *more: Any) -> None:
        written.append(kind)
        if len(written) == 1:  # meanwhile another run measures another row
            store_samples(Store(tmp_path), "2e" * 16, "split", log_probs, manifest)
        write(self, kind, key, *more)

    monkeypatch.setattr(Store, "write_arrays", slow)
    store_samples(Store(tmp_path), "1f" * 16, "split", log_probs, manifest)
    assert sorted(written) == ["samples", "samples", "sets"]
    assert all(has_stored_samples(Store(tmp_path), key * 16, "split") for key in ("1f", "2e"))
    assert not list((tmp_path / "claims").iterdir())


def test_a_set_with_other_labels_than_it_says_is_altered(own: Finished) -> None:
    """Its name and checksums fit; labels of a sample are others."""
    folder = own.out / FOLDER
    path = next(p for p in folder.glob("*.safetensors") if metadata(p)["item"].startswith("sets/"))
    arrays, facts = unpacked_arrays(path.read_bytes()), metadata(path)
    arrays["labels"][0] += 1
    path.write_bytes(b"".join(sealed(facts["item"], packed_arrays(arrays, facts))))
    sums = [f"{sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in folder.glob("*.safe*")]
    (folder / SUMS).write_text("".join(sums))
    with pytest.raises(DataError, match=f"{path.stem}.* has other labels than it says"):
        list(sample_outputs(own.out))

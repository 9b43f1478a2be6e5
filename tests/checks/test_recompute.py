"""Recomputing a finished run from its stored outputs detects every altered digit and byte."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import Finished, bench
from safetensors.numpy import save

from bench.checks.recompute import Difference, recompute_run
from bench.core.errors import DataError, InputError
from bench.core.records import read_records, records_text
from bench.core.store import unpacked
from bench.leaderboard.samples import sample_outputs


def differences(path: Path, options: dict[str, Path]) -> tuple[Difference, ...]:
    return recompute_run(path, options).differences


def options(run: Finished) -> dict[str, Path]:
    return {"cache_dir": run.cache}


def test_a_run_as_it_was_made_has_no_difference(small: Finished) -> None:
    found = recompute_run(small.out, options(small))
    assert not found.differences
    assert found.files == (
        "records.jsonl",
        "samples",
        "trainings.jsonl",
        "report.html",
        "report.md",
    )
    records = read_records(small.out / "records.jsonl")
    assert found.cells == sum(record.kind in ("cell", "scaled") for record in records)
    assert recompute_run(small.out / "report.md", options(small)).files[3:] == ("report.md",)


def test_nothing_is_left_in_the_cache(small: Finished, own: Finished) -> None:
    before = {p: p.read_bytes() for p in own.cache.rglob("*") if p.is_file()}
    for kind in ("cells", "fits", "samples", "sets"):
        shutil.rmtree(own.cache / kind)
    assert not differences(own.out, options(own))
    after = {p: p.read_bytes() for p in own.cache.rglob("*") if p.is_file()}
    assert after.items() <= before.items()
    assert not (own.cache / "cells").exists()


def test_an_edited_record_is_found_with_what_it_should_be(own: Finished) -> None:
    path = own.out / "records.jsonl"
    records = read_records(path)
    row = next(i for i, r in enumerate(records) if (r.metric, r.kind) == ("top1", "cell"))
    right = records[row].value
    records[row] = records[row].model_copy(update={"value": right + 0.01})
    path.write_text(records_text(records))
    found = differences(own.out, options(own))
    assert str(found[0]).startswith("records.jsonl: top1 (cell)")
    assert found[0].expected == repr(right)


@pytest.mark.parametrize(("steps", "holds"), [(1, True), (3, False)])
def test_a_confidence_may_be_rounded_otherwise_elsewhere(
    own: Finished, steps: int, holds: bool
) -> None:
    """Rounding depends on threads and CPU; the page shows the samples that the run stored."""
    folder = own.out / "samples"
    output = next(o for o in sample_outputs(own.out) if o.record.method == "e2e-ft")
    path = folder / f"{output.record.provenance['key']}.safetensors"
    arrays, note = unpacked(path.read_bytes())
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    arrays["confidence"] = arrays["confidence"] - np.uint16(steps)
    path.write_bytes(save(arrays, metadata={"note": json.dumps(note)}))
    sums = (folder / "SHA256SUMS").read_text()
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(sums.replace(before, after))
    assert bench("report", own.out).code == 0
    assert (not differences(own.out, options(own))) == holds


def test_a_forged_choice_is_found(own: Finished) -> None:
    path = own.out / "records.jsonl"
    text = path.read_text()
    assert '"choice": {"alpha": ' in text
    path.write_text(re.sub(r'"choice": \{"alpha": [\d.]+\}', '"choice": {"alpha": 0.123}', text))
    assert differences(own.out, options(own))


def test_damaged_and_missing_outputs_are_no_basis(own: Finished) -> None:
    kinds = {"features": "*.safetensors", "weights": "*.safetensors"}
    for kind, pattern in kinds.items():
        path = max((own.cache / kind).rglob(pattern), key=lambda p: p.stat().st_size)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(DataError, match="damaged"):
            recompute_run(own.out, options(own))
        path.write_bytes(bytes(data[:-1]))


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path, own: Finished) -> None:
    with pytest.raises(InputError, match="expected the folder of a run"):
        recompute_run(tmp_path, {})
    (own.out / "config.json").unlink()
    with pytest.raises(InputError, match="cannot read the configuration of a run"):
        recompute_run(own.out, options(own))
    with pytest.raises(InputError):
        recompute_run(own.out / "notes.md", options(own))

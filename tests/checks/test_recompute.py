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

from bench.checks.differences import Difference
from bench.checks.recompute import recompute_run
from bench.core.errors import DataError, InputError
from bench.core.records import read_records, records_text
from bench.core.store import Store
from bench.core.store.container import note_of, opened, sealed, unpacked_arrays
from bench.leaderboard.samples import sample_outputs
from bench.runs.results.manifest import write_run_manifest


def differences(path: Path, options: dict[str, Path]) -> tuple[Difference, ...]:
    return recompute_run(path, options).differences


def options(run: Finished) -> dict[str, Path]:
    return {"cache_dir": run.cache}


def test_a_run_as_it_was_made_has_no_difference(small: Finished) -> None:
    found = recompute_run(small.out, options(small))
    assert not found.differences
    assert found.files == (
        "records.jsonl",
        "plan.json",
        "samples",
        "trainings.jsonl",
        "manifest.json",
        "report.html",
        "report.md",
    )
    records = read_records(small.out / "records.jsonl")
    assert found.cells == sum(record.kind in ("cell", "scaled") for record in records)
    assert recompute_run(small.out / "report.md", options(small)).files[5:] == ("report.md",)


def test_a_difference_on_other_hardware_says_so(small: Finished, tmp_path: Path) -> None:
    """Rounding may explain a sample that changed sides; which machine it was is in the records."""
    run = tmp_path / "run"
    shutil.copytree(small.out, run)
    records = read_records(run / "records.jsonl")
    for index, record in enumerate(records):
        environment = record.provenance.get("environment", {}) | {
            "hardware": {"cpu": "Some CPU 9000"}
        }
        provenance = record.provenance | {"environment": environment}
        records[index] = record.model_copy(update={"provenance": provenance})
    (run / "records.jsonl").write_text(records_text(records))
    assert recompute_run(run, options(small)).elsewhere == ("Some CPU 9000",)
    assert not recompute_run(small.out, options(small)).elsewhere
    edited = records[0].model_copy(update={"value": records[0].value + 0.01})
    (run / "records.jsonl").write_text(records_text([edited, *records[1:]]))
    result = bench("check", run, "--cache-dir", small.cache)
    assert result.code == 3 and "measured on Some CPU 9000, which may round otherwise" in result.err
    assert len(result.err.splitlines()[-1]) < 500


def test_a_report_with_links_to_the_documentation_has_no_difference(
    small: Finished, tmp_path: Path
) -> None:
    """It has them where it was made in a clone, as the first run in README is."""
    clone, run = tmp_path / "clone", tmp_path / "clone" / "results" / "run"
    for folder in ("docs", "bench/report"):
        (clone / folder).mkdir(parents=True)
    (clone / "docs" / "statistics.md").touch()
    shutil.copytree(small.out, run)
    assert bench("report", run).code == 0
    assert "(../../docs/datasets.md)" in (run / "report.md").read_text()
    moved = shutil.copytree(run, tmp_path / "moved")
    for place in (run, moved):
        found = recompute_run(place, options(small))
        assert not found.differences and {"report.md", "report.html"} <= set(found.files)
    report = moved / "report.md"
    report.write_text(report.read_text().replace("../../docs/datasets.md", "../../docs/x.md", 1))
    assert [one.file for one in differences(moved, options(small))] == ["report.md"]


def test_nothing_is_left_in_the_cache(small: Finished, own: Finished) -> None:
    before = {p: p.read_bytes() for p in own.cache.rglob("*") if p.is_file()}
    for kind in ("cells", "fits", "distances", "samples", "sets"):
        shutil.rmtree(own.cache / kind)
    assert not differences(own.out, options(own))
    after = {p: p.read_bytes() for p in own.cache.rglob("*") if p.is_file()}
    assert after.items() <= before.items()
    assert not (own.cache / "cells").exists() and not (own.cache / "distances").exists()


def test_distances_are_computed_anew(own: Finished) -> None:
    """Others in the cache, of the right form and with right checksums, change nothing."""
    store = Store(own.cache)
    for path in (own.cache / "distances").rglob("*.safetensors"):
        (distance,) = unpacked_arrays(path.read_bytes()).values()
        store.write_arrays("distances", path.stem, {"distance": 2 - distance})
    assert not differences(own.out, options(own))


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
    change_confidences(own, steps)
    write_run_manifest(own.out)  # as on the other machine
    assert bench("report", own.out).code == 0
    assert (not differences(own.out, options(own))) == holds


def test_one_low_bit_of_a_confidence_is_found_by_the_manifest(own: Finished) -> None:
    change_confidences(own, 1)
    assert bench("report", own.out).code == 0
    (found,) = differences(own.out, options(own))
    assert (found.file, found.place) == ("manifest.json", " samples/SHA256SUMS")


def change_confidences(own: Finished, steps: int) -> None:
    """Change the confidences of one cell, with all sums renewed but those of the manifest."""
    folder = own.out / "samples"
    output = next(o for o in sample_outputs(own.out) if o.record.method == "e2e-ft")
    path = folder / f"{output.record.provenance['key']}.safetensors"
    item, packed = f"samples/{path.stem}", path.read_bytes()
    arrays, note = unpacked_arrays(opened(item, packed)), note_of(packed)
    before = hashlib.sha256(packed).hexdigest()
    arrays["confidence"] = arrays["confidence"] - np.uint16(steps)
    packed = save(arrays, metadata={"note": json.dumps(note)})
    path.write_bytes(b"".join(sealed(item, packed)))
    sums = (folder / "SHA256SUMS").read_text()
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(sums.replace(before, after))


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


FRAUDS = {
    "config.json": ('"v2"', '"v2" '),
    "plan.json": ('"seed": 0', '"seed": 3'),
    "records.jsonl": ('"precision": "fp32"', '"precision": "bf16"'),
    "trainings.jsonl": ('"epoch"', '"epoch" '),
}


@pytest.mark.parametrize("name", FRAUDS)
def test_any_changed_file_of_a_run_is_found(name: str, own: Finished) -> None:
    """Also where nothing that is recomputed changes with it."""
    path = own.out / name
    text = path.read_text()
    assert FRAUDS[name][0] in text
    path.write_text(text.replace(*FRAUDS[name], 1))
    found = differences(own.out, options(own))
    assert found and found[0].file in (name, "manifest.json"), found


def test_a_last_digit_of_a_record_is_found(own: Finished) -> None:
    path = own.out / "records.jsonl"
    records = read_records(path)
    row = next(i for i, r in enumerate(records) if (r.metric, r.kind) == ("nll", "cell"))
    value = np.nextafter(records[row].value, 9)
    records[row] = records[row].model_copy(update={"value": float(value)})
    path.write_text(records_text(records))
    (found,) = differences(own.out, options(own))
    assert (found.file, found.place) == ("manifest.json", " records.jsonl")


def test_rows_dropped_against_the_plan_are_found(own: Finished) -> None:
    """Records, configuration and reports of a run that leaves out its worst row."""
    path = own.out / "config.json"
    config = json.loads(path.read_text())
    config["methods"] = [name for name in config["methods"] if name != "ose"]
    config["rows"] = {s: [r for r in rows if "ose" not in r] for s, rows in config["rows"].items()}
    path.write_text(json.dumps(config))
    records = [r for r in read_records(own.out / "records.jsonl") if r.method != "ose"]
    (own.out / "records.jsonl").write_text(records_text(records))
    found = differences(own.out, options(own))
    assert found and found[0].file == "plan.json"


def test_a_swapped_checkpoint_is_found(own: Finished) -> None:
    """An encoder that is changed and not run again gives the same numbers from stored features."""
    store = Store(own.cache)
    (path,) = (p for p in (own.cache / "weights").rglob("*") if p.stat().st_size > 200_000)
    arrays = store.read_arrays("weights", path.stem)
    assert arrays is not None
    arrays = {n: a + np.float32(0.01 * (not n.startswith("head"))) for n, a in arrays.items()}
    store.write("weights", path.stem, save(arrays, metadata={"device": "cpu"}))
    with pytest.raises(DataError, match="made by other weights"):
        differences(own.out, options(own))


def test_a_manifest_without_files_is_no_traceback(own: Finished) -> None:
    content = {"version": 1}
    text = json.dumps(content | {"root": hashlib.sha256(b'{"version":1}').hexdigest()})
    (own.out / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="altered"):
        differences(own.out, options(own))


def test_an_edited_manifest_is_found(own: Finished) -> None:
    path = own.out / "manifest.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(DataError, match="altered"):
        differences(own.out, options(own))


def test_a_manifest_that_is_gone_is_missed(own: Finished) -> None:
    (own.out / "manifest.json").unlink()
    (found,) = differences(own.out, options(own))
    assert (found.file, found.place) == ("manifest.json", " manifest.json")


@pytest.mark.parametrize("name", ["plan.json", "trainings.jsonl", "config.json"])
def test_a_file_that_is_gone_from_run_and_manifest_is_missed(name: str, own: Finished) -> None:
    """Whoever drops the plan, to drop seeds as well, renews the manifest; the report is rebuilt."""
    (own.out / name).unlink()
    write_run_manifest(own.out)
    bench("report", own.out)
    if name == "config.json":
        with pytest.raises(InputError, match=name):
            differences(own.out, options(own))
        return
    (found,) = differences(own.out, options(own))
    assert (found.file, found.place) == ("manifest.json", f" {name}")


def test_a_manifest_that_is_no_file_is_not_passed_over(own: Finished) -> None:
    (own.out / "manifest.json").unlink()
    (own.out / "manifest.json").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*manifest.json"):
        differences(own.out, options(own))

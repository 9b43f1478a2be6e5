"""Other calibrations in place of temperature scaling: a choice that moves nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import opened
from commands import bench as command
from outputs_folders import Arrays, alter, folder, found, score
from safetensors.numpy import load_file

import bench
from bench.api.dataset import LabelMap
from bench.core.records import Record
from bench.posthoc.calibrators import CALIBRATORS
from bench.posthoc.functional import log_softmax
from bench.report.document import document
from bench.report.tables.leaderboard import ALIKE
from bench.testing.fakes import fake_records

OTHERS = ("vector", "isotonic")
LABELS = {"vector": "VS", "isotonic": "IR"}
COLUMNS = ((1, 2), (0,))


def asked(name: str) -> tuple[str, ...]:
    return ("--set", f"protocol.scaling={name}", "--methods", "zero-shot,vrf", "--overwrite")


def plain(records: list[Record]) -> dict[tuple[object, ...], float]:
    """Values of the records without calibration."""
    return {
        (r.method, r.base, r.shift, r.metric, str(r.choice)): r.value
        for r in records
        if r.kind != "scaled"
    }


def mapped(path: Path) -> Path:
    """A folder whose shift has two classes of its own: one is two of the task's."""
    at = {"file": "sketch.safetensors", "classes": {"big": ["1", "2"], "small": "0"}}
    folder(path, classes=["0", "1", "2"], shifts={"sketch": at})

    def own(arrays: Arrays) -> None:
        arrays["labels"] = np.where(arrays["labels"] == 0, 1, 0)

    alter(path, "sketch", own)
    return path


@pytest.mark.parametrize("name", OTHERS)
def test_a_calibration_changes_the_scaled_cells_alone(tmp_path: Path, name: str) -> None:
    """Every other value is that of a run with temperatures; the fits and the features are its."""
    assert score(mapped(tmp_path), *asked("nll")).code == 0
    before = found(tmp_path)
    kept = {p.name: p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file()}
    assert score(tmp_path, *asked(name)).code == 0
    after = found(tmp_path)
    assert plain(after) == plain(before)
    scaled = [r for r in after if r.kind == "scaled"]
    assert scaled and all(r.temperature is None for r in scaled)
    assert {r.protocol for r in after} == {f"clean, scaling {name}"}
    left = {p.name: p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file()}
    fits = {n for n in kept if "fits" in n}
    assert all(left[n] == kept[n] for n in fits)
    assert score(tmp_path, *asked("nll")).code == 0
    assert found(tmp_path) == before


@pytest.mark.parametrize("name", OTHERS)
def test_a_set_with_other_classes_is_calibrated_before_the_label_map(
    tmp_path: Path, name: str
) -> None:
    """By hand from the arrays, for zero-shot: fit on the selection split, map, then normalise."""
    assert score(mapped(tmp_path), *asked(name), "--metrics", "worst-class").code == 0
    arrays = {s: load_file(tmp_path / f"{s}.safetensors") for s in ("selection", "sketch")}
    log_probs = {s: log_softmax(a["clip.logits"]) for s, a in arrays.items()}
    fit, apply = CALIBRATORS[name]
    fitted = fit(log_probs["selection"], arrays["selection"]["labels"])
    whole = apply(log_probs["sketch"], fitted).astype(np.float32)
    wanted = log_softmax(LabelMap(COLUMNS).project(whole))
    labels = arrays["sketch"]["labels"]
    of = {
        r.metric: r.value
        for r in found(tmp_path)
        if (r.method, r.shift, r.kind) == ("zero-shot", "sketch", "scaled")
    }
    right = wanted.argmax(axis=1) == labels
    assert of["top1"] == pytest.approx(right.mean())
    assert of["nll"] == pytest.approx(-wanted[np.arange(20), labels].mean(), rel=1e-5)
    assert of["worst-class"] == pytest.approx(min(right[labels == c].mean() for c in (0, 1)))


@pytest.mark.parametrize("name", OTHERS)
def test_a_report_names_the_calibration_and_its_accuracy(tmp_path: Path, name: str) -> None:
    assert score(folder(tmp_path), *asked(name)).code == 0
    out = tmp_path / "out"
    text = (out / "report.md").read_text()
    assert f"ID w/ {LABELS[name]}" in text and f"ID w/o {LABELS[name]}" in text
    assert "TS" not in text.replace("SAMPLES", "") and ALIKE not in text
    assert text.count("### Accuracy (percent)") == 2  # its own table has no calibrated columns
    assert "it can change predicted classes and accuracy" in text
    assert "| T |" not in text
    with opened(out / "report.html") as page:
        heads = page.locator("table[data-table='calibration top1'] th").all_text_contents()
    assert f"ID w/ {LABELS[name]}" in heads
    cells = bench.load(out).to_pandas()
    assert cells[cells.scaled].metric.nunique() == 4


def test_columns_that_a_report_does_not_have_are_not_explained() -> None:
    """As without a selection split: the protocol names a calibration, but no cell has it."""
    records = [r.model_copy(update={"protocol": "clean, scaling vector"}) for r in fake_records()]
    assert not any("w/ VS" in note for note in document(records).notes)
    scaled = records[0].model_copy(update={"kind": "scaled"})
    assert any("w/ VS" in note for note in document([*records, scaled]).notes)


def test_temperatures_have_no_table_of_accuracy(tmp_path: Path) -> None:
    assert score(folder(tmp_path), *asked("nll")).code == 0
    assert (tmp_path / "out" / "report.md").read_text().count("### Accuracy (percent)") == 1


def test_a_check_recomputes_them(tmp_path: Path) -> None:
    assert score(mapped(tmp_path), *asked("isotonic")).code == 0
    where = ("--cache-dir", tmp_path / "cache")
    done = command("check", tmp_path / "out", *where)
    assert done.code == 0, done.err


def test_an_unknown_calibration_is_refused(tmp_path: Path) -> None:
    done = score(folder(tmp_path), "--set", "protocol.scaling=matrix")
    assert done.code == 2 and "vector" in done.err

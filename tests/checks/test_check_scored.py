"""`bench check` of runs of `bench score`, and how long its messages are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import assert_refused, bench
from outputs_folders import alter, folder, score

import bench as package
from bench.checks.differences import Difference, text_differences
from bench.core.errors import InputError


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """A folder of outputs, with a run in ``out`` and its cache in ``cache``."""
    path = folder(tmp_path / "outputs")
    result = score(path, "--methods", "ose,vrf", "--set", "ose.alphas=[0.2,0.8]")
    assert result.code == 0, result.err
    return path


def test_a_scored_run_is_recomputed_from_its_outputs(scored: Path) -> None:
    for place in (("--cache-dir", scored / "cache"), ("--cache-dir", scored / "other")):
        result = bench("check", scored / "out", *place)
        assert result.code == 0, result.err
        assert "cells recomputed from stored outputs; no difference" in result.out
    records = scored / "out" / "records.jsonl"
    records.write_text(records.read_text().replace('"value": 0.', '"value": 0.1', 1))
    edited = bench("check", scored / "out", "--cache-dir", scored / "cache")
    assert edited.code == 3 and len(edited.err.strip()) < 500


def test_a_scored_run_knows_its_outputs_from_python(scored: Path) -> None:
    run = package.load(scored / "out", cache_dir=scored / "cache")
    assert run.outputs("ose", "sketch").log_probs.shape == (20, 3)


def test_outputs_that_were_moved_are_asked_for(scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (scored / "out").rename(out)
    moved = scored.rename(tmp_path / "moved")
    cache = ("--cache-dir", tmp_path / "cache")
    assert_refused(bench("check", out, *cache), "the run scored the outputs in", "--data DIR")
    assert_refused(bench("check", out, *cache, "--data", tmp_path), f"none in {tmp_path}", "--data")
    found = bench("check", out, *cache, "--data", moved)
    assert found.code == 0, found.err


def test_a_run_that_kept_no_folder_is_no_unknown_suite(scored: Path) -> None:
    path = scored / "out" / "places.json"
    assert Path(json.loads(path.read_text())["outputs"]) == scored.resolve()
    path.unlink()
    cache = ("--cache-dir", scored / "cache")
    refusal = bench("check", scored / "out", *cache)
    assert_refused(refusal, "the run scored outputs computed elsewhere", "--data DIR")
    assert bench("check", scored / "out", *cache, "--data", scored).code == 0


def test_changed_outputs_are_called_that(scored: Path) -> None:
    alter(scored, "sketch", lambda arrays: arrays.update(labels=(arrays["labels"] + 1) % 3))
    result = bench("check", scored / "out", "--cache-dir", scored / "cache")
    assert_refused(result, "sketch have changed since the run", code=4)


def test_cells_that_the_run_lacked_are_no_damage(tmp_path: Path) -> None:
    path = folder(tmp_path)
    assert score(path, "--methods", "wise-ft,ose").code == 1  # no weights
    result = bench("check", path / "out", "--cache-dir", path / "cache")
    assert result.code == 0, result.err


@pytest.mark.parametrize("text", ["x" * 5000, "\x1b" * 5000, "é\u200b" * 3000])
def test_differences_are_short_lines(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text(f"| {text} 1 |\n")
    (tmp_path / "rendered.md").write_text(f"| {text} 2 |\n")
    (one,) = text_differences(tmp_path / "report.md", tmp_path / "rendered.md")
    assert len(str(one)) < 350
    long = Difference(text, text, text[:90], text[:90])
    assert len(str(long)) < 1200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "is empty, expected records"),
        (lambda text: text.replace('"value": 0.', '"value": NaN, "was": 0.', 1), "finite"),
        (lambda text: text.replace('"value": 0.', '"value": Infinity, "was": 0.', 1), "finite"),
        (lambda text: text.splitlines(keepends=True)[0], "ends after 0 records"),
    ],
)
def test_records_that_hold_no_numbers_are_refused(change, message, scored: Path) -> None:
    path = scored / "out" / "records.jsonl"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        package.load(scored / "out")
    assert "records.jsonl" in str(caught.value) and len(str(caught.value)) < 500

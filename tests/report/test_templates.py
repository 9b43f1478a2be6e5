"""`--templates` replaces a suite's prompts in numbers, records and reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import unescape
from pathlib import Path

import pytest
from commands import Finished, Result, assert_refused, bench

from bench.checks.recompute import recompute_run
from bench.core.errors import DataError
from bench.core.records import Record, read_records

ZERO_SHOT = ("--suite", "micro", "--limit", "20", "--shifts", "v2", "--methods", "zero-shot")


def run(folder: Path, *options: object) -> Result:
    where = ("--cache-dir", folder / "cache", "--out", folder / "run")
    return bench("run", *ZERO_SHOT, *where, *options)


def cells(folder: Path) -> Mapping[tuple[str, str], Record]:
    """The records of a run's cells by shift and metric."""
    records = read_records(folder / "records.jsonl")
    return {(r.shift, r.metric): r for r in records if r.kind == "cell"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my prompts.txt"
    path.write_text("a sketch of {a}.\nthe {}.\n")
    return path


def test_templates_are_used_and_said(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_own = run(tmp_path)
    assert with_own.code == 0 and "Prompts" not in with_own.out
    own = cells(tmp_path / "run")
    assert not any("prompts" in record.provenance for record in own.values())
    assert "Prompts" not in (tmp_path / "run" / "report.md").read_text()

    result = run(tmp_path, "--templates", file)
    assert result.code == 0, result.err
    found = cells(tmp_path / "run")
    (said,) = {record.provenance["prompts"] for record in found.values()}
    assert said.startswith("2 templates of my prompts.txt (SHA-256 ")
    assert said.endswith("...)")
    assert found.keys() == own.keys()
    assert found["id", "nll"].value != own["id", "nll"].value
    assert f"Prompts: {said}" in " ".join(result.out.split())
    for report in ("report.md", "report.html"):
        text = (tmp_path / "run" / report).read_text()
        assert unescape(text).count(f"Prompts: {said}") == 1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["templates"] == str(file)

    options = {"cache_dir": tmp_path / "cache"}
    assert not recompute_run(tmp_path / "run", options).differences
    file.write_text("the {}.\n")
    with caplog.at_level("WARNING"):  # the run keeps a copy
        assert not recompute_run(tmp_path / "run", options).differences
    assert "my prompts.txt has changed since the run" in caplog.text
    (tmp_path / "run" / "places.json").unlink()
    with pytest.raises(DataError, match=r"my prompts\.txt has changed"):
        recompute_run(tmp_path / "run", options)


def test_the_suites_own_templates_in_a_file_give_the_same_numbers(
    small: Finished, tmp_path: Path
) -> None:
    from bench.data.mini.render import TEMPLATES

    own = tmp_path / "own.txt"
    own.write_text("\n".join(TEMPLATES))
    options = ("--cache-dir", small.cache, "--out", tmp_path / "run", "--templates", own)
    assert bench(*small.command, *options).code == 0
    values = {place: record.value for place, record in cells(small.out).items()}
    assert {place: r.value for place, r in cells(tmp_path / "run").items()} == values


def test_other_prompts_are_another_leaderboard(tmp_path: Path, file: Path) -> None:
    runs = [tmp_path / "own", tmp_path / "other"]
    for folder, options in zip(runs, ((), ("--templates", file)), strict=True):
        where = ("--cache-dir", tmp_path / "cache", "--out", folder)
        assert bench("run", *ZERO_SHOT, *where, *options).code == 0
    result = bench("report", *runs, "--out", tmp_path / "both")
    assert_refused(result, "differ in prompts: the suite's own and 2 templates of my prompts.txt")


def test_lists_by_name_are_told_by_the_suites_name(tmp_path: Path) -> None:
    path = tmp_path / "by name.json"
    path.write_text('{"micro": ["{}"], "other": ["a {}"]}')
    assert run(tmp_path, "--templates", path, "--dry-run").code == 0
    path.write_text('{"other": ["a {}"]}')
    assert_refused(run(tmp_path, "--templates", path), "by name.json", "'micro'", "other")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert_refused(run(tmp_path, "--templates", tmp_path / "no.txt"), "templates", "no.txt")


def test_a_run_file_may_name_templates(tmp_path: Path, file: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"templates: {json.dumps(str(file))}\n")
    planned = bench("plan", *ZERO_SHOT, "--cache-dir", tmp_path, "--config", config, "--json")
    option = bench("plan", *ZERO_SHOT, "--cache-dir", tmp_path, "--templates", file, "--json")
    without = bench("plan", *ZERO_SHOT, "--cache-dir", tmp_path, "--json")
    assert planned == option and planned.code == 0
    assert planned != without

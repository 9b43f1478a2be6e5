"""Reports of several runs and with baseline models: regenerated, checked, opened in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from commands import SAME_BENCH, Finished, assert_refused, bench, contents, start
from places import ROOT

from bench.core.records import read_records, records_text
from bench.report.formats.html_data import chapter_data
from bench.report.run_folder import RECORDS, ReportSources

MODELS = """model,source,id,v2,objectnet
small,a test,40,30,20
middle,a test,50,38,29
large,a test,60,47,37
"""


@pytest.fixture
def other(own: Finished) -> Path:
    """A second run on the same outputs, with fewer methods."""
    folder = own.out.parent / "other"
    command = [*own.command, "--methods", "zero-shot,e2e-ft", "--out", folder]
    assert bench(*command, "--cache-dir", own.cache).code == 0
    return folder


def test_a_report_of_several_runs_is_checked(own: Finished, other: Path, tmp_path: Path) -> None:
    both = tmp_path / "reports" / "both"
    assert bench("report", own.out, other, "--out", both, "--format", "md,csv,svg").code == 0
    assert json.loads((both / "sources.json").read_text()) == {"runs": ["../../run", "../../other"]}
    result = bench("check", both, "--cache-dir", own.cache)
    assert (result.code, result.err) == (0, "")
    assert {"report.md", "report.csv"} < set(re.split(r"[ ,]+", result.out.strip()))
    path = both / "report.md"
    text = path.read_text()
    at = max(m.start() for m in re.finditer(r"\d", text))
    path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])
    assert bench("check", path, "--cache-dir", own.cache).code == 3
    assert bench("check", both / "report.csv", "--cache-dir", own.cache).code == 0


def test_a_run_that_another_machine_repeats_changes_no_number(tmp_path: Path) -> None:
    """Values differ by rounding there: the first run's are taken, also in figures and samples."""
    run = ROOT / "results" / "mini"
    close = [
        record.model_copy(
            update={
                "value": record.value + (1e-9 if record.metric != "top1" else 0),
                "temperature": record.temperature and record.temperature + 1e-9,
            }
        )
        for record in read_records(run / RECORDS)
    ]
    shutil.copytree(run, tmp_path / "again")
    (tmp_path / "again" / RECORDS).write_text(records_text(close))
    one, both = (ReportSources(runs).content()[0] for runs in [(run,), (run, tmp_path / "again")])
    for alone, repeated in zip(one.chapters, both.chapters, strict=True):
        assert [(f.spec, f.table) for f in repeated.figures] == [
            (f.spec, f.table) for f in alone.figures
        ]
        assert repeated.tables == alone.tables
        found, expected = (chapter_data(of.numbers) for of in (repeated, alone))
        assert found | {"records": None} == expected | {"records": None}  # those of both runs


def test_an_edited_record_of_one_run_is_found(own: Finished, other: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    assert bench("report", own.out, other, "--out", both).code == 0
    path = other / "records.jsonl"
    first, *others = read_records(path)
    edited = first.model_copy(update={"value": first.value / 2})
    path.write_text(records_text([edited, *others]))
    result = bench("check", both, "--cache-dir", own.cache)
    assert result.code == 3
    assert "other/records.jsonl" in result.err


def test_moved_together_runs_and_their_report_can_be_checked(
    own: Finished, other: Path, tmp_path: Path
) -> None:
    assert bench("report", own.out, other, "--out", tmp_path / "both").code == 0
    away = tmp_path / "away"
    for name in ("run", "other", "both"):
        shutil.move(tmp_path / name, away / name)
    assert bench("check", away / "both", "--cache-dir", own.cache).code == 0
    shutil.rmtree(away / "other")
    assert_refused(bench("check", away / "both", "--cache-dir", own.cache), "other")


def test_baselines_stay_with_the_run_they_are_shown_with(own: Finished, tmp_path: Path) -> None:
    models = tmp_path / "models.csv"
    models.write_text(MODELS)
    page = own.out / "report.html"
    without = page.read_text()
    assert bench("report", own.out, "--format", "csv", "--baselines", models).code == 0
    assert page.read_text() != without and "3 baselines" in page.read_text()
    models.unlink()
    first = contents(own.out)
    assert bench("check", own.out, "--cache-dir", own.cache).code == 0
    again = bench(*own.command, "--out", own.out, "--cache-dir", own.cache)
    assert again.code == 0 and contents(own.out) == first
    kept = own.out / "baselines.csv"
    kept.write_text(MODELS.replace("60,47", "60,57"))
    assert bench("check", page, "--cache-dir", own.cache).code == 3
    kept.unlink()
    assert bench("report", own.out).code == 0
    assert page.read_text() == without


def test_what_reports_are_made_of_is_said_if_it_is_not_there(
    own: Finished, other: Path, tmp_path: Path
) -> None:
    assert_refused(bench("report", other, "--out", own.out), "is the folder of a run")
    assert_refused(bench("report", own.out, other, "--out", own.out), "is the folder of a run")
    assert_refused(bench("report", own.out, "--baselines", tmp_path / "no.csv"), "no.csv")
    assert not (own.out / "baselines.csv").exists()
    lone = tmp_path / "lone"
    lone.mkdir()
    for text in ("{", "[]", '{"runs": 3}', '{"runs": [3]}', '{"runs": []}', '{"runs": "ab"}'):
        (lone / "sources.json").write_text(text)
        assert_refused(bench("check", lone), "does not name the runs")


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands for the browser")
def test_the_page_is_opened(own: Finished, tmp_path: Path) -> None:
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}"\n')
    browser.chmod(0o755)
    out = tmp_path / "shown"
    command = ("report", own.out, "--format", "md", "--open", "--out", out)
    process = start(*command, env=SAME_BENCH | {"BROWSER": f"{browser} %s"})
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "report.html" in said
    assert opened.read_text().strip() == (out / "report.html").as_uri()
    none = start(*command, env=SAME_BENCH | {"BROWSER": "/bin/false %s", "PATH": ""})
    _, said = none.communicate(timeout=60)
    assert none.returncode == 0 and "open the page yourself" in said

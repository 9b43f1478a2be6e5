"""Foreign rows in reports: marked in every format, never ranked, kept and checked with the run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Finished, assert_refused, bench, contents
from imagenet_rows import IMAGENET, rows

from bench.core.records import records_text
from bench.report.document import document
from bench.report.run_folder import RECORDS, report_sources, rewrite_reports
from bench.report.tables.elsewhere import OTHER_DATA
from bench.report.write import FORMATS

VALUES = {
    "imagenet1k": 0.6334, "imagenetv2": 0.5596, "imagenet_sketch": 0.423, "imagenet-a": 0.3137,
    "imagenet-r": 0.6932, "objectnet": 0.4417,
}  # fmt: skip


def results(folder: Path, **values: float) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for dataset, value in (values or VALUES).items():
        made = {"dataset": dataset, "model": "=ViT|<b>", "pretrained": "openai", "language": "en"}
        made |= {"task": "zeroshot_classification"}
        paths.append(folder / f"{dataset}.json")
        paths[-1].write_text(json.dumps(made | {"metrics": {"acc1": value}}))
    return paths


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with records that claim to be of all images of ImageNet's sets."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / RECORDS).write_text(records_text(rows("imagenet", IMAGENET)))
    return folder


def chapter_of(folder: Path) -> Any:
    (chapter,) = report_sources(folder).content()[0].chapters
    return chapter


def test_foreign_rows_are_shown_in_every_format_and_never_ranked(run: Path, tmp_path: Path) -> None:
    paths = results(tmp_path / "theirs")
    digest = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert bench("report", run, "--format", "md").code == 0
    before = chapter_of(run)
    given = [part for path in paths for part in ("--beside", path)]
    said = bench("report", run, "--format", ",".join(FORMATS), *given)
    assert said.code == 0, said.err
    shown = {name: (run / f"report.{name}").read_text() for name in FORMATS}
    for name, text in shown.items():
        assert digest in text, name
        assert ("measured elsewhere" if name == "csv" else "Measured elsewhere, not ranked") in text
    assert "<b>" not in shown["md"] and "ViT|<b>" not in shown["html"].split("<script")[0]
    line = next(x for x in shown["md"].splitlines() if x.startswith("| =ViT"))
    mean = sum(v for k, v in VALUES.items() if k != "imagenet1k") / 5
    assert f" {100 * mean:.1f} " in line and "63.3" in line and "**" not in line
    chapter = chapter_of(run)
    others = [table for table in chapter.tables if table.name != "beside"]
    assert others == list(before.tables) and chapter.numbers.board == before.numbers.board
    cells = [c for c in csv.DictReader(io.StringIO(shown["csv"])) if c["role"] == "elsewhere"]
    assert {(c["set"], c["mean"], c["ranked"]) for c in cells} == {
        (place, str(value), "False") for place, value in zip(IMAGENET, VALUES.values(), strict=True)
    }
    assert {c["model"] for c in cells} == {"'=ViT|<b>, openai"}  # no formula
    (data,) = json.loads(shown["json"])["chapters"]
    own = [c for c in data["cells"] if c["role"] == "elsewhere"]
    assert len(own) == 6 and not any(c["ranked"] for c in own)


def test_a_row_without_all_shifts_has_no_mean(run: Path, tmp_path: Path) -> None:
    rewrite_reports(run, [run], None, ["md"], results(tmp_path / "few", imagenet1k=0.6))
    (table,) = [table for table in chapter_of(run).tables if table.name == "beside"]
    texts = [item.text for item in table.groups[0][0].items]
    assert texts[1:] == ["60.0", *(6 * ["–"]), "imagenet1k.json"]
    assert OTHER_DATA not in table.note


def test_a_run_on_fewer_images_says_that_rows_do_not_compare(run: Path, tmp_path: Path) -> None:
    few = [r.model_copy(update={"n": 60}) for r in rows("imagenet", IMAGENET)]
    (run / RECORDS).write_text(records_text(few))
    rewrite_reports(run, [run], None, ["md"], results(tmp_path / "theirs"))
    (table,) = [table for table in chapter_of(run).tables if table.name == "beside"]
    assert OTHER_DATA in table.note


def test_files_stay_with_the_report_until_others_are_given(run: Path, tmp_path: Path) -> None:
    paths = results(tmp_path / "theirs", imagenet1k=0.6, imagenetv2=0.5)
    rewrite_reports(run, [run], None, ["md", "html"], paths)
    shutil.rmtree(tmp_path / "theirs")
    text = (run / "report.md").read_text()
    rewrite_reports(run, [run], None, ["md"])
    assert (run / "report.md").read_text() == text and "imagenetv2.json" in text
    page = (run / "report.html").read_text()
    rewrite_reports(run, [run], None, ["md"], results(tmp_path / "other", **{"imagenet-a": 0.3}))
    assert [path.name for path in (run / "beside").iterdir()] == ["imagenet-a.json"]
    assert (run / "report.html").read_text() != page  # what is there already is written again


def test_the_report_of_a_run_with_foreign_rows_is_checked(own: Finished, tmp_path: Path) -> None:
    """The suite of this run has no counterpart, so nothing can be shown; a run keeps its files."""
    (path,) = results(tmp_path / "theirs", imagenet1k=0.6)
    said = bench("report", own.out, "--beside", path)
    assert_refused(said, "--beside", "no result is an accuracy on an evaluation set")
    assert not (own.out / "beside").exists()
    first = contents(own.out)
    (own.out / "beside").mkdir()
    shutil.copy(path, own.out / "beside" / path.name)
    assert bench("check", own.out, "--cache-dir", own.cache).code == 0
    again = bench(*own.command, "--cache-dir", own.cache, "--out", own.out)
    assert again.code == 0, again.err
    kept = contents(own.out)
    assert kept.pop(f"beside/{path.name}") == path.read_bytes() and kept == first


def test_what_cannot_be_shown_is_one_line_and_writes_nothing(run: Path, tmp_path: Path) -> None:
    (path,) = results(tmp_path / "one", imagenet1k=0.6)
    (same,) = results(tmp_path / "two", imagenet1k=0.7)
    (cifar,) = results(tmp_path / "three", cifar10=0.9)
    other = same.rename(same.with_name("other.json"))
    (bad,) = results(tmp_path / "four", imagenet1k=63.3)
    for files, words in (
        ([path, bad], ("several files are named imagenet1k.json",)),
        ([bad], ("acc1 is 63.3", "divide percentages by 100")),
        ([path, other], ("other.json", "0.7 and 0.6")),
        ([cifar], ("no result is an accuracy",)),
    ):
        given = [part for file in files for part in ("--beside", file)]
        assert_refused(bench("report", run, *given), *words)
        assert [p.name for p in run.iterdir()] == [RECORDS]


def test_boards_of_other_suites_have_none(tmp_path: Path, run: Path) -> None:
    folder = results(tmp_path / "theirs")
    rewrite_reports(run, [run], None, ["md"], folder)
    sources = report_sources(run)
    plain = replace(sources, beside=()).content()[0]
    assert document(rows("mini", IMAGENET)).chapters[0].beside == ()
    assert [c.beside for c in plain.chapters] == [()] and sources.content()[0].chapters[0].beside

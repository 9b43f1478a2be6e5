"""Other formats of a report: every cell, nothing interpreted, figures as files, baselines."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import altair
import pytest
from browser import run_of_chance
from commands import Finished, assert_refused, bench

from bench.core.errors import InputError
from bench.core.records import read_records
from bench.leaderboard.published import baselines
from bench.leaderboard.stats.row_samples import samples_by_board
from bench.leaderboard.suite_results import measured
from bench.report import write as report
from bench.report.document import document
from bench.report.formats.rerun_command import rerun_command
from bench.report.formats.text import report_csv, report_json, report_latex, report_markdown
from bench.report.tables.table import DASH


def chance_document(title: str = "VRF", **more: Any) -> report.Document:
    records, samples = run_of_chance(seeds=(0, 1))
    changed = [
        r.model_copy(update=more | ({"title": title} if r.method == "vrf" else {})) for r in records
    ]
    return document(changed, samples=[] if more else samples)


def test_csv_has_every_cell_unrounded() -> None:
    records, _ = run_of_chance(seeds=(0, 1))
    lines = list(csv.DictReader(io.StringIO(report_csv(document(records)))))
    (found,) = (
        line for line in lines
        if (line["method"], line["set"], line["metric"]) == ("vrf", "v2", "top1")
    )  # fmt: skip
    own = [r.value for r in records if (r.method, r.shift, r.metric) == ("vrf", "v2", "top1")]
    assert float(found["mean"]) == pytest.approx(sum(own) / 2, rel=1e-12)
    assert (found["base"], found["seeds"], found["ranked"]) == ("e2e-ft", "2", "True")
    assert {line["set"] for line in lines} == {"id", "v2", "sketch", "a", "OOD mean"}


def test_cells_have_the_intervals_of_the_tables() -> None:
    made = chance_document()
    (chapter,) = made.chapters
    lines = list(csv.DictReader(io.StringIO(report_csv(made))))
    assert list(lines[0])[-2:] == ["low", "high"]
    assert {line["metric"] for line in lines if line["low"]} == {"top1", "ece"}
    cells = json.loads(report_json(made))["chapters"][0]["cells"]
    ends = [("" if c["low"] is None else str(c["low"])) for c in cells]
    assert ends == [line["low"] for line in lines]
    sure = {
        (c["metric"], c["method"], c["set"]): (c["low"], c["high"])
        for c in cells
        if c["low"] is not None
    }
    known = chapter.numbers.comparison
    assert known is not None and known.last is not None
    vrf, wise = ("vrf", "e2e-ft"), ("wise-ft", "e2e-ft")
    assert sure["top1", "vrf", "OOD mean"] == known.last.intervals[vrf]
    value, interval = known.last.differences[vrf, wise]
    assert sure["top1", "vrf - wise-ft", "OOD mean"] == interval
    assert interval.low < value < interval.high
    places = ("id", *chapter.numbers.board.shifts, "OOD mean")
    assert {(m, name, place): i for (m, name, place), i in sure.items() if m == "ece"} == {
        ("ece", method, place): interval
        for (method, _), intervals in known.ece.items()
        for place, interval in zip(places, intervals, strict=True)
        if interval is not None
    }
    without = document(run_of_chance(seeds=(0, 1))[0])
    (chapter,) = json.loads(report_json(without))["chapters"]
    assert {cell["low"] for cell in chapter["cells"]} == {None}


@pytest.mark.parametrize("name", ["=cmd()", "+1", "@x", "-2"])
def test_csv_has_no_formulas(name: str) -> None:
    records, _ = run_of_chance(seeds=(0,))
    changed = [r.model_copy(update={"suite": name}) for r in records]
    (first, *_) = csv.DictReader(io.StringIO(report_csv(document(changed))))
    assert first["suite"] == f"'{name}"


def test_tex_is_inert_and_has_all_tables() -> None:
    text = report_latex(chance_document(r"50% & \input{x} #_^~$ {"))
    assert r"50\% \& \textbackslash{}input\{x\} \#\_\textasciicircum{}" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\begin{tabular}")
    for line in (line for line in text.splitlines() if line.endswith(r"\\")):
        columns = len(re.findall(r"(?<!\\)&", line)) + 1
        assert columns > 1 or r"\multicolumn" in line
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_watermarks_are_in_every_format() -> None:
    marked = chance_document(notes=("limit=9",))
    for name, make in report.FORMATS.items():
        assert "limit=9" in make(marked), name
    tables = report_latex(marked).split(r"\begin{table}")[1:]
    assert all("limit=9" in table for table in tables)


def test_json_holds_tables_and_cells() -> None:
    data = json.loads(report_json(chance_document()))
    (chapter,) = data["chapters"]
    captions = [table["caption"] for table in chapter["tables"]]
    assert captions[:2] == ["Accuracy (percent)", "Standings by OOD mean (percent)"]
    assert {cell["metric"] for cell in chapter["cells"]} == {"top1", "ece"}


def test_every_figure_is_a_file_and_a_valid_specification(tmp_path: Path) -> None:
    records, samples = run_of_chance(seeds=(0, 1))

    def drawn() -> dict[str, bytes]:
        paths = report.write_report(tmp_path, records, formats=("svg", "png"), samples=samples)
        return {path.name: path.read_bytes() for path in paths}

    files = drawn()
    assert files == drawn()
    assert {"id-ood.svg", "differences.svg", "reliability.png", "cost.png"} <= files.keys()
    assert all(d.startswith(b"<svg") for n, d in files.items() if n.endswith("svg"))
    assert all(d.startswith(b"\x89PNG") for n, d in files.items() if n.endswith("png"))
    for chapter in document(records, samples=samples).chapters:
        for figure in chapter.figures:
            if figure.spec is not None:
                altair.Chart.from_dict(figure.spec)
                assert figure.table is not None and figure.table.groups


def test_formats_are_checked(small: Finished, tmp_path: Path) -> None:
    assert_refused(bench("report", small.out, "--format", "pdf", "--out", tmp_path), "pdf", "html")
    assert_refused(bench("report", small.out, "--format", ",", "--out", tmp_path), "--format")
    result = bench("report", small.out, "--format", "tex,csv,json,csv", "--out", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "report.csv",
        "report.json",
        "report.tex",
        "sources.json",
    ]
    assert result.code == 0 and len(result.out.split()) == 3


def test_a_records_command_makes_it_again(small: Finished, tmp_path: Path) -> None:
    record = next(
        r for r in read_records(small.out / "records.jsonl")
        if (r.kind, r.method, r.shift, r.metric) == ("cell", "vrf", "v2", "top1")
    )  # fmt: skip
    line = rerun_command(record)
    assert line is not None
    program, *arguments = shlex.split(line)
    assert program == "bench"
    places = ("--shifts", "v2", "--cache-dir", small.cache, "--out", tmp_path)
    result = bench(*arguments, *places)
    assert result.code == 0, result.err
    again = {r.provenance.get("key") for r in read_records(tmp_path / "records.jsonl")}
    assert record.provenance["key"] in again
    assert "--precision fp32" in line and "--metrics" not in line
    asked = record.model_copy(update={"metric": "auroc"})
    assert "--metrics auroc" in str(rerun_command(asked))
    half = record.model_copy(update={"provenance": {**record.provenance, "precision": "bf16"}})
    assert "--precision bf16-eval" in str(rerun_command(half))  # its training was in fp32


CSV = "model,source,id,v2,sketch,a\nrn,x,50,40,30,20\nvgg,x,60,50,41,30\nvit,y,70,61,52,41\n"


def test_a_line_is_drawn_through_baselines_alone(tmp_path: Path) -> None:
    path = tmp_path / "models.csv"
    path.write_text(CSV)
    found = baselines.read_baselines(path)
    assert found[0] == baselines.Baseline(
        "rn", "x", {"id": 0.5, "v2": 0.4, "sketch": 0.3, "a": 0.2}
    )
    records, _ = run_of_chance(seeds=(0,))
    for given, said in ((found, "3 baselines"), (found[:2], "too few for a line"), ((), "no base")):
        (chapter,) = document(records, baselines=given).chapters
        figure = next(f for f in chapter.figures if f.name == "id-ood")
        assert said in figure.caption
        assert figure.table is not None
        assert ("Above the baselines" in figure.table.columns) == (len(given) == 3)


def test_a_line_is_that_of_logits() -> None:
    def at(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    line = baselines.fit_line([(at(x), at(0.8 * x - 0.5)) for x in (-1.0, 0.2, 1.3)])
    assert line is not None
    assert (line.slope, line.offset) == pytest.approx((0.8, -0.5))
    assert line.expected(at(2.0)) == pytest.approx(at(1.1))
    assert baselines.fit_line([(0.5, 0.4)] * 5) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("model,id\na,1\n", "source"),
        ("model,source,id\na,,1\n", "needs a model and a source"),
        ("model,source,id\na,b,101\n", "not an accuracy in percent"),
        ("model,source,id\na,b,x\n", "not an accuracy in percent"),
        ("model,source,id\na,b,1,2\n", "more values than columns"),
    ],
)
def test_wrong_baselines_are_refused(text: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "models.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=word):
        baselines.read_baselines(path)


def test_ranks_need_the_same_seeds_and_whole_unmarked_boards() -> None:
    records, samples = run_of_chance(seeds=(0, 1))
    (numbers,) = measured(records, samples=samples_by_board(samples))
    assert numbers.comparison is not None and numbers.comparison.last is not None
    assert set(numbers.comparison.last.ranks) == {(r.method, r.base) for r in numbers.board.rows}
    fewer = [r for r in records if (r.method, r.seed) != ("vrf", 1)]
    (uneven,) = measured(fewer, samples=samples_by_board(samples))
    assert uneven.comparison is not None and "different seeds" in uneven.comparison.reason
    limited = [s.record.model_copy(update={"notes": ("limit=9",)}) for s in samples]
    (marked,) = measured(limited, samples=samples_by_board(samples))
    assert marked.comparison is None
    text = report_markdown(document(fewer, samples=samples))
    standings = text.split("### Standings")[1].split("###")[0]
    assert "not ranked: rows were run with different seeds" in standings
    assert all(line.rstrip(" |").endswith(DASH) for line in standings.splitlines() if "VRF" in line)

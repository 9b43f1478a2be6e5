"""The pages of results/ follow from the committed records and published tables only."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import markdown_page
import pytest
import results_page
from browser import opened
from places import ROOT
from results_beside import side_by_side
from results_findings import FINDINGS
from results_numbers import Difference, Numbers

from bench.cli.main import cli
from bench.core.records import Record, read_records
from bench.leaderboard.published.ledger import count_verdicts
from bench.leaderboard.published.tables import find_published_table, published_tables
from bench.leaderboard.stats.estimates import Interval
from bench.report.formats.text import escape, report_markdown
from bench.report.tables.table import TableCell
from bench.runs.study.config import RunConfig, load_config

RUNS = {run.name: run for run in results_page.runs()}
PAGES = results_page.pages()
MEASURED = {name: run.document.chapters[0].numbers for name, run in RUNS.items()}
AGAIN = "run python scripts/pages/results_page.py"


def without_library(text: str) -> str:
    """A page without the script of Vega, of which another version has other bytes."""
    text = re.sub(r"script-src [^;\"]*", "", text, count=1)
    return re.sub(r'<script>(?!"use strict").*?</script>', "", text, count=1, flags=re.DOTALL)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_page_is_made_of_the_records_and_tables_as_they_are(path: Path) -> None:
    assert without_library(path.read_text()) == without_library(PAGES[path]), AGAIN


@pytest.mark.parametrize("run", RUNS.values(), ids=lambda r: r.name)
def test_the_report_of_a_committed_run_is_that_of_its_records(run: results_page.Run) -> None:
    written = (ROOT / "results" / run.name / "report.md").read_text()
    assert written == report_markdown(run.document), AGAIN


def test_every_published_cell_has_a_status_and_none_is_reproduced() -> None:
    found = results_page.entries(RUNS.values())
    assert {name: len(table.claims) for name, table in published_tables().items()} == {
        name: len(entries) for name, entries in found.items()
    }
    everything = [entry for entries in found.values() for entry in entries]
    assert all(entry.reason for entry in everything if entry.verdict == "not attempted")
    assert count_verdicts(everything)["reproduced"] == 0
    assert "**0 are reproduced**" in PAGES[ROOT / "results" / "README.md"]


@pytest.mark.parametrize("run", RUNS.values(), ids=lambda r: r.name)
def test_the_command_of_a_run_has_its_configuration(run: results_page.Run) -> None:
    words = shlex.split(results_page.command(run))
    assert words[:2] == ["bench", "run"]
    options = cli.commands["run"].make_context("run", words[2:]).params
    fields = run.config.keys() & load_config(None, {}).results().keys()
    asked = load_config(None, {k: v for k, v in options.items() if k in fields}).results()
    usual = {"precision": "fp32"}
    assert {k: asked[k] or usual.get(k, asked[k]) for k in fields} == {
        k: run.config[k] for k in fields
    }


def test_measured_numbers_stand_beside_the_published_ones() -> None:
    run = RUNS["vrf-table1"]
    (chapter,) = run.document.chapters
    found = side_by_side(find_published_table("vrf-table1"), chapter, other_data=True)
    assert found is not None
    cells = [
        r
        for r in read_records(ROOT / "results" / "vrf-table1" / "records.jsonl")
        if (r.method, r.base, r.metric, r.kind) == ("vrf", "lp-ft", "top1", "cell")
    ]
    in_distribution = fmean(r.value for r in cells if r.shift == "id")
    out_of_it = fmean(r.value for r in cells if r.shift != "id")
    (published,) = [
        row for _, row in find_published_table("vrf-table1").rows if row.name == "vrf:lp-ft"
    ]
    assert published.label == "+ VRF (ours)"  # the paper's
    line = [line for group in found.groups for line in group][-2]
    assert [item.text for item in line.items] == [
        "+ VRF",
        published.cells[0],
        f"{100 * in_distribution:.1f}",
        published.cells[-1],
        f"{100 * out_of_it:.1f}",
    ]


def test_a_table_of_other_data_is_beside_no_run_that_has_not_its_form() -> None:
    (chapter,) = RUNS["mini"].document.chapters
    assert side_by_side(find_published_table("vrf-table1"), chapter, other_data=False) is None


def test_published_numbers_of_the_same_sets_are_beside_a_run_of_them() -> None:
    """A table's own sets are matched by name; a table of other sets is compared with nothing."""
    places = {"id": "id", "v2": "10.1", "sketch": "10.2", "rendition": "stl10"}
    records = [
        r.model_copy(update={"suite": "cifar10", "shift": places[r.shift], "shifts_in_suite": 3})
        for r in RUNS["mini"].records
        if r.kind == "cell" and r.shift in places
    ]
    run = results_page.Run("cifar10", RUNS["mini"].config, records, (), ())
    (chapter,) = run.document.chapters
    found = side_by_side(find_published_table("vrf-table3a"), chapter, other_data=False)
    assert found is not None
    labels = ("CIFAR-10, published", "ID, measured", "STL-10, published", "stl10, measured")
    assert found.columns == ("Row", *labels)
    zero_shot = found.groups[0][0 if len(find_published_table("vrf-table3a").backbones) == 1 else 1]
    assert zero_shot.items[1] == TableCell("88.3")
    assert side_by_side(find_published_table("carot-slides"), chapter, other_data=False) is None


@pytest.mark.parametrize("run", RUNS.values(), ids=lambda r: r.name)
def test_the_command_of_a_run_has_all_its_options(run: results_page.Run) -> None:
    said, usual = shlex.split(results_page.command(run)), RunConfig().results()
    set_apart = {"precision", "methods"} if run.config["table"] else {"precision"}
    for name, value in run.config.items():
        if name in RunConfig.model_fields.keys() - set_apart and value != usual.get(name):
            option = f"--{name.replace('_', '-')}"
            assert {option, option.replace("--", "--no-")} & set(said), name


def test_every_finding_is_of_a_committed_run() -> None:
    assert FINDINGS.keys() <= RUNS.keys()


class Worse(Numbers):
    """Numbers of a run in which every accuracy and ECE is its complement."""

    def id(self, row: str, metric: str = "top1", *, scaled: bool = False) -> float:
        return 1 - super().id(row, metric, scaled=scaled)

    def ood(self, row: str, metric: str = "top1", *, scaled: bool = False) -> float:
        return 1 - super().ood(row, metric, scaled=scaled)


class Separated(Numbers):
    """Numbers of a run in which every row is far from every other, and none shares a rank."""

    def minus(self, one: str, other: str, *, on_id: bool = False) -> Difference:
        return Difference(0.5, Interval(0.49, 0.51))

    def rank(self, row: str) -> tuple[int, int]:
        return 9, 9


def _swapped(record: Record) -> Record:
    """Exchange the endpoints' hits in a record's counts by distance."""
    data = record.data and {**record.data}
    if data and "hits_ft" in data:
        data["hits_ft"], data["hits_zs"] = data["hits_zs"], data["hits_ft"]
    return record.model_copy(update={"data": data})


WITHOUT_CLAIMS = ["_frontier"]
"""Findings that only state numbers, whatever these are."""


@pytest.mark.parametrize(
    ("name", "finding"),
    [(name, f) for name, found in FINDINGS.items() for f in found],
    ids=lambda part: part if isinstance(part, str) else part.__name__.lstrip("_"),
)
def test_a_finding_that_no_longer_holds_fails(name: str, finding: Callable[[Numbers], str]) -> None:
    """Each finding that claims something fails in one of three other worlds."""
    results, greedy = MEASURED[name], MEASURED["max-val"]
    swapped = replace(results, figures=tuple(map(_swapped, results.figures)))
    worlds = ((Worse, results), (Separated, results), (Numbers, swapped))
    failed = []
    for numbers, of in worlds:
        try:
            finding(numbers(of, {"max-val": numbers(greedy)}))
        except ValueError as error:
            failed += ["no longer so" in str(error)]
    assert failed == [] if finding.__name__ in WITHOUT_CLAIMS else failed and all(failed)


@pytest.mark.parametrize("name", FINDINGS)
def test_a_difference_in_a_finding_is_that_of_the_runs_statistics(name: str) -> None:
    (chapter,) = RUNS[name].document.chapters
    numbers, comparison = Numbers(chapter.numbers), chapter.numbers.comparison
    assert comparison is not None
    pair = ("wise-ft", "e2e-ft"), ("zero-shot", None)
    for on_id, column in ((True, comparison.columns[0]), (False, comparison.last)):
        found = numbers.minus("wise-ft:e2e-ft", "zero-shot", on_id=on_id)
        assert column is not None
        assert (found.value, found.interval) == column.differences[pair]


def test_an_interval_that_is_printed_as_touching_0_may_be_chance() -> None:
    ends = {(-0.01, 0.01): True, (0.0002, 0.02): True, (0.001, 0.02): False, (-0.02, -0.001): False}
    for (low, high), chance in ends.items():
        assert Difference(0.01, Interval(low, high)).may_be_chance == chance
    assert str(Difference(0.012, Interval(0.0002, 0.024))) == "+1.2 (+0.0 to +2.4)"


def test_a_curve_that_does_not_reach_the_accuracy_has_no_frontier() -> None:
    chapters = (RUNS[name].document.chapters[0] for name in ("vrf-table1", "max-val"))
    within, greedy = (Numbers(chapter.numbers) for chapter in chapters)
    assert greedy.above_frontier("vrf:e2e-ft", "ose:e2e-ft") is None
    assert (greedy.above_frontier("vrf:lp-ft", "ose:lp-ft") or 0) < 0
    assert (within.above_frontier("vrf:lp-ft", "ose:lp-ft") or 0) > 0


@pytest.mark.parametrize("run", RUNS.values(), ids=lambda r: r.name)
def test_marks_and_deviations_are_explained_where_they_stand(run: results_page.Run) -> None:
    text = "\n\n".join(results_page._run(run, RUNS))
    board = run.document.chapters[0].numbers.board
    assert any(row.has_caveats for row in board.rows) == ("- Caveat: " in text)
    assert board.has_deviations == (results_page.LEGEND in text)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    text = PAGES[path]
    is_html = path.suffix == ".html"
    pattern = r'href="([^"]+)"' if is_html else r"\]\(([^)\s]+)\)"
    targets = {target for target in re.findall(pattern, text) if "://" not in target}
    assert targets
    for target in targets:
        name, _, place = target.partition("#")
        page = (path.parent / name).resolve() if name else path.resolve()
        page = page / path.name if page.is_dir() and place else page
        assert page.exists(), f"{path.name} links to {target}"
        if place:
            there = page.read_text()
            anchors = {*re.findall(r'id="([^"]+)"', there)}
            anchors |= {markdown_page.anchor(h) for h in re.findall(r"^#+ (.+)$", there, re.M)}
            assert place in anchors, f"{path.name} links to {target}"


def test_a_page_of_markdown_is_inert() -> None:
    lines = (f"| {escape('<script>*x*')} | 1 |", "| \\+ VRF | 2 |")
    text = "\n".join(("# A & B", "", "| Row | n |", "|:---|---:|", *lines, ""))
    made = markdown_page.page(text + "\n[report](mini/report.md#there)\n", results_page.RESULTS)
    assert "<title>A &amp; B</title>" in made
    assert '<th scope="row">&lt;script&gt;*x*</th>\n<td class="n">1</td>' in made
    assert '<tr class="member">\n<th scope="row">+ VRF</th>' in made
    assert 'href="mini/report.html#there"' in made
    assert "<script" not in made


@pytest.mark.parametrize("name", RUNS)
def test_the_figure_of_a_run_is_its_own(name: str) -> None:
    """Texts only, since another version of the library may draw other bytes."""
    drawn = (ROOT / "results" / name / "id-ood.svg").read_text()
    texts = "".join(re.findall(r">([^<]+)<", drawn))
    (chapter,) = RUNS[name].document.chapters
    board = chapter.numbers.board
    names = [row.title for row in board.rows if row.role == "method"]
    assert "OOD mean against ID" in texts
    assert not [name for name in names if html.escape(name, quote=False) not in texts], AGAIN


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_a_phone_and_fetches_nothing(width: int) -> None:
    with opened(ROOT / "results" / "findings.html", width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("h2#reproduction-ledger").count() == 1


@pytest.mark.parametrize("width", [390, 1440])
def test_the_board_has_every_run_and_every_published_table(width: int) -> None:
    with opened(ROOT / "results" / "index.html", width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.get_by_label("Suite").input_value() == "mini"
        said = page.locator("#runs").inner_text()
        assert all(name in said for name in ("mini", "vrf-table1", "carot-slides"))
        assert page.evaluate("Object.keys(benchBoard.data.runs).sort()") == sorted(RUNS)
        tables = page.evaluate("Object.keys(benchBoard.data.sources)")
        assert set(tables) == set(published_tables())
        assert page.get_by_role("link", name="Findings").get_attribute("href") == "findings.html"
        pages = page.evaluate("Object.values(benchBoard.data.glossary).map((term) => term.page)")
        assert all((ROOT / name.split(" ")[0]).is_file() for name in pages)
        named = page.evaluate("Object.values(benchBoard.data.runs).flatMap(Object.values)")
        assert named and all((ROOT / "results" / name).is_file() for name in named)

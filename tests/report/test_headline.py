"""The headline in plain words, the terms beside it, and suites where nothing can be claimed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import opened, run_of_chance, written
from places import ROOT

from bench.api import protocol
from bench.core.records import Record
from bench.leaderboard.build import build_boards
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats.chance import zero_shot_guesses
from bench.leaderboard.stats.significance import BoardStatistics, ColumnStatistics
from bench.posthoc import selection
from bench.report.document import document
from bench.report.formats.html import report_html
from bench.report.formats.text import report_markdown
from bench.report.glossary import INTRODUCTION, PROTOCOLS, RULES, path_to_root
from bench.report.headline import (
    CHANCE,
    headline,
    lead_sentence,
    others_sentence,
    shared_sentence,
)
from bench.report.run_folder import read_run, read_samples
from bench.report.write import write_report
from bench.testing.fakes import fake_records

SENTENCES = {
    (0, 0): "",
    (0, 1): "The data do not separate the best from the other row.",
    (0, 3): "The data do not separate the best from the 3 other rows.",
    (1, 1): "The other row is lower by more than chance explains.",
    (2, 2): "Both other rows are lower by more than chance explains.",
    (3, 3): "All 3 other rows are lower by more than chance explains.",
    (
        1,
        2,
    ): "Of the 2 other rows, 1 is lower by more than chance explains; the data do not "
    "separate the best from the remaining one.",
    (2, 3): "Of the 3 other rows, 2 are lower by more than chance explains; the data do not "
    "separate the best from the remaining one.",
    (
        1,
        4,
    ): "Of the 4 other rows, 1 is lower by more than chance explains; the data do not "
    "separate the best from the remaining 3.",
}


@pytest.mark.parametrize(("counts", "sentence"), SENTENCES.items())
def test_the_others_are_counted_in_plain_words(counts: tuple[int, int], sentence: str) -> None:
    assert others_sentence(*counts) == sentence
    assert others_sentence(*counts, higher=False) == sentence.replace("lower", "higher")


SHARED = (
    ({"A": 0, "B": 3}, 11, "A is above none of the 11 other rows, and B above 3."),
    (
        {"A": 2, "B": 0, "C": 1},
        4,
        "A is above 2 of the 4 other rows, and B above none, and C above 1.",
    ),
    ({"A": 0, "B": 0}, 1, "A is above none of the other row, and B above none."),
)


def test_what_is_below_each_of_several_leaders_is_said_of_each() -> None:
    for worse, others, sentence in SHARED:
        assert shared_sentence(worse, others) == f"By {CHANCE}, {sentence}"
        below = shared_sentence(worse, others, higher=False)
        assert below == f"By {CHANCE}, {sentence}".replace("above", "below")


def test_rows_that_share_the_lead_may_be_ahead_of_different_rows() -> None:
    rows = {"zero-shot": (0.6, 0.4), "e2e-ft": (0.8, 0.5), "vrf:e2e-ft": (0.8, 0.5)}
    (board,) = build_boards(fake_records(rows, shifts=["v2"]))

    def said(**last: int) -> str:
        ranks = {("zero-shot", None): (1, 3), ("e2e-ft", None): (1, last["e2e"])}
        ranks |= {("vrf", "e2e-ft"): (1, last["vrf"])}
        column = ColumnStatistics({}, {}, ranks)
        return headline(board, BoardStatistics((column,), (), "")).text

    lead = f"E2E-FT and VRF on E2E-FT share the highest OOD mean, 50.0. By {CHANCE}, E2E-FT is "
    assert f"{lead}above none of the 2 other rows, and VRF on E2E-FT above 1." in said(e2e=3, vrf=2)
    assert f"{lead}above 1 of the 2 other rows, and VRF on E2E-FT above 1." in said(e2e=2, vrf=2)


def test_the_headline_of_a_committed_run_agrees_with_its_ranks() -> None:
    run = ROOT / "results" / "vrf-table1"
    (chapter,) = document(*read_run(run), samples=read_samples(run)).chapters
    column = chapter.numbers.comparison and chapter.numbers.comparison.last
    assert column is not None
    for title, base in (("VRF on E2E-FT", "e2e-ft"), ("VRF on LP-FT", "lp-ft")):
        lower = len(column.ranks) - column.ranks["vrf", base][1]
        assert re.search(rf"{title} (is )?above {lower or 'none'}\b", chapter.summary)


def test_the_lead_is_of_one_row_or_is_shared() -> None:
    assert lead_sentence(["A"], "OOD mean", "1.0") == "A has the highest OOD mean, 1.0."
    assert lead_sentence("AB", "OOD mean", "1.0") == "A and B share the highest OOD mean, 1.0."
    assert lead_sentence("ABC", "ID", "1", higher=False) == "A, B and C share the lowest ID, 1."


def test_the_page_says_the_same_for_some_of_the_shifts(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        for (worse, others), sentence in SENTENCES.items():
            ask = "([worse, others]) => benchReport.chapters[0].doubt(worse, others)"
            assert page.evaluate(ask, [worse, others]) == sentence
        for each, others, sentence in SHARED:
            ask = "([worse, others]) => benchReport.chapters[0].shared(worse, others)"
            assert page.evaluate(ask, [[*each.items()], others]) == f"By {CHANCE}, {sentence}"
        page.evaluate("benchReport.chapters[0].data.guessing = 'Nothing is claimed.'")
        page.get_by_label("v2 counts in the mean").uncheck()
        assert page.locator(".summary").inner_text() == "Nothing is claimed."


def test_a_headline_claims_no_more_than_is_known() -> None:
    (board,) = build_boards(fake_records())
    assert headline(board, None).text == (
        "Of 3 rows compared on 2 shifts, VRF on E2E-FT has the highest OOD mean, 51.0. Whether the "
        "lead is more than chance explains is unknown: no per-sample outcomes were stored."
    )
    marked = replace(board, notes=("limit=20",))
    assert headline(marked, None).text == "3 rows compared on 2 shifts. Nothing is ranked."
    (board,) = build_boards(fake_records({"zero-shot": (0.6,), "e2e-ft": (0.8,)}, shifts=[]))
    text = headline(board, None).text
    assert text.startswith("Of 2 rows compared on ID alone, E2E-FT has the highest accuracy on ID,")


def guesses(
    right: float, classes: int = 10, n: int = 1000, places: tuple[str, ...] = ("id", "v2")
) -> tuple[list[Record], list[SampleOutputs]]:
    """A run whose zero-shot has the accuracy `right` on `places` and 0.9 elsewhere."""
    records, samples = run_of_chance({"id": n, "v2": n})
    labels = np.arange(n) % classes
    on = EvaluationSet("ids", "", labels[:, None], {}, {})
    changed = []
    for one in samples:
        if one.record.method == "zero-shot":
            share = right if one.record.shift in places else 0.9
            one = replace(one, right=np.arange(n) < share * n)
        changed.append(replace(one, on=on, predicted=labels))
    values = {
        (s.record.method, s.record.base, s.record.shift, s.record.seed): float(s.right.mean())
        for s in changed
    }
    own = [
        r.model_copy(update={"value": values[r.method, r.base, r.shift, r.seed]})
        if r.metric == "top1"
        else r
        for r in records
    ]
    return own, changed


@pytest.mark.parametrize(
    ("right", "classes", "places", "nothing"),
    [
        (0.076, 10, ("id",), "7.6% right on ID, where guessing gets 10.0%"),
        (0.105, 10, ("id", "v2"), "10.5% right on ID"),  # guessing often gets as much
        (0.1, 10, ("v2",), "10.0% right in the mean over the shifts"),
        (0.5, 2, ("id",), "50.0% right on ID, where guessing gets 50.0%"),
        (0.6, 2, ("id", "v2"), None),
        (0.14, 10, ("id", "v2"), None),
        (0.1, 100, ("id", "v2"), None),
        (0.1, 1, ("id", "v2"), None),  # chance is unknown
    ],
)
def test_where_zero_shot_guesses_nothing_is_claimed(
    right: float, classes: int, places: tuple[str, ...], nothing: str | None
) -> None:
    records, samples = guesses(right, classes, places=places)
    (chapter,) = document(records, samples=samples).chapters
    found = zero_shot_guesses(chapter.numbers.board, chapter.numbers.samples)
    assert (found is None) == (nothing is None)
    if nothing is not None:
        assert chapter.summary.startswith("Nothing is claimed") and nothing in chapter.summary
        assert "highest" not in chapter.summary
        assert {term.name for term in chapter.terms} & {"VRF", "WiSE-FT", CHANCE} == set()
    else:
        assert "has the highest OOD mean" in chapter.summary


def test_the_committed_run_on_photographs_has_no_headline() -> None:
    run = ROOT / "results" / "cifar10"
    (chapter,) = document(*read_run(run), samples=read_samples(run)).chapters
    assert chapter.summary.startswith("Nothing is claimed about the methods here")


def test_a_newcomer_finds_the_terms_at_the_top(
    made: tuple[list[Record], list[SampleOutputs]],
) -> None:
    records = [
        r.model_copy(update={"chosen_on": {"rule": "within-1pt"}}) if r.base else r for r in made[0]
    ]
    other = [r.model_copy(update={"suite": "t"}) for r in records]
    content = document([*records, *other], samples=made[1])
    first, second = content.chapters
    names = [term.name for term in first.terms]
    assert names[:2] == ["ID", "OOD"] and {"Zero-shot", "VRF", "ECE", "clean"} < {*names}
    assert "within-1pt" in names
    assert not {*first.terms} & {*second.terms}
    assert all((ROOT / term.file).is_file() for term in first.terms)
    text, page = report_markdown(content), report_html(content)
    assert INTRODUCTION in text and INTRODUCTION in page
    for form in (text, page):
        assert form.index("Out of distribution") < form.index("Accuracy (percent)")
        assert form.count("Expected calibration error:") == 1


def test_pages_of_the_documentation_are_links_where_they_are(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    assert path_to_root(ROOT / "results" / "mini") == "../.."
    assert path_to_root(ROOT) == "."
    assert path_to_root(tmp_path) == ""
    checkout = tmp_path / "checkout"
    (checkout / "bench" / "report").mkdir(parents=True)
    (checkout / "docs").mkdir()
    (checkout / "docs" / "statistics.md").touch()
    for folder, linked in ((checkout / "results" / "x", True), (tmp_path / "elsewhere", False)):
        md, html = write_report(folder, made[0], formats=("md", "html"))
        assert ("](../../docs/datasets.md)" in md.read_text()) == linked
        assert ('href="../../docs/datasets.md"' in html.read_text()) == linked
        assert "docs/datasets.md" in md.read_text()


def test_every_protocol_and_rule_is_explained() -> None:
    assert PROTOCOLS.keys() == protocol.PROTOCOLS.keys()
    assert RULES.keys() == selection.RULES.keys()

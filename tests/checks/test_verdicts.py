"""JUnit XML and summaries of CI jobs: no text can break them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.checks.junit import (
    SHOWN,
    SUMMARY,
    Verdict,
    junit_xml,
    publish_verdicts,
    summary_markdown,
)
from bench.core.errors import InputError

STATES = st.sampled_from(["passed", "failed", "skipped"])
VERDICTS = st.lists(st.builds(Verdict, st.text(), st.text(), STATES, st.text()), max_size=5)


@given(st.text(), VERDICTS)
def test_junit_is_xml_that_holds_every_verdict(title: str, verdicts: list[Verdict]) -> None:
    root = ElementTree.fromstring(junit_xml(title, verdicts))
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    assert int(suite.attrib["tests"]) == len(suite) == len(verdicts)
    for name, tag, state in (
        ("failures", "failure", "failed"),
        ("skipped", "skipped", "skipped"),
    ):
        count = sum(verdict.state == state for verdict in verdicts)
        assert int(suite.attrib[name]) == len(list(suite.iter(tag))) == count


def test_names_with_markup_come_back_as_they_are() -> None:
    verdict = Verdict("a<b>&\"'c", "v2 & <sketch>", "failed", "60.1 < 62 & \x00 gone")
    (case,) = ElementTree.fromstring(junit_xml("<&>", [verdict])).iter("testcase")
    assert case.attrib == {"classname": verdict.group, "name": verdict.name}
    assert case[0].attrib["message"] == "60.1 < 62 & \N{REPLACEMENT CHARACTER} gone"


@given(st.text(), VERDICTS)
def test_a_summary_has_one_line_for_each_verdict(title: str, verdicts: list[Verdict]) -> None:
    lines = summary_markdown(title, verdicts).splitlines()
    assert lines[0].startswith("### ")
    rows = [line for line in lines if line.startswith("|")][2:]
    assert len(rows) == len(verdicts)
    for row in rows:
        assert row.replace(r"\\", "").replace(r"\|", "").count("|") == 5
        assert "<" not in row


def test_failures_come_first_in_a_summary_that_is_cut() -> None:
    many = [Verdict("row", f"cell {i}") for i in range(SHOWN)]
    text = summary_markdown("Check", [*many, Verdict("row", "bad", "failed")])
    assert "1 failed" in text and "1 more are not shown." in text
    assert text.index("bad") < text.index("cell 0")


def test_a_job_appends_to_its_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv(SUMMARY, str(path))
    publish_verdicts("Check", [Verdict("row", "cell")], None)
    assert path.read_text().startswith("before\n### Check\n")
    monkeypatch.setenv(SUMMARY, str(tmp_path / "no" / "folder"))
    with pytest.raises(InputError, match="cannot be written"):
        publish_verdicts("Check", [], None)
    monkeypatch.delenv(SUMMARY)
    with pytest.raises(InputError, match="--junit"):
        publish_verdicts("Check", [], path / "junit.xml")

"""Caveats in reports: each once, by what they concern, with the rows they concern marked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from commands import bench

from bench.core.records import Record, read_records, records_text, sort_key
from bench.leaderboard.build import build_boards
from bench.report.caveats import caveat_sentences
from bench.report.document import document
from bench.report.formats.html import report_html
from bench.report.formats.text import report_csv, report_json, report_latex, report_markdown
from bench.testing.fakes import fake_records

FAR = "b = 0.4 is the largest of its candidates: a better one may lie beyond."
ROWS = {"zero-shot": (0.6, 0.4), "e2e-ft": (0.8, 0.3), "vrf:e2e-ft": (0.8, 0.5)}


def stating(
    own: Mapping[str, Sequence[str]] = {}, seeds: Sequence[int] = (0,), **shared: Sequence[str]
) -> list[Record]:
    """Records whose rows have `own` caveats, by method, and all of them the `shared` ones."""
    found = []
    for record in fake_records(ROWS, shifts=["v2"]):
        caveats = {name: list(texts) for name, texts in shared.items()}
        caveats |= {"row": list(own[record.method])} if record.method in own else {}
        provenance = {"key": f"{record.method} {record.shift}", "inputs": [], "caveats": caveats}
        for seed in seeds if record.seed is not None else (None,):
            changes = {"seed": seed, "provenance": provenance}
            found.append(record.model_copy(update=changes))
    return found


def test_each_is_said_once_and_rows_are_named_with_their_seeds() -> None:
    records = stating({"vrf": [FAR], "e2e-ft": ["It did nothing."]}, (0, 2), train=["T.", "U."],
                      evaluation=["T."])  # fmt: skip
    (board,) = build_boards(records)
    assert caveat_sentences(board, records) == (
        *("T.", "U.", "E2E-FT, seeds 0, 2: It did nothing."),
        f"VRF on E2E-FT, seeds 0, 2: {FAR}",
    )
    assert {row.method: row.has_caveats for row in board.rows} == {
        "zero-shot": False, "e2e-ft": True, "vrf": True,
    }  # fmt: skip


def test_many_rows_are_counted() -> None:
    records = [
        record.model_copy(update={"method": f"m{n}", "title": f"M{n}"})
        for n in range(5)
        for record in stating({"e2e-ft": ["Same."]})
        if record.method == "e2e-ft"
    ]
    (board,) = build_boards(records)
    assert caveat_sentences(board, records) == ("M0, M1, M2 and 2 more, seed 0: Same.",)


def test_every_format_has_them_and_marks_the_rows() -> None:
    content = document(stating({"vrf": [FAR]}, model=["<b>Mean</b> 0.5 was assumed."]))
    markdown, page, tex = (f(content) for f in (report_markdown, report_html, report_latex))
    assert "Caveats:" in markdown and "VRF †" in markdown and "\\<b" not in markdown
    assert "&lt;b&gt;Mean&lt;/b&gt; 0.5 was assumed." in page and "<b>Mean" not in page
    assert FAR in page and "VRF on E2E-FT, seed 0" in page
    assert f"% Caveat: VRF on E2E-FT, seed 0: {FAR}" in tex
    (chapter,) = json.loads(report_json(content))["chapters"]
    assert chapter["caveats"][0] == "<b>Mean</b> 0.5 was assumed."
    assert FAR not in report_csv(content)  # which has cells alone
    plain = document(fake_records(ROWS, shifts=["v2"]))
    assert not any("aveat" in f(plain) for f in (report_markdown, report_latex))
    assert '<div class="caveats">' not in report_html(plain)


def test_files_of_records_hold_them_where_they_belong(tmp_path: Path) -> None:
    records = stating({"vrf": [FAR]}, train=["T."], evaluation=["E."], model=["M."])
    path = tmp_path / "records.jsonl"
    path.write_text(records_text(records))
    assert read_records(path) == sorted(records, key=sort_key)
    holders = {
        text: {json.loads(line)["define"] for line in path.read_text().splitlines() if text in line}
        for text in ('"T."', '"E."', '"M."', FAR)
    }
    assert holders == {'"T."': {"run"}, '"E."': {"set"}, '"M."': {"run"}, FAR: {"computation"}}


@pytest.mark.parametrize("kind", ["plan", "run"])
def test_the_command_line_says_them(kind: str, pets: Path, tmp_path: Path) -> None:
    from suite_files import BASE, write

    (pets / "test" / "cat" / "notes.heic").write_bytes(b"no image")
    suite = write(pets, BASE)
    result = bench(
        *(kind, "--suite", suite, "--model", "tiny", "--methods", "zero-shot"),
        *("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out"),
    )
    assert result.code == 0, result.err
    said = result.out if kind == "plan" else result.err
    assert said.count("notes.heic") == 1 and "caveat: " in said
    if kind == "run":
        assert "notes.heic" in (tmp_path / "out" / "report.md").read_text()
        command = ("run", "--suite", suite, "--model", "tiny", "--methods", "zero-shot", "--json")
        as_json = bench(*command, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "json")
        assert any("notes.heic" in text for text in json.loads(as_json.out)["caveats"])

"""Names with control characters, escapes and formulas: no file and no terminal acts on them."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.records import Record
from bench.core.streams import print_line
from bench.front.display import TerminalDisplay, leaderboards_text
from bench.report.document import document
from bench.report.figures.rasterize import chart_svg
from bench.report.write import FORMATS, write_report
from bench.testing.fakes import fake_records

NASTY = "a\rb\0c\033[31md\x9b2J\u202ee\udcff\nf\t\ufeff[red]g"
FORMULAS = ("=1+1", "+x", "-x", "@x", "\t=x", "\r=x", " =x", "\0=x", "＝x")
FIELDS = ("suite", "model", "protocol", "title", "shift")


def named(field: str, name: str) -> list[Record]:
    """Records of which some, or all, have another name in a field."""
    own = {"title": "VRF", "shift": "v2"}
    return [
        r.model_copy(update={field: name}) if getattr(r, field) == own.get(field, getattr(r, field))
        else r
        for r in fake_records()
    ]  # fmt: skip


def acting(text: str) -> set[str]:
    return {hex(ord(c)) for c in text if not c.isprintable() and c not in "\n\t"}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("field", FIELDS)
def test_no_file_holds_what_acts_on_a_terminal(kind: str, field: str, tmp_path: Path) -> None:
    (path,) = write_report(tmp_path, named(field, NASTY), formats=[kind])
    text = path.read_text(encoding="utf-8")
    assert acting(text) == set()
    if kind == "json":
        json.loads(text)


def test_no_figure_does() -> None:
    (chapter,) = document(named("title", NASTY)).chapters
    drawn = [chart_svg(f, [NASTY]).decode() for f in chapter.figures if f.spec is not None]
    assert drawn and all(acting(text) == set() for text in drawn)


@pytest.mark.parametrize("name", FORMULAS)
def test_no_text_of_a_csv_is_a_formula(name: str) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](document(named("model", name))))))
    for row in rows:
        assert row["model"].startswith("'") and row["model"].endswith(name[-1])
        for text in (row["mean"], row["low"]):  # a number has its sign
            assert not text.startswith("'")


@pytest.mark.parametrize("field", FIELDS)
def test_no_terminal_does(field: str) -> None:
    assert acting(leaderboards_text(named(field, NASTY), [])) == set()


def test_a_label_of_progress_is_no_markup() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=200)
    with TerminalDisplay(console, expected=[]) as display, display.task(f"{NASTY}[/]", 2):
        display.live.refresh()
    assert "[red]g[/]" in out.getvalue() and "\033[31m" not in out.getvalue()


def test_a_printed_line_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(f"report: {NASTY}", sys.stdout)
    assert acting(capsys.readouterr().out) == set()

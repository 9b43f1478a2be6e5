"""Reports are deterministic, complete, well formed, and safe against any name."""

from __future__ import annotations

import base64
import hashlib
import html
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api.metrics import METRICS
from bench.core.errors import InputError
from bench.core.records import MissingCell, Record
from bench.report import write as report
from bench.report.document import document
from bench.report.formats.html import report_html
from bench.report.formats.text import escape, report_markdown

PLACES = ("id", "v2", "sketch")
ROWS = (
    ("zero-shot", None, "Zero-shot", 0.52),
    ("e2e-ft", None, "E2E-FT", 0.60),
    ("wise-ft", "e2e-ft", "WiSE-FT", 0.62),
    ("ose", "e2e-ft", "OSE", 0.61),
    ("vrf", "e2e-ft", "VRF", 0.64),
)
EVIL = "<img src=x onerror=alert(1)>`|**b**\n\n# [x](javascript:y)"
VOID = {"meta", "br", "hr", "img", "link", "input"}


def make_records(seeds: tuple[int, ...] = (0, 1), **more: Any) -> list[Record]:
    """All metrics of five rows on ID and two shifts, with an alpha curve of WiSE-FT."""
    found = []
    for method, base, title, value in ROWS:
        for seed in (None,) if method == "zero-shot" else seeds:
            fields: dict[str, Any] = {
                "suite": "mini",
                "model": "tiny/mini",
                "method": method,
                "base": base,
                "title": title,
                "seed": seed,
                "n": 500,
                "shifts_in_suite": 2,
                "provenance": {
                    "precision": "fp32",
                    "environment": {
                        "versions": {"torch": "2.9", "bench": "0.1"},
                        "commit": "abc1234",
                        "hardware": {"cpus": 2, "device": "cpu" if seed else "cuda"},
                    },
                },
            }
            if base:
                fields["choice"] = {"alpha": 0.5}
                fields["chosen_on"] = {"split": "mini/val", "n": 300, "rule": "max-val"}
                fields["chosen_on"]["accuracy"] = 0.625
            for order, shift in enumerate(PLACES):
                place = {"shift": shift, "order": order, "weight": 0.4 if base else None}
                size = value - 0.05 * order + 0.01 * (seed or 0)
                for metric in ("top1", "ece", "nll", "brier"):
                    cell = {"metric": metric, "value": size, **place}
                    found.append(Record(**(fields | cell | more)))
                if method == "wise-ft":
                    for alpha in (0.0, 0.5, 1.0):
                        point = {"choice": {"alpha": alpha}, "kind": "curve", "metric": "top1"}
                        found.append(Record(**(fields | place | point | {"value": size} | more)))
    return found


def absent(reason: str, shift: str = "v2", title: str = "VRF") -> MissingCell:
    return MissingCell(
        suite="mini",
        model="tiny/mini",
        method="vrf",
        base="e2e-ft",
        title=title,
        seed=1,
        shift=shift,
        order=PLACES.index(shift),
        shifts_in_suite=2,
        reason=reason,
    )


class Page(HTMLParser):
    """Check that tags balance; store tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def both(records: list[Record], missing: list[MissingCell] | None = None) -> tuple[str, str]:
    made = document(records, missing or [])
    return report_markdown(made), report_html(made)


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells; backslash-escaped pipes do not occur (they are entities)."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for block in blocks
    ]


def test_markdown_holds_the_leaderboard_in_the_papers_style() -> None:
    text, _ = both(make_records())
    table, *others = markdown_tables(text)
    assert table[0] == ["Method", "ID", "v2", "sketch", "OOD mean"]
    names = [line[0] for line in table[2:]]
    assert names[:5] == ["Zero-shot", "E2E-FT", r"\+ WiSE-FT", r"\+ OSE", r"\+ VRF"]
    assert names[5:] == ["Δ VRF - OSE", "Δ VRF - WiSE-FT"]
    assert table[2][1] == "52.0 ± –"
    assert table[3][1] == "60.5 ± 0.7"
    assert table[6][1].startswith("**64.5** ±")
    assert table[7][-1] == "+3.0 ± 0.0"
    assert others[0][0] == ["Method", "ID", "OOD mean"]


def test_report_says_what_was_run_chosen_and_scanned() -> None:
    text, page = both(make_records())
    assert "Commit: abc1234" in text
    assert "Versions: bench 0.1, torch 2.9" in text
    assert "Hardware: cpus 2, device cpu / cuda" in text
    assert "Precision: fp32" in text
    assert "Selection rule: max-val" in text
    assert "ID 500, v2 500, sketch 500" in text
    assert "VRF on E2E-FT" in text
    assert "split mini/val, n 300, rule max-val, accuracy 62.5%" in text
    curve = next(t for t in markdown_tables(text) if t[0][0] == "alpha")
    assert [line[-1] for line in curve[2:]] == ["", "chosen", ""]
    assert "WiSE-FT on E2E-FT over alpha" in page


def test_label_maps_are_facts_unless_all_are_the_identity() -> None:
    assert "Label maps" not in both(make_records())[0]
    kinds = {"id": "identity", "v2": "many-to-one", "sketch": "subset"}
    records = [
        r.model_copy(update={"provenance": r.provenance | {"label_map": kinds[r.shift]}})
        for r in make_records()
    ]
    assert "Label maps: v2 many-to-one, sketch subset" in both(records)[0]


def test_every_metric_is_in_the_report() -> None:
    text, _ = both(make_records())
    for metric in METRICS.values():
        assert f"{metric.title} ({metric.unit})" in text


def test_runs_that_differ_in_more_than_seeds_make_no_report(tmp_path: Path) -> None:
    records = [
        r.model_copy(update={"provenance": {"precision": "bf16" if r.seed else "fp32"}})
        for r in make_records()
    ]
    with pytest.raises(InputError, match=r"differ in precision: .*; report their runs separately"):
        report.write_report(tmp_path, records)
    assert not list(tmp_path.iterdir())


def test_a_large_grid_is_shown_by_its_chosen_and_best_candidates() -> None:
    records = [r for r in make_records(seeds=(0,)) if r.kind == "cell"]
    vrf = [r for r in records if r.method == "vrf"]
    grid = [{"a": float(a), "b": float(b)} for a in range(6) for b in range(6)]
    chosen = {"choice": {"a": 2.0, "b": 3.0}}
    for choice in grid:
        size = (choice["a"] - choice["b"]) / 100 + 0.5
        update = {"kind": "curve", "choice": choice, "value": size}
        records += [r.model_copy(update=update) for r in vrf if r.metric == "top1"]
    records = [r.model_copy(update=chosen) if r in vrf else r for r in records]
    text, _ = both(records)
    table = next(t for t in markdown_tables(text) if t[0][0] == "a, b")
    assert [(line[0], line[-1]) for line in table[2:]] == [("2, 3", "chosen"), ("5, 0", "")]
    assert "the chosen and the best of 36 candidates" in text


def test_single_seed_shows_no_deviation_at_all() -> None:
    text, _ = both(make_records(seeds=(0,)))
    assert "±" not in text.split("## How to read")[0]


def test_seeds_are_shown_where_rows_differ_in_them() -> None:
    records = [r for r in make_records() if not (r.method == "vrf" and r.seed == 1)]
    table = markdown_tables(both(records)[0])[0]
    assert table[0][-1] == "Seeds"
    seeds = {line[0]: line[-1] for line in table[2:]}
    assert seeds["E2E-FT"] == "2 (0, 1)"
    assert seeds[r"\+ VRF"] == "1 (0)"
    assert seeds["Zero-shot"] == "–"


def test_missing_cells_are_dashes_with_reasons() -> None:
    lost = [r for r in make_records() if (r.method, r.seed, r.shift) != ("vrf", 1, "v2")]
    text, page = both(lost, [absent("cuda out of memory")])
    rows = {line[0]: line for line in markdown_tables(text)[0][2:]}
    assert rows[r"\+ VRF"][2].endswith("(1/2)")
    assert rows[r"\+ VRF"][-1] == "–"
    table = next(t for t in markdown_tables(text) if t[0][0] == "Row" and "Reason" in t[0])
    assert table[2] == ["VRF on E2E-FT", "v2", "1 (1)", "cuda out of memory"]
    assert page.count('title="cuda out of memory"') >= 2


def test_watermarks_and_partial_runs_are_said_aloud() -> None:
    text, page = both(make_records(notes=("limit=200",), shifts_in_suite=5))
    for output in (text, page):
        assert "Not reportable: limit=200" in output
        assert "Partial: 2 of the suite&#39;s 5" in output or "2 of the suite's 5" in output
        assert "mean of 2" in output
    assert "**" not in "".join(line for line in text.splitlines() if line.startswith("|"))
    assert "<strong>" not in without_scripts(page)


def test_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    records, missing = make_records(), [absent("a"), absent("b", "sketch")]
    shuffled = list(records)
    random.Random(1).shuffle(shuffled)
    first = report.write_report(tmp_path / "one", records, missing)
    second = report.write_report(tmp_path / "two", shuffled, missing[::-1])
    assert [p.name for p in first] == ["report.md", "report.html"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["report.html", "report.md"]


def without_scripts(text: str) -> str:
    return re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)


def test_html_is_well_formed_accessible_and_self_contained() -> None:
    _, text = both(make_records())
    page = Page(text)
    assert page.count("table") == page.count("caption") == page.count("thead") > 6
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert page.count("link") == page.count("img") == page.count("iframe") == 0
    assert not any("src" in attributes for _, attributes in page.tags)
    assert not re.search(r"(src|href)=|url\(|@import|https?:", without_scripts(text))
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_no_script_runs_but_the_pages_own() -> None:
    _, text = both(make_records())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    hashes = re.findall(r"'sha256-([^']*)'", html.unescape(policy))
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    assert [base64.b64encode(digest).decode() for digest in digests] == hashes
    assert "default-src 'none'" in html.unescape(policy)
    assert "unsafe-inline" not in html.unescape(policy).split("script-src")[1]


def test_html_rows_span_all_columns() -> None:
    records = [r for r in make_records() if r.method != "e2e-ft"]
    _, text = both(records)
    assert "e2e-ft (not run)" in text
    for table in re.findall(r"<table.*?</table>", text, flags=re.DOTALL):
        head, *rows = re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)
        width = head.count("<th")
        for row in rows:
            span = re.search(r'colspan="(\d+)"', row)
            cells = row.count("<td") + row.count("<th")
            assert (int(span[1]) if span else cells) == width


@pytest.mark.parametrize("field", ["title", "method", "suite", "model"])
def test_names_cannot_inject(field: str) -> None:
    records = [r.model_copy(update={field: EVIL}) for r in make_records() if r.method == "vrf"]
    text, page = both(records, [absent(EVIL, title=EVIL)])
    parsed = Page(page)
    assert parsed.count("img") == 0
    assert not any("onerror" in attributes for _, attributes in parsed.tags)
    assert "<img" not in text
    assert "\n# [" not in text
    for table in markdown_tables(text):
        assert len({len(line) for line in table}) == 1
    assert not re.search(r"(?<!\\)`", text)


@given(st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_escape_leaves_nothing_to_interpret(name: str) -> None:
    made = escape(name)
    assert not re.search(r"[<>|\n\r\x1b\x85\u2028]", made)
    assert not re.search(r"(?<!\\)(?:\\\\)*(?<!\\)[`*_\[\]~]", made)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=5, max_size=5))
@settings(max_examples=15, deadline=None)
def test_any_titles_keep_both_reports_well_formed(titles: list[str]) -> None:
    names = dict(zip((m for m, *_ in ROWS), titles, strict=True))
    records = [
        r.model_copy(update={"title": names[r.method]}) for r in make_records() if r.kind == "cell"
    ]
    text, page = both(records)
    Page(page)
    assert all(len({len(line) for line in table}) == 1 for table in markdown_tables(text))


def test_an_empty_run_has_a_report() -> None:
    text, page = both([])
    assert text.startswith("# ")
    Page(page)


def test_a_failed_write_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report.write_report(tmp_path, make_records())
    before = (tmp_path / "report.html").read_bytes()

    def broken(_: object) -> str:
        raise RuntimeError("template")

    monkeypatch.setattr(report, "FORMATS", {**report.FORMATS, "html": broken})
    with pytest.raises(RuntimeError):
        report.write_report(tmp_path, make_records(seeds=(0,)))
    assert (tmp_path / "report.html").read_bytes() == before
    assert b"\xc2\xb1 0.7" in (tmp_path / "report.md").read_bytes()

"""The board in a real browser: no text of records acts on the page or in its downloads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from board_page import Made, board, names, saved
from browser import opened

from bench.core.records import Record
from bench.report.document import document
from bench.report.formats.board.page import board_html
from bench.report.formats.board.view import board_view
from bench.testing.fakes import fake_records

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", " =x", "＝x"])
def test_no_text_of_a_download_is_a_formula(name: str, tmp_path: Path) -> None:
    records = [r.model_copy(update={"title": name}) for r in fake_records() if r.method == "e2e-ft"]
    with board(tmp_path, (records, [])) as page:
        (line,) = list(csv.DictReader(io.StringIO(saved(page, "Download CSV")[1])))
        assert line["row"].startswith("'") and line["row"].endswith(name.strip()[-1])
        assert line["ID"] == "80.0"


@pytest.mark.parametrize("field", ["suite", "model", "protocol", "title", "shift", "method"])
def test_names_in_records_cannot_act_on_the_page(field: str, tmp_path: Path) -> None:
    def named(record: Record) -> Record:
        own = {"title": "E2E-FT", "shift": "v2", "method": "vrf"}
        is_own = getattr(record, field) == own.get(field, getattr(record, field))
        return record.model_copy(update={field: EVIL}) if is_own else record

    records = [named(r) for r in fake_records()]
    cost = {"cost": {"encoders": 1, "training_images": 10}}
    records = [r.model_copy(update={"provenance": cost}) for r in records]
    with board(tmp_path, (records, [])) as page:
        page.locator("#figures").scroll_into_view_if_needed()
        page.wait_for_function("benchBoard.drawings.length === 2")
        page.get_by_label("Search").fill("img" if field in ("title", "method") else "")
        assert len(names(page)) == (2 if field == "title" else 1 if field == "method" else 3)
        page.locator("button.details").last.click()
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Cite this").click()
        assert page.locator("img").count() == 0
        assert EVIL in page.locator("body").inner_text() or field == "method"


@pytest.mark.parametrize("name", ["constructor", "__proto__"])
def test_names_that_javascript_knows_are_names(name: str, tmp_path: Path) -> None:
    records = [r.model_copy(update={"suite": name, "method": name}) for r in fake_records()[:3]]
    with board(tmp_path, (records, [])) as page:
        page.evaluate("(hash) => { location.hash = hash; }", f"suite={name}&{name}=1&sort={name}")
        page.wait_for_function("benchBoard.renders === 2")
        assert f"does not have: {name}." in page.locator("#status").inner_text()
        page.locator("button.details").first.click()
        assert "undefined" not in page.locator("dialog").inner_text()
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Cite this").click()
        said = page.locator("dialog").inner_text()
        assert f"View: {name}, fake/none" in said and "undefined" not in said


def test_only_addresses_of_the_web_are_links(made: Made, tmp_path: Path) -> None:
    records, samples = made
    view = board_view(document(records, samples=samples).chapters)
    view["methods"]["vrf"]["paper"] = "javascript:alert(1)"
    path = tmp_path / "board.html"
    path.write_text(board_html(view))
    with opened(path) as page:
        page.get_by_role("button", name="VRF on E2E-FT").click()
        assert page.locator("dialog a").count() == 0
        assert page.locator('a[href^="javascript"]').count() == 0

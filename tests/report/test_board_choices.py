"""The board in a real browser: what is chosen is shown, kept in the address and saved."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from board_page import Made, board, fragment, names, numbers, saved, two_suites


def test_choices_follow_each_other_and_are_in_the_address(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, two_suites(made)) as page:
        before = numbers(page, "OOD mean")
        page.get_by_label("Suite").select_option("other")
        assert numbers(page, "OOD mean") != before
        assert page.get_by_label("Protocol").locator("option").all_inner_texts() == ["clean"]
        page.get_by_label("Suite").select_option("s")
        page.get_by_label("Protocol").select_option("official")
        assert "partial: 2 of 3 shifts" in page.locator("caption").inner_text()
        assert "Nothing here is ranked" in page.locator("#warnings").inner_text()
        assert page.locator('th[data-key=".rank"]').count() == 0
        assert "Not ranked: no per-sample outcomes" in page.locator("#notes").inner_text()
        page.get_by_label("Metric").select_option("ece")
        assert "ECE (percent), lower is better" in page.locator("caption").inner_text()
        values = [float(text) for text in numbers(page, "mean of 2")]
        assert values == sorted(values)
        assert fragment(page) == "#suite=s&model=tiny/embedded&protocol=official&metric=ece"


def test_rows_are_found_filtered_and_shown_again(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, two_suites(made)) as page:
        page.get_by_label("Search").fill("vrf")
        assert names(page) == ["VRF on E2E-FT"]
        page.get_by_label("Search").fill("neurips 2024")
        assert names(page) == ["VRF on E2E-FT", "OSE on E2E-FT"]
        page.get_by_label("Search").fill("no such row")
        assert names(page) == [] and "No row matches" in page.locator("#status").inner_text()
        page.get_by_role("button", name="Show all").click()
        assert len(names(page)) == 7 and page.get_by_label("Search").input_value() == ""
        page.get_by_label("Oracles").uncheck()
        assert "OSE X on flyp" not in names(page)
        assert page.locator("tr.aside th").all_inner_texts() == ["WiSE-FT X on flyp (ablation)"]
        page.locator('details[data-part="bases"] summary').click()
        page.locator('details[data-part="bases"]').get_by_label("E2E-FT").uncheck()
        assert set(names(page)) == {"WiSE-FT X on flyp", "Zero-shot"}
        assert page.locator('details[data-part="bases"]').get_attribute("open") is not None


def test_a_column_sorts_and_rank_and_interval_follow_it(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, made) as page:
        head = page.locator('th[data-key="v2"]')
        for direction in ("descending", "ascending"):
            head.get_by_role("button", name="v2").click()
            assert head.get_attribute("aria-sort") == direction
            values = [float(text) for text in numbers(page, "v2")]
            assert values == sorted(values, reverse=direction == "descending")
        assert fragment(page) == "#sort=v2&worst=1"
        assert len(numbers(page, "Rank, v2")) == len(numbers(page, "95% interval, v2")) == 5
        by_v2 = dict(zip(names(page), numbers(page, "95% interval, v2"), strict=True))
        page.locator('th[data-key=".images"] button.sort').click()
        assert numbers(page, "Images") == ["1,000"] * 5
        page.locator('th[data-key="mean"] button.sort').click()
        assert dict(zip(names(page), numbers(page, "95% interval"), strict=True)) != by_v2
        assert fragment(page) == "#sort=mean"
        page.get_by_role("button", name="Method").click()
        assert names(page) == ["Zero-shot", "E2E-FT", "+ WiSE-FT", "+ OSE", "+ VRF"]
        assert page.locator('[data-table="board"] tbody').count() == 2
        page.get_by_role("button", name="Method").click()
        assert fragment(page) == ""


def test_a_view_that_is_sent_is_the_same_view(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, two_suites(made)) as page:
        page.get_by_label("Suite").select_option("s")
        page.get_by_label("Metric").select_option("ece")
        page.get_by_label("Search").fill("ft")
        page.get_by_label("Ablations").check()
        page.locator('th[data-key="sketch"] button.sort').click()
        page.locator('details[data-part="columns"] summary').click()
        page.locator('details[data-part="columns"]').get_by_label("Chosen").uncheck()
        page.get_by_role("checkbox", name="Intervals").check()
        shown, address = page.locator("#table").inner_text(), page.evaluate("location.hash")
        link = page.locator("#link").get_attribute("href")
        assert link == address and len(names(page)) > 2
        page.get_by_label("Suite").select_option("other")
        assert page.locator("#table").inner_text() != shown
        page.evaluate("(hash) => { location.hash = hash; }", address)
        page.wait_for_function(
            "(text) => document.getElementById('table').innerText === text", arg=shown
        )
        assert page.get_by_label("Search").input_value() == "ft"
        page.reload()
        assert page.locator("#table").inner_text() == shown


@pytest.mark.parametrize(
    "hash_",
    ["suite=gone&metric=x&sort=y", "bases=x&hide=%7B%7D&rows=1", "a=b", "%", "bases=[1,null]"],
)
def test_an_address_that_names_what_is_not_there_shows_what_is(
    hash_: str, made: Made, tmp_path: Path
) -> None:
    with board(tmp_path, made) as page:
        page.evaluate("(hash) => { location.hash = hash; }", hash_)
        page.wait_for_function("benchBoard.renders === 2")
        said = page.locator("#status").inner_text()
        assert ("does not have: gone, x, y" in said) == hash_.startswith("suite")
        assert len(names(page)) == (0 if "null" in hash_ else 5)


def test_what_is_downloaded_is_what_is_shown(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, two_suites(made)) as page:
        page.get_by_label("Search").fill("e2e")
        page.locator('th[data-key="sketch"] button.sort').click()
        page.locator('details[data-part="columns"] summary').click()
        page.locator('details[data-part="columns"]').get_by_label("v2").uncheck()
        name, text = saved(page, "Download CSV")
        assert name == "s-tiny-embedded-top1.csv"
        head, *lines = csv.reader(io.StringIO(text))
        shown = page.locator('[data-table="board"] thead th').all_inner_texts()
        labels = [re.sub(r"[\s?]+$", "", label) for label in shown]
        assert head == ["row", "method", "base", "kind", "source", *labels[1:]] and "v2" not in head
        assert [line[0] for line in lines] == names(page) and len(lines) == 4
        for at, label in enumerate(labels[1:], start=5):
            assert [line[at] for line in lines] == [
                t.replace("–", "") for t in numbers(page, label)
            ]
        name, text = saved(page, "Download JSON")
        assert name == "s-tiny-embedded-top1.json"
        found = json.loads(text)
        assert [row["name"] for row in found["rows"]] == names(page)
        assert (found["suite"], found["metric"], found["unit"]) == ("s", "Accuracy", "percent")
        assert found["address"] == page.url
        for row, rank, mean in zip(
            found["rows"], numbers(page, "Rank, sketch"), numbers(page, "OOD mean"), strict=True
        ):
            first, last = row["cells"]["sketch"]["rank"]
            assert rank == (str(first) if first == last else f"{first} to {last}")
            assert row["cells"]["mean"]["text"] == mean
            assert row["cells"]["mean"]["value"] == pytest.approx(float(mean), abs=0.05)
            assert "v2" not in row["cells"]


def test_everything_can_be_done_with_the_keyboard(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, two_suites(made)) as page:
        page.keyboard.press("/")
        page.keyboard.type("ft")
        assert page.get_by_label("Search").input_value() == "ft"
        page.keyboard.press("Tab")  # the word that explains suites
        page.keyboard.press("Enter")
        assert "Training images" in page.locator("#meaning").inner_text()
        page.keyboard.press("Escape")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.dataset.control") == "suite"
        page.keyboard.press("ArrowUp")
        assert "suite=other" in fragment(page)
        assert page.evaluate("document.activeElement.dataset.control") == "suite"
        page.keyboard.press("ArrowDown")
        before = names(page)
        page.get_by_label("Ablations").focus()
        page.keyboard.press("Space")
        assert len(names(page)) == len(before) + 1
        assert page.evaluate("document.activeElement.dataset.control") == "control"
        page.locator('th[data-key="v2"] button.sort').focus()
        page.keyboard.press("Enter")
        assert page.locator('th[data-key="v2"]').get_attribute("aria-sort") == "descending"
        assert page.evaluate("document.activeElement.closest('th')?.dataset.key") == "v2"
        page.locator("button.details").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("dialog").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("dialog").is_visible()

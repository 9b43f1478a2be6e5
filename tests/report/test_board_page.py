"""The board in a real browser: what is chosen is shown, kept in the address and saved."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from board_records import on_imagenet
from browser import opened

from bench.core.records import Record
from bench.leaderboard.samples import SampleOutputs
from bench.report.document import document
from bench.report.formats.board.page import board_html
from bench.report.formats.board.view import board_view
from bench.testing.fakes import fake_records

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
Made = tuple[list[Record], list[SampleOutputs]]


def two_suites(made: Made) -> Made:
    """The random run on two suites and under two protocols, with some rows that are no methods."""
    roles = {"wise-ft": "control", "ose": "oracle"}
    records, samples = made
    more = [r.model_copy(update={"suite": "other", "value": r.value / 2}) for r in records]
    more += [r.model_copy(update={"protocol": "official"}) for r in records if r.shift != "a"]
    extra = [
        r.model_copy(update={"role": roles[r.method], "base": "flyp", "title": f"{r.title} X"})
        for r in records
        if r.method in roles
    ]
    return [*records, *more, *extra], samples


@contextmanager
def board(tmp_path: Path, made: Made, width: int = 1440) -> Iterator[Any]:
    records, samples = made
    path = tmp_path / "board.html"
    path.write_text(board_html(board_view(document(records, samples=samples).chapters)))
    with opened(path, width) as page:
        yield page


def names(page: Any) -> list[str]:
    rows = page.locator('[data-table="board"] tbody tr:not(.head) th button')
    return [str(text) for text in rows.all_inner_texts()]


def numbers(page: Any, label: str) -> list[str]:
    """The texts of a column without small print."""
    heads = page.locator('[data-table="board"] thead th').all_inner_texts()
    at = [re.sub(r"[\s?]+$", "", head) for head in heads].index(label)
    cells = page.locator(f'[data-table="board"] tbody tr:not(.head) > :nth-child({at + 1})')
    return [re.sub(r"\s*±.*|\s*\[.*", "", text) for text in cells.all_inner_texts()]


def fragment(page: Any) -> str:
    return str(page.evaluate("decodeURIComponent(location.hash)"))


def test_the_first_view_is_the_best_first_and_explains_itself(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, two_suites(made)) as page:
        values = [float(text) for text in numbers(page, "OOD mean")]
        assert values == sorted(values, reverse=True) and len(values) == 5
        assert names(page)[0] == "VRF on E2E-FT"
        assert numbers(page, "Rank")[0].startswith("1")
        assert "has the highest OOD mean" in page.locator("#summary").inner_text()
        assert "classifies images" in page.locator("#introduction").inner_text()
        assert "5 of 7 rows; 1 is hidden: ablations; 1 is hidden: oracles" in (
            page.locator("#status").inner_text()
        )
        assert fragment(page) == ""
        for word in ("OOD", "more than chance explains"):
            page.locator("button.word", has_text=re.compile(f"^{word}$")).first.click()
            assert word in page.locator("#meaning b").inner_text()
            page.keyboard.press("Escape")
            assert not page.locator("#meaning").is_visible()
        page.locator('th[data-key=".rank"] button.word').click()
        assert "do not separate" in page.locator("#meaning").inner_text()
        page.keyboard.press("Escape")
        for term in ("ablation", "oracle"):
            page.get_by_role("button", name=f"What is {term}?").click()
            assert "ot ranked" in page.locator("#meaning").inner_text()
            page.keyboard.press("Escape")


def test_the_head_of_a_shift_says_what_its_images_are(tmp_path: Path) -> None:
    with board(tmp_path, (on_imagenet(), [])) as page:
        page.locator('th[data-key="sketch"] button.word').click()
        assert "ImageNet-Sketch: the classes of ImageNet." in page.locator("#meaning").inner_text()


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


def saved(page: Any, label: str) -> tuple[str, str]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=label).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_text()


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


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", " =x", "＝x"])
def test_no_text_of_a_download_is_a_formula(name: str, tmp_path: Path) -> None:
    records = [r.model_copy(update={"title": name}) for r in fake_records() if r.method == "e2e-ft"]
    with board(tmp_path, (records, [])) as page:
        (line,) = list(csv.DictReader(io.StringIO(saved(page, "Download CSV")[1])))
        assert line["row"].startswith("'") and line["row"].endswith(name.strip()[-1])
        assert line["ID"] == "80.0"


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


def test_a_row_tells_how_it_was_made(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, made) as page:
        page.get_by_role("button", name="VRF on E2E-FT").click()
        said = page.locator("dialog").inner_text()
        for text in (
            "alpha 0.5",
            "NeurIPS",
            "3 (0, 1, 2)",
            "Images in training\n1,000",
            "OOD mean",
        ):
            assert text in said
        link = page.locator("dialog a").first
        assert link.get_attribute("href") == "https://arxiv.org/abs/2411.06966"
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Cite this").click()
        said = page.locator("dialog").inner_text()
        assert (
            "@software{bench," in said and "Zhu et al., NeurIPS 2024" in said and page.url in said
        )


def test_figures_show_the_rows_of_the_table(made: Made, tmp_path: Path) -> None:
    def drawn(name: str) -> list[str]:
        page.wait_for_function("benchBoard.drawings.every((one) => one.view)")
        rows: list[str] = page.evaluate(
            """(name) => benchBoard.drawings.find((one) => one.figure.dataset.figure === name)
              .view.then((view) => view.data("points").map((point) => point.row))""",
            name,
        )
        return rows

    with board(tmp_path, two_suites(made)) as page:
        page.locator("#figures").scroll_into_view_if_needed()
        page.wait_for_function("benchBoard.drawings.length === 3")
        for name in ("id-ood", "cost", "calibration"):
            assert set(drawn(name)) == set(names(page))
            assert page.locator(f'figure[data-figure="{name}"] svg').count() == 1
        axes = page.locator('figure[data-figure="id-ood"] svg').text_content()
        assert "OOD mean: Accuracy (percent)" in axes
        page.get_by_label("Search").fill("vrf")
        page.wait_for_function("benchBoard.drawings.length === 0")
        assert page.locator("figure:visible").count() == 0
        page.get_by_label("Search").fill("e2e")
        page.locator('th[data-key="v2"] button.sort').click()
        page.wait_for_function("benchBoard.drawings.length === 3")
        assert set(drawn("cost")) == set(names(page))
        page.wait_for_selector('figure[data-figure="id-ood"] svg')
        assert "v2: Accuracy" in page.locator('figure[data-figure="id-ood"] svg').text_content()


def test_a_board_without_cost_has_no_figure_of_it(tmp_path: Path) -> None:
    with board(tmp_path, (fake_records(), [])) as page:
        page.locator("#figures").scroll_into_view_if_needed()
        page.wait_for_function("benchBoard.drawings.length === 1")
        assert page.locator("figure:visible").get_attribute("data-figure") == "id-ood"
        assert "per-sample outcomes" in page.locator("#notes").inner_text()


@pytest.mark.parametrize("width", [360, 1440, 2200])
def test_the_page_fits_its_window(width: int, made: Made, tmp_path: Path) -> None:
    with board(tmp_path, two_suites(made), width) as page:
        page.locator("#figures").scroll_into_view_if_needed()
        page.wait_for_function("benchBoard.drawings.length === 3")
        page.wait_for_selector("figure svg")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("button.word").first.click()
        box = page.locator("#meaning").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        table = page.locator('[data-table="board"]').bounding_box()
        figure = page.locator("figure").first.bounding_box()
        if width == 2200:  # no empty half beside the table
            assert figure["x"] > table["x"] + table["width"] and figure["y"] < table["y"] + 100


def test_the_page_is_dark_where_pages_are(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, made) as page:
        shade = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(shade)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(shade) != light == "rgb(255, 255, 255)"


def test_print_has_the_table_and_no_controls(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, made) as page:
        page.emulate_media(media="print")
        assert not page.locator("#controls").is_visible()
        assert not page.get_by_role("button", name="Download CSV").is_visible()
        assert page.locator('[data-table="board"]').is_visible()
        assert page.locator("#status").is_visible()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.wait_for_selector('figure[data-figure="cost"] svg')


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


def test_only_what_is_shown_is_drawn(tmp_path: Path) -> None:
    """100 rows on 10 suites: the page opens with one board's rows, drawn once."""
    rows = {f"vrf:base{n:02}": (0.5 + n / 300, 0.4, 0.3, 0.2, 0.6, 0.5) for n in range(98)}
    rows |= {"zero-shot": (0.5,) * 6, "e2e-ft": (0.6,) * 6}
    one = fake_records(rows, shifts=("v2", "sketch", "a", "r", "objectnet"))
    records = [r.model_copy(update={"suite": f"suite {n}"}) for n in range(10) for r in one]
    with board(tmp_path, (records, [])) as page:
        assert page.locator('[data-table="board"] tbody tr').count() == 100
        assert page.evaluate("[benchBoard.renders, benchBoard.rowsDrawn]") == [1, 100]
        assert page.evaluate("document.querySelectorAll('*').length") < 5000
        page.get_by_label("Suite").select_option("suite 7")
        assert page.evaluate("[benchBoard.renders, benchBoard.rowsDrawn]") == [2, 200]


def test_published_numbers_stand_beside_measured_ones(tmp_path: Path) -> None:
    with board(tmp_path, (on_imagenet(), [])) as page:
        shown = page.locator('tr[data-row="vrf-table1/vrf:e2e-ft"]')
        assert shown.locator("th").inner_text() == "VRF on E2E-FT published"
        assert "foreign" in (shown.get_attribute("class") or "")
        assert page.locator("tr.foreign td strong").count() == 0
        assert shown.get_by_role("link", name="VRF's Table 1").get_attribute("href") == (
            "https://arxiv.org/abs/2411.06966"
        )
        page.get_by_label("Source").select_option("measured")
        assert page.locator("tr.foreign").count() == 0 and len(names(page)) == 3
        page.get_by_label("Source").select_option("vrf-table1")
        assert page.locator("tr.foreign").count() == len(names(page)) == 10
        page.locator('tr[data-row="vrf-table1/lp-ft"] button.details').click()
        said = page.locator("dialog").inner_text()
        assert "69.9 exceeds zero-shot 69.3" in said and "NeurIPS 2024" in said
        assert "bench check RUN --against published:vrf-table1" in said
        page.get_by_role("button", name="Close").click()
        page.get_by_label("Protocol").select_option("as published")
        assert "published, not measured" in page.locator("caption").inner_text()

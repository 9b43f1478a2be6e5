"""The board in a real browser: its tables, explanations and figures, on screens and on paper."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from board_page import Made, board, fragment, names, numbers, saved, two_suites
from board_records import on_imagenet
from browser import opened

from bench.report.document import document
from bench.report.formats.board.page import board_html
from bench.report.formats.board.view import board_view
from bench.testing.fakes import fake_records


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


def test_the_size_of_the_model_is_said_where_it_is_known(made: Made, tmp_path: Path) -> None:
    chapters = document(two_suites(made)[0]).chapters
    known = {"tiny/embedded": {"whole": 1234567, "image": 1200000}}
    path = tmp_path / "board.html"
    for parameters, size in ((known.get, {"whole": 1234567, "image": 1200000}), ({}.get, None)):
        path.write_text(board_html(board_view(chapters, parameters=parameters)))
        with opened(path) as page:
            said = page.locator("#what").inner_text()
            _, text = saved(page, "Download JSON")
            assert json.loads(text)["parameters"] == size
            if size is None:
                assert "Size" not in said and "parameters" not in said
                continue
            expected = "tiny/embedded: 1,234,567 parameters, 1,200,000 of them in its image tower."
            assert said.endswith(f"Size of {expected}")
            page.locator("#what").get_by_role("button", name="Size").click()
            assert "counted from" in page.locator("#meaning").inner_text()


def test_the_choices_explain_themselves(tmp_path: Path) -> None:
    with board(tmp_path, (on_imagenet(), [])) as page:
        for name, meaning in (
            ("Metric", "What is measured"),
            ("Source", "copied from a published table"),
            ("What is base?", "built on"),
            ("What is 95% interval?", "chance is allowed for"),
        ):
            page.locator("#choose").get_by_role("button", name=name, exact=True).click()
            assert meaning in page.locator("#meaning").inner_text()
            page.keyboard.press("Escape")
        bases = page.locator('details[data-part="bases"]')
        assert not bases.evaluate("(one) => one.open")  # its button opens no list
        bases.locator("summary").click()
        page.get_by_label("E2E-FT", exact=True).uncheck()
        assert "VRF on E2E-FT" not in names(page)
        page.get_by_label("Model", exact=True).select_option("ViT-B-16/openai")
        page.get_by_role("button", name="What is fixed parameter?").click()
        assert "set beforehand" in page.locator("#meaning").inner_text()


def test_lists_of_choices_open_within_the_window(made: Made, tmp_path: Path) -> None:
    with board(tmp_path, two_suites(made)) as page:
        for width in range(360, 1441, 40):
            page.set_viewport_size({"width": width, "height": 900})
            for part in ("bases", "columns"):
                shown = page.locator(f'details[data-part="{part}"]')
                shown.locator("summary").click()
                page.wait_for_timeout(50)  # the event of opening
                box = shown.locator("> div").bounding_box()
                assert box["x"] >= 0 and box["x"] + box["width"] <= width


def test_what_is_said_of_one_metric_is_not_said_of_another(tmp_path: Path) -> None:
    records = fake_records()
    records += [r.model_copy(update={"metric": "ece", "value": 0.1}) for r in records]
    with board(tmp_path, (records, [])) as page:
        said = page.locator("#summary").inner_text()
        page.get_by_label("Metric").select_option("ece")
        assert page.locator("#summary").inner_text() == f"Accuracy: {said}"


def test_rows_that_only_other_metrics_have_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "board.html"
    path.write_text(board_html(board_view((), all_published=True)))
    with opened(path) as page:
        page.get_by_label("Suite").select_option("cifar10")
        page.get_by_label("Suite").select_option("imagenet")
        model = page.get_by_label("Model", exact=True)
        assert model.input_value() == "ViT-B-16/openai"  # most methods are compared there
        said = page.locator("#status").inner_text()
        rows, others = re.findall(r"of (\d+) rows.*?(\d+) have other metrics only", said)[0]
        printed = page.locator("#summary").inner_text()
        assert int(rows) + int(others) == int(printed.split()[0]) > int(rows)


def test_a_narrow_table_has_its_figure_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "board.html"
    path.write_text(board_html(board_view((), all_published=True)))
    with opened(path) as page:
        page.get_by_label("Suite").select_option("cifar10")
        page.wait_for_selector("figure svg")
        table = page.locator('[data-table="board"]').bounding_box()
        figure = page.locator("figure:visible").bounding_box()
        assert figure["x"] > table["x"] + table["width"] and figure["y"] < table["y"]


def test_columns_that_no_published_row_in_view_fills_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "board.html"
    path.write_text(board_html(board_view((), all_published=True)))
    with opened(path) as page:
        heads = page.locator('[data-table="board"] thead th')
        page.get_by_label("Model", exact=True).select_option("ViT-B-16/openai")
        before = heads.evaluate_all("(all) => all.map((one) => one.dataset.key)")
        assert {"v2", "sketch", "a", "r", "objectnet", "avg-ref-shifts"} < {*before}
        page.get_by_label("Source").select_option("carot-slides")
        after = heads.evaluate_all("(all) => all.map((one) => one.dataset.key)")
        assert after[1:] == ["mean", "id", ".year"]
        page.locator('th[data-key=".year"] button.word').click()
        assert "copied from" in page.locator("#meaning").inner_text()


def test_no_word_is_explained_twice(made: Made) -> None:
    records = [r.model_copy(update={"role": "transductive"}) for r in made[0] if r.method == "ose"]
    terms = board_view(document([*made[0], *records]).chapters)["glossary"]
    assert len({name.casefold() for name in terms}) == len(terms)
    assert "transductive" in terms and terms.keys() > {"ID", "Zero-shot"}


def test_the_head_of_a_shift_says_what_its_images_are(tmp_path: Path) -> None:
    with board(tmp_path, (on_imagenet(), [])) as page:
        page.locator('th[data-key="sketch"] button.word').click()
        assert "ImageNet-Sketch: the classes of ImageNet." in page.locator("#meaning").inner_text()


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


def test_runs_are_named_with_links_to_what_lies_beside_the_page(made: Made, tmp_path: Path) -> None:
    records, samples = made
    chapters = document(records, samples=samples).chapters
    keys, links = {chapter.numbers.key for chapter in chapters}, {"report": "./here/report.html"}
    runs = [{"name": n, "keys": keys, "links": of} for n, of in (("here", links), ("far", {}))]
    path = tmp_path / "board.html"
    path.write_text(board_html(board_view(chapters, runs)))
    with opened(path) as page:
        assert page.locator("#runs").inner_text() == "Runs: here: report; far"
        assert page.locator("#runs a").get_attribute("href") == "./here/report.html"


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

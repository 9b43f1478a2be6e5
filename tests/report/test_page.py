"""The page in a real browser: it works, and nothing leaves it."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from browser import (
    METHODS,
    cell,
    column,
    opened,
    run_of_chance,
    with_the_rest,
    written,
)

from bench.core.records import Record
from bench.core.trainings import TrainingRecord
from bench.leaderboard.samples import SampleOutputs
from bench.report.tables.table import DASH

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
IMAGENET = {
    "id": 50_000, "v2": 10_000, "sketch": 50_889, "a": 7_500, "r": 30_000, "objectnet": 18_574,
}  # fmt: skip


def test_all_shifts_again_show_what_was_written(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        before = page.locator("table[data-table]").all_inner_texts()
        page.get_by_label("v2 counts in the mean").uncheck()
        assert "mean of 2" in page.locator('table[data-table="leaderboard"] thead').inner_text()
        assert "not the suite's OOD mean" in page.locator(".controls").inner_text()
        assert page.locator("table[data-table]").all_inner_texts() != before
        page.get_by_role("button", name="All shifts").click()
        assert page.locator("table[data-table]").all_inner_texts() == before


def test_sorting_filtering_and_hiding(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        board = page.locator('table[data-table="leaderboard"]')
        written_order = column(page, "leaderboard", 0)
        head = board.locator("thead").get_by_role("button", name="ID", exact=True)
        for direction in ("descending", "ascending"):
            head.click()
            assert board.locator("thead th").nth(1).get_attribute("aria-sort") == direction
            methods = len(METHODS)
            values = [float(text) for text in column(page, "leaderboard", 1)[:methods]]
            assert values == sorted(values, reverse=direction == "descending")
        assert "VRF on E2E-FT" in column(page, "leaderboard", 0)
        head.click()
        assert column(page, "leaderboard", 0) == written_order
        page.get_by_label("Filter by method").fill("vrf")
        assert column(page, "leaderboard", 0)[0] == "+ VRF"
        assert all("VRF" in name for name in column(page, "standings", 0))
        page.get_by_label("Filter by method").fill("")
        page.get_by_text("Columns", exact=True).click()
        page.locator(".controls details").get_by_label("sketch").uncheck()
        assert not board.get_by_role("columnheader", name="sketch").is_visible()
        page.get_by_label("Difference rows").uncheck()
        assert not any(name.startswith("Δ") for name in column(page, "leaderboard", 0))
        page.get_by_role("checkbox", name="Intervals").check()
        assert re.search(r"\[\d+\.\d to \d+\.\d\]", board.inner_text())


def test_the_page_of_a_run_with_trainings_recomputes_as_any_other(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    first = made[0][0]
    place = {name: getattr(first, name) for name in ("suite", "model", "protocol", "notes")}
    history = ({"epoch": 1, "loss": 0.7, "lr": 1e-3},)
    trainings = [
        TrainingRecord(
            **place, rows=("e2e-ft",), trainer="end to end", seed=seed, key="k", history=history
        )
        for seed in (0, 1, 2)
    ]
    (tmp_path / "without").mkdir()
    with opened(written(tmp_path / "without", made)) as page:
        page.get_by_label("v2 counts in the mean").uncheck()
        expected = page.locator("main").inner_text()
    with opened(written(tmp_path, made, trainings=trainings)) as page:
        page.get_by_label("v2 counts in the mean").uncheck()
        page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
        table = page.locator("table[data-table=trainings]")
        table.locator("th").first.click()
        assert table.locator("tbody tr").count() == 3
        table.evaluate("table => table.remove()")
        shown = page.locator("main").inner_text()
        page.get_by_role("checkbox", name="Intervals").check()
    summary = [line for line in expected.splitlines() if "not the suite's OOD mean" in line]
    assert summary and all(line in shown for line in summary)


def test_nothing_contradicts_a_subset_of_the_shifts(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        summary, standings = (page.locator(s) for s in (".summary", '[data-table="standings"]'))
        before = summary.inner_text(), standings.locator("caption").inner_text()
        assert "the highest OOD mean" in before[0] and "OOD mean" in before[1]
        page.get_by_label("v2 counts in the mean").uncheck()
        assert "OOD mean" not in summary.inner_text() + standings.inner_text()
        assert "Standings by mean of 2" in standings.locator("caption").inner_text()
        first = column(page, "standings", 0)[0], column(page, "standings", 1)[0]
        lead = f"On sketch, a only, {first[0]} has the highest mean of 2, {first[1]}."
        assert lead in summary.inner_text()
        for text in (before[0], summary.inner_text()):
            assert "by more than chance explains" in text
        caption = page.locator('figure[data-figure="cost"] figcaption')
        assert "OOD mean: over all shifts" in caption.inner_text()
        table = page.locator('figure[data-figure="differences"] summary')
        assert "OOD mean: over all shifts" in table.inner_text()
        scatter = page.locator('figure[data-figure="id-ood"] figcaption b')
        assert scatter.inner_text() == "mean of 2 against ID"
        page.get_by_role("button", name="All shifts").click()
        assert (summary.inner_text(), standings.locator("caption").inner_text()) == before
        assert "over all shifts" not in caption.inner_text()


def test_a_filter_says_what_it_found_and_can_be_cleared(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        bar, clear = page.locator("#filters"), page.get_by_role("button", name="Clear")
        assert not clear.is_visible()
        page.get_by_label("Filter by method").fill("wise")
        assert f"1 of {len(METHODS)} rows" in bar.inner_text()
        page.get_by_label("Filter by method").fill("no such method")
        assert "No row matches." in bar.inner_text()
        assert page.locator("table[data-table]:visible").count() == 0
        clear.click()
        assert page.get_by_label("Filter by method").input_value() == ""
        assert len(column(page, "leaderboard", 0)) >= len(METHODS)
        assert not clear.is_visible()


@pytest.mark.parametrize(
    ("table", "label", "first"),
    [
        ("leaderboard", "ID", "descending"),
        ("leaderboard", "Method", "ascending"),
        ("standings", "Rank", "ascending"),
        ("standings", "Minus zero-shot", "descending"),
        ("calibration ece", "ID", "ascending"),
        ("calibration nll", "OOD mean w/o TS", "ascending"),
    ],
)
def test_the_first_click_on_a_column_puts_the_best_first(
    made: tuple[list[Record], list[SampleOutputs]],
    table: str,
    label: str,
    first: str,
    tmp_path: Path,
) -> None:
    records = with_the_rest(made[0]) if table == "calibration nll" else made[0]
    with opened(written(tmp_path, (records, made[1]))) as page:
        heads = page.locator(f'table[data-table="{table}"] thead th')
        labels = heads.locator("button").all_inner_texts()
        index = labels.index(label)
        heads.nth(index).get_by_role("button").click()
        assert heads.nth(index).get_attribute("aria-sort") == first
        rows = [r for r in column(page, table, index)[: len(METHODS)] if r != DASH]
        if index:
            numbers = [float(text.split(" ")[0]) for text in rows]
            assert numbers == sorted(numbers, reverse=first == "descending")
        else:
            assert rows == sorted(rows)


def test_signs_of_calibrated_rows_stay_in_any_mean(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    own = [
        r.model_copy(update={"provenance": r.provenance | {"calibrated": True}})
        if r.method == "vrf"
        else r
        for r in made[0]
    ]
    with opened(written(tmp_path, (with_the_rest(own), made[1]))) as page:
        table = page.locator('table[data-table="calibration ece"]')
        heads = table.locator("thead th").all_inner_texts()
        assert [heads.index(f"ID {which} TS") for which in ("w/", "w/o")] == [1, 3]

        def signed() -> list[list[bool]]:
            lines = table.locator("tbody tr").all()
            return [["‡" in text for text in tr.locator("td").all_inner_texts()] for tr in lines]

        before = signed()
        assert before == [[False] * 5] * 4 + [[False, False, True, True, False]]
        page.get_by_label("v2 counts in the mean").uncheck()
        assert "mean of 2 w/ TS" in table.locator("thead").inner_text()
        assert "mean of 2 w/o TS" in table.locator("thead").inner_text()
        assert signed() == before
        page.get_by_role("button", name="All shifts").click()
        page.get_by_role("checkbox", name="Intervals").check()
        assert signed() == before


def test_a_phone_shows_values_and_has_room_for_fingers(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made), width=390) as page:
        for part in ("label.tick", "label.tick input", "button.sort"):
            sizes = [e.bounding_box() for e in page.locator(f"thead {part}:visible").all()]
            assert sizes and all(box["height"] >= 24 for box in sizes), part
        for index in (1, 4):
            cell(page, "leaderboard", "vrf:e2e-ft", index).click()
            table = page.locator("dialog table").first
            for line in table.locator("tbody tr").all():
                for at in (0, 1):
                    box = line.locator("td").nth(at).bounding_box()
                    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 - 16
                assert line.locator("th").bounding_box()["height"] < 60
            page.keyboard.press("Escape")
        wide = page.locator(".scroll:visible").first
        assert wide.evaluate("e => e.scrollWidth > e.clientWidth")
        assert wide.evaluate("e => getComputedStyle(e).backgroundAttachment").count("scroll") == 2


def test_print_keeps_what_belongs_together(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    records = with_the_rest(made[0])
    with opened(written(tmp_path, (records, made[1]))) as page:
        assert page.locator("details.more").count() == 2
        page.locator("details.more").last.locator("summary").first.click()
        page.emulate_media(media="print")
        style = "(e, name) => getComputedStyle(e)[name]"
        assert not page.locator("details.more").first.is_visible()
        assert page.locator("details.more").last.is_visible()
        for part, name, value in (
            (".scroll", "breakInside", "avoid"),
            ("figure", "breakInside", "avoid"),
            ("thead", "breakInside", "avoid"),
            ("thead", "breakAfter", "avoid"),
            ("caption", "breakAfter", "avoid"),
            ("h3", "breakAfter", "avoid"),
        ):
            assert page.locator(part).first.evaluate(style, name) == value, part
        rules = "[...document.styleSheets[0].cssRules].map((r) => r.cssText).join('\\n')"
        assert re.search(r"@page\s*{\s*margin: \d+mm", page.evaluate(rules))


def test_a_page_without_scripts_has_a_policy_without_errors(tmp_path: Path) -> None:
    path = written(tmp_path, ([], []))
    assert "script-src 'none'\"" in unescape(path.read_text())
    with opened(path) as page:  # which fails on any error in the console
        assert page.locator("h1").count() == 1


@pytest.mark.parametrize("field", ["title", "method", "suite", "model", "shift", "protocol"])
def test_names_cannot_do_anything(field: str, tmp_path: Path) -> None:
    records, samples = run_of_chance(sets={"id": 60, "v2": 50, "sketch": 50})
    chosen = {"shift": "v2"}.get(field)
    changed = [
        r.model_copy(update={field: EVIL})
        if r.method == "vrf" or (chosen and r.shift == chosen)
        else r
        for r in records
        if field != "shift" or r.shift != chosen or r.method
    ]
    if field == "shift":
        changed = [
            r.model_copy(update={"shift": EVIL}) if r.shift == chosen else r for r in records
        ]
    with opened(written(tmp_path, (changed, samples))) as page:
        assert page.locator("img").count() == 0
        page.get_by_label("Filter by method").fill("<img")
        page.get_by_label("Filter by method").fill("")
        page.locator('table[data-table="leaderboard"] td button').first.click()
        assert page.locator("img").count() == 0


def test_the_page_can_be_read_without_its_script(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    text = written(tmp_path, made).read_text()
    plain = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)
    for said in ("Standings by OOD mean", "95% interval", "VRF on E2E-FT", "How to read this"):
        assert said in plain


@pytest.mark.slow
def test_twelve_methods_on_imagenets_six_sets_with_three_seeds(tmp_path: Path) -> None:
    bases = [(f"m{i}", None, f"Method {i}", 0.6 + i / 100) for i in range(7)]
    others = [(f"n{i}", "m1", f"Ensemble {i}", 0.64 + i / 100) for i in range(4)]
    controls = [(f"c{i}", "m1", f"Control {i}", 0.62 + i / 100) for i in range(2)]
    records, samples = run_of_chance(IMAGENET, (METHODS[0], *bases, *others, *controls))
    whole = [
        r.model_copy(update={"role": "control"}) if r.method in ("c0", "c1") else r
        for r in with_the_rest(records)
    ]
    path = written(tmp_path, (whole, samples))
    text = path.read_text()
    assert path.stat().st_size < 10_000_000
    assert re.search(r'"steps":(60|240)', text)
    with opened(path) as page:
        seconds = []
        for _ in range(3):
            page.reload(wait_until="load")
            seconds.append(page.evaluate("performance.now() / 1000"))
        assert min(seconds) < 2
        page.get_by_label("v2 counts in the mean").uncheck()
        assert "mean of 4" in page.locator('table[data-table="standings"]').inner_text()
        click = """() => {
          const start = performance.now();
          document.querySelectorAll("label.tick input")[1].click();
          return (performance.now() - start) / 1000;
        }"""
        assert min(page.evaluate(click) for _ in range(5)) < 0.25

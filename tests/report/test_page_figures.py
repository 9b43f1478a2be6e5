"""The page's figures in a real browser: rendering, filters and the selection of shifts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from browser import METHODS, curve, opened, outcomes, values_of, written

from bench.core.records import Record
from bench.leaderboard.board import SCALES
from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.stats.estimates import paired_difference
from bench.leaderboard.stats.significance import ZERO_SHOT
from bench.report.figures.style import GREY


def test_figures_are_drawn_with_tooltips_and_tables(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made), width=390) as page:
        page.wait_for_function(
            "[...document.querySelectorAll('.drawing')].every((d) => d.querySelector('svg'))"
        )
        names = [f.get_attribute("data-figure") for f in page.locator("figure").all()]
        assert {"id-ood", "differences", "reliability", "cost"} <= set(names)
        figure = page.locator('figure[data-figure="id-ood"]')
        figure.scroll_into_view_if_needed()
        place = figure.locator('path[aria-roledescription="point"]').last.bounding_box()
        page.mouse.move(place["x"] - 40, place["y"] - 20)
        page.mouse.move(place["x"] + 4, place["y"] + 4, steps=4)
        page.wait_for_function("!document.getElementById('tip').hidden")
        assert "OOD mean" in page.locator("#tip").inner_text()
        box = page.locator("#tip").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        figure.get_by_text("Numbers of this figure").click()
        assert "VRF on E2E-FT" in figure.locator("table").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_reliability_in_other_bins_and_on_some_of_the_shifts(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    own = [s for s in made[1] if s.record.method == "vrf" and s.record.shift == "v2"]
    confidence = np.concatenate([s.confidence for s in own])
    right = np.concatenate([s.right for s in own])
    bin_of = np.ceil(confidence * 10) - 1
    gaps = [(right - confidence)[bin_of == b].sum() for b in range(10)]
    with opened(written(tmp_path, made)) as page:
        page.locator("label.bins select").select_option("10")
        for shift in ("sketch", "a"):
            page.get_by_label(f"{shift} counts in the mean").uncheck()
        points = page.evaluate(
            """() => {
              const [chapter] = benchReport.chapters;
              const drawing = benchReport.drawings.find((d) => d.spec.facet);
              const { points } = drawing.spec.datasets;
              return points.filter((v) => v.panel === "VRF on E2E-FT: mean of 1");
            }"""
        )
    assert sum(p["share"] for p in points) == pytest.approx(1)
    ece = sum(abs(p["accuracy"] - p["confidence"]) * p["share"] for p in points)
    assert ece == pytest.approx(np.abs(gaps).sum() / len(right), abs=0.002)


def test_filters_act_on_figures(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    names = ("id-ood", "differences", "ece-accuracy-ood", "cost", "reliability")
    with opened(written(tmp_path, made)) as page:
        before = {name: len(values_of(page, name)) for name in names}
        page.get_by_label("Filter by method").fill("vrf")
        for name in names:
            assert {v["row"] for v in values_of(page, name)} == {"VRF on E2E-FT"}
        legend = page.locator('figure[data-figure="cost"] .role-legend').first.text_content()
        assert legend == "VRF"
        page.get_by_label("Filter by method").fill("")
        page.locator("select[name=base]").select_option("e2e-ft")
        rows = {"E2E-FT", "WiSE-FT on E2E-FT", "OSE on E2E-FT", "VRF on E2E-FT"}
        assert {v["row"] for v in values_of(page, "id-ood")} == rows
        page.get_by_label("v2 counts in the mean").uncheck()
        assert {v["row"] for v in values_of(page, "id-ood")} == rows
        page.get_by_label("Filter by method").fill("no such row")
        assert page.locator("figure:visible").count() == 0
        page.get_by_label("Filter by method").fill("")
        page.locator("select[name=base]").select_option("")
        page.get_by_role("button", name="All shifts").click()
        assert {name: len(values_of(page, name)) for name in names} == before


def test_controls_and_baselines_are_drawn_on_request_and_move_the_axes(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    role = {"role": "control"}
    records = [r.model_copy(update=role) if r.method == "vrf" else r for r in made[0]]
    low = dict.fromkeys(("id", "v2", "sketch", "a"), 0.02)
    models = [Baseline(f"m{i}", "mine", {n: v * i for n, v in low.items()}) for i in (1, 2, 3)]
    state = """() => {
      const { spec } = benchReport.drawings.find((d) => d.figure.dataset.figure === "id-ood");
      return [spec.layer.map((l) => l.name), spec.encoding.x.scale.domain[0]];
    }"""
    with opened(written(tmp_path, (records, made[1]), baselines=models)) as page:
        figure = page.locator('figure[data-figure="id-ood"]')
        before = page.evaluate(state)
        assert not {"baselines", "line", "aside"} & {*before[0]}
        rows = {v["row"] for v in values_of(page, "id-ood")}
        assert not any("VRF" in row or row == "m1" for row in rows)
        figure.get_by_role("checkbox", name="Ablations and oracles").check()
        shown = {v["row"]: v["grey"] for v in values_of(page, "id-ood")}
        assert shown["VRF on E2E-FT (ablation)"] == GREY
        figure.get_by_role("checkbox", name="Baselines").check()
        assert {"m1", "m3"} < {v["row"] for v in values_of(page, "id-ood")}
        names, left = page.evaluate(state)
        assert {"baselines", "line", "aside"} < {*names} and left < before[1] - 1
        page.get_by_label("v2 counts in the mean").uncheck()
        assert {"baselines", "line", "aside"} < {*page.evaluate(state)[0]}
        page.get_by_role("button", name="All shifts").click()
        for label in ("Ablations and oracles", "Baselines"):
            figure.get_by_role("checkbox", name=label).uncheck()
        assert page.evaluate(state) == before


def test_differences_have_the_mean_over_the_ticked_shifts(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    ticked = ("sketch", "a")
    one, other = (
        [outcomes(made[1], method, base, shift) for shift in ticked]
        for method, base in (("vrf", "e2e-ft"), ZERO_SHOT)
    )
    wanted = paired_difference(one, other)
    with opened(written(tmp_path, made)) as page:
        page.get_by_label("v2 counts in the mean").uncheck()
        found = values_of(page, "differences")
        assert "OOD mean" not in {v["on"] for v in found}
        (own,) = (v for v in found if (v["row"], v["on"]) == ("VRF on E2E-FT", "mean of 2"))
        shown = page.locator('figure[data-figure="differences"]').inner_text()
        assert "mean of 2" in shown
        page.get_by_role("button", name="All shifts").click()
        assert "mean of 2" not in {v["on"] for v in values_of(page, "differences")}
    low, high = (float(bound) * 100 for bound in wanted.interval())
    assert own["value"] == pytest.approx(float(wanted.value) * 100, abs=1e-6)
    assert (own["low"], own["high"]) == pytest.approx((low, high), abs=0.01)
    assert own["Difference"] == SCALES["top1"].text(float(wanted.value), signed=True)


def test_differences_without_samples_of_the_ticked_shifts_have_no_mean(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        page.evaluate("benchReport.chapters[0].samples = () => null")
        page.evaluate("benchReport.chapters[0].columns = () => null")
        page.evaluate("benchReport.chapters[0].confidences = () => null")
        page.get_by_label("v2 counts in the mean").uncheck()
        places = {v["on"] for v in values_of(page, "differences")}
    assert places == {"ID", "v2", "sketch", "a"}


def test_a_click_on_a_method_in_the_legend_lets_others_fade(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    records, samples = made
    with opened(written(tmp_path, ([*records, *curve(records)], samples))) as page:
        for again in (False, True):
            assert not any(v["faded"] for v in values_of(page, "id-ood"))
            figure = page.locator('figure[data-figure="id-ood"]')
            figure.locator(".role-legend-label").get_by_text("WiSE-FT", exact=True).click()
            page.wait_for_timeout(100)
            bright = [v for v in values_of(page, "id-ood") if not v["faded"]]
            assert {v["row"] for v in bright} == {"WiSE-FT on E2E-FT"}
            assert len(bright) == 4  # its point, and three candidates
            if not again:
                page.get_by_label("v2 counts in the mean").uncheck()


def test_filters_may_leave_controls_alone(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    role = {"role": "control"}
    records = [r.model_copy(update=role) if r.method == "vrf" else r for r in made[0]]
    with opened(written(tmp_path, (records, made[1]))) as page:
        before = values_of(page, "cost")
        page.get_by_label("Filter by method").fill("vrf")
        (left,) = values_of(page, "cost")
        assert left["row"] == "VRF on E2E-FT (ablation)" and left["grey"] == GREY
        page.get_by_label("Filter by method").fill("")
        assert len(values_of(page, "cost")) == len(before)


def test_figures_say_what_they_are(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        values_of(page, "cost")
        for figure in page.locator("figure").all():
            title = figure.locator("figcaption b").inner_text()
            label = figure.locator(".drawing").get_attribute("aria-label")
            assert label.startswith(title) and "Vega" not in label


@pytest.mark.parametrize("width", [390, 1440])
def test_labels_of_axes_do_not_run_into_each_other(
    made: tuple[list[Record], list[SampleOutputs]], width: int, tmp_path: Path
) -> None:
    with opened(written(tmp_path, made), width=width) as page:
        values_of(page, "cost")
        for axis in page.locator(".drawing .role-axis-label").all():
            boxes = [one.bounding_box() for one in axis.locator("text").all()]
            for one, other in pairwise(box for box in boxes if box and box["width"]):
                level = abs(one["y"] - other["y"]) < 3
                assert not level or other["x"] >= one["x"] + one["width"] + 2
        panels = page.locator('figure[data-figure="reliability"] .role-axis-title')
        texts = [text for text in panels.all_text_contents() if text == "Confidence"]
        assert len(texts) == 2 * len(METHODS)  # one for each panel, and none without

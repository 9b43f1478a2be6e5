"""The statistics of the page, computed in a real browser, are those of Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import (
    METHODS,
    SMALL_SETS,
    assert_close,
    column,
    opened,
    outcomes,
    run_of_chance,
    written,
)

from bench.core.records import Record
from bench.leaderboard.board import SCALES
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.stats.estimates import mean_estimate, paired_difference
from bench.leaderboard.stats.ranking import rank
from bench.leaderboard.stats.significance import ZERO_SHOT
from bench.report.tables.standings import ONE_SEED, ranks_text
from bench.report.tables.table import DASH

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
IMAGENET = {
    "id": 50_000, "v2": 10_000, "sketch": 50_889, "a": 7_500, "r": 30_000, "objectnet": 18_574,
}  # fmt: skip


@pytest.mark.parametrize("ticked", [("v2", "a"), ("sketch",), ("v2", "sketch", "a")])
def test_any_of_the_shifts_give_what_python_gives(
    made: tuple[list[Record], list[SampleOutputs]], ticked: tuple[str, ...], tmp_path: Path
) -> None:
    scale, rows = SCALES["top1"], {}
    for method, base, *_ in METHODS:
        rows[method, base] = [outcomes(made[1], method, base, shift) for shift in ticked]
    ranges = dict(zip(rows, rank(list(rows.values())).ranges, strict=True))
    titles = {"zero-shot": "Zero-shot", "e2e-ft": "E2E-FT"} | {
        m: f"{title} on E2E-FT" for m, base, title, _ in METHODS if base
    }
    with opened(written(tmp_path, made)) as page:
        for shift in set(SMALL_SETS) - {"id", *ticked}:
            page.get_by_label(f"{shift} counts in the mean").uncheck()
        shown = {
            cells[0]: cells[1:]
            for cells in zip(*(column(page, "standings", i) for i in range(6)), strict=True)
        }
    for (method, base), found in rows.items():
        own = mean_estimate(found)
        value, low, high, *others = shown[titles[method]], *np.ravel(own.interval()), ranges
        if method == "zero-shot" and len(ticked) == 1:
            low, high = (float(text) / 100 for text in value[1].split(" to "))  # that one is exact
        assert value[0] == scale.text(np.ravel(own.value)[0])
        assert_close(value[1], (low, high))
        assert value[4] == ranks_text(*others[0][method, base])
        if (method, base) == ZERO_SHOT:
            assert value[2:4] == (DASH, DASH)
            continue
        apart = paired_difference(found, rows[ZERO_SHOT])
        assert value[2] == scale.text(float(apart.value), signed=True)
        assert_close(value[3], apart.interval())


def test_unrounded_statistics_are_those_of_python(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    one = [outcomes(made[1], "vrf", "e2e-ft", s) for s in ("v2", "sketch", "a")]
    other = [outcomes(made[1], "ose", "e2e-ft", s) for s in ("v2", "sketch", "a")]
    with opened(written(tmp_path, made)) as page:
        found = page.evaluate(
            """() => {
              const [chapter] = benchReport.chapters, samples = chapter.samples();
              const [a, b] = ["vrf:e2e-ft", "ose:e2e-ft"].map((k) => chapter.rows.get(k).index);
              const estimate = samples.estimate(a, b, [1, 2, 3]);
              return [estimate.value, ...stats.interval(estimate), stats.pValue(estimate),
                      ...stats.exact(37, 90), stats.tQuantile(0.01, 2.5),
                      stats.normalQuantile(1e-8)];
            }"""
        )
    own = paired_difference(one, other)
    wanted = [float(own.value), *map(float, own.interval()), float(own.p_value())]
    assert found[:4] == pytest.approx(wanted, rel=1e-6)
    from scipy import stats

    tails = (stats.beta.ppf(0.025, 37, 54), stats.beta.ppf(0.975, 38, 53))
    quantiles = (stats.t.isf(0.01, 2.5), stats.norm.isf(1e-8))
    assert found[4:] == pytest.approx([*tails, *quantiles], rel=1e-9)


def test_the_noise_of_selection_counts_in_the_page_as_in_python(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)

    def redrawn(one: SampleOutputs) -> SampleOutputs:
        if one.record.base is None:
            return one
        drawn = one.record.value + 0.03 * rng.standard_normal(200)
        return replace(one, redrawn=drawn.astype(np.float32).astype(np.float64))

    outputs = [redrawn(one) for one in made[1]]
    sets = ("v2", "sketch", "a")
    rows = [[outcomes(made[1], m, "e2e-ft", s) for s in sets] for m in ("vrf", "ose")]
    for row, name in zip(rows, ("vrf", "ose"), strict=True):
        for at, place in enumerate(sets):
            drawn = [
                o.redrawn for o in outputs if (o.record.method, o.record.shift) == (name, place)
            ]
            row[at] = replace(row[at], redrawn=np.mean(drawn, axis=0))
    with opened(written(tmp_path, (made[0], outputs))) as page:
        found = page.evaluate(
            """() => {
              const [chapter] = benchReport.chapters, samples = chapter.samples();
              const [a, b] = ["vrf:e2e-ft", "ose:e2e-ft"].map((k) => chapter.rows.get(k).index);
              const both = samples.estimate(a, b, [1, 2, 3]);
              return [...samples.interval(a, [1, 2, 3]), ...stats.interval(both),
                      stats.pValue(both)];
            }"""
        )
    both = paired_difference(*rows)
    wanted = [*mean_estimate(rows[0]).interval(), *both.interval(), both.p_value()]
    assert found == pytest.approx([float(value) for value in wanted], rel=1e-5)
    plain = paired_difference(*([replace(o, redrawn=None) for o in row] for row in rows))
    assert both.interval().high > plain.interval().high + 1e-3


def test_seeds_are_paired_by_name_in_the_page_too(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    """VRF has seeds 1 and 2, OSE 0 and 1: they are compared on seed 1; WiSE-FT has 0 alone."""
    seeds = {"vrf": (1, 2), "ose": (0, 1), "wise-ft": (0,)}

    def has(record: Record) -> bool:
        return record.seed in seeds.get(record.method, (record.seed,))

    records = [r for r in made[0] if has(r)]
    outputs = [o for o in made[1] if has(o.record)]
    sets = ("v2", "sketch", "a")
    one, other = ([outcomes(outputs, m, "e2e-ft", s) for s in sets] for m in ("vrf", "ose"))
    own = paired_difference(
        [replace(o, values=o.values[:1]) for o in one],
        [replace(o, values=o.values[1:]) for o in other],
    )
    with opened(written(tmp_path, (records, outputs))) as page:
        found = page.evaluate(
            """() => {
              const [chapter] = benchReport.chapters, samples = chapter.samples();
              const [a, b, c] = ["vrf", "ose", "wise-ft"].map(
                (k) => chapter.rows.get(`${k}:e2e-ft`).index);
              const { value, interval } = samples.difference(a, b, [1, 2, 3]);
              return [value, ...interval, samples.difference(a, c, [1, 2, 3])];
            }"""
        )
        page.get_by_label("v2 counts in the mean").uncheck()
        assert "mean of" in page.locator('table[data-table="standings"] caption').inner_text()
    assert found == pytest.approx([float(own.value), *map(float, own.interval()), None])


def test_one_seed_separates_no_trained_rows_in_the_page_either(tmp_path: Path) -> None:
    once = run_of_chance(seeds=(0,))
    rows = {}
    for method, base, *_ in METHODS:
        rows[method, base] = [outcomes(once[1], method, base, s) for s in ("sketch", "a")]
    tested = np.zeros((len(rows), len(rows)), dtype=bool)
    tested[0] = tested[:, 0] = True  # zero-shot is the first
    ranges = rank(list(rows.values()), tested=tested).ranges
    assert ranges != rank(list(rows.values())).ranges
    with opened(written(tmp_path, once)) as page:
        summary = page.locator(".summary")
        assert ONE_SEED in summary.inner_text()
        assert ONE_SEED in page.locator("main").inner_text().replace(summary.inner_text(), "")
        page.get_by_label("v2 counts in the mean").uncheck()
        assert ONE_SEED in summary.inner_text()
        assert "more than chance" not in summary.inner_text()
        names, shown = column(page, "standings", 0), column(page, "standings", 5)
    titles = {"Zero-shot": ZERO_SHOT, "E2E-FT": ("e2e-ft", None)} | {
        f"{title} on E2E-FT": (m, base) for m, base, title, _ in METHODS if base
    }
    found = {titles[name]: text for name, text in zip(names, shown, strict=True) if name in titles}
    assert found == {n: ranks_text(*r) for n, r in zip(rows, ranges, strict=True)}

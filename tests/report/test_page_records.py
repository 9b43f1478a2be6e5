"""The page's cells in a real browser: each opens the records and the differences behind it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from browser import assert_close, cell, lines, opened, outcomes, written

from bench.core.records import Record
from bench.leaderboard.board import SCALES
from bench.leaderboard.samples import SampleOutputs
from bench.leaderboard.stats.estimates import mcnemar, paired_difference


def test_a_cell_opens_its_record(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        cell(page, "leaderboard", "vrf:e2e-ft", 1).focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        dialog = page.locator("dialog")
        text = dialog.inner_text()
        for said in ("VRF on E2E-FT on sketch", "alpha", "bench run --suite s", "learning rate"):
            assert said in text
        folded = ("vrf-sketch-2", "fingerprint of sketch")
        assert not any(said in text for said in folded)
        dialog.locator("summary").click()
        assert all(said in dialog.inner_text() for said in folded)
        page.keyboard.press("Escape")
        assert not dialog.is_visible()


def test_the_cell_of_a_mean_opens_the_sets_it_is_over(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    """Values that differ by seed or set are listed for each; the command covers all seeds."""
    updated = [
        r.model_copy(
            update={
                "choice": {"alpha": 0.5 if r.seed == 0 else 0.75},
                "weight": 0.1 * r.order + 0.01 * (r.seed or 0),
                "provenance": r.provenance | {"label_map": "subset" if r.order > 2 else "all"},
            }
        )
        if r.base
        else r
        for r in made[0]
    ]
    own = {
        (r.shift, r.seed): r.value
        for r in made[0]
        if (r.method, r.base, r.metric) == ("vrf", "e2e-ft", "top1")
    }
    scale, shifts = SCALES["top1"], ["v2", "sketch", "a"]
    with opened(written(tmp_path, (updated, made[1]))) as page:
        for over in (shifts, ["v2", "a"]):
            cell(page, "leaderboard", "vrf:e2e-ft", 4).click()
            shown = lines(page.locator("dialog table").first)
            label = "OOD mean" if over == shifts else "mean of 2"
            assert [line[0] for line in shown] == [*over, label]
            for shift, line in zip(over, shown, strict=False):
                assert line[2:5] == [scale.text(own[shift, seed]) for seed in range(3)]
            means = [sum(own[shift, seed] for shift in over) / len(over) for seed in range(3)]
            assert shown[-1][2:5] == [scale.text(value) for value in means]
            text = page.locator("dialog").inner_text()
            assert f"VRF on E2E-FT, {label}" in text
            assert re.search(r"Seed 0\s+alpha 0\.5\s+Seeds 1, 2\s+alpha 0\.75", text)
            assert text.count("bench run") == 1 and text.count("--seeds 0,1,2") == 1
            weights = lines(page.locator("dialog table").nth(1))
            assert weights[-1] == ["a", "0.30", "0.31", "0.32"]
            page.locator("dialog summary").click()
            maps = re.escape(", ".join(over[:-1]))
            assert re.search(
                rf"Label map\s+{maps}\s+all\s+a\s+subset", page.locator("dialog").inner_text()
            )
            page.keyboard.press("Escape")
            page.get_by_label("sketch counts in the mean").uncheck()
        cell(page, "calibration ece", "vrf:e2e-ft", 1).click()
        shown = lines(page.locator("dialog table").first)
        assert [line[0] for line in shown] == ["v2", "a", "mean of 2"]
        ece = {r.seed: r.value for r in made[0] if (r.method, r.shift) == ("vrf", "v2")}
        assert shown[0][2:5] == [SCALES["ece"].text(ece[seed]) for seed in range(3)]


@pytest.mark.parametrize(("column", "place"), [(1, "v2"), (4, None)])
def test_a_difference_opens_both_rows_and_what_is_known_of_it(
    made: tuple[list[Record], list[SampleOutputs]], column: int, place: str | None, tmp_path: Path
) -> None:
    scale, shifts = SCALES["top1"], (place,) if place else ("v2", "sketch", "a")
    one, other = (
        [outcomes(made[1], method, "e2e-ft", s) for s in shifts] for method in ("vrf", "ose")
    )
    between = paired_difference(one, other)
    with opened(written(tmp_path, made)) as page:
        cell(page, "leaderboard", "vrf - ose:e2e-ft", column).click()
        shown = {line[0]: line[1:] for line in lines(page.locator("dialog table").first)}
        text = page.locator("dialog").inner_text()
        headings = page.locator("dialog h3").all_inner_texts()
    by_seed = np.mean(
        [a.values.mean(1) - b.values.mean(1) for a, b in zip(one, other, strict=True)], axis=0
    )
    values = [float(between.value), *map(float, by_seed)]
    assert shown["Difference"] == [scale.text(value, signed=True) for value in values]
    assert_close(re.findall(r"paired by sample: (.*)\.", text)[0], between.interval())
    if place:
        a, b = one[0].values, other[0].values
        p = [mcnemar(int((x & ~y).sum()), int((y & ~x).sum())) for x, y in zip(a, b, strict=True)]
        assert shown["McNemar’s exact p"][1:] == [f"{v:.3f}" if v >= 0.001 else "<0.001" for v in p]
    assert headings == ["VRF on E2E-FT", "OSE on E2E-FT"]
    assert "--methods vrf:e2e-ft" in text and "--methods ose:e2e-ft" in text


def test_standings_open_the_record_of_the_mean_and_of_the_difference(
    made: tuple[list[Record], list[SampleOutputs]], tmp_path: Path
) -> None:
    with opened(written(tmp_path, made)) as page:
        dialog = page.locator("dialog")
        printed = cell(page, "standings", "vrf:e2e-ft", 3).inner_text()
        cell(page, "standings", "vrf:e2e-ft", 4).click()
        assert "VRF on E2E-FT, OOD mean" in dialog.inner_text()
        page.keyboard.press("Escape")
        cell(page, "standings", "vrf:e2e-ft", 2).click()
        text = dialog.inner_text()
        assert "VRF on E2E-FT minus Zero-shot, OOD mean" in text
        assert f"paired by sample: {printed}." in text
        (zero, *_), row = (lines(dialog.locator("table").first)[i] for i in (1, 0))
        assert zero == "Zero-shot" and len(row) == 5

"""The noise of choosing on the selection split: in estimates, ranks, runs and reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import SMALL, Finished, bench
from selection import coverage, gain_of_steps
from selection_ranks import false_wins

from bench.leaderboard.samples import SampleOutputs, sample_outputs
from bench.leaderboard.stats.estimates import mean_estimate, paired_difference
from bench.leaderboard.stats.outcomes import Outcomes
from bench.leaderboard.stats.ranking import rank
from bench.posthoc.redraws import RESAMPLES
from bench.posthoc.selection import WEIGHTS


def rows(rng: np.random.Generator, sets: int = 3) -> list[list[Outcomes]]:
    """Two rows with three seeds and values by resample that move together."""
    found: list[list[Outcomes]] = [[], []]
    for shift in range(sets):
        common = 0.02 * rng.standard_normal(RESAMPLES)
        for row in found:
            values = (rng.random((3, 500)) < 0.7).astype(float)
            own = 0.01 * rng.standard_normal(RESAMPLES)
            row.append(Outcomes(str(shift), values, values.mean() + common + own))
    return found


def test_the_variance_is_that_over_resamples_of_the_mean_over_sets() -> None:
    one, other = rows(np.random.default_rng(0))
    plain = [[replace(o, redrawn=None) for o in row] for row in (one, other)]
    for found, without, values in (
        (mean_estimate(one), mean_estimate(plain[0]), [o.redrawn for o in one]),
        (
            paired_difference(one, other),
            paired_difference(*plain),
            [a.redrawn - b.redrawn for a, b in zip(one, other, strict=True)],  # type: ignore[operator]
        ),
    ):
        selection = np.var(np.mean(values, axis=0), ddof=1)
        assert found.selection == pytest.approx(selection)
        half, wide = (np.ptp(e.interval()) / 2 for e in (without, found))
        assert wide**2 == pytest.approx(half**2 + 1.959964**2 * selection)
        assert found.value == without.value and found.p_value() >= without.p_value()
    # What moves both rows alike does not count in their difference.
    assert paired_difference(one, other).selection < 0.5 * mean_estimate(one).selection


def test_ranks_count_it_too() -> None:
    rng = np.random.default_rng(1)
    good = [Outcomes("a", (rng.random((1, 4000)) < 0.80).astype(float))]
    poor = [Outcomes("a", (rng.random((1, 4000)) < 0.75).astype(float))]
    assert rank([good, poor]).ranges == [(1, 1), (2, 2)]
    noisy = [replace(good[0], redrawn=0.8 + 0.05 * rng.standard_normal(RESAMPLES))]
    assert rank([noisy, poor]).ranges == [(1, 2), (1, 2)]


def stored(run: Path) -> dict[tuple[str, str], SampleOutputs]:
    return {(o.record.method, o.record.shift): o for o in sample_outputs(run)}


def test_a_run_keeps_what_other_draws_of_the_selection_split_would_have_given(
    small: Finished,
) -> None:
    found = stored(small.out)
    assert found["zero-shot", "v2"].redrawn is None and found["e2e-ft", "v2"].redrawn is None
    for method in ("ose", "vrf", "wise-ft"):
        for shift in ("id", "v2", "objectnet"):
            one = found[method, shift]
            assert one.redrawn is not None and one.redrawn.shape == (RESAMPLES,)
            right = one.redrawn * len(one.right)  # exact: whole numbers of samples
            assert np.allclose(right, right.round(), atol=1e-4)
        assert any(np.ptp(found[method, shift].redrawn) > 0 for shift in ("id", "v2", "objectnet"))
    text = (small.out / "report.md").read_text()
    assert "lacks the noise" not in text


def test_without_curves_the_report_names_the_rows_that_lack_it(
    own: Finished, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = bench(*SMALL, "--no-curves", "--cache-dir", own.cache, "--out", out)
    assert result.code == 0, result.err
    found = stored(out)
    assert found["wise-ft", "v2"].redrawn is None and found["vrf", "v2"].redrawn is not None
    assert "The interval of WiSE-FT on E2E-FT lacks the noise" in (out / "report.md").read_text()
    assert "lacks the noise" in (out / "report.html").read_text()


@pytest.mark.parametrize("rule", ["within-1pt", "max-val"])
def test_intervals_with_it_cover_and_without_it_do_not(rule: str) -> None:
    """scripts/simulations/selection.py has more repetitions; the standard error is 3 points."""
    held, plain, _ = coverage(500, rule, repeats=60, seed=3)
    assert held > 0.85 and plain < 0.75


def test_finer_steps_alone_gain_accuracy_under_shift() -> None:
    coarse = WEIGHTS[::5]
    assert coarse == pytest.approx(np.linspace(0, 1, 11))
    gain = gain_of_steps(1000, "within-1pt", WEIGHTS, repeats=100, seed=1)
    assert 0.001 < gain < 0.02
    assert gain_of_steps(1000, "within-1pt", coarse, repeats=3, seed=1) == pytest.approx(0)


@pytest.mark.slow
def test_six_equal_ensembles_are_seldom_ranked_apart() -> None:
    """With the noise of selection almost never; by the images alone, in nearly every table."""
    held, without = false_wins(1000, "within-1pt", seeds=1, repeats=20)
    assert held <= 0.1 and without >= 0.8

"""Coverage of intervals and false wins of rankings, on rows whose true accuracies are known.

All simulations are seeded. With 2,000 repetitions the standard error at 95% is 0.5 points; two
standard errors are allowed around the expected 93 to 97%. scripts/simulations/intervals.py runs the
grid with more repetitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from intervals import (
    GRID,
    HALVES,
    NULL,
    RANKED,
    SHARP,
    STAIRS,
    EceSetting,
    Setting,
    coverage,
    ece_coverage,
    false_wins,
    found_wins,
    rankings,
)
from one_seed import false_claims
from other_metrics import CASES, Case, metric_coverage

from bench.leaderboard.stats.estimates import Estimate, Moments, estimate

REPEATS = 2000
SLACK = 0.01


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_intervals_of_differences_cover(seeds: int) -> None:
    found = {s: coverage(s, REPEATS, seed=1) for s in GRID if s.seeds == seeds}
    assert len(found) == 24
    outside = {s: c for s, c in found.items() if not 0.93 - SLACK <= c <= 0.97 + SLACK}
    assert not outside
    assert 0.94 < sum(found.values()) / len(found) < 0.97


def test_counting_samples_alone_would_not_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation detects a wrong variance: without its seeds part, intervals are too short."""

    def of_samples(sets: Sequence[Moments]) -> Estimate:
        found = estimate(sets)
        return replace(found, seeds=0 * found.seeds)

    monkeypatch.setattr("intervals.estimate", of_samples)
    assert coverage(Setting(3, 5000, 1.0, 4), REPEATS, seed=1) < 0.8


@pytest.mark.parametrize(
    ("setting", "repeats"), list(zip(RANKED[:4], (1500, 500, 500, 500), strict=True)), ids=str
)
def test_false_wins_are_rare(setting: Setting, repeats: int) -> None:
    """At most 5% of rankings have a false win: with 8 equal rows, and with 4 that beat 4 others.

    With 500 repetitions the standard error at 5% is 1 point. The bound has no slack for it, because
    false wins are rarer than 5%.
    """
    for advantages in (NULL, HALVES):
        better = rankings(setting, advantages, repeats, seed=2)
        assert false_wins(better, advantages) <= 0.05


def test_true_differences_are_found() -> None:
    better = rankings(Setting(1, 1000, 0.0, 4), STAIRS, 100, seed=3)
    assert found_wins(better, STAIRS, 4.0) > 0.95
    assert found_wins(better, STAIRS, 2.0) > 0.4
    assert found_wins(better, STAIRS, 0.5) < 0.2
    with_seeds = rankings(Setting(5, 1000, 0.3, 4), STAIRS, 100, seed=3)
    assert found_wins(with_seeds, STAIRS, 4.0) > 0.95


@pytest.mark.parametrize("sharpness", SHARP)
@pytest.mark.parametrize(("sets", "seeds"), [(1, 1), (5, 3)])
def test_intervals_of_an_ece_cover(sharpness: float, sets: int, seeds: int) -> None:
    """Models range from an ECE of 11 points to calibrated.

    With 400 repetitions the standard error is 1.1 points. For nearly calibrated models, means over
    sets are covered more often than 95%.
    """
    covered, _ = ece_coverage(EceSetting(500, sharpness, sets, seeds), 400, 4)
    assert covered >= 0.93 - 0.02
    assert covered <= 0.99 or sets > 1


def test_the_closed_form_is_surer_than_the_bootstrap_of_an_ece() -> None:
    covered, basic = ece_coverage(EceSetting(500, 1.0), 100, 5, draws=100)
    assert basic < 0.85 < covered


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_intervals_of_other_metrics_cover(case: Case) -> None:
    """With 500 repetitions the standard error is 1 point; two are allowed below 93%.

    The basic bootstrap, which they replace, covers less where classes are rare.
    """
    for trial, n in (("one row", 500), ("one row", 2000), ("difference", 500)):
        assert metric_coverage(trial, case, n, 500, 6) >= 0.93 - 0.02, (trial, n)


def test_the_basic_bootstrap_would_not_cover_rare_classes() -> None:
    basic, found = (
        metric_coverage(trial, CASES[1], 500, 200, 6) for trial in ("(basic bootstrap)", "one row")
    )
    assert basic < 0.85 < 0.93 < found


def test_one_seed_wins_nothing_between_trained_rows() -> None:
    """Six equal rows, trained once with a deviation of one point: the images alone deceive."""
    images, trained, _, three = false_claims(1000, 1.0, 200, seed=7).values()
    assert images > 0.3 and trained == 0 and three <= 0.05

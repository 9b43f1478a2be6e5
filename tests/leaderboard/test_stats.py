"""Intervals, paired differences and rankings against brute force and SciPy."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from bench.api.splits import single_label
from bench.core.errors import InputError
from bench.leaderboard.stats.estimates import (
    Estimate,
    Interval,
    Moments,
    estimate,
    exact_interval,
    mcnemar,
    mean_estimate,
    moments,
    paired_difference,
    wider_interval,
)
from bench.leaderboard.stats.outcomes import Linearised, Outcomes
from bench.leaderboard.stats.ranking import holm, rank

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
BITS = st.integers(2, 40).flatmap(lambda n: arrays(bool, (2, 3, n)))


def outcomes(values: NDArray[np.generic], ids: str = "a") -> Outcomes:
    return Outcomes(ids, values)


@given(COUNTS)
def test_exact_is_scipys(counts: tuple[int, int]) -> None:
    right, n = counts
    expected = scipy_stats.binomtest(right, n).proportion_ci(method="exact")
    assert exact_interval(right, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_exact_refuses_what_is_no_share() -> None:
    for right, n in ((0, 0), (1, 0), (-1, 3), (4, 3)):
        with pytest.raises(InputError, match=f"{right} right of {n}"):
            exact_interval(right, n)


def test_an_interval_grows_as_independent_errors_add_up() -> None:
    found = wider_interval(Interval(0.4, 0.53), 0.5, (0.04 / scipy_stats.norm.ppf(0.975)) ** 2)
    assert found == pytest.approx((0.5 - np.hypot(0.1, 0.04), 0.55))
    assert wider_interval(Interval(0.01, 0.99), 0.5, 1.0) == (0, 1)


def test_two_seeds_have_a_quantile_for_each_part_of_the_variance() -> None:
    found = Estimate(np.array(0.7), np.array(4e-4), np.array(1e-4), 2, np.array(np.inf))
    z, t = scipy_stats.norm.ppf(0.975), scipy_stats.t.ppf(0.975, 1)
    half = np.sqrt(z**2 * 4e-4 + t**2 * 1e-4)
    assert found.interval() == pytest.approx((0.7 - half, 0.7 + half))


def test_moments_are_those_of_the_only_set_unless_a_weight_is_given() -> None:
    of_set = moments(np.array([[0, 1, 1, 1], [1, 0, 1, 1]]))
    assert estimate([Moments(*of_set[:3])]).value == estimate([of_set]).value == 0.75


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_a_sign_test(one: int, other: int) -> None:
    p = mcnemar(one, other)
    both = one + other
    expected = scipy_stats.binomtest(one, both).pvalue if both else 1.0
    assert p == pytest.approx(expected, abs=1e-9)
    mid = mcnemar(one, other, mid=True)
    tail = sum(scipy_stats.binom.pmf(range(min(one, other)), both, 0.5))
    at = scipy_stats.binom.pmf(min(one, other), both, 0.5)
    assert mid == pytest.approx(2 * tail + at if one != other else 1.0, abs=1e-9)
    assert mid <= p


@given(BITS)
def test_a_difference_of_one_seed_is_the_closed_form(bits: NDArray[np.bool_]) -> None:
    one, other = bits[:, :1]
    found = paired_difference([outcomes(one)], [outcomes(other)])
    d, n = one[0].astype(float) - other[0], one.shape[1]
    assert found.value == pytest.approx(d.mean())
    assert found.error == pytest.approx(np.sqrt(d.var(ddof=1) / n + 1 / n**2))
    low, high = found.interval()
    assert low <= found.value <= high
    assert high - low == pytest.approx(2 * scipy_stats.norm.ppf(0.975) * found.error)


@given(BITS)
def test_a_difference_of_seeds_is_the_analysis_of_variance(bits: NDArray[np.bool_]) -> None:
    """The unclipped variance is (MS_seeds + MS_samples - MS_rest) / (S n), as in textbooks."""
    d = bits[0].astype(float) - bits[1]
    count, n = d.shape
    grand, by_seed, by_sample = d.mean(), d.mean(axis=1), d.mean(axis=0)
    of_seeds = n * ((by_seed - grand) ** 2).sum() / (count - 1)
    of_samples = count * ((by_sample - grand) ** 2).sum() / (n - 1)
    rest = ((d - by_seed[:, None] - by_sample + grand) ** 2).sum() / (count - 1) / (n - 1)
    found = paired_difference([outcomes(bits[0])], [outcomes(bits[1])])
    assert found.value == pytest.approx(grand)
    assert found.seeds == pytest.approx(of_seeds / count / n)
    samples = max(0, (of_samples - rest) / count / n)
    assert found.samples == pytest.approx(samples + 1 / n**2)


@given(BITS)
def test_a_mean_over_sets_adds_variances(bits: NDArray[np.bool_]) -> None:
    """One seed: the sum is divided by k squared. Several: `seeds` is that of the mean over sets."""
    halves = [outcomes(bits[0], "a"), outcomes(bits[1], "b")]
    zeros = [outcomes(np.zeros_like(bits[0, :1]), name) for name in "ab"]
    both = paired_difference(halves, zeros)
    each = [paired_difference([one], [zero]) for one, zero in zip(halves, zeros, strict=True)]
    assert both.value == pytest.approx(np.mean([e.value for e in each]))
    by_seed = bits.mean(axis=2).mean(axis=0)
    assert both.seeds == pytest.approx(by_seed.var(ddof=1) / 3)
    one_seed = paired_difference([outcomes(bits[0, :1], "a"), outcomes(bits[1, :1], "b")], zeros)
    parts = [
        paired_difference([outcomes(bits[i, :1], n)], [zeros[i]]).error ** 2
        for i, n in enumerate("ab")
    ]
    assert one_seed.error**2 == pytest.approx(sum(parts) / 4)


@given(BITS)
def test_a_row_without_seeds_is_the_same_for_all(bits: NDArray[np.bool_]) -> None:
    free = bits[1, :1]
    found = paired_difference([outcomes(bits[0])], [outcomes(free)])
    again = paired_difference([outcomes(bits[0])], [outcomes(np.repeat(free, 3, axis=0))])
    assert found == again


@settings(deadline=None)
@given(BITS)
def test_differences_are_antisymmetric(bits: NDArray[np.bool_]) -> None:
    one, other = ([outcomes(row)] for row in bits)
    forth, back = paired_difference(one, other), paired_difference(other, one)
    assert forth.value == -back.value
    assert forth.error == back.error
    assert forth.p_value() == pytest.approx(back.p_value())


@given(BITS)
def test_corruptions_of_one_set_are_no_new_samples(bits: NDArray[np.bool_]) -> None:
    """Repeating outcomes on the same ids does not reduce the error."""
    one, other = (outcomes(row) for row in bits)
    once, twice = paired_difference([one], [other]), paired_difference([one] * 2, [other] * 2)
    assert twice.error == pytest.approx(once.error)
    apart = [outcomes(bits[0], "b")], [outcomes(bits[1], "b")]
    independent = paired_difference([one, *apart[0]], [other, *apart[1]])
    assert independent.samples <= once.samples


def test_rows_that_never_differ_are_not_sure_to_be_equal() -> None:
    same = [outcomes(np.ones((1, 500), bool))]
    found = paired_difference(same, same)
    assert found.value == 0
    assert 0.003 < found.interval().high < 0.006
    assert found.p_value() == pytest.approx(1)


def test_groups_are_the_units() -> None:
    """Equal frames of a video count as one sample; means do not change."""
    rng = np.random.default_rng(0)
    videos = rng.random((3, 50)) < 0.7
    frames = outcomes(np.repeat(videos, 10, axis=1))
    codes = np.repeat(np.arange(50), 10)
    assert np.allclose(frames.by(codes, "video").values, videos)
    by_video = mean_estimate([frames.by(codes, "video")])
    assert by_video.value == pytest.approx(mean_estimate([frames]).value)
    assert by_video.samples == pytest.approx(mean_estimate([outcomes(videos)]).samples)
    assert by_video.samples > 5 * mean_estimate([frames]).samples
    uneven = frames.by(np.sort(rng.integers(20, size=500)), "camera")
    assert uneven.values.mean(axis=1) == pytest.approx(videos.mean(axis=1))


def test_what_cannot_be_paired_is_refused() -> None:
    bits = np.ones((3, 5), bool)
    with pytest.raises(InputError, match="ids or labels differ"):
        paired_difference([outcomes(bits, "a")], [outcomes(bits, "b")])
    with pytest.raises(InputError, match="rows of 2 and of 3 seeds"):
        paired_difference([outcomes(bits[:2])], [outcomes(bits)])
    with pytest.raises(InputError, match=r"rows on \[1, 2\] sets"):
        paired_difference([outcomes(bits)], [outcomes(bits)] * 2)
    with pytest.raises(InputError, match="expected"):
        outcomes(bits[0])
    with pytest.raises(InputError, match="by video"):
        outcomes(bits).by(np.zeros(4, np.int64), "video")


def test_the_digest_of_ids_knows_order_and_borders() -> None:
    every = (["a", "b"], ["b", "a"], ["ab"], ["a"], [])
    digests = [single_label(ids, [0] * len(ids)).ids_digest for ids in every]
    assert len(set(digests)) == 5
    assert single_label(["a", "b"], [1, 2]).ids_digest == digests[0]


@settings(deadline=None)
@given(BITS)
def test_p_values_and_intervals_do_not_contradict(bits: NDArray[np.bool_]) -> None:
    for rows in (bits, bits[:, :1]):
        found = paired_difference([outcomes(rows[0])], [outcomes(rows[1])])
        low, high = found.interval()
        if found.p_value() < 0.05:
            assert not low <= 0 <= high


def test_the_p_value_of_one_seed_is_that_of_a_normal() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 1, 4000)) < [[[0.7]], [[0.68]]]
    found = paired_difference([outcomes(one)], [outcomes(other)])
    z = abs(found.value) / found.error
    assert found.p_value() == pytest.approx(2 * scipy_stats.norm.sf(z), rel=1e-6)


def test_estimates_are_vectorised() -> None:
    values = np.random.default_rng(0).random((7, 3, 50))
    whole = estimate([moments(values)])
    for one, value, error in zip(values, whole.value, whole.error, strict=True):
        alone = estimate([moments(one)])
        assert (value, error) == pytest.approx((alone.value, alone.error))


def as_linearised(one: Outcomes, unseen: float = 0.0, bias: float = 0.0) -> Linearised:
    """Return a row's accuracy as a linearised metric."""
    seeds, n = one.values.shape
    return Linearised(
        one.ids, n, one.values.astype(float), np.full(seeds, unseen), np.full(seeds, bias)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1, 3]))
def test_a_mean_is_its_own_linearisation(seed: int, seeds: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    one, other = rng.random((2, seeds, n)) < rng.random(n) / 2 + 0.4
    rows = [Outcomes("ids", one), Outcomes("ids", other)]
    linear = [as_linearised(row) for row in rows]
    for exactly, about in (
        (mean_estimate([rows[0]]), mean_estimate([linear[0]])),
        (paired_difference([rows[0]], [rows[1]]), paired_difference([linear[0]], [linear[1]])),
        (mean_estimate([rows[0], rows[1]]), mean_estimate([linear[0], linear[1]])),
        (
            mean_estimate([rows[0], Outcomes("b", other)]),
            mean_estimate([rows[0], replace(linear[1], ids="b")]),
        ),
    ):
        assert about.value == pytest.approx(exactly.value)
        assert about.error == pytest.approx(exactly.error)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(0, 0.01), st.floats(0, 0.01))
def test_what_samples_do_not_show_is_added(seed: int, unseen: float, bias: float) -> None:
    """Over two sets, variances are averaged and biases are not; a row minus itself has neither."""
    values = np.random.default_rng(seed).random((2, 1, 400)) < 0.7
    plain = [as_linearised(outcomes(v, ids)) for v, ids in zip(values, "ab", strict=True)]
    wider = [as_linearised(outcomes(v, i), unseen, bias) for v, i in zip(values, "ab", strict=True)]
    added = mean_estimate(wider).samples - mean_estimate(plain).samples
    assert added == pytest.approx(unseen / 2 + 1.5 * bias)
    same = [replace(one, ids="a") for one in wider]
    added = (
        mean_estimate(same).samples - mean_estimate([replace(o, ids="a") for o in plain]).samples
    )
    assert added == pytest.approx(unseen + bias)
    assert paired_difference(wider[:1], wider[:1]).error == pytest.approx(1 / 400)
    mirrored = replace(wider[0], values=1 - wider[0].values)  # the difference varies twice as much
    both = paired_difference(wider[:1], [mirrored]).samples
    without = paired_difference(plain[:1], [replace(plain[0], values=mirrored.values)]).samples
    assert both - without == pytest.approx(2 * (2 * unseen + 2 * bias))


def test_linearised_rows_are_paired_by_set_and_seed() -> None:
    rng = np.random.default_rng(0)
    first, third = (as_linearised(outcomes(rng.random((s, 9)))) for s in (2, 3))
    with pytest.raises(InputError, match="2 and of 3 seeds"):
        paired_difference([first], [third])
    with pytest.raises(InputError, match="ids or labels differ"):
        paired_difference([first], [replace(first, ids="b")])
    single = as_linearised(outcomes(rng.random((1, 9))))
    expected = third.values.mean() - single.values.mean()
    assert paired_difference([third], [single]).value == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis is rejected if every set of hypotheses that contains it is rejected."""
    k = len(p_values)
    found = holm(np.array(p_values), 0.05)
    for j in range(k):
        sets = (s for size in range(1, k + 1) for s in combinations(range(k), size) if j in s)
        assert found[j] == all(min(p_values[i] for i in s) <= 0.05 / len(s) for s in sets)


def test_ranks_are_ranges() -> None:
    """Well separated rows have ranks 1, 2-3, 2-3, 4, in any order of rows."""
    rng = np.random.default_rng(0)
    hard = rng.random(3000)
    noise = rng.random((4, 1, 3000)) < 0.05
    shares = np.array([0.9, 0.7, 0.7, 0.5])[:, None, None]
    rows = [[outcomes(bits)] for bits in (hard < shares) ^ noise]
    expected = [(1, 1), (2, 3), (2, 3), (4, 4)]
    for order in permutations(range(4)):
        found = rank([rows[i] for i in order])
        assert found.ranges == [expected[i] for i in order]
        assert found.best == (order.index(0),)
    assert rank(rows[:1]).ranges == [(1, 1)]
    with pytest.raises(InputError, match="no rows"):
        rank([])


@settings(max_examples=20, deadline=None)
@given(arrays(bool, (4, 2, 30)), st.integers(0, 63))
def test_pairs_that_are_not_tested_never_separate_rows(one: NDArray[np.bool_], which: int) -> None:
    """The tested pairs are a family of their own for Holm's correction."""
    pairs = list(combinations(range(4), 2))
    tested = np.zeros((4, 4), dtype=bool)
    for k, (i, j) in enumerate(pairs):
        tested[i, j] = tested[j, i] = bool(which >> k & 1)
    rows = [[outcomes(bits)] for bits in one]
    family = [(i, j) for i, j in pairs if tested[i, j]]
    found = [paired_difference(rows[i], rows[j]) for i, j in family]
    certain = holm(np.array([d.p_value() for d in found]), 0.05)
    better = np.zeros((4, 4), dtype=bool)
    for (i, j), d, is_certain in zip(family, found, certain, strict=True):
        better[i, j], better[j, i] = is_certain and d.value > 0, is_certain and d.value < 0
    assert np.array_equal(rank(rows, tested=tested).better, better)


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (4, 3, 30)), arrays(bool, (4, 3, 20)))
def test_a_ranking_compares_as_differences_do(
    one: NDArray[np.bool_], other: NDArray[np.bool_]
) -> None:
    rows = [[outcomes(a, "a"), outcomes(b, "b")] for a, b in zip(one, other, strict=True)]
    pairs = list(combinations(range(4), 2))
    found = [paired_difference(rows[i], rows[j]) for i, j in pairs]
    certain = holm(np.array([d.p_value() for d in found]), 0.05)
    better = rank(rows).better
    for (i, j), d, is_certain in zip(pairs, found, certain, strict=True):
        assert better[i, j] == (is_certain and d.value > 0)
        assert better[j, i] == (is_certain and d.value < 0)

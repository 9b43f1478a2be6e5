"""Selection rules: margins, ties and errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.posthoc.selection import RULES, choose


def test_max_val_takes_the_best_then_the_smaller_weight_then_the_earlier():
    assert choose([0.5, 0.7, 0.6], [0, 0.5, 1], "max-val") == 1
    assert choose([0.7, 0.7, 0.7], [0.9, 0.2, 0.2], "max-val") == 1


def test_within_1pt_takes_the_smallest_weight_near_the_best():
    assert choose([0.60, 0.695, 0.70], [0.0, 0.5, 1.0]) == 1
    assert choose([0.60, 0.695, 0.70], [0.0, 0.5, 1.0], "within-1pt") == 1


def test_within_1pt_breaks_ties_by_accuracy_then_by_order():
    assert choose([0.695, 0.70, 0.70], [0.5, 0.5, 0.5]) == 1


@given(st.integers(100, 60_000), st.data())
def test_the_margin_is_inclusive_whatever_the_rounding(n, data):
    n -= n % 100  # so that one point is a whole number of samples
    best = data.draw(st.integers(n // 100, n))
    just_in = best - n // 100
    accuracies = [best / n, just_in / n, (just_in - 1) / n]
    assert choose(accuracies, [1.0, 0.5, 0.0]) == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10)), min_size=1, max_size=12))
def test_choices_are_never_dominated(candidates):
    accuracies, weights = [a / 50 for a, _ in candidates], [w / 10 for _, w in candidates]
    taken = choose(accuracies, weights, "max-val")
    assert accuracies[taken] == max(accuracies)
    taken = choose(accuracies, weights, "within-1pt")
    assert accuracies[taken] >= max(accuracies) - 0.01 - 1e-9
    assert weights[taken] <= weights[choose(accuracies, weights, "max-val")]


def test_one_candidate_is_taken_by_every_rule():
    assert all(choose([0.0], [0.0], rule) == 0 for rule in RULES)


@pytest.mark.parametrize(
    ("accuracies", "weights", "message"),
    [
        ([], [], "0 accuracies"),
        ([0.5], [0.1, 0.2], "1 accuracies and 2 weights"),
        ([0.5, float("nan")], [0, 1], "NaN"),
        ([0.5, 0.6], [0, float("nan")], "NaN"),
    ],
)
def test_unusable_candidates_are_refused(accuracies, weights, message):
    with pytest.raises(InputError, match=message):
        choose(accuracies, weights)


def test_an_unknown_rule_lists_the_valid_ones():
    with pytest.raises(InputError, match=r"did you mean 'max-val'.*within-1pt"):
        choose([0.5], [0.5], "maxval")

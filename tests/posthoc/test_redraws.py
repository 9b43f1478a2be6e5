"""Choices made again on resamples of the selection split."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from bench.posthoc.redraws import RESAMPLES, choose_again, resample_shares
from bench.posthoc.selection import choose


def test_resamples_are_draws_with_replacement_that_depend_on_the_split_alone() -> None:
    shares = resample_shares(400, "1f" * 16)
    counts = shares * 400
    assert shares.shape == (RESAMPLES, 400) and np.allclose(counts, counts.round(), atol=1e-4)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert abs((counts < 0.5).mean() - np.exp(-1)) < 0.01  # never drawn: (1 - 1/n)^n
    assert np.array_equal(shares, resample_shares(400, "1f" * 16))
    assert not np.array_equal(shares, resample_shares(400, "2e" * 16))


def test_resamples_are_those_of_earlier_runs() -> None:
    shares = resample_shares(6, "1f2e3d4c5b6a7988" + "f" * 48)
    first = [[1, 2, 0, 0, 0, 3], [1, 1, 1, 0, 1, 2], [0, 2, 2, 1, 1, 0]]
    assert (shares[:3] * 6).round().tolist() == first


def test_equal_accuracies_are_a_tie_whatever_the_last_bits_of_their_sums() -> None:
    accuracies = np.array([[41 / 60], [41 / 60 + 4e-7]])  # as sums in float32 have them
    weights = np.array([[0.2], [0.9]])
    found = choose_again(lambda a, w: choose(a, w, "max-val"), accuracies, weights, 60)
    assert found == [0]


@example(180, "max-val")  # two candidates with 41 of 60, whose sums of shares differ
@given(st.integers(0, 2**32), st.sampled_from(["within-1pt", "max-val"]))
def test_every_resample_is_chosen_on_as_a_split_of_its_own(seed: int, rule: str) -> None:
    rng = np.random.default_rng(seed)
    right = (rng.random((5, 60)) < 0.6).astype(np.float32)
    weights = np.sort(rng.random(5)).astype(np.float32)
    shares = resample_shares(60, f"{seed:x}")[:20]
    repeated = np.repeat(weights[:, None], 20, axis=1)
    found = choose_again(lambda a, w: choose(a, w, rule), right @ shares.T, repeated, 60)
    for drawn, share in zip(found, shares, strict=True):
        rows = np.repeat(np.arange(60), (share * 60).round().astype(int))  # the resample itself
        assert drawn == choose(right[:, rows].mean(axis=1).tolist(), weights.tolist(), rule)

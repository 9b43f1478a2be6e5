"""Choices made again on resamples of the selection split."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from bench.posthoc.redraws import RESAMPLES, choose_again, resample_counts
from bench.posthoc.selection import choose


def test_resamples_are_draws_with_replacement_that_depend_on_the_split_alone() -> None:
    counts = resample_counts(400, "1f" * 16)
    assert counts.shape == (RESAMPLES, 400) and np.array_equal(counts, counts.round())
    assert np.array_equal(counts.sum(axis=1), np.full(RESAMPLES, 400))
    assert abs((counts < 0.5).mean() - np.exp(-1)) < 0.01  # never drawn: (1 - 1/n)^n
    assert np.array_equal(counts, resample_counts(400, "1f" * 16))
    assert not np.array_equal(counts, resample_counts(400, "2e" * 16))


def test_resamples_are_those_of_earlier_runs() -> None:
    counts = resample_counts(6, "1f2e3d4c5b6a7988" + "f" * 48)
    first = [[1, 2, 0, 0, 0, 3], [1, 1, 1, 0, 1, 2], [0, 2, 2, 1, 1, 0]]
    assert counts[:3].tolist() == first


@example(180, "max-val")  # two candidates with 41 of 60, whose sums of shares differ
@given(st.integers(0, 2**32), st.sampled_from(["within-1pt", "max-val"]))
def test_every_resample_is_chosen_on_as_a_split_of_its_own(seed: int, rule: str) -> None:
    rng = np.random.default_rng(seed)
    right = (rng.random((5, 60)) < 0.6).astype(np.float32)
    weights = np.sort(rng.random(5)).astype(np.float32)
    counts = resample_counts(60, f"{seed:x}")[:20]
    found = choose_again(
        lambda a, w: choose(a, w, rule),
        right @ counts.T / 60,
        np.repeat(weights[:, None], 20, axis=1),
    )
    for drawn, count in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(60), count.astype(int))  # the resample itself
        assert drawn == choose(right[:, rows].mean(axis=1).tolist(), weights.tolist(), rule)

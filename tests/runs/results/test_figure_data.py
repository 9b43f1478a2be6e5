"""The counts of VRF's figures."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.runs.results.figure_data import distance_bins, weight_histogram


def test_distance_bins_count_samples_and_hits():
    distance = np.array([0.0, 0.4, 0.5, 1.0, 1.1, np.inf])
    zs, ft = np.array([1, 1, 0, 0, 1, 1], dtype=bool), np.array([1, 0, 1, 1, 1, 1], dtype=bool)
    found = distance_bins(distance, zs, ft, [0, 0.5, 1])
    assert {name: bins.tolist() for name, bins in found._asdict().items()} == {
        "n": [2, 2],  # 0.5 opens a bin, 1 closes the last, what is farther is in none
        "hits_zs": [2, 0],
        "hits_ft": [1, 2],
    }


def test_bins_of_the_parts_add_up():
    rng = np.random.default_rng(0)
    distance, right = rng.random(100), rng.random((2, 100)) < 0.5
    edges = np.linspace(0, 1, 8)
    whole = distance_bins(distance, *right, edges)
    parts = [distance_bins(distance[i::3], *right[:, i::3], edges) for i in range(3)]
    assert np.array_equal(whole, np.sum(parts, axis=0))
    assert np.array_equal(whole.n, weight_histogram(distance, edges))
    assert whole.n.sum() == 100 and whole.hits_zs.sum() == right[0].sum()


@pytest.mark.parametrize(
    ("values", "edges", "message"),
    [
        ([0.5, 0.1], [0, 0], "increasing"),
        ([0.5, 0.1], [1], "increasing"),
        ([0.5, 0.1], [0, np.nan], "increasing"),
        ([0.5, np.nan], [0, 1], "is NaN"),
    ],
)
def test_bins_refuse_what_they_cannot_count(values, edges, message):
    right = np.ones(2, dtype=bool)
    with pytest.raises(InputError, match=message):
        weight_histogram(np.array(values), edges)
    with pytest.raises(InputError, match=message):
        distance_bins(np.array(values), right, right, edges)
    with pytest.raises(InputError, match="arrays of 2, 2 and 1 samples"):
        distance_bins(np.array(values), right, right[:1], [0, 1])

"""Distances to the failure set, and VRF's candidates for a and b."""

from __future__ import annotations

import numpy as np
import pytest

from bench.api.registry import find_method
from bench.posthoc.ensembles import distance_to_kth, weight_candidates
from bench.posthoc.functional import sigmoid_weight
from bench.posthoc.selection import WEIGHTS


@pytest.mark.parametrize(("squared", "farthest"), [(False, 2), (True, 4)])
def test_opposite_features_are_as_far_apart_as_distances_go(squared: bool, farthest: int) -> None:
    assert distance_to_kth(np.array([[-1.0, 0.0]]), np.array([[3.0, 0.0]]), 1) == pytest.approx(2)
    assert find_method("vrf")(squared=squared).reach == farthest


def test_without_references_distances_are_infinite() -> None:
    assert np.isinf(distance_to_kth(np.eye(3), np.empty((0, 3)), 1)).all()


def test_without_grids_each_b_has_all_mean_weights() -> None:
    found = weight_candidates(np.linspace(0.4, 1.2, 300))
    for b in (0.05, 0.1, 0.2, 0.4):
        assert np.allclose([one.weight for one in found if one.b == b], WEIGHTS, atol=1e-5)
    assert len(found) == 4 * len(WEIGHTS)


def test_the_first_and_the_last_mean_weight_are_a_millionth_from_0_and_1() -> None:
    """So that the weights of single samples still depend on their distances."""
    distance = np.linspace(0.4, 1.2, 300)
    found = weight_candidates(distance)
    for end, candidates in (
        (0, found[:: len(WEIGHTS)]),
        (1, found[len(WEIGHTS) - 1 :: len(WEIGHTS)]),
    ):
        for one in candidates:
            mean = sigmoid_weight(distance, one.a, one.b).mean()
            assert abs(mean - end) == pytest.approx(1e-6, rel=0.02)


@pytest.mark.parametrize("b", [1e-4, 30.0, 1000.0])
def test_mean_weights_are_reached_for_any_b(b: float) -> None:
    found = weight_candidates(np.linspace(0.4, 1.2, 300), b_grid=[b])
    assert np.abs(np.subtract([one.weight for one in found], WEIGHTS)).max() < 0.01

"""The failure set, and VRF's candidates for a and b."""

from __future__ import annotations

import numpy as np
import pytest

from bench.posthoc.ensembles import FailureSet, weight_candidates
from bench.posthoc.selection import WEIGHTS


@pytest.mark.parametrize(("squared", "farthest"), [(False, 2), (True, 4)])
def test_opposite_features_are_as_far_apart_as_distances_go(squared: bool, farthest: int) -> None:
    failures = FailureSet.of(np.array([[3.0, 0.0]]), n_train=10, squared=squared)
    assert failures.reach == farthest
    assert failures.distance(np.array([[-1.0, 0.0]])) == pytest.approx(farthest)


def test_without_grids_each_b_has_all_mean_weights() -> None:
    found = weight_candidates(np.linspace(0.4, 1.2, 300))
    for b in (0.05, 0.1, 0.2, 0.4):
        assert np.allclose([one.weight for one in found if one.b == b], WEIGHTS, atol=1e-5)
    assert len(found) == 4 * len(WEIGHTS)


@pytest.mark.parametrize("b", [1e-4, 30.0, 1000.0])
def test_mean_weights_are_reached_for_any_b(b: float) -> None:
    found = weight_candidates(np.linspace(0.4, 1.2, 300), b_grid=[b])
    assert np.abs(np.subtract([one.weight for one in found], WEIGHTS)).max() < 0.01

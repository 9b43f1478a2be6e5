"""Fisher merges: WiSE-FT's endpoints, each with its own Fisher information."""

from __future__ import annotations

import pytest
from fake_ensembles import MODELS

from bench.api.recipes import Fisher, Merged
from bench.api.registry import find_method


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_each_endpoint_has_its_fisher_information_on_the_training_split(alpha):
    method = find_method("fisher")(samples=7, floor=1e-3)
    (merged,) = method.needs(MODELS, {"alpha": alpha})
    assert isinstance(merged, Merged)
    assert merged.parts == (MODELS.zero_shot, MODELS.base)
    assert merged.weights == (1 - alpha, alpha) and merged.floor == 1e-3
    assert merged.fishers == tuple(Fisher(part, "fake-train", 7) for part in merged.parts)


def test_its_curve_ends_in_the_endpoints_themselves():
    method = find_method("fisher")()
    assert method.needs(MODELS, {"alpha": 0.0}) == (MODELS.zero_shot,)
    assert method.needs(MODELS, {"alpha": 1.0}) == (MODELS.base,)

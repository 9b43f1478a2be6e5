"""WiSE-FT: one classifier per alpha."""

from __future__ import annotations

from fake_ensembles import MODELS

from bench.api.registry import find_method


def test_wise_ft_needs_one_classifier_per_alpha():
    method = find_method("wise-ft")()
    needs = [method.needs(MODELS, choice) for choice in method.candidates()]
    assert (needs[0], needs[-1]) == ((MODELS.zero_shot,), (MODELS.base,))
    assert len(set(needs)) == 11

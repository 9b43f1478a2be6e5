"""WiSE-FT: one classifier per alpha."""

from __future__ import annotations

import numpy as np
from fake_ensembles import MODELS

from bench.api.registry import find_method


def test_wise_ft_needs_one_classifier_per_alpha():
    method = find_method("wise-ft")()
    needs = [method.needs(MODELS, choice) for choice in method.candidates()]
    assert (needs[0], needs[-1]) == ((MODELS.zero_shot,), (MODELS.base,))
    assert len(set(needs)) == 11


def test_alphas_around_the_chosen_one_come_second():
    method = find_method("wise-ft")()
    both = sorted(c["alpha"] for c in (*method.candidates(), *method.closer({"alpha": 0.3})))
    steps = np.diff([alpha for alpha in both if 0.2 <= alpha <= 0.4])
    assert len(both) == 11 + 8 and np.allclose(steps, 0.02)
    assert method.closer({"alpha": 1.0})[-1] == {"alpha": 0.98}
    assert not find_method("wise-ft")(alphas=(0.0, 0.5, 1.0)).closer({"alpha": 0.5})
    assert not find_method("ose")().closer({"alpha": 0.5})

"""OSE: averages of probabilities."""

from __future__ import annotations

import numpy as np
from fake_ensembles import FixedOutputs, run

from bench.api.registry import find_method


def test_ose_averages_probabilities_not_logits():
    zs, ft = [[np.log(0.9999), np.log(0.0001)]], [[np.log(0.01), np.log(0.99)]]
    assert (0.4 * np.array(zs) + 0.6 * np.array(ft)).argmax() == 0  # what logits would say
    _, (found,) = run(find_method("ose")(), FixedOutputs(zs, ft), [{"alpha": 0.6}])
    expected = [[0.4 * 0.9999 + 0.6 * 0.01, 0.4 * 0.0001 + 0.6 * 0.99]]
    assert np.allclose(np.exp(found.log_probs), expected, atol=1e-6)
    assert found.log_probs.argmax() == 1

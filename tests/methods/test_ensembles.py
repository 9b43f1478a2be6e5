"""What WiSE-FT, OSE and VRF have in common: their endpoints, and the order of map and softmax."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_ensembles import MODELS, FixedOutputs, run

from bench.api.dataset import LabelMap
from bench.api.registry import find_method
from bench.posthoc.functional import log_softmax
from bench.testing.fakes import (
    MANY_TO_ONE,
    FakeOutputs,
)


@pytest.mark.parametrize("name", ["wise-ft", "ose"])
def test_ensembles_with_alpha_0_and_1_equal_their_ends(name):
    outputs = FakeOutputs(2, labels=MANY_TO_ONE)
    choices = [{"alpha": 0.0}, {"alpha": 1.0}]
    _, (zs, ft) = run(find_method(name)(), outputs, choices)
    assert np.array_equal(zs.log_probs, log_softmax(outputs.scores(MODELS.zero_shot)))
    assert np.array_equal(ft.log_probs, log_softmax(outputs.scores(MODELS.base)))
    assert (zs.weight, ft.weight) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["ose", "vrf"])
def test_map_then_softmax_then_average(name):
    p_zs = np.array([[0.1, 0.53, 0.09, 0.07, 0.11, 0.1]])
    p_ft = np.array([[0.17, 0.01, 0.06, 0.04, 0.64, 0.08]])
    two = LabelMap(((0, 1), (2, 3, 4, 5)))
    others = {
        "softmax, average, map": two.project((p_zs + p_ft) / 2),
        "softmax, map, average": (two.project(p_zs) + two.project(p_ft)) / 2,
        "average of logits, map, softmax": two.project(np.sqrt(p_zs * p_ft)),
        "softmax, average, sum over classes": (p_zs + p_ft) @ np.eye(2)[[0, 0, 1, 1, 1, 1]],
    }
    assert {order: scores.argmax() for order, scores in others.items()} == dict.fromkeys(others, 1)

    method, choice = find_method(name)(), {"alpha": 0.5}
    if name == "vrf":  # with so large a b every weight is 1/2
        method, choice = replace(method, calibrate="none"), {"a": 0.0, "b": 1e9}
    _, (found,) = run(method, FixedOutputs(np.log(p_zs), np.log(p_ft), two), [choice])
    ours = [0.53 / 0.64 + 0.17 / 0.81, 0.11 / 0.64 + 0.64 / 0.81]
    assert np.allclose(np.exp(found.log_probs), [np.array(ours) / 2], atol=1e-6)
    assert found.log_probs.argmax() == 0

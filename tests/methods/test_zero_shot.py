"""The zero-shot classifier."""

from __future__ import annotations

import numpy as np
from fake_ensembles import MODELS, FixedOutputs, run, softmax

from bench.api.dataset import LabelMap
from bench.api.registry import find_method
from bench.posthoc.functional import log_softmax
from bench.testing.fakes import (
    MANY_TO_ONE,
    FakeOutputs,
    fake_models,
)


def test_zero_shot_is_the_zero_shot_classifier():
    outputs, method = FakeOutputs(2, labels=MANY_TO_ONE), find_method("zero-shot")()
    _, (found,) = run(method, outputs, [{}], fake_models(tuned=False))
    assert np.array_equal(found.log_probs, log_softmax(outputs.scores(MODELS.zero_shot)))
    assert method.recipe(MODELS) == MODELS.zero_shot


def test_projection_takes_the_maximum_not_the_sum_of_probabilities():
    logits = np.array([[1.0, 1.0, 1.3]])
    p = softmax(logits)[0]
    assert p[0] + p[1] > p[2]  # what summing after the softmax would say
    outputs = FixedOutputs(logits, logits, LabelMap(((0, 1), (2,))))
    _, (found,) = run(find_method("zero-shot")(), outputs, [{}])
    assert found.log_probs.argmax() == 1

"""For tests of methods: models and outputs that are made up, fitted and predicted with."""

from __future__ import annotations

import numpy as np

from bench.api.dataset import LabelMap
from bench.posthoc.functional import log_softmax
from bench.testing.fakes import (
    IDENTITY,
    WIDTH,
    FakeLabelledOutputs,
    FakeOutputs,
    fake_models,
)

MODELS = fake_models()


class FixedOutputs(FakeOutputs):
    """Outputs with the given logits."""

    def __init__(self, zs, ft, labels: LabelMap = IDENTITY) -> None:
        super().__init__(size=len(zs), labels=labels)
        self._logits = {MODELS.zero_shot: np.array(zs, dtype=np.float32)}
        self._logits[MODELS.base] = np.array(ft, dtype=np.float32)
        self._map = labels

    def logits(self, recipe):
        return self._logits[recipe]

    def scores(self, recipe):
        return self._map.project(self.logits(recipe))

    def features(self, recipe):
        return np.ones((len(self.logits(recipe)), WIDTH))


def softmax(scores):
    return np.exp(log_softmax(scores))


def run(method, outputs, choices, models=MODELS):
    """Fit on fake outputs, then predict."""
    train = FakeLabelledOutputs(0, 200)
    fitted = method.fit(models, FakeLabelledOutputs(1), train)
    return fitted, list(method.predict(models, fitted, outputs, train, choices))

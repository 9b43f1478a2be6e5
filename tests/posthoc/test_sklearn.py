"""The estimators among scikit-learn's tools: parameters, cloning, a pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from bench import OSE, VRF, TemperatureScaling
from bench.core.errors import InputError

CHANGED = [OSE(0.3, space="logits"), VRF(k=3, p=0.1), TemperatureScaling("confidence")]
RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=60)
LOGITS = 5 * np.eye(3)[LABELS] + RNG.normal(size=(60, 3)) * 3
FEATURES = RNG.normal(size=(60, 4))


def fitted(estimator):
    if isinstance(estimator, VRF):
        return estimator.fit(FEATURES, -LOGITS, LOGITS, LABELS)
    if isinstance(estimator, OSE):
        return estimator.fit(-LOGITS, LOGITS, LABELS)
    return estimator.fit(LOGITS, LABELS)


@pytest.mark.parametrize("estimator", CHANGED, ids=lambda e: type(e).__name__)
def test_a_clone_has_the_parameters_and_no_results(estimator):
    made = fitted(clone(estimator))
    check_is_fitted(made)
    again = clone(made)
    assert again.get_params() == estimator.get_params() == made.get_params()
    assert not [name for name in vars(again) if name.endswith("_")]
    assert [name for name in vars(made) if name.endswith("_")]


@pytest.mark.parametrize("estimator", CHANGED, ids=lambda e: type(e).__name__)
def test_parameters_are_those_of_the_constructor(estimator):
    params = estimator.get_params()
    assert type(estimator)(**params).get_params() == params
    assert type(estimator)().set_params(**params).get_params() == params
    with pytest.raises(InputError, match=r"unknown parameter of \w+ 'temprature'"):
        estimator.set_params(temprature=1)


def test_temperature_scaling_ends_a_pipeline():
    halved = FunctionTransformer(lambda logits: logits / 2)
    pipeline = make_pipeline(halved, TemperatureScaling()).fit(LOGITS, LABELS)
    plain = TemperatureScaling().fit(LOGITS, LABELS)
    assert pipeline[-1].temperature_ == pytest.approx(plain.temperature_ / 2)
    assert np.allclose(pipeline.predict_proba(LOGITS), plain.predict_proba(LOGITS))
    assert clone(pipeline).set_params(temperaturescaling__criterion="confidence")

"""Methods: the contract for all methods, and exact cases for each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.api.dataset import LabelMap
from bench.api.recipes import Tuned
from bench.api.registry import find_method, methods
from bench.core.errors import InputError
from bench.posthoc.functional import log_softmax, sigmoid_weight, temperature
from bench.posthoc.neighbors import kth_distance
from bench.testing.contract import check_method
from bench.testing.fakes import (
    IDENTITY,
    MANY_TO_ONE,
    WIDTH,
    FakeLabelledOutputs,
    FakeOutputs,
    fake_models,
)

MODELS = fake_models()


class Given:
    """Outputs with the given logits."""

    def __init__(self, zs, ft, labels: LabelMap = IDENTITY) -> None:
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


@pytest.mark.parametrize("name", sorted(methods()))
def test_contract(name):
    check_method(methods()[name])


def test_zero_shot_is_the_zero_shot_classifier():
    outputs, method = FakeOutputs(2, labels=MANY_TO_ONE), find_method("zero-shot")()
    _, (found,) = run(method, outputs, [{}], fake_models(tuned=False))
    assert np.array_equal(found.log_probs, log_softmax(outputs.scores(MODELS.zero_shot)))
    assert method.recipe(MODELS) == MODELS.zero_shot


def test_e2e_ft_tunes_the_zero_shot_classifier_on_the_training_split():
    method = find_method("e2e-ft")()
    tuned = Tuned(MODELS.zero_shot, method.trainer, "fake-train", seed=3)
    assert method.recipe(replace(MODELS, seed=3)) == tuned
    assert method.train_needs(MODELS) == ()


@pytest.mark.parametrize("name", ["wise-ft", "ose"])
def test_ensembles_with_alpha_0_and_1_equal_their_ends(name):
    outputs = FakeOutputs(2, labels=MANY_TO_ONE)
    choices = [{"alpha": 0.0}, {"alpha": 1.0}]
    _, (zs, ft) = run(find_method(name)(), outputs, choices)
    assert np.array_equal(zs.log_probs, log_softmax(outputs.scores(MODELS.zero_shot)))
    assert np.array_equal(ft.log_probs, log_softmax(outputs.scores(MODELS.base)))
    assert (zs.weight, ft.weight) == (0.0, 1.0)


def test_wise_ft_needs_one_classifier_per_alpha():
    method = find_method("wise-ft")()
    needs = [method.needs(MODELS, choice) for choice in method.candidates()]
    assert (needs[0], needs[-1]) == ((MODELS.zero_shot,), (MODELS.base,))
    assert len(set(needs)) == 11


def test_ose_averages_probabilities_not_logits():
    zs, ft = [[np.log(0.9999), np.log(0.0001)]], [[np.log(0.01), np.log(0.99)]]
    assert (0.4 * np.array(zs) + 0.6 * np.array(ft)).argmax() == 0  # what logits would say
    _, (found,) = run(find_method("ose")(), Given(zs, ft), [{"alpha": 0.6}])
    expected = [[0.4 * 0.9999 + 0.6 * 0.01, 0.4 * 0.0001 + 0.6 * 0.99]]
    assert np.allclose(np.exp(found.log_probs), expected, atol=1e-6)
    assert found.log_probs.argmax() == 1


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
    _, (found,) = run(method, Given(np.log(p_zs), np.log(p_ft), two), [choice])
    ours = [0.53 / 0.64 + 0.17 / 0.81, 0.11 / 0.64 + 0.64 / 0.81]
    assert np.allclose(np.exp(found.log_probs), [np.array(ours) / 2], atol=1e-6)
    assert found.log_probs.argmax() == 0


def test_projection_takes_the_maximum_not_the_sum_of_probabilities():
    logits = np.array([[1.0, 1.0, 1.3]])
    p = softmax(logits)[0]
    assert p[0] + p[1] > p[2]  # what summing after the softmax would say
    outputs = Given(logits, logits, LabelMap(((0, 1), (2,))))
    _, (found,) = run(find_method("zero-shot")(), outputs, [{}])
    assert found.log_probs.argmax() == 1


@pytest.mark.parametrize("labels", [IDENTITY, MANY_TO_ONE])
@pytest.mark.parametrize("p", [0.001, 0.1])
@pytest.mark.parametrize("calibrate", ["none", "nll"])
def test_vrf_equals_the_papers_equations(p, calibrate, labels):
    outputs, train = FakeOutputs(2, labels=labels), FakeLabelledOutputs(0, 200)
    method, a, b = find_method("vrf")(p=p, calibrate=calibrate), 0.4, 0.1
    fitted, (found,) = run(method, outputs, [{"a": a, "b": b}])

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    right_zs = train.logits(MODELS.zero_shot).argmax(axis=1) == train.labels
    right_ft = train.logits(MODELS.base).argmax(axis=1) == train.labels
    repaired = unit(train.features(MODELS.base)[right_ft & ~right_zs])
    k = max(1, round(p * len(repaired)))
    pairs = unit(outputs.features(MODELS.base))[:, None] - repaired[None]
    d = np.sort(np.linalg.norm(pairs, axis=2), axis=1)[:, k - 1]
    w = 1 / (1 + np.exp((d - a) / b))
    t_zs, t_ft = fitted["temperature"] if calibrate == "nll" else (1.0, 1.0)
    p_zs = softmax(outputs.scores(MODELS.zero_shot) / t_zs)
    p_ft = softmax(outputs.scores(MODELS.base) / t_ft)
    expected = w[:, None] * p_ft + (1 - w[:, None]) * p_zs
    assert len(repaired) > 10 and 0.05 < w.mean() < 0.95  # so that the comparison means something
    assert np.allclose(found.weight, w, atol=1e-5)
    assert np.allclose(np.exp(found.log_probs), expected, atol=1e-5)


def test_vrf_takes_squared_distances_and_another_k():
    outputs, train = FakeOutputs(2), FakeLabelledOutputs(0, 200)
    fitted, (plain,) = run(find_method("vrf")(), outputs, [{"a": 0.4, "b": 0.1}])
    _, (square,) = run(find_method("vrf")(squared=True), outputs, [{"a": 0.4, "b": 0.1}])
    d = 0.4 - 0.1 * np.log(plain.weight / (1 - plain.weight))
    assert np.allclose(square.weight, 1 / (1 + np.exp((d**2 - 0.4) / 0.1)), atol=1e-4)

    _, (far,) = run(find_method("vrf")(k_rule="official-code"), outputs, [{"a": 0.4, "b": 0.1}])
    # 1000 |V| / 200 is five times V, so k is |V|: the farthest failure counts.
    failures = train.features(MODELS.base)[fitted["failure"]]
    d = kth_distance(outputs.features(MODELS.base), failures, len(failures))
    assert np.allclose(far.weight, sigmoid_weight(d, 0.4, 0.1), atol=1e-6)
    assert (far.weight < plain.weight).all()


def test_vrf_fits_one_temperature_per_end_on_the_selection_split():
    selection, train = FakeLabelledOutputs(1, 400), FakeLabelledOutputs(0, 200)
    fitted = find_method("vrf")().fit(MODELS, selection, train)
    for recipe, t in zip((MODELS.zero_shot, MODELS.base), fitted["temperature"], strict=True):
        assert t == temperature(selection.logits(recipe), selection.labels) != 1
    plain = find_method("vrf")(calibrate="none").fit(MODELS, selection, train)
    assert plain["temperature"].tolist() == [1, 1]


def test_vrf_without_failures_is_the_zero_shot_model():
    method, train = find_method("vrf")(calibrate="none"), FakeLabelledOutputs(0, 200)
    fitted = method.fit(MODELS, train, train)
    fitted["failure"] = np.zeros(200, dtype=bool)
    outputs = FakeOutputs(2)
    expected = log_softmax(outputs.scores(MODELS.zero_shot))
    for found in method.predict(MODELS, fitted, outputs, train, method.candidates()):
        assert not np.any(found.weight) and np.array_equal(found.log_probs, expected)


def test_vrf_computes_distances_once_for_all_candidates(monkeypatch):
    import bench.methods.vrf as module

    calls = []
    real = module.kth_distance
    monkeypatch.setattr(module, "kth_distance", lambda *a: calls.append(a) or real(*a))
    method = module.VarianceReduction()
    _, found = run(method, FakeOutputs(2), method.candidates())
    assert (len(found), len(calls)) == (len(method.a_grid) * len(method.b_grid), 1)


def test_an_ensemble_can_be_no_base():
    with pytest.raises(InputError, match="vrf is not a single classifier"):
        find_method("vrf")().recipe(MODELS)

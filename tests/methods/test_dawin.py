"""DaWin: weights by entropy, their offset, and clusters of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_ensembles import MODELS, FixedOutputs, run, softmax
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import beta

from bench.api.method import Method
from bench.api.recipes import Merged
from bench.api.registry import find_method
from bench.methods.dawin import beta_mixture, entropy_weight
from bench.posthoc.ensembles import LogProbPair
from bench.testing.fakes import FakeLabelledOutputs, FakeOutputs

LOGITS = arrays(np.float64, (6, 4), elements=st.floats(-20, 20))


def entropy(probabilities: np.ndarray) -> list[float]:
    return [-sum(p * math.log(p) for p in row if p > 0) for row in probabilities]


@given(LOGITS, LOGITS)
def test_weights_equal_their_formula_and_lie_between_their_limits(zs, ft) -> None:
    weight = entropy_weight(LogProbPair.of(zs, ft))
    h_zs, h_ft = entropy(softmax(zs)), entropy(softmax(ft))
    expected = [
        math.exp(-b) / (math.exp(-a) + math.exp(-b)) for a, b in zip(h_zs, h_ft, strict=True)
    ]
    np.testing.assert_allclose(weight, expected, atol=1e-9)
    assert (weight >= 0.2 - 1e-9).all() and (weight <= 0.8 + 1e-9).all()  # of 4 classes: 1/(1 + 4)
    swapped = entropy_weight(LogProbPair.of(ft, zs))
    np.testing.assert_allclose(weight + swapped, 1, atol=1e-12)


def test_weights_at_the_limits() -> None:
    sure, unsure = np.array([[900.0, 0, 0, 0]]), np.zeros((1, 4))
    assert entropy_weight(LogProbPair.of(unsure, sure)) == pytest.approx(4 / 5)
    assert entropy_weight(LogProbPair.of(sure, unsure)) == pytest.approx(1 / 5)
    assert entropy_weight(LogProbPair.of(sure, sure)) == 0.5


@given(LOGITS, LOGITS)
def test_the_offset_equals_its_formula_and_draws_to_the_share_of_entropies(zs, ft) -> None:
    found = entropy_weight(LogProbPair.of(zs, ft), offset=True)
    h_zs, h_ft = (np.array(entropy(softmax(f))) for f in (zs, ft))
    assert (found > 0).all() and (found < 1).all()
    if min(h_zs.mean(), h_ft.mean()) > 1e-6:
        o = (np.std(h_zs, ddof=1) / h_zs.mean() + np.std(h_ft, ddof=1) / h_ft.mean()) / 2
        c = h_zs.mean() / (h_zs.mean() + h_ft.mean())
        expected = (np.exp(-h_ft) + o * c) / (np.exp(-h_zs) + np.exp(-h_ft) + o)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        plain = entropy_weight(LogProbPair.of(zs, ft))
        assert (np.abs(found - c) <= np.abs(plain - c) + 1e-9).all()


def test_one_sample_and_certain_models_have_no_offset() -> None:
    one = LogProbPair.of(np.array([[1.0, 0]]), np.array([[0.0, 3]]))
    assert entropy_weight(one, offset=True) == entropy_weight(one)
    sure = np.array([[9000.0, 0], [0, 9000.0]])
    assert entropy_weight(LogProbPair.of(sure, sure), offset=True).tolist() == [0.5, 0.5]


def test_the_ensemble_averages_calibrated_probabilities() -> None:
    zs, ft = [[2.0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]], [[0.0, 5, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]
    fitted, (found,) = run(find_method("dawin-output")(), FixedOutputs(zs, ft), ({},))
    t_zs, t_ft = fitted["temperature"]
    p_zs, p_ft = softmax(np.array(zs) / t_zs), softmax(np.array(ft) / t_ft)
    w = np.exp(-np.array(entropy(p_ft)))
    w = w / (w + np.exp(-np.array(entropy(p_zs))))
    np.testing.assert_allclose(found.weight, w, atol=1e-5)
    expected = w[:, None] * p_ft + (1 - w[:, None]) * p_zs
    np.testing.assert_allclose(np.exp(found.log_probs), expected, atol=1e-5)


def test_only_the_plain_form_predicts_each_sample_alone() -> None:
    roles = {n: find_method(n)().role for n in ("dawin-output", "dawin-output-offset", "dawin")}
    assert list(roles.values()) == ["method", "transductive", "transductive"]
    few = FakeOutputs(2, rows=np.arange(20))
    for name, role in roles.items():
        method: Method = find_method(name)()
        fitted = method.fit(MODELS, FakeLabelledOutputs(1), None)  # type: ignore[arg-type]
        whole, part = (
            next(method.predict(MODELS, fitted, o, None, ({},)))  # type: ignore[arg-type]
            for o in (FakeOutputs(2), few)
        )
        assert np.allclose(whole.weight[:20], part.weight) is (role == "method")


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_a_mixture_has_the_means_of_its_clusters(seed: int, clusters: int) -> None:
    values = np.random.default_rng(seed).uniform(0.05, 0.95, size=60)
    cluster, means = beta_mixture(values, clusters)
    assert len(means) == clusters and set(cluster) <= set(range(clusters))
    assert ((means > 0) & (means < 1)).all()
    again, same = beta_mixture(values[::-1], clusters)
    np.testing.assert_allclose(means, same, atol=1e-6)
    assert np.array_equal(cluster, again[::-1])


def test_components_that_are_far_apart_are_found() -> None:
    rng = np.random.default_rng(0)
    shapes = ((20, 180), (100, 100), (180, 20))
    values = np.concatenate([beta(a, b).rvs(400, random_state=rng) for a, b in shapes])
    cluster, means = beta_mixture(values, 3)
    np.testing.assert_allclose(means, [0.1, 0.5, 0.9], atol=0.01)
    assert (cluster == np.repeat([0, 1, 2], 400)).mean() > 0.99


def test_equal_values_are_one_cluster() -> None:
    cluster, means = beta_mixture(np.full(7, 0.3), 3)
    assert cluster.tolist() == [0] * 7 and means == pytest.approx([0.3])


def test_each_cluster_is_predicted_by_the_nearest_interpolation() -> None:
    dawin = find_method("dawin")(alphas=(0.0, 0.25, 0.5, 0.75, 1.0))
    outputs = FakeOutputs(2)
    fitted = dawin.fit(MODELS, FakeLabelledOutputs(1), None)  # type: ignore[arg-type]
    (found,) = dawin.predict(MODELS, fitted, outputs, None, ({},))  # type: ignore[arg-type]
    cluster, means = beta_mixture(entropy_weight(dawin.pair(MODELS, fitted, outputs), True), 3)
    assert set(found.weight) == {round(4 * m) / 4 for m in means[np.unique(cluster)]}
    for row, weight in enumerate(found.weight):
        assert abs(weight - means[cluster[row]]) <= 0.125 + 1e-9
        scores = outputs.scores(dawin.merged(MODELS)[weight])[row]
        np.testing.assert_allclose(
            np.exp(found.log_probs[row]), softmax(scores[None])[0], atol=1e-5
        )


def test_its_interpolations_are_those_of_wise_ft() -> None:
    needs = find_method("dawin")().needs(MODELS, {})
    wise = [find_method("wise-ft")().needs(MODELS, {"alpha": a / 10})[0] for a in range(11)]
    assert set(needs) == set(wise) and sum(isinstance(r, Merged) for r in needs) == 9

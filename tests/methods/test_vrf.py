"""VRF against the equations of its paper, and what its official code does otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from fake_ensembles import MODELS, run, softmax

from bench.api.registry import find_method
from bench.core.parameters import settings
from bench.posthoc.functional import log_softmax, sigmoid_weight, temperature
from bench.posthoc.neighbors import kth_distance
from bench.posthoc.remarks import collected
from bench.posthoc.selection import WEIGHTS
from bench.runs.study.rows import all_row_names
from bench.testing.fakes import (
    IDENTITY,
    MANY_TO_ONE,
    FakeLabelledOutputs,
    FakeOutputs,
)


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
    import bench.testing.fakes as module

    calls = []
    real = module.distance_to_kth
    monkeypatch.setattr(module, "distance_to_kth", lambda *a: calls.append(a) or real(*a))
    method = find_method("vrf")()
    fitted, found = run(method, FakeOutputs(2), [{"a": 0.4, "b": 0.1}, {"a": 0.5, "b": 0.2}])
    assert (len(found), len(calls)) == (2, 2)  # of the selection split in the fit, of the outputs
    assert len(method.candidates_of(fitted)) == 51 * len(method.b_grid)


def selected(method, selection, fitted, train):
    """The mean weights of all candidates on the selection split."""
    choices = method.candidates_of(fitted)
    found = method.predict(MODELS, fitted, selection, train, choices)
    return np.array([float(np.mean(p.weight)) for p in found]).reshape(len(method.b_grid), -1)


@pytest.mark.parametrize("size", [60, 5000])
def test_candidates_of_vrf_have_the_mean_weights_of_other_ensembles(size):
    selection, train = FakeLabelledOutputs(1, size), FakeLabelledOutputs(0, 200)
    method = find_method("vrf")()
    fitted = method.fit(MODELS, selection, train)
    means = selected(method, selection, fitted, train)
    assert np.allclose(means, WEIGHTS, atol=1e-4)
    ose = find_method("ose")()
    steps = [np.diff([c["alpha"] for c in ose.candidates()]), np.diff(means)]
    assert all(step.max() <= 0.02 + 1e-4 and step.min() > 0 for step in steps)


def test_a_grid_of_a_is_taken_as_it_is():
    selection, train = FakeLabelledOutputs(1), FakeLabelledOutputs(0, 200)
    method = find_method("vrf")(a_grid=(0.3, 0.6), b_grid=(0.1,))
    fitted = method.fit(MODELS, selection, train)
    assert method.candidates_of(fitted) == method.candidates()
    assert np.allclose(selected(method, selection, fitted, train), fitted["candidates"][:, 2])


def test_the_global_control_has_vrfs_mean_weight_on_the_selection_split():
    selection, train, outputs = (
        FakeLabelledOutputs(1), FakeLabelledOutputs(0, 200), FakeOutputs(2)
    )  # fmt: skip
    control = find_method("vrf-global")(b_grid=(0.1,))
    fitted = control.chooser().fit(MODELS, selection, train)
    choice = control.candidates_of(fitted)[20]
    (of_vrf,) = control.chooser().predict(MODELS, fitted, selection, train, [choice])
    (found,) = control.predict(MODELS, fitted, outputs, train, [choice])
    assert np.ptp(found.weight) == 0
    assert abs(found.weight[0] - of_vrf.weight.mean()) < 1e-5 and 0.39 < found.weight[0] < 0.41
    (elsewhere,) = find_method("vrf-constant")(b_grid=(0.1,)).predict(
        MODELS, fitted, outputs, train, [choice]
    )
    assert abs(elsewhere.weight[0] - found.weight[0]) > 1e-4  # the mean on another set is another


def test_an_empty_failure_set_is_said():
    class NothingCorrected(FakeLabelledOutputs):
        def correct(self, recipe):
            return np.zeros(len(self.labels), bool)

    vrf, train = find_method("vrf")(), NothingCorrected(0, 200)
    with collected() as said:
        fitted = vrf.fit(MODELS, FakeLabelledOutputs(1), train)
    assert not fitted["failure"].any()
    assert [text for text in said if text.startswith("The failure set V is empty")]


@pytest.mark.parametrize(
    ("task", "a", "b"), [("imagenet", 1.5, 0.6), ("cifar10", 0.3, 0.3), ("entity30", 1.1, 0.6)]
)
def test_official_hyper_parameters_are_those_of_the_published_code(task, a, b):
    found = {name: one.official for name, one in settings(find_method("vrf")(), task).items()}
    assert found == {
        "p": 0.001, "k_rule": "official-code", "squared": True, "a_grid": (a,), "b_grid": (b,),
        "calibrate": "confidence",
    }  # fmt: skip


def test_temperatures_are_what_makes_vrf_a_calibrated_row():
    assert find_method("vrf")().calibrated is True
    assert find_method("vrf")(calibrate="none").calibrated is False


def test_before_the_fit_the_threshold_of_every_candidate_is_open():
    method = find_method("vrf")(b_grid=(0.1, 0.2))
    assert method.candidates() == ({"a": 0.0, "b": 0.1}, {"a": 0.0, "b": 0.2})


def test_vrf_is_a_row_on_every_base_and_shows_its_distances():
    bases = {name.partition(":")[2] for name in all_row_names() if name.startswith("vrf:")}
    assert {"e2e-ft", "lp-ft", "flyp"} < bases
    assert find_method("vrf").has_figures


@pytest.mark.parametrize(
    ("name", "mixes_samples"),
    [("vrf-shuffled", True), ("vrf-constant", True), ("vrf-global", False),
     ("vrf-all-correct", False)],
)  # fmt: skip
def test_controls_are_asked_for_and_say_whether_samples_depend_on_each_other(name, mixes_samples):
    cls = find_method(name)
    assert cls.is_control and not cls.in_all and not cls.has_figures and not cls.compared_with
    assert cls.mixes_samples is mixes_samples
    weight = np.linspace(0, 1, 50)
    of_half = cls().weigh(weight[:25], 0.4)
    assert np.allclose(cls().weigh(weight, 0.4)[:25], of_half) is not mixes_samples


def test_the_order_of_shuffled_weights_is_the_same_in_every_run_and_release():
    found = find_method("vrf-shuffled")().weigh(np.arange(6) / 10, 0.3)
    assert np.array_equal(found, np.array([0, 5, 1, 2, 4, 3]) / 10)

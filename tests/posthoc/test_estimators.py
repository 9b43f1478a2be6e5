"""The estimators: equality with the harness's methods, and scikit-learn's conventions."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from commands import SAME_BENCH
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bench import OSE, VRF, TemperatureScaling
from bench.api.registry import find_method
from bench.core.errors import InputError
from bench.posthoc import functional as posthoc
from bench.posthoc.scores import ScoreFacts
from bench.posthoc.selection import choose
from bench.testing.fakes import IDENTITY, MANY_TO_ONE, FakeLabelledOutputs, FakeOutputs, fake_models

MODELS = fake_models()
TRAIN, HELD_OUT = FakeLabelledOutputs(0, 200), FakeLabelledOutputs(1, 300)
A, B = 0.4, 0.1  # suit the distances of the fakes


def arrays(outputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fine-tuned features [N, D] and the scores of both endpoints."""
    ends = (MODELS.zero_shot, MODELS.base)
    return outputs.features(MODELS.base), *(outputs.scores(end) for end in ends)


TEST = arrays(FakeOutputs(2))


def fitted(**configuration) -> VRF:
    return VRF(**{"a": A, "b": B} | configuration).fit(*arrays(TRAIN), TRAIN.labels)


def log_softmax(logits, t=1.0):
    return posthoc.log_softmax(logits / t)


@pytest.mark.parametrize("labels", [IDENTITY, MANY_TO_ONE])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"p": 0.1},
        {"squared": True},
        {"p": 0.05, "k_rule": "paper"},
        {"k_rule": "official-code"},
    ],
)
@pytest.mark.parametrize("calibrate", ["none", "nll"])
def test_vrf_equals_the_harness(calibrate, changes, labels):
    method = replace(find_method("vrf")(), calibrate=calibrate, **changes)
    state, outputs = method.fit(MODELS, HELD_OUT, TRAIN), FakeOutputs(2, labels=labels)
    (found,) = method.predict(MODELS, state, outputs, TRAIN, [{"a": A, "b": B}])

    vrf = fitted(**changes)
    if calibrate == "nll":
        vrf.calibrate(*arrays(HELD_OUT)[1:], HELD_OUT.labels)
    assert np.array_equal(vrf.failure_, state["failure"])
    assert [vrf.temperature_zs_, vrf.temperature_ft_] == state["temperature"].tolist()
    assert np.array_equal(vrf.weights(outputs.features(MODELS.base)), found.weight)
    assert np.array_equal(vrf.predict_proba(*arrays(outputs)), np.exp(found.log_probs))
    assert np.array_equal(vrf.predict(*arrays(outputs)), found.log_probs.argmax(axis=1))


@pytest.mark.filterwarnings("ignore::bench.posthoc.remarks.PosthocWarning")
def test_vrf_chooses_what_the_harness_would():
    method = find_method("vrf")()
    state = method.fit(MODELS, HELD_OUT, TRAIN)
    choices = method.candidates_of(state)
    found = list(method.predict(MODELS, state, HELD_OUT, TRAIN, choices))
    right = [(p.log_probs.argmax(axis=1) == HELD_OUT.labels).mean() for p in found]
    vrf = fitted().calibrate(*arrays(HELD_OUT)[1:], HELD_OUT.labels)
    for rule in ("within-1pt", "max-val"):
        vrf.choose(*arrays(HELD_OUT), HELD_OUT.labels, method.a_grid, method.b_grid, rule)
        best = choices[choose(right, [float(p.weight.mean()) for p in found], rule)]
        assert (vrf.a_, vrf.b_) == (best["a"], best["b"])
        expected = posthoc.sigmoid_weight(vrf.distances(TEST[0]), vrf.a_, vrf.b_)
        assert np.array_equal(vrf.weights(TEST[0]), expected)


def test_vrf_takes_a_k_of_your_own():
    count = fitted().reference_.shape[0]
    nearest, farthest = fitted(k=1), fitted(k=count)
    assert (nearest.k_, farthest.k_) == (1, count)
    assert (nearest.distances(TEST[0]) < farthest.distances(TEST[0])).all()
    for k in (0, count + 1):
        with pytest.raises(InputError, match=f"k = {k}, expected 1 to .* = {count}"):
            fitted(k=k)


def test_vrf_without_failures_is_the_zero_shot_model():
    features, zs, _ = arrays(TRAIN)
    vrf = VRF().fit(features, zs, zs, TRAIN.labels)
    assert (vrf.k_, len(vrf.reference_)) == (0, 0)
    assert np.isinf(vrf.distances(TEST[0])).all() and not vrf.weights(TEST[0]).any()
    assert np.array_equal(vrf.predict_proba(*TEST), np.exp(log_softmax(TEST[1])))


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_the_length_of_features_means_nothing(in_fit, in_use):
    features, zs, ft = arrays(TRAIN)
    scaled = VRF(a=A, b=B).fit(features * np.float32(in_fit), zs, ft, TRAIN.labels)
    assert np.allclose(
        scaled.weights(TEST[0] * np.float32(in_use)), fitted().weights(TEST[0]), atol=1e-4
    )


@given(st.floats(0, 2), st.floats(0.2, 2))
def test_weights_lie_between_the_ends_and_fall_with_distance(a, b):
    vrf = fitted(a=a, b=b)
    distance, weight = vrf.distances(TEST[0]), vrf.weights(TEST[0])
    assert ((weight > 0) & (weight < 1)).all()
    assert (np.diff(weight[distance.argsort()]) <= 0).all()
    assert np.allclose(vrf.predict_proba(*TEST).sum(axis=1), 1, atol=1e-5)


def test_far_off_a_gives_one_end():
    _, zs, ft = TEST
    assert np.allclose(fitted(a=1e3).predict_proba(*TEST), np.exp(log_softmax(ft)), atol=1e-6)
    assert np.allclose(fitted(a=-1e3).predict_proba(*TEST), np.exp(log_softmax(zs)), atol=1e-6)


def test_fit_forgets_and_returns_itself():
    vrf, held_out = fitted(), (*arrays(HELD_OUT), HELD_OUT.labels)
    before = vrf.predict_proba(*TEST)
    assert vrf.calibrate(*held_out[1:]) is vrf
    assert vrf.choose(*held_out, a_grid=[0.2], b_grid=[0.3]) is vrf
    assert not np.array_equal(vrf.predict_proba(*TEST), before)
    assert vrf.fit(*arrays(TRAIN), TRAIN.labels) is vrf
    assert np.array_equal(vrf.predict_proba(*TEST), before)
    assert repr(vrf) == repr(VRF(a=A, b=B))  # the configuration is untouched, and all there is


def test_what_was_fitted_is_no_part_of_the_configuration():
    (_, zs, ft), labels = arrays(HELD_OUT), HELD_OUT.labels
    scaling, ensemble = TemperatureScaling().fit(zs, labels), OSE().fit(zs, ft, labels)
    assert repr(scaling) == repr(TemperatureScaling())
    assert repr(ensemble) == repr(OSE())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_ose_equals_the_harness(alpha):
    outputs = FakeOutputs(2, labels=MANY_TO_ONE)
    (found,) = find_method("ose")().predict(MODELS, {}, outputs, TRAIN, [{"alpha": alpha}])
    ose = OSE(alpha)
    assert np.array_equal(ose.predict_proba(*arrays(outputs)[1:]), np.exp(found.log_probs))
    assert np.array_equal(ose.predict(*arrays(outputs)[1:]), found.log_probs.argmax(axis=1))


def test_ose_in_the_space_of_logits():
    _, zs, ft = TEST
    expected = np.exp(log_softmax(0.3 * ft + 0.7 * zs))
    found = OSE(0.3, "logits").predict_proba(zs, ft)
    assert np.allclose(found, expected, atol=1e-6)
    assert not np.allclose(found, OSE(0.3).predict_proba(zs, ft), atol=0.01)


@pytest.mark.parametrize("space", ["probabilities", "logits"])
@pytest.mark.parametrize("rule", ["within-1pt", "max-val"])
def test_ose_chooses_by_the_harness_rules(rule, space):
    _, zs, ft = arrays(HELD_OUT)
    alphas = [0.0, 0.25, 0.5, 0.75, 1.0]
    right = [(OSE(a, space).predict(zs, ft) == HELD_OUT.labels).mean() for a in alphas]
    ose = OSE(0.9, space).fit(zs, ft, HELD_OUT.labels, alphas, rule)
    assert ose.alpha_ == alphas[choose(right, alphas, rule)] and ose.alpha == 0.9
    assert np.array_equal(ose.predict_proba(zs, ft), OSE(ose.alpha_, space).predict_proba(zs, ft))


@pytest.mark.parametrize(
    ("criterion", "fit"),
    [("nll", posthoc.temperature), ("confidence", posthoc.confident_temperature)],
)
def test_temperatures_are_those_of_the_arithmetic(criterion, fit):
    _, zs, ft = arrays(HELD_OUT)
    labels = HELD_OUT.labels
    scaling = TemperatureScaling(criterion).fit(ft, labels)
    assert scaling.temperature_ == fit(ft, labels)
    expected = np.exp(log_softmax(TEST[2], scaling.temperature_))
    assert np.array_equal(scaling.predict_proba(TEST[2]), expected)
    vrf = fitted(criterion=criterion).calibrate(zs, ft, labels)
    assert (vrf.temperature_zs_, vrf.temperature_ft_) == (fit(zs, labels), scaling.temperature_)


def uses(given, labels):
    """Return all outputs of all estimators by name, from training arrays `given` and `labels`."""
    features, zs, ft = given
    vrf = VRF(a=A, b=B).fit(*given, labels).calibrate(zs, ft, labels)
    vrf.choose(*given, labels, [A], [B])
    ose, scaling = OSE(), TemperatureScaling().fit(ft, labels)
    floats = {
        "distances": vrf.distances(features),
        "weights": vrf.weights(features),
        "VRF": vrf.predict_proba(*given),
        "OSE": ose.fit(zs, ft, labels).predict_proba(zs, ft),
        "scaled": scaling.predict_proba(ft),
    }
    return floats, (vrf.predict(*given), ose.predict(zs, ft))


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32", "float64"])
def test_tensors_give_tensors_of_their_type(name):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, name)
    labels = torch.tensor(TRAIN.labels)
    given = [torch.tensor(x).to(dtype).requires_grad_() for x in arrays(TRAIN)]
    floats, classes = uses(given, labels)
    same = [x.detach().to(torch.float64).numpy() for x in given]
    expected, expected_classes = uses(same, TRAIN.labels)
    for what, found in floats.items():
        assert found.dtype == dtype and found.device == labels.device, what
        loose = 1e-2 if found.element_size() < 4 else 1e-5
        assert np.allclose(found.double().numpy(), expected[what], atol=loose), what
    for found, numbers in zip(classes, expected_classes, strict=True):
        assert found.dtype == torch.int64
        assert np.array_equal(found.numpy(), numbers)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_give_arrays_of_their_type(dtype):
    floats, classes = uses([x.astype(dtype) for x in arrays(TRAIN)], TRAIN.labels)
    assert {found.dtype for found in floats.values()} == {np.dtype(dtype)}
    assert {found.dtype for found in classes} == {np.dtype(np.int64)}


def test_integers_give_float64():
    logits = np.array([[3, 1], [0, 2]])
    assert OSE().predict_proba(logits, logits).dtype == np.float64
    assert np.allclose(OSE().predict_proba(logits, logits), np.exp(log_softmax(logits)))


def test_no_samples_give_no_predictions():
    assert fitted().predict_proba(*(x[:0] for x in TEST)).shape == (0, TEST[1].shape[1])


@pytest.mark.filterwarnings("ignore::bench.posthoc.remarks.PosthocWarning")
@given(
    npst.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(-99, 99)),
    st.floats(0, 1),
    st.sampled_from(["probabilities", "logits"]),
)
def test_ose_of_equal_ends_is_that_end(logits, alpha, space):
    assume(not ScoreFacts.of([logits]).refusal)  # probabilities and classes are refused
    found = OSE(alpha, space).predict_proba(logits, logits)
    assert np.allclose(found, np.exp(log_softmax(logits)), atol=1e-9)
    assert np.allclose(found.sum(axis=1), 1)


FEATURES, ZS, FT = arrays(TRAIN)
LABELS = TRAIN.labels


def holding(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed[0, 0] = value
    return changed


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: VRF().weights(FEATURES), "this VRF is not fitted"),
        (lambda: VRF().predict(*TEST), "this VRF is not fitted"),
        (lambda: VRF().calibrate(ZS, FT, LABELS), "this VRF is not fitted"),
        (lambda: TemperatureScaling().predict_proba(FT), "this TemperatureScaling is not fitted"),
        (lambda: VRF().fit(FEATURES[1:], ZS, FT, LABELS), "features_ft: 199 samples.* 200"),
        (lambda: VRF().fit(FEATURES, ZS[1:], FT, LABELS), "differ in shape"),
        (lambda: VRF().fit(FEATURES, ZS[:, 1:], FT, LABELS), "differ in shape"),
        (lambda: VRF().fit(FEATURES, ZS[0], FT[0], LABELS), "logits_zs: .* expected numbers"),
        (lambda: VRF().fit(FEATURES[:, 0], ZS, FT, LABELS), "features_ft: .* expected numbers"),
        (lambda: VRF().fit(FEATURES, ZS, FT, LABELS[1:]), "labels: .* each of 200"),
        (lambda: VRF().fit(FEATURES, ZS, FT, LABELS / 2), "labels: float64"),
        (lambda: VRF().fit(FEATURES, ZS, FT, LABELS - 1), "labels -1 to 4 for 6 classes"),
        (lambda: VRF().fit(FEATURES, ZS, FT, LABELS + 1), "labels 1 to 6 for 6 classes"),
        (lambda: VRF().fit(*(x[:0] for x in (FEATURES, ZS, FT, LABELS))), "each of 0"),
        (lambda: VRF().fit(holding(FEATURES, np.nan), ZS, FT, LABELS), "features_ft contain NaN"),
        (lambda: VRF().fit(FEATURES, ZS, holding(FT, np.inf), LABELS), "logits_ft contain NaN"),
        (lambda: VRF(k_rule="half").fit(FEATURES, ZS, FT, LABELS), "unknown rule for k 'half'"),
        (lambda: VRF(p=2).fit(FEATURES, ZS, FT, LABELS), "p in"),
        (lambda: fitted().weights(FEATURES[:, 1:]), "features_ft: 7 columns, expected 8 as in fit"),
        (lambda: fitted().predict(FEATURES[1:], ZS, FT), "features_ft: 199 samples.* 200"),
        (lambda: fitted().predict(FEATURES, ZS, holding(FT, np.nan)), "logits_ft contain NaN"),
        (lambda: fitted(b=0).weights(FEATURES), "b must be positive"),
        (lambda: fitted(criterion="ece").calibrate(ZS, FT, LABELS), "unknown criterion 'ece'"),
        (lambda: fitted().calibrate(ZS, FT, LABELS + 9), "labels 9 to 14"),
        (lambda: fitted().choose(FEATURES, ZS, FT, LABELS + 9, [1], [1]), "labels 9 to 14"),
        (lambda: fitted().choose(FEATURES, ZS, FT, LABELS, [], [1]), "0 accuracies"),
        (lambda: OSE(1.5).predict(ZS, FT), "alpha must lie in"),
        (lambda: OSE(space="logit").predict(ZS, FT), "unknown space 'logit': did you mean"),
        (lambda: OSE().fit(ZS, FT, LABELS, rule="best"), "unknown selection rule"),
        (lambda: OSE().predict_proba(ZS, holding(FT, -np.inf)), "logits_ft contain NaN or inf"),
        (lambda: OSE().predict_proba([["a"]], [["b"]]), "logits_zs: <U1"),
        (lambda: TemperatureScaling().fit(FT, LABELS[None]), "labels: int64 of shape"),
        (lambda: TemperatureScaling("brier").fit(FT, LABELS), "unknown criterion 'brier'"),
    ],
)
def test_unusable_input_is_one_line(use, message):
    with pytest.raises(InputError, match=message) as caught:
        use()
    assert "\n" not in str(caught.value)


def test_arrays_and_tensors_do_not_mix():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="logits_zs is a torch tensor on cpu, logits_ft is a Num"):
        OSE().predict(torch.tensor(ZS), FT)
    with pytest.raises(InputError, match="logits is a NumPy array, labels is a torch tensor"):
        TemperatureScaling().fit(FT, torch.tensor(LABELS))
    with pytest.raises(InputError, match="on cpu, logits_ft is a torch tensor on meta"):
        fitted().predict(torch.tensor(FEATURES), torch.tensor(ZS), torch.empty(1, device="meta"))
    vrf = VRF(a=A, b=B).fit(*map(torch.tensor, (FEATURES, ZS, FT, LABELS)))
    assert np.array_equal(vrf.weights(TEST[0]), fitted().weights(TEST[0]))


def test_nothing_is_imported_before_it_is_needed():
    code = """
import sys, bench
assert "numpy" not in sys.modules and bench.__version__
assert {"OSE", "VRF", "TemperatureScaling", "run", "__version__"} <= set(bench.__all__)
try:
    bench.Vrf
except AttributeError as error:
    assert "has no attribute 'Vrf'" in str(error)
else:
    raise AssertionError
import numpy as np
x, y = 3 * np.eye(4), np.array([0, 1, 2, 2])
bench.VRF().fit(x, -x, x, y).calibrate(x, x, y).predict(x, -x, x)
bench.TemperatureScaling().fit(x, y).predict_proba(x)
assert "torch" not in sys.modules and "pydantic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=SAME_BENCH)

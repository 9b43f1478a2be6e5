"""Post-hoc arithmetic against hand-computed values and its own invariants."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.special import log_softmax as scipy_log_softmax

from bench.core.errors import InputError
from bench.posthoc import functional
from bench.posthoc.functional import (
    KRule,
    confident_temperature,
    failure_set,
    kth,
    log_softmax,
    mix,
    sigmoid_weight,
    temperature,
)
from bench.posthoc.remarks import PosthocWarning

SCORES = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.floats(-1e3, 1e3),
)


def random_log_p(seed: int, shape: tuple[int, int] = (20, 4)) -> np.ndarray:
    return log_softmax(3 * np.random.default_rng(seed).normal(size=shape))


@given(SCORES)
def test_log_softmax_equals_scipy(scores):
    assert np.allclose(log_softmax(scores), scipy_log_softmax(scores, axis=1), atol=1e-9)


def test_log_softmax_is_stable_and_keeps_precision():
    scores = np.array([[1e4, 0.0], [-1e4, -1e4], [0.0, -np.inf]], dtype=np.float32)
    expected = [[0, -1e4], [-np.log(2), -np.log(2)], [0, -np.inf]]
    found = log_softmax(scores)
    assert found.dtype == np.float32
    assert np.allclose(found, expected)


@given(st.floats(0, 1))
def test_mix_is_the_average_of_probabilities(weight):
    zs, ft = random_log_p(0), random_log_p(1)
    expected = weight * np.exp(ft) + (1 - weight) * np.exp(zs)
    assert np.allclose(np.exp(mix(zs, ft, weight)), expected, atol=1e-12)


def test_mix_takes_one_weight_per_sample():
    zs, ft = random_log_p(0), random_log_p(1)
    weights = np.linspace(0, 1, len(zs))
    each = [mix(zs[i : i + 1], ft[i : i + 1], w)[0] for i, w in enumerate(weights)]
    assert np.allclose(mix(zs, ft, weights), each)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mix_returns_the_ends_exactly(dtype):
    zs, ft = random_log_p(0).astype(dtype), random_log_p(1).astype(dtype)
    zs[0], ft[1] = log_softmax(np.array([[0, -np.inf, 0, 0]], dtype=dtype)), zs[1]
    assert np.array_equal(mix(zs, ft, 0), zs)
    assert np.array_equal(mix(zs, ft, 1.0), ft)
    assert mix(zs, ft, np.full(len(zs), 0.3)).dtype == dtype


@given(SCORES, st.integers(0, 2**32), st.floats(0, 1), st.sampled_from([np.float32, np.float64]))
def test_mix_is_logaddexp_of_numpy(scores, seed, weight, dtype):
    """Of probabilities that are 0 for one model, for the other and for both, too."""
    rng = np.random.default_rng(seed)
    zs, ft = (log_softmax(rng.permutation(scores)).astype(dtype) for _ in range(2))
    for log_p in (zs, ft):
        log_p[rng.random(scores.shape) < 0.2] = -np.inf
    with np.errstate(divide="ignore"):
        w_zs, w_ft = np.log1p(-weight).astype(dtype), np.log(weight).astype(dtype)
    expected = np.logaddexp(w_zs + zs, w_ft + ft)
    near = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(mix(zs, ft, weight), expected, rtol=near, atol=near)


def test_mix_of_many_rows_is_that_of_each_alone(monkeypatch):
    zs, ft = (random_log_p(seed, (50, 7)).astype(np.float32) for seed in range(2))
    weights = np.linspace(0, 1, 50)
    whole = mix(zs, ft, weights)
    monkeypatch.setattr(functional, "CACHED", 21)  # three rows at a time
    assert np.array_equal(mix(zs, ft, weights), whole)
    assert np.array_equal(mix(zs, ft, 0.3)[49:], mix(zs[49:], ft[49:], 0.3))


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), [0.5] * 19 + [2.0]])
def test_mix_refuses_weights_outside_the_unit_interval(weight):
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        mix(random_log_p(0), random_log_p(1), weight)


def test_failure_set_is_zero_shot_wrong_and_fine_tuned_right():
    zs, ft = np.array([0, 0, 1, 1], dtype=bool), np.array([0, 1, 0, 1], dtype=bool)
    assert failure_set(zs, ft).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("size", "p", "k"),
    [(1, 0.001, 1), (999, 0.001, 1), (1600, 0.001, 2), (256_000, 0.001, 256), (7, 0, 1), (7, 1, 7)],
)
def test_kth_is_a_share_of_the_set_and_at_least_one(size, p, k):
    assert kth(size, p) == k


@pytest.mark.parametrize(
    ("rule", "size", "n_train", "k"),
    [
        ("paper", 999, None, 1),  # floor gives 0
        ("paper", 1999, None, 1),
        ("paper", 256_000, None, 256),
        ("official-code", 256_000, 1_281_167, 200),  # ImageNet-train
        ("official-code", 10_000, 50_000, 200),
        ("official-code", 1, 3_000, 1),  # rounds to 0
        ("official-code", 50, 100, 50),  # 500 of 50
    ],
)
def test_kth_by_the_papers_and_the_codes_rules(rule, size, n_train, k):
    assert kth(size, 0.001, rule, n_train) == k


def test_kth_of_the_paper_is_an_exact_floor():
    assert [kth(100, share / 100, "paper") for share in range(1, 101)] == list(range(1, 101))


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from(get_args(KRule)), st.integers(0, 99))
def test_kth_is_always_a_neighbour(size, p, rule, others):
    assert 1 <= kth(size, p, rule, size + others) <= size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.001), "need"),
        ((5, -0.1), "need"),
        ((5, 1.1), "need"),
        ((5, float("nan")), "need"),
        ((5, 0.001, "official-code"), "N_train >= .* = 5, got None"),
        ((5, 0.001, "official-code", 4), "N_train >= .* = 5, got 4"),
        ((5, 0.001, "rounded"), "did you mean 'round'"),
    ],
)
def test_kth_refuses_what_has_no_neighbour(arguments, message):
    with pytest.raises(InputError, match=message):
        kth(*arguments)


def test_sigmoid_weight_equals_the_equation():
    distance = np.linspace(0, 2, 9)
    assert np.allclose(sigmoid_weight(distance, 1.5, 0.6), expit(-(distance - 1.5) / 0.6))
    assert sigmoid_weight(np.array([1.5]), 1.5, 0.6) == pytest.approx(0.5)


def test_sigmoid_weight_is_stable_at_the_extremes():
    assert sigmoid_weight(np.array([0.0, 2.0, np.inf]), 1.0, 1e-4).tolist() == [1, 0, 0]
    with pytest.raises(InputError, match="positive"):
        sigmoid_weight(np.zeros(1), 1.0, 0.0)


def draw_labels(logits: np.ndarray, t: float) -> np.ndarray:
    """Sample labels from softmax(logits / t)."""
    p = np.exp(log_softmax(logits / t))
    u = np.random.default_rng(5).random((len(p), 1))
    return np.minimum((u > p.cumsum(axis=1)).sum(axis=1), p.shape[1] - 1)


@pytest.mark.parametrize("t", [0.5, 1.0, 3.0])
def test_temperature_recovers_the_one_that_labels_were_drawn_with(t):
    logits = 2 * np.random.default_rng(0).normal(size=(20_000, 5))
    labels = draw_labels(logits, t)
    assert temperature(logits, labels) == pytest.approx(t, rel=0.05)


def test_temperature_minimises_nll_and_scales_with_the_logits():
    logits = 4 * np.random.default_rng(1).normal(size=(300, 4))
    labels = draw_labels(logits, 2.0)

    def nll(t: float) -> float:
        return -log_softmax(logits / t)[np.arange(300), labels].mean()

    t = temperature(logits, labels)
    assert all(nll(t) <= nll(other) for other in np.geomspace(0.1, 10, 201))
    assert temperature(2 * logits, labels) == pytest.approx(2 * t, rel=1e-4)
    assert temperature(logits + 7, labels) == pytest.approx(t, rel=1e-4)
    assert temperature(logits, labels) == t


def test_temperature_says_where_the_nll_has_no_minimum():
    logits, right = np.eye(3), np.arange(3)
    with pytest.warns(PosthocWarning, match="T = 0.1 is the bound .* classified correctly"):
        assert temperature(logits, right) == 0.1
    with pytest.warns(PosthocWarning, match="T = 10 is the bound .* no larger logits"):
        assert temperature(logits, (right + 1) % 3) == 10
    assert temperature(np.full((3, 3), 7.0), right) == 1  # all equal: any T is as good


@pytest.mark.parametrize("scale", [1e-4, 1 / 60, 0.3, 1, 40, 1e4])
def test_temperature_finds_the_minimum_at_any_scale_of_the_logits(scale):
    logits = 3 * np.random.default_rng(2).normal(size=(2000, 6))
    labels = draw_labels(logits, 1.0)
    t = temperature(logits, labels)
    assert temperature(scale * logits, labels) == pytest.approx(scale * t, rel=1e-4)
    reference = minimize_scalar(
        lambda u: -log_softmax(scale * logits / np.exp(u))[np.arange(2000), labels].mean(),
        bounds=(np.log(scale) - 4, np.log(scale) + 4),
        method="bounded",
    )
    assert temperature(scale * logits, labels) == pytest.approx(np.exp(reference.x), rel=1e-3)


@pytest.mark.parametrize(("scale", "t"), [(1e-10, 1e-7), (1e10, 1e7)])
def test_temperature_beyond_its_limits_is_said(scale, t):
    logits = 3 * np.random.default_rng(2).normal(size=(200, 6))
    with pytest.warns(PosthocWarning, match="is the bound of its search: the NLL is smaller"):
        assert temperature(scale * logits, draw_labels(logits, 1.0)) == pytest.approx(t, rel=1e-2)


@pytest.mark.parametrize("fit", [temperature, confident_temperature])
@pytest.mark.parametrize("count", [0, 2])
def test_temperatures_refuse_what_does_not_fit(fit, count):
    with pytest.raises(InputError, match=f"{count} samples with"):
        fit(np.zeros((count, 3)), np.zeros(count // 2, dtype=np.int64))


def noisy(seed: int, scale: float, noise: float, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits [300, C] and labels that agree with them more if there is less noise."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(300, classes))
    return scale * rows, (rows + noise * rng.normal(size=rows.shape)).argmax(axis=1)


def excess(logits: np.ndarray, labels: np.ndarray, t: float) -> float:
    """Return mean confidence at temperature t minus accuracy."""
    confidence = np.exp(log_softmax(logits / t).max(axis=1)).mean()
    return float(confidence - (logits.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize(
    ("sample", "t"),
    [
        ((0, 1, 0.5, 4), 0.39621016915844043),
        ((1, 3, 1, 10), 1.8228164234728528),
        ((2, 0.2, 1, 10), 0.13180430424378312),
        ((3, 30, 0.3, 5), 6.753539697224401),
        ((4, 20, 3, 20), 29.469215792724007),  # the upper end had to grow
        ((5, 0.02, 1, 10), 0.012978649284052754),  # the lower end had to shrink
    ],
)
def test_confident_temperature_is_the_official_codes(sample, t):
    # Computed by Calibrater.search_T of BeierZhu/VRF de9647d from the same logits and labels.
    logits, labels = noisy(*sample)
    found = confident_temperature(logits, labels)
    assert found == pytest.approx(t, rel=1e-9)
    assert abs(excess(logits, labels, found)) <= 0.001


def test_confident_temperature_is_not_the_one_of_nll():
    # Overconfident on two thirds of the samples, underconfident on the rest.
    logits = np.concatenate([9 * np.eye(4)[[0] * 200], np.eye(4)[[1] * 100]])
    labels = np.array([0] * 180 + [2] * 20 + [1] * 100)
    by_nll, by_confidence = temperature(logits, labels), confident_temperature(logits, labels)
    assert abs(excess(logits, labels, by_confidence)) <= 0.001
    assert abs(excess(logits, labels, by_nll)) > 0.1


@pytest.mark.filterwarnings("ignore::bench.posthoc.remarks.PosthocWarning")
def test_confident_temperature_ends_where_the_official_search_would_not():
    # A T exists, but the search replaces the wrong bound and runs in a cycle.
    logits, labels = noisy(38, 4, 2, 100)
    assert 0.001 < abs(excess(logits, labels, confident_temperature(logits, labels))) < 0.005
    # Below chance, the largest T tried has the smallest gap.
    assert 1e5 < confident_temperature(np.eye(3), np.array([1, 2, 0])) < 2e5
    # Two equal largest logits: confidence is at most 1/2, for every small T.
    ties = np.array([[1.0, 1.0, 0.0]])
    assert excess(ties, np.array([0]), confident_temperature(ties, np.array([0]))) == -0.5
    # One class, or equal logits for all classes: any T meets the criterion.
    assert confident_temperature(np.zeros((2, 1)), np.zeros(2, dtype=np.int64)) == 1
    assert confident_temperature(np.full((2, 2), 7.0), np.array([0, 1])) == 1


@pytest.mark.filterwarnings("ignore::bench.posthoc.remarks.PosthocWarning")
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 4), st.floats(0.01, 100))
def test_confident_temperature_is_always_positive_and_finite(seed, count, classes, scale):
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(count, classes))
    t = confident_temperature(logits, rng.integers(classes, size=count))
    assert 1e-6 < t < 1e6

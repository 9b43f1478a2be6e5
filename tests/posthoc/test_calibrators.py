"""Vector scaling and isotonic regression against independent implementations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from bench.core.errors import InputError
from bench.posthoc.calibrators import (
    CALIBRATORS,
    LARGEST,
    apply_isotonic,
    apply_vector,
    fit_isotonic,
    fit_vector,
)
from bench.posthoc.functional import log_softmax
from bench.posthoc.remarks import collected

Pair = tuple[np.ndarray, np.ndarray]


def drawn(n: int = 300, classes: int = 4, seed: int = 0, *, ties: bool = False) -> Pair:
    """Overconfident log-probabilities and labels; with `ties`, of few different rows."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    log_probs = log_softmax(2 * np.eye(classes)[labels] + rng.normal(size=(n, classes)) * 2)
    return (log_probs[rng.integers(min(n, 12), size=n)] if ties else log_probs), labels


def nll(log_probs: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_probs[np.arange(len(labels)), labels].mean())


def test_vector_scaling_finds_the_minimum_of_another_optimiser() -> None:
    """Nelder-Mead, Powell and BFGS with numerical gradients, from other starts."""
    log_probs, labels = drawn(classes=3)

    def objective(x: np.ndarray) -> float:
        return nll(log_softmax(log_probs * x[:3] + x[3:]), labels)

    best = min(
        minimize(objective, start, method=method, options={"maxiter": 20_000}).fun
        for method, start in (
            ("BFGS", np.array([0.5, 0.5, 0.5, 0.1, 0.0, -0.1])),
            ("Nelder-Mead", np.array([1.0, 1, 1, 0, 0, 0])),
            ("Powell", np.array([0.3, 0.6, 0.9, 0, 0, 0])),
        )
    )
    found = apply_vector(log_probs, fit_vector(log_probs, labels))
    assert nll(found, labels) == pytest.approx(best, abs=1e-6)
    assert nll(found, labels) < nll(log_probs, labels)


def test_the_gradient_of_vector_scaling_vanishes_at_its_fit() -> None:
    """At the minimum of the convex NLL: mean probabilities are frequencies, moments agree."""
    log_probs, labels = drawn(2000, 6)
    p = np.exp(apply_vector(log_probs, fit_vector(log_probs, labels)))
    truth = np.eye(6)[labels]
    assert np.allclose(p.mean(axis=0), truth.mean(axis=0), atol=1e-5)
    assert np.allclose((p * log_probs).mean(axis=0), (truth * log_probs).mean(axis=0), atol=1e-5)


def test_vector_scaling_in_blocks_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs, labels = drawn()
    whole = fit_vector(log_probs, labels)
    monkeypatch.setattr("bench.posthoc.calibrators.BLOCK", 7)
    parts = fit_vector(log_probs, labels)
    assert all(np.allclose(whole[name], parts[name], atol=1e-5) for name in whole)


@pytest.mark.parametrize("ties", [False, True])
def test_isotonic_regression_is_that_of_scikit_learn(ties: bool) -> None:
    log_probs, labels = drawn(400, ties=ties)
    new, _ = drawn(200, seed=1)
    fitted = fit_isotonic(log_probs, labels)
    least, wanted = 0.5 / len(labels), np.empty(new.shape)
    for c in range(4):
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        model.fit(np.exp(log_probs[:, c]), labels == c)
        wanted[:, c] = np.maximum(model.predict(np.exp(new[:, c])), least)
        assert len(model.X_thresholds_) == fitted["starts"][c + 1] - fitted["starts"][c]
    wanted /= wanted.sum(axis=1, keepdims=True)
    assert np.exp(apply_isotonic(new, fitted)) == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(5, 60))
def test_each_class_is_mapped_by_a_nondecreasing_function(seed: int, classes: int, n: int) -> None:
    log_probs, labels = drawn(n, classes, seed, ties=seed % 2 == 0)
    with collected():
        fitted = fit_isotonic(log_probs, labels)
    for first, after in pairwise(fitted["starts"]):
        x, y = fitted["x"][first:after], fitted["y"][first:after]
        assert (np.diff(x) > 0).all() and (np.diff(y) >= 0).all()
        assert ((y >= 0) & (y <= 1)).all()


@pytest.mark.parametrize("name", CALIBRATORS)
def test_calibrated_probabilities_sum_to_1_and_none_is_0(name: str) -> None:
    log_probs, labels = drawn()
    log_probs[0] = np.log([1 - 3e-38, 1e-38, 1e-38, 1e-38])
    log_probs[1] = [0.0, -np.inf, -np.inf, -np.inf]
    found = CALIBRATORS[name].apply(log_probs, CALIBRATORS[name].fit(log_probs, labels))
    assert np.allclose(np.exp(found).sum(axis=1), 1) and np.isfinite(found).all()


@pytest.mark.parametrize("name", CALIBRATORS)
def test_a_class_without_a_held_out_sample_stays_and_is_named(name: str) -> None:
    log_probs, labels = drawn()
    kept = labels != 2
    with collected() as said:
        fitted = CALIBRATORS[name].fit(log_probs[kept], labels[kept])
    assert any(text.startswith("1 of 4 classes have no held-out sample") for text in said)
    found = np.exp(CALIBRATORS[name].apply(log_probs, fitted))
    if name == "vector":
        assert (fitted["w"][2], fitted["b"][2]) == (1, 0)
    else:
        assert fitted["starts"][2] == fitted["starts"][3]
    assert (found[:, 2] > 0).all()


def test_classes_that_can_be_separated_have_no_minimum_and_it_is_said() -> None:
    labels = np.array([0, 1, 2] * 4)
    with collected() as said:
        fitted = fit_vector(np.log(0.4 * np.eye(3)[labels] + 0.2), labels)
    assert len(said) == 1 and "the NLL of the held-out samples falls further" in said[0]
    assert np.abs(fitted["w"]).max() <= LARGEST


@pytest.mark.parametrize("name", CALIBRATORS)
def test_what_does_not_fit_is_refused(name: str) -> None:
    fit, apply = CALIBRATORS[name]
    log_probs, labels = drawn(20)
    for p, y, text in (
        (log_probs[:0], labels[:0], "0 samples with 0 labels"),
        (log_probs, labels[:5], "20 samples with 5 labels"),
        (log_probs[:, :2], np.full(20, 3), "labels 3 to 3, expected 0 to 1"),
        (log_probs, np.full(20, -1), "labels -1 to -1"),
    ):
        with pytest.raises(InputError, match=text):
            fit(p, y)
    with pytest.raises(InputError, match="fitted on 4 classes, but the predictions have 3"):
        apply(log_probs[:, :3], fit(log_probs, labels))

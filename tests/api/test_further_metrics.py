"""Further metrics against scikit-learn, torchmetrics and slow direct formulations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from bench.api.metrics import (
    ACCURACIES,
    BY_CLASS,
    FURTHER,
    METRICS,
    OWN,
    all_metrics,
    asked_metrics,
)
from bench.api.splits import Manifest, single_label
from bench.core.errors import CellError, InputError
from bench.core.hashing import key_of
from bench.posthoc.ensembles import scaled_log_probs
from bench.posthoc.functional import log_softmax

CLASSES = 5


def drawn(seed: int, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities, and labels that often agree with them."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, CLASSES))
    labels = (logits + 2 * rng.normal(size=logits.shape)).argmax(axis=1)
    return log_softmax(logits), labels


def tied(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of few different confidences."""
    rng = np.random.default_rng(seed)
    p = np.array([[0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.7, 0.2, 0.1]])[rng.integers(3, size=count)]
    return np.log(p), rng.integers(3, size=count)


def labelled(labels: np.ndarray) -> Manifest:
    return single_label(list(map(str, range(len(labels)))), labels)


def value(name: str, log_probs: np.ndarray, labels: np.ndarray) -> float:
    return FURTHER[name](log_probs, labelled(labels))


@pytest.mark.parametrize("name", [*METRICS, *FURTHER])
def test_a_model_that_knows_when_it_is_right_is_better_in_all_metrics(name):
    metric = all_metrics()[name] if name in METRICS else asked_metrics([name])[0]
    labels, rows = np.arange(60) % CLASSES, np.arange(60)

    def measured(right, sure):
        p = np.full((60, CLASSES), (1 - sure)[:, None] / (CLASSES - 1))
        p[rows, np.where(right, labels, (labels + 1) % CLASSES)] = sure
        return metric(np.log(p), labelled(labels))

    mostly, seldom = rows % 6 != 0, rows % 6 == 0
    good = measured(mostly, np.where(mostly, 0.97, 0.3))
    bad = measured(seldom, np.where(seldom, 0.3, 0.97))
    assert (good > bad) if metric.higher_is_better else (good < bad)


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_by_class_agree_with_scikit_learn(seed):
    log_probs, labels = drawn(seed)
    predicted = log_probs.argmax(axis=1)
    balanced = sklearn_metrics.balanced_accuracy_score(labels, predicted)
    recalls = sklearn_metrics.recall_score(labels, predicted, average=None)
    assert value("balanced", log_probs, labels) == pytest.approx(balanced, abs=1e-12)
    assert value("worst-class", log_probs, labels) == pytest.approx(recalls.min(), abs=1e-12)


def test_accuracies_by_class_agree_with_torchmetrics():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    log_probs, labels = drawn(3)
    given = torch.tensor(log_probs), torch.tensor(labels), CLASSES
    by_class = functional.multiclass_accuracy(*given, average=None)
    assert value("balanced", log_probs, labels) == pytest.approx(float(by_class.mean()), abs=1e-6)
    assert value("worst-class", log_probs, labels) == pytest.approx(float(by_class.min()), abs=1e-6)


def test_classes_that_are_never_a_label_do_not_count():
    log_probs = np.log([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert value("worst-class", log_probs, np.array([0, 1, 1])) == 0.5
    assert value("balanced", log_probs, np.array([0, 1, 1])) == 0.75


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("draw", [drawn, tied])
def test_auroc_agrees_with_scikit_learn(draw, seed):
    log_probs, labels = draw(seed, 300)
    right = log_probs.argmax(axis=1) == labels
    wanted = sklearn_metrics.roc_auc_score(right, log_probs.max(axis=1))
    assert value("auroc", log_probs, labels) == pytest.approx(wanted, abs=1e-12)


def slow_aurc(confidence: np.ndarray, wrong: np.ndarray) -> float:
    risks = [wrong[:k].mean() for k in range(1, len(wrong) + 1)]
    assert (np.diff(confidence) <= 0).all()
    return float(np.mean(risks))


@pytest.mark.parametrize("seed", range(3))
def test_aurc_is_the_mean_of_the_risks_at_every_coverage(seed):
    log_probs, labels = drawn(seed)
    order = np.argsort(-log_probs.max(axis=1))
    wrong = (log_probs.argmax(axis=1) != labels)[order]
    wanted = slow_aurc(log_probs.max(axis=1)[order], wrong)
    assert value("aurc", log_probs, labels) == pytest.approx(wanted, abs=1e-12)


def test_aurc_with_ties_is_the_mean_over_their_orders():
    log_probs, labels = tied(1, 6)
    confidence, wrong = log_probs.max(axis=1), log_probs.argmax(axis=1) != labels
    assert 0 < wrong.sum() < 6 and len(set(confidence)) == 2
    orders = [
        list(o)
        for o in itertools.permutations(range(6))
        if (np.diff(confidence[list(o)]) <= 0).all()
    ]
    wanted = np.mean([slow_aurc(confidence[o], wrong[o]) for o in orders])
    assert value("aurc", log_probs, labels) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("count", [7, 15, 300, 1003])
def test_adaptive_ece_is_a_loop_over_bins_of_equal_mass(count):
    log_probs, labels = drawn(0, count)
    confidence, right = np.exp(log_probs.max(axis=1)), log_probs.argmax(axis=1) == labels
    found, start, order = 0.0, 0, np.argsort(confidence)
    for b in range(15):
        members = order[start : start + count // 15 + (b < count % 15)]
        start += len(members)
        if len(members):
            gap = right[members].mean() - confidence[members].mean()
            found += len(members) / count * abs(gap)
    assert start == count
    assert value("adaptive-ece", log_probs, labels) == pytest.approx(found, abs=1e-12)


def test_adaptive_ece_of_one_bin_is_the_gap_of_accuracy_and_confidence():
    (metric,) = asked_metrics(["adaptive-ece"], ece_bins=1)
    log_probs, labels = drawn(1)
    gap = (log_probs.argmax(axis=1) == labels).mean() - np.exp(log_probs.max(axis=1)).mean()
    assert metric(log_probs, labelled(labels)) == pytest.approx(abs(gap), abs=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_classwise_ece_is_the_mean_of_torchmetrics_over_classes(seed):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    log_probs, labels = drawn(seed)
    p, target = torch.tensor(np.exp(log_probs)), torch.tensor(labels)
    by_class = [
        functional.binary_calibration_error(
            p[:, c].clone(), (target == c).int(), n_bins=15, norm="l1"
        )
        for c in range(CLASSES)
    ]
    wanted = float(sum(by_class)) / CLASSES
    assert value("classwise-ece", log_probs, labels) == pytest.approx(wanted, abs=1e-6)


@given(st.integers(0, 1000), st.sampled_from(sorted(FURTHER)))
@settings(max_examples=60, deadline=None)
def test_the_order_of_samples_does_not_matter(seed, name):
    log_probs, labels = tied(seed, 40)
    order = np.random.default_rng(seed).permutation(40)
    once, again = (value(name, log_probs[o], labels[o]) for o in (np.arange(40), order))
    assert once == pytest.approx(again, abs=1e-12) and 0 <= once <= 1


@given(st.integers(0, 1000), st.floats(0.2, 5))
@settings(max_examples=40, deadline=None)
def test_a_temperature_cannot_change_what_is_right(seed, temperature):
    log_probs, labels = drawn(seed, 60)
    scaled = scaled_log_probs(log_probs, temperature)
    for name in BY_CLASS:
        assert value(name, log_probs, labels) == value(name, scaled, labels)


@pytest.mark.parametrize(("labels", "which"), [([0, 0], "right"), ([1, 1], "wrong")])
def test_auroc_is_not_defined_where_all_are_right_or_wrong(labels, which):
    with pytest.raises(CellError, match=f"auroc: all 2 predictions are {which}"):
        value("auroc", np.log([[0.9, 0.1], [0.8, 0.2]]), np.array(labels))


def test_the_others_are_defined_there():
    log_probs = np.log([[0.9, 0.1], [0.8, 0.2]])
    assert value("aurc", log_probs, np.array([0, 0])) == 0
    assert value("aurc", log_probs, np.array([1, 1])) == 1
    assert value("worst-class", log_probs, np.array([1, 1])) == 0


@pytest.mark.parametrize("rows", [[[0, 1], [1, -1]], [[0], [-1]]], ids=["several", "none"])
def test_several_labels_or_none_are_as_in_other_metrics(rows):
    """Right is what is acceptable; a sample without a class is wrong, and has none to count by."""
    manifest = Manifest(("a", "b"), np.array(rows))
    log_probs = np.log([[0.4, 0.6], [0.7, 0.3]])
    for name in sorted(BY_CLASS):
        with pytest.raises(InputError, match="several labels or none"):
            FURTHER[name](log_probs, manifest)
    right = [True, False] if len(rows[0]) > 1 else [False, False]
    assert FURTHER["aurc"](log_probs, manifest) == pytest.approx(
        np.mean([not right[1], (2 - sum(right)) / 2])
    )
    # A sample of several labels is of the most probable one (1), one of none is of no class.
    of_class = np.array([[0, 1], [0, 1]]) if len(rows[0]) > 1 else np.array([[1, 0], [0, 0]])
    by_class = np.abs(np.exp(log_probs) - of_class).sum(axis=0) / 2  # each in a bin of its own
    assert FURTHER["classwise-ece"](log_probs, manifest) == pytest.approx(by_class.mean())


def test_keys_and_names_stay_apart():
    every = (*METRICS.values(), *OWN.values(), *FURTHER.values())
    assert len({key_of(metric) for metric in every}) == len(every)
    for field in ("name", "title"):
        assert len({getattr(metric, field) for metric in every}) == len(every)
    assert FURTHER.keys() > BY_CLASS and not ACCURACIES & FURTHER.keys()
    (ten,) = asked_metrics(["classwise-ece"], ece_bins=10)
    assert key_of(ten) != key_of(FURTHER["classwise-ece"])


@pytest.mark.parametrize(
    ("name", "says"),
    [("ece", "part of every run"), ("pm-0", "declare it"), ("auro", "did you mean 'auroc'")],
)
def test_what_cannot_be_asked_for_is_refused(name, says):
    with pytest.raises(InputError, match=says):
        asked_metrics(["aurc", name])

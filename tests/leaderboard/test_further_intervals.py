"""Intervals of metrics that are asked for: influences, coverage, and where there are none."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from commands import bench
from further_metrics import METRICS, MODELS, Model, further_coverage
from hypothesis import given
from hypothesis import strategies as st
from intervals import SHARP, EceSetting, ece_coverage
from outputs_folders import folder, score
from scipy import stats

from bench.api.metrics import FURTHER
from bench.api.splits import single_label
from bench.core.records import Record
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats.ece_interval import Confidences, measured_ece
from bench.leaderboard.stats.further import linearised_in
from bench.leaderboard.stats.linearised import worst_group_influence
from bench.posthoc.calibration_error import adaptive_calibration_error

CLASSES = 3


def drawn(n: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and labels; with `ties`, of few confidences."""
    rng = np.random.default_rng(5)
    predicted, labels = rng.integers(CLASSES, size=n), rng.integers(CLASSES, size=n)
    labels = np.where(rng.random(n) < 0.6, predicted, labels)
    confidence = rng.choice([0.5, 0.6, 0.9], size=n) if ties else rng.uniform(0.4, 1, size=n)
    p = np.repeat((1 - confidence)[:, None] / 2, CLASSES, axis=1)
    p[np.arange(n), predicted] = confidence
    return np.log(p), labels


def outputs(log_probs: np.ndarray, labels: np.ndarray) -> SampleOutputs:
    predicted = log_probs.argmax(axis=1)
    on = EvaluationSet("1f" * 16, "2e" * 16, labels[:, None], {}, {})
    record = Record.model_construct(primary_metric="top1")
    confidence = np.exp(log_probs.max(axis=1))
    return SampleOutputs(record, on, predicted == labels, confidence, predicted)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ties", [False, True])
def test_numbers_by_sample_are_what_a_weight_more_of_the_sample_changes(metric, ties):
    """Against the metric itself: with the whole set 40 times, and one sample of it once more."""
    log_probs, labels = drawn(60, ties=ties)
    found = linearised_in(metric, outputs(log_probs, labels))

    def value(log_probs: np.ndarray, labels: np.ndarray) -> float:
        ids = list(map(str, range(len(labels))))
        return FURTHER[metric](log_probs, single_label(ids, labels))

    whole = value(log_probs, labels)
    assert found.values.mean() == pytest.approx(whole, abs=1e-12)
    repeated, of = np.tile(log_probs, (40, 1)), np.tile(labels, 40)
    base = value(repeated, of)
    exact = {"aurc": 0.06}.get(metric, 0.02)  # 40 copies have ties, which the set has not
    for sample in range(0, 60, 7):
        more = value(np.vstack([repeated, log_probs[[sample]]]), np.append(of, labels[sample]))
        wanted = (more - base) * (len(of) + 1)
        assert found.values[0, sample] - whole == pytest.approx(wanted, abs=exact)


def one_more(right: float, n: int) -> float:
    """The variance of one more of n samples, half of it right and half wrong."""
    q = (right + 0.5) / (n + 1)
    return ((1 - q) ** 2 + q**2) / (2 * n**2)


@given(st.integers(0, 999), st.integers(8, 60))
def test_what_is_not_seen_is_that_of_the_text(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    labels, confidence = np.append([0, 1, 2], rng.integers(3, size=n - 3)), rng.uniform(size=n)
    right = rng.random(n) < 0.3 + 0.2 * labels
    right[:2] = [True, False]
    on = EvaluationSet("1f" * 16, "2e" * 16, labels[:, None], {}, {})
    record = Record.model_construct(primary_metric="top1")
    one = SampleOutputs(record, on, right, confidence, np.where(right, labels, 3))
    found = {metric: linearised_in(metric, one) for metric in METRICS}

    by_class = [(int(right[labels == c].sum()), int((labels == c).sum())) for c in range(3)]
    k, m = int(right.sum()), int((~right).sum())
    area = np.mean([confidence[right] > wrong for wrong in confidence[~right]])
    unseen = {
        "balanced": sum(one_more(*counts) for counts in by_class) / 9,
        "auroc": ((1 - area) ** 2 + area**2) * (1 / k**2 + 1 / m**2) / 2,
        "aurc": 1 / n**2,
    }
    for metric, variance in unseen.items():
        assert float(found[metric].unseen[0]) == pytest.approx(variance)
        assert float(found[metric].bias[0]) == 0

    worst = min(by_class, key=lambda counts: counts[0] / counts[1])
    shares = [k / n for k, n in by_class]
    may_be = [counts for counts, share in zip(by_class, shares, strict=True)
              if share <= clopper_pearson(*worst, 0.025)]  # fmt: skip
    above = min(clopper_pearson(*counts, 0.025 / len(may_be)) for counts in may_be) - min(shares)
    own = found["worst-class"]
    total = float((own.values - own.values.mean()).var() / n + own.unseen[0] + own.bias[0])
    assert float(own.unseen[0]) == pytest.approx(one_more(*worst))
    assert float(own.values.mean()) == pytest.approx(min(shares))
    assert 1.959964 * np.sqrt(total) >= above - 1e-6
    *_, bias = worst_group_influence(labels, right, np.arange(n))
    assert float(own.bias[0]) == pytest.approx(bias) or own.bias[0] > bias
    if own.bias[0] > bias:  # just so large that the bound is reached
        assert 1.959964 * np.sqrt(total) == pytest.approx(above, rel=1e-5)


def clopper_pearson(k: int, n: int, tail: float) -> float:
    """The exact upper bound of a probability, k of n."""
    return float(stats.binomtest(k, n).proportion_ci(1 - 2 * tail, "exact").high)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_intervals_cover(model: Model) -> None:
    """With 150 repetitions the standard error is 1.8 points; two are allowed below 92%."""
    for metric in METRICS:
        assert further_coverage(metric, model, 500, 150) >= 0.92 - 0.036, metric
    assert further_coverage("auroc", model, 500, 100, seeds=3, sets=4) >= 0.92 - 0.045


@pytest.mark.parametrize("sharpness", SHARP)
def test_intervals_of_an_adaptive_ece_cover(sharpness: float) -> None:
    covered, _ = ece_coverage(EceSetting(500, sharpness, 1, 1), 200, 4, equal_mass=True)
    assert covered >= 0.93 - 0.03


def test_the_ece_of_stored_confidences_is_the_metric() -> None:
    one = outputs(*drawn(100, ties=False))
    row = [Confidences("a", one.confidence[None], one.right[None])]
    wanted = adaptive_calibration_error(one.confidence, one.right, bins=15)
    assert measured_ece(row, 15, equal_mass=True) == pytest.approx(wanted, abs=1e-12)


def test_there_are_none_where_the_metric_is_not_defined() -> None:
    log_probs, _ = drawn(20, ties=False)
    right = outputs(log_probs, log_probs.argmax(axis=1))
    assert linearised_in("auroc", right) is None and linearised_in("ece", right) is None
    assert linearised_in("aurc", right).unseen > 0  # no error was seen, but there may be some
    on = EvaluationSet("a", "b", np.array([[0], [-1]]), {}, {})
    none = SampleOutputs(right.record, on, right.right[:2], right.confidence[:2], np.zeros(2, int))
    assert linearised_in("balanced", none) is None


def test_exports_bound_their_values(tmp_path: Path) -> None:
    asked = ("--metrics", ",".join(FURTHER), "--methods", "zero-shot")
    assert score(folder(tmp_path), *asked).code == 0
    report = ("report", tmp_path / "out", "--format", "csv", "--out", tmp_path / "csv")
    assert bench(*report).code == 0
    with (tmp_path / "csv" / "report.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["metric"] in FURTHER and r["low"]]
    assert {r["metric"] for r in rows} == FURTHER.keys() - {"classwise-ece"}
    for row in rows:
        assert row["temperature_scaled"] == "False"
        if row["metric"] != "adaptive-ece":  # whose interval is corrected for its bias
            assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])

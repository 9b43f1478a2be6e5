"""Outcomes in the primary metrics of sets, from stored samples, compared with the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.api.metrics import OWN, correct
from bench.api.splits import Manifest
from bench.core.records import Record
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats import resampling as judged

NAMES = ("Asia", "Europe", "Other")


def outputs(judge: str, manifest: Manifest, log_probs: NDArray[Any]) -> SampleOutputs:
    """Return the samples that a run stores for a cell."""
    on = EvaluationSet("ids", "labels", manifest.labels, manifest.groups, manifest.names)
    record = Record.model_construct(primary_metric=judge)
    confidence = np.exp(log_probs.max(axis=1))
    return SampleOutputs(
        record, on, correct(log_probs, manifest), confidence, log_probs.argmax(axis=1)
    )


def drawn_set(seed: int, n: int = 60, **groups: NDArray[Any]) -> tuple[Manifest, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=(n, 1))
    log_probs = rng.normal(size=(n, 5)) + 2.0 * (labels == np.arange(5))
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    names = {"region": NAMES} if "region" in groups else {}
    return Manifest(tuple(map(str, range(n))), labels, groups, names), log_probs


@given(st.integers(0, 999), st.sampled_from(["macro-f1", "worst-region"]))
def test_resampled_values_are_the_metrics_of_resamples(seed: int, judge: str) -> None:
    rng = np.random.default_rng(seed)
    manifest, log_probs = drawn_set(seed, region=rng.integers(3, size=60))
    rows = rng.integers(60, size=(5, 60))
    every = (np.arange(60), *rows)
    counts = np.array([np.bincount(r, minlength=60) for r in every], dtype=np.float32).T
    found = judged.bootstrap_values(outputs(judge, manifest, log_probs), counts)
    assert found is not None
    expected = [OWN[judge](log_probs[r], manifest.take(r)) for r in every]
    assert found == pytest.approx(expected)


@given(st.integers(0, 999), st.sampled_from([0, 10]))
def test_hits_of_sets_of_frames_have_pm_k_as_their_mean(seed: int, k: int) -> None:
    offsets = np.tile(np.arange(-12, 13, 3), 7)[:60]
    anchors = np.repeat(np.arange(7), 9)[:60]
    manifest, log_probs = drawn_set(seed, anchor=anchors, offset=offsets)
    found = judged.outcomes_of(outputs(f"pm-{k}", manifest, log_probs))
    assert found is not None and len(found) == 7
    assert found.mean() == pytest.approx(OWN[f"pm-{k}"](log_probs, manifest))


def test_accuracy_has_outcomes_and_no_resamples() -> None:
    manifest, log_probs = drawn_set(0)
    one = outputs("top1", manifest, log_probs)
    hits = judged.outcomes_of(one)
    assert hits is not None and (hits == one.right).all()
    assert judged.bootstrap_values(one, judged.resample_counts(one.on)) is None


def test_resamples_are_those_of_the_set() -> None:
    manifest, log_probs = drawn_set(1)
    one = outputs("macro-f1", manifest, log_probs).on
    draws = judged.resample_counts(one)
    assert draws.shape == (60, 1 + judged.DRAWS) and (draws[:, 0] == 1).all()
    assert (draws.sum(axis=0) == 60).all() and draws.std() > 0.9
    assert (judged.resample_counts(one) == draws).all()
    other = EvaluationSet("others", "labels", one.labels, {}, {})
    assert (judged.resample_counts(other) != draws).any()


def test_pictures_of_one_camera_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    places = np.repeat([9, 3, 5], [10, 20, 30])
    manifest, log_probs = drawn_set(2, location=places)
    one = outputs("macro-f1", manifest, log_probs)
    assert (judged.resampling_units(one.on) == np.repeat([2, 0, 1], [10, 20, 30])).all()
    draws = judged.resample_counts(one.on)
    assert draws.shape == (3, 1 + judged.DRAWS) and (draws.sum(axis=0) == 3).all()
    rows = [np.flatnonzero(np.isin(places, [5])).repeat(2), np.flatnonzero(places == 3)]
    chosen = np.array([[0, 1], [2, 0], [0, 0]], dtype=np.float32)  # cameras 3, 5 and 9
    found = judged.bootstrap_values(one, chosen)
    expected = [OWN["macro-f1"](log_probs[r], manifest.take(r)) for r in rows]
    assert found is not None and found == pytest.approx(expected)
    monkeypatch.setattr(judged, "BUDGET", 3 * 50)
    assert judged.resample_counts(one.on).shape == (3, 1 + judged.LEAST)

"""Evidence: a record is supported by stored samples only if they reproduce its value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from commands import Finished

from bench.api.metrics import METRICS, OWN, all_metrics
from bench.api.splits import Manifest, single_label
from bench.core.records import Record
from bench.leaderboard.published.evidence import Evidence
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.report.run_folder import read_run, read_samples

N, CLASSES = 900, 6
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, CLASSES, (N, 1))
GROUPS = {"region": RNG.integers(0, 3, N), "anchor": np.arange(N) // 3, "offset": np.arange(N) % 3}
NAMES = {"region": ("Asia", "Europe", "Other")}
LOGITS = RNG.normal(size=(N, CLASSES)) + 2 * (np.arange(CLASSES) == LABELS)
LOG_PROBS = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
MANIFEST = Manifest(tuple(map(str, range(N))), LABELS, GROUPS, NAMES)
EVERY = {**METRICS, **OWN}


def record(metric: str = "top1", value: float | None = None, **more: Any) -> Record:
    found = EVERY[metric](LOG_PROBS, MANIFEST) if value is None else value
    fields: dict[str, Any] = {
        "suite": "imagenet", "model": "m", "method": "vrf", "base": "e2e-ft", "title": "VRF",
        "seed": 0, "shift": "id", "order": 0, "shifts_in_suite": 5, "metric": metric,
        "value": found, "n": N,
    }  # fmt: skip
    return Record.model_validate(fields | more)


def samples() -> SampleOutputs:
    """Return samples as they are read from a run, with confidences in steps of 1/65535."""
    predicted = LOG_PROBS.argmax(axis=1)
    confidence = (np.ceil(np.exp(LOG_PROBS.max(axis=1)) * 65535) - 0.5) / 65535
    on = EvaluationSet("ids", "labels", LABELS, GROUPS, NAMES)
    return SampleOutputs(record(), on, predicted == LABELS[:, 0], confidence, predicted)


def is_backed(one: Record, by: SampleOutputs | None = None) -> bool:
    evidence = Evidence([one])
    evidence.of([by or samples()])
    return one in evidence


@pytest.mark.parametrize("metric", ["top1", "ece", *OWN])
def test_what_samples_give_is_backed_and_nothing_near_it(metric: str) -> None:
    value = record(metric).value
    assert 0 < value < 1 and is_backed(record(metric))
    for off in (-0.0005, 0.0005):
        assert not is_backed(record(metric, value + off))


def test_the_ece_is_taken_as_its_record_says() -> None:
    usual = record("ece").value
    for bins, batch, edges in ((100, None, "upper"), (15, 16, "upper"), (10, 8, "lower")):
        metric = all_metrics(bins, batch, edges)["ece"]  # type: ignore[arg-type]
        value = metric(LOG_PROBS, MANIFEST)
        assert abs(value - usual) > 0.001
        made = {"metric": {"params": dict(metric.params)}}
        assert is_backed(record("ece", value, provenance=made))
        assert not is_backed(record("ece", value))


def test_an_ece_with_a_bin_for_a_confidence_of_one_is_bounded_by_what_is_stored() -> None:
    """A stored confidence in the last step may be exactly 1 or just below it."""
    right = np.arange(N) % 3 > 0
    confidence = np.where(right, 0.91, np.where(np.arange(N) % 10, 1.0, 1 - 1e-6))
    scores = np.log(np.stack([confidence, 1 - confidence], axis=1) + 1e-300)
    scores[:, 0] = np.minimum(scores[:, 0], 0)
    truth = single_label([f"{i}" for i in range(N)], np.where(right, 0, 1))
    metric = all_metrics(10, None, "lower")["ece"]
    stored = SampleOutputs(
        record("top1", right.mean()), EvaluationSet("ids", "labels", truth.labels, GROUPS, NAMES),
        right, (np.ceil(confidence * 65535) - 0.5) / 65535, np.zeros(N, dtype=np.int64),
    )  # fmt: skip
    value, made = metric(scores, truth), {"metric": {"params": dict(metric.params)}}
    assert abs(value - all_metrics(10)["ece"](scores, truth)) > 0.005
    assert is_backed(record("ece", value, provenance=made), stored)
    for off in (-0.06, 0.07):
        assert not is_backed(record("ece", value + off, provenance=made), stored)


def test_what_samples_cannot_give_is_not_backed() -> None:
    accuracy = record("top1").value
    assert is_backed(record("top1", accuracy, kind="scaled"))  # T does not change the order
    assert not is_backed(record("top1", accuracy + 0.001, kind="scaled"))
    assert not is_backed(record("top1", accuracy, kind="curve"))
    for kind in ("scaled", "curve"):
        assert not is_backed(record("ece", kind=kind))
    assert not is_backed(record("nll")) and not is_backed(record("brier"))


@pytest.mark.parametrize(
    "other",
    [
        {"method": "ose"}, {"base": "lp-ft"}, {"seed": 1}, {"shift": "v2"}, {"suite": "mini"},
        {"model": "other"}, {"protocol": "official"}, {"n": N - 1}, {"notes": ("limit=900",)},
        {"role": "oracle", "shift": "v2"},
    ],
)  # fmt: skip
def test_another_row_or_set_is_not_backed(other: dict[str, Any]) -> None:
    assert not is_backed(record(**other))


def test_samples_that_contradict_their_labels_back_nothing() -> None:
    honest = samples()
    flipped = replace(honest, predicted=np.roll(honest.predicted, 1))
    assert is_backed(record(), honest) and not is_backed(record(), flipped)


def test_a_watermarked_run_backs_nothing(small: Finished) -> None:
    """Its samples reproduce all values: without the watermarks its records would be supported."""
    records, _ = read_run(small.out)
    outputs = list(read_samples(small.out))
    given = [r for r in records if r.kind == "cell" and r.metric in ("top1", "ece")
             and r.role != "oracle"]  # fmt: skip
    evidence = Evidence(given)
    evidence.of(outputs)
    assert not any(r in evidence for r in given)
    bare = [r.model_copy(update={"notes": ()}) for r in given]
    evidence = Evidence(bare)
    evidence.of(replace(o, record=o.record.model_copy(update={"notes": ()})) for o in outputs)
    assert bare and all(r in evidence for r in bare)

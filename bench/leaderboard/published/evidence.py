"""Which records are supported by stored samples: their values can be recomputed from ``samples/``.

A file of records alone is no evidence, because anybody can write one. The stored predictions of a
row reproduce its accuracy, the metrics of right and wrong, its macro-F1 and its ECE. Temperature
scaling changes only the ECE among these. Stored predictions cannot support calibration after
scaling, NLL, Brier score, or candidates that were not chosen. `bench check RUN` checks more: it
recomputes a run from features and weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.api.metrics import ACCURACY, METRICS, OWN, macro_f1
from bench.api.splits import Manifest
from bench.core.errors import InputError
from bench.core.records import Record, sort_key
from bench.leaderboard.board import KINDS, board_key
from bench.leaderboard.samples import STEPS, SampleOutputs

EXACT = 1e-9
"""The largest difference of a fraction from the recomputed one: rounding of floats."""
ECE = METRICS["ece"]


class Evidence:
    """The records that stored samples support: ``record in evidence``.

    It is empty at first; `passing` and `of` add records as samples are read.

    Examples
    --------
    >>> from bench.leaderboard.published.evidence import Evidence
    >>> from bench.testing.fakes import fake_records
    >>> records = fake_records()
    >>> records[0] in Evidence(records)  # before any samples were read
    False
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._at: dict[tuple[object, ...], list[Record]] = defaultdict(list)
        for record in records:
            self._at[_place(record)].append(record)
        self._found: set[tuple[object, ...]] = set()

    def passing(self, samples: Iterable[SampleOutputs]) -> Iterator[SampleOutputs]:
        """Yield the same samples one at a time, and add the records that they support."""
        for one in samples:
            is_acceptable = (one.on.labels == one.predicted[:, None]).any(axis=1)
            if np.array_equal(is_acceptable, one.right):
                self._found |= {
                    _identity(record) for record in self._at[_place(one.record)]
                    if _supports(one, record)
                }  # fmt: skip
            yield one

    def of(self, samples: Iterable[SampleOutputs]) -> None:
        """Add all records that the samples support."""
        for _ in self.passing(samples):
            pass

    def __contains__(self, record: object) -> bool:
        return isinstance(record, Record) and _identity(record) in self._found


def _place(record: Record) -> tuple[object, ...]:
    return (board_key(record), record.method, record.base, record.seed, record.shift)


def _identity(record: Record) -> tuple[object, ...]:
    return (_place(record), sort_key(record), record.value, record.n)


def _supports(one: SampleOutputs, record: Record) -> bool:
    """Return whether samples give the value of a record of the same row, seed and set."""
    if record.notes or record.kind not in KINDS:
        return False
    if record.kind == "scaled" and record.metric not in (ACCURACY.name, *OWN):
        return False
    if record.metric == ACCURACY.name:
        return record.n == len(one.right) and abs(one.right.mean() - record.value) <= EXACT
    if record.metric == ECE.name:
        try:
            low, high = _ece_bounds(one, _params(record) or ECE.params)
        except (InputError, KeyError, TypeError, ZeroDivisionError):  # parameters that no ECE has
            return False
        return low <= record.value <= high
    if record.metric in OWN:
        return abs(_own_metric(one, record.metric) - record.value) <= EXACT
    return False


def _params(record: Record) -> Mapping[str, Any]:
    metric = record.provenance.get("metric")
    return metric.get("params", {}) if isinstance(metric, Mapping) else {}


def _ece(one: SampleOutputs, params: Mapping[str, Any]) -> float:
    return float(ECE.function(*_as_two_classes(one), **params))


def _ece_bounds(one: SampleOutputs, params: Mapping[str, Any]) -> tuple[float, float]:
    """Return the lowest and the highest value that an ECE of the stored confidences can have.

    Confidences are off by up to half a step. If bin edges are not steps, or belong to the bin
    above, samples near an edge may also fall into the wrong bin. If confidences of exactly 1 have a
    bin of their own, the ECE lies between those in which none and all of the last step's samples
    are in it: no confidence there is below the accuracy.
    """
    bins, has_own_bin = params["bins"], params.get("edges") == "lower"
    error = 0.5 / STEPS + EXACT
    if STEPS % bins or has_own_bin:
        scaled = one.confidence * bins
        is_near = np.abs(scaled - np.round(scaled)) <= bins / STEPS
        error += 2 * float((is_near & ~(has_own_bin & (np.round(scaled) == bins))).mean())
    low = high = _ece(one, params)
    if has_own_bin:
        last = one.confidence > 1 - 1 / STEPS
        high = _ece(replace(one, confidence=np.where(last, 1.0, one.confidence)), params)
    return low - error, high + error


def _own_metric(one: SampleOutputs, name: str) -> float:
    metric = OWN[name]
    if metric.function is macro_f1:
        classes = int(max(one.on.labels.max(), one.predicted.max())) + 1
        predicted = np.eye(classes, dtype=np.float32)[one.predicted]
        return float(macro_f1(predicted, _manifest(one, one.on.labels)))
    return float(metric.function(*_as_two_classes(one), **metric.params))


def _as_two_classes(one: SampleOutputs) -> tuple[np.ndarray[Any, Any], Manifest]:
    """Return two-class log-probabilities and labels with the same confidences and correctness."""
    confidence = np.maximum(one.confidence, np.finfo(np.float64).tiny)
    scores = np.stack([np.log(confidence), np.full(len(confidence), -np.inf)], axis=1)
    return scores, _manifest(one, np.where(one.right, 0, 1)[:, None])


def _manifest(one: SampleOutputs, labels: np.ndarray[Any, Any]) -> Manifest:
    ids = tuple(map(str, range(len(labels))))
    return Manifest(ids, labels.astype(np.int64), one.on.groups, one.on.names)

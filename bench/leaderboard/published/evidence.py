"""Which records are backed by stored outputs: numbers that a run's ``samples/`` give again.

A file of records alone proves nothing: anybody can write one. What a row predicts on each sample
gives its accuracy, its metrics of right and wrong, its macro-F1 and its ECE again; temperature
scaling changes none of these but the ECE. What it cannot give is not backed: calibration after
scaling, NLL and Brier score, candidates that were not chosen. `bench check RUN` goes further: from
features and weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from bench.api.metrics import ACCURACY, METRICS, OWN, macro_f1
from bench.api.splits import Manifest
from bench.core.records import Record, sort_key
from bench.leaderboard.board import KINDS, board_key
from bench.leaderboard.samples import STEPS, SampleOutputs

EXACT = 1e-9
"""By how much a share may differ from what counts give: the rounding of floats."""
ECE = METRICS["ece"]


class Evidence:
    """The records that samples back, filled while these pass; ``record in backing``."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._at: dict[tuple[object, ...], list[Record]] = defaultdict(list)
        for record in records:
            self._at[_place(record)].append(record)
        self._found: set[tuple[object, ...]] = set()

    def passing(self, samples: Iterable[SampleOutputs]) -> Iterator[SampleOutputs]:
        """The same samples, one at a time; what they back is found on the way."""
        for one in samples:
            labels_hit = (one.on.labels == one.predicted[:, None]).any(axis=1)
            if np.array_equal(labels_hit, one.right):
                self._found |= {
                    _identity(record) for record in self._at[_place(one.record)]
                    if _gives(one, record)
                }  # fmt: skip
            yield one

    def of(self, samples: Iterable[SampleOutputs]) -> None:
        """Find all that samples back."""
        for _ in self.passing(samples):
            pass

    def __contains__(self, record: object) -> bool:
        return isinstance(record, Record) and _identity(record) in self._found


def _place(record: Record) -> tuple[object, ...]:
    return (board_key(record), record.method, record.base, record.seed, record.shift)


def _identity(record: Record) -> tuple[object, ...]:
    return (_place(record), sort_key(record), record.value, record.n)


def _gives(one: SampleOutputs, record: Record) -> bool:
    """Whether a row's samples on a set give the value of a record of the same row, seed and set."""
    if record.notes or record.kind not in KINDS:
        return False
    if record.kind == "scaled" and record.metric not in (ACCURACY.name, *OWN):
        return False
    if record.metric == ACCURACY.name:
        return record.n == len(one.right) and abs(one.right.mean() - record.value) <= EXACT
    if record.metric == ECE.name:
        params = _params(record) or ECE.params
        return abs(_ece(one, params) - record.value) <= _ece_error(one, params["bins"])
    if record.metric in OWN:
        return abs(_own(one, record.metric) - record.value) <= EXACT
    return False


def _params(record: Record) -> Mapping[str, Any]:
    metric = record.provenance.get("metric")
    return metric.get("params", {}) if isinstance(metric, Mapping) else {}


def _ece(one: SampleOutputs, params: Mapping[str, Any]) -> float:
    return float(ECE.function(*_as_two_classes(one), **params))


def _ece_error(one: SampleOutputs, bins: int) -> float:
    """How far an ECE from stored confidences may be off: half a step, and bins that are missed."""
    off = 0.5 / STEPS + EXACT
    if STEPS % bins:
        inside = one.confidence * bins
        off += 2 * float((np.abs(inside - np.round(inside)) <= bins / STEPS).mean())
    return off


def _own(one: SampleOutputs, name: str) -> float:
    metric = OWN[name]
    if metric.function is macro_f1:
        classes = int(max(one.on.labels.max(), one.predicted.max())) + 1
        predicted = np.eye(classes, dtype=np.float32)[one.predicted]
        return float(macro_f1(predicted, _manifest(one, one.on.labels)))
    return float(metric.function(*_as_two_classes(one), **metric.params))


def _as_two_classes(one: SampleOutputs) -> tuple[np.ndarray[Any, Any], Manifest]:
    """Log-probabilities and labels with the same confidences, right and wrong where these are."""
    confidence = np.maximum(one.confidence, np.finfo(np.float64).tiny)
    scores = np.stack([np.log(confidence), np.full(len(confidence), -np.inf)], axis=1)
    return scores, _manifest(one, np.where(one.right, 0, 1)[:, None])


def _manifest(one: SampleOutputs, labels: np.ndarray[Any, Any]) -> Manifest:
    ids = tuple(map(str, range(len(labels))))
    return Manifest(ids, labels.astype(np.int64), one.on.groups, one.on.names)

"""A row's outcomes in the metric that a set is judged by, from what was kept of its samples.

Accuracy and pm-k are means over samples or sets of frames, so outcomes are 0 or 1 and intervals are
exact. Macro-F1 and the worst region are not: `drawn` has their values in resamples, which are the
same for all rows on one set, so that differences of rows are resampled in pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.keys import key_of
from bench.metrics import ACCURACY, OWN, macro_f1, pm, worst_group
from bench.samples import EvaluationSet, SampleOutputs

DRAWS = 1000
"""Resamples."""
MOST = 300_000_000
"""Bytes that the resamples of one set may take: fewer are drawn of sets above 300,000 samples."""
LEAST = 200
"""Resamples of the largest sets."""
ALIKE = "location"
"""The group whose samples are drawn together, where a set has it: pictures of one camera."""

Counts = NDArray[np.uint8]
Statistic = Callable[[NDArray[Any]], NDArray[np.float64]]


def hits(outputs: SampleOutputs) -> NDArray[np.bool_] | None:
    """[n'] outcomes in the metric the set is judged by: of samples, or of sets of frames.

    None if that metric is no mean over them.
    """
    judge = outputs.record.judged_by
    if judge == ACCURACY.name:
        return outputs.right
    metric = OWN.get(judge)
    if metric is None or metric.function is not pm:
        return None
    groups = outputs.on.groups
    codes, members = np.unique(groups["anchor"], return_inverse=True)
    offsets = groups["offset"]
    has_anchor = np.bincount(members[offsets == 0], minlength=len(codes)) == 1
    is_miss = (np.abs(offsets) <= metric.params["k"]) & ~outputs.right
    misses = np.bincount(members[is_miss], minlength=len(codes))
    return np.asarray(misses[has_anchor] == 0)


def resamples(on: EvaluationSet) -> Counts:
    """[B, N]: how often each of B resamples holds each sample; the same for a set every time.

    Samples are drawn one by one, or in whole groups of those that are `ALIKE`.
    """
    n = len(on.labels)
    codes = on.groups.get(ALIKE, np.arange(n))
    _, members = np.unique(codes, return_inverse=True)
    units = int(members.max()) + 1
    rng = np.random.Generator(np.random.PCG64(int(key_of("resamples", on.digest)[:12], 16)))
    draws = int(np.clip(MOST // n, LEAST, DRAWS))
    counts = np.empty((draws, n), dtype=np.uint8)
    for row in counts:
        drawn = np.bincount(rng.integers(units, size=units), minlength=units)
        row[:] = np.minimum(drawn, 255)[members]
    return counts


def units(on: EvaluationSet) -> int:
    """How many samples, or groups of those that are alike, are drawn."""
    return len(np.unique(on.groups[ALIKE])) if ALIKE in on.groups else len(on.labels)


def drawn(outputs: SampleOutputs, counts: Counts) -> NDArray[np.float64] | None:
    """[1 + B]: the value in the metric the set is judged by, and those of B resamples [B, N].

    None for metrics that have no resampled values.
    """
    statistic = _statistic(outputs)
    if statistic is None:
        return None
    whole = np.ones((1, counts.shape[1]), dtype=np.uint8)
    return np.concatenate([statistic(whole), statistic(counts)])


def _statistic(outputs: SampleOutputs) -> Statistic | None:
    metric, on = OWN.get(outputs.record.judged_by), outputs.on
    if metric is not None and metric.function is macro_f1:
        labels = on.labels[:, 0]
        return lambda counts: _macro_f1(counts, labels, outputs.predicted)
    if metric is not None and metric.function is worst_group:
        codes, skip = on.groups[metric.params["group"]], metric.params["skip"]
        names = on.names.get(metric.params["group"], ())
        skipped = [code for code, name in enumerate(names) if name in skip]
        kept = np.flatnonzero(~np.isin(codes, skipped))
        return lambda counts: _worst(counts[:, kept], codes[kept], outputs.right[kept])
    return None


def _worst(
    counts: Counts, codes: NDArray[np.int64], right: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[B]: the smallest share of right samples of a group; those without samples do not count."""
    total, _ = _sums(counts, codes)
    found, _ = _sums(counts * right, codes)
    shares = np.full(total.shape, np.inf)
    np.divide(found, total, out=shares, where=total > 0)
    return np.asarray(shares.min(axis=1))


def _macro_f1(
    counts: Counts, labels: NDArray[np.int64], predicted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[B]: the mean of 2 TP / (2 TP + FP + FN) over the classes that occur in a resample."""
    occurs, classes = _sums(counts, labels)
    hit, _ = _sums(counts * (labels == predicted), labels)
    guessed, of = _sums(counts, predicted)
    every = np.zeros((len(counts), int(max(classes.max(), of.max())) + 1))
    every[:, of] = guessed
    f1 = 2 * hit / np.maximum(occurs + every[:, classes], 1)
    return np.asarray((f1 * (occurs > 0)).sum(axis=1) / (occurs > 0).sum(axis=1))


def _sums(counts: Counts, codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[B, G]: the sums of counts [B, N] by group, and the codes [G] of the groups, ascending."""
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    return np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.int64), found

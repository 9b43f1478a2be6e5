"""A row's outcomes in the metric that a set is judged by, from what was kept of its samples.

Accuracy and pm-k are means over samples or sets of frames, so outcomes are 0 or 1 and intervals are
exact. Macro-F1 and the worst region are not: `bootstrap_values` has their values in resamples,
which are the same for all rows on one set, so that differences of rows are resampled in pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from bench.api.metrics import ACCURACY, OWN, macro_f1, pm, worst_group
from bench.core.hashing import key_of
from bench.leaderboard.samples import EvaluationSet, SampleOutputs

DRAWS = 1000
"""Resamples."""
MOST = 30_000_000
"""Counts that are held for a set: fewer resamples are drawn of one with more than 30,000 units."""
LEAST = 200
"""Resamples of the largest sets."""
ALIKE = "location"
"""The group whose samples are drawn together, where a set has it: pictures of one camera."""

Draws = NDArray[np.float32]
"""[U, 1 + B]: how often the set itself, then each of B resamples, holds each unit."""


def outcomes_of(outputs: SampleOutputs) -> NDArray[np.bool_] | None:
    """[n'] outcomes in the metric the set is judged by: of samples, or of sets of frames.

    None if that metric is no mean over them.
    """
    judge = outputs.record.primary_metric
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


def resampling_units(on: EvaluationSet) -> NDArray[np.int64]:
    """[N]: what is drawn together with a sample: itself, or the group of those that are `ALIKE`."""
    if ALIKE not in on.groups:
        return np.arange(len(on.labels))
    return np.unique(on.groups[ALIKE], return_inverse=True)[1].astype(np.int64)


def resample_counts(on: EvaluationSet) -> Draws:
    """How often each resample holds each unit; the same for a set every time."""
    units = int(resampling_units(on).max()) + 1
    rng = np.random.Generator(np.random.PCG64(int(key_of("resamples", on.digest)[:12], 16)))
    found = np.ones((units, 1 + int(np.clip(MOST // units, LEAST, DRAWS))), dtype=np.float32)
    for of_draw in found.T[1:]:
        of_draw[:] = np.bincount(rng.integers(units, size=units), minlength=units)
    return found


def bootstrap_values(outputs: SampleOutputs, draws: Draws) -> NDArray[np.float64] | None:
    """[1 + B]: the value in the metric the set is judged by, and those of B resamples.

    None for metrics that have no resampled values.
    """
    metric, on = OWN.get(outputs.record.primary_metric), outputs.on
    if metric is not None and metric.function is macro_f1:
        return _macro_f1(draws, resampling_units(on), on.labels[:, 0], outputs.predicted)
    if metric is not None and metric.function is worst_group:
        group, skip = metric.params["group"], metric.params["skip"]
        skipped = [code for code, name in enumerate(on.names.get(group, ())) if name in skip]
        kept = np.flatnonzero(~np.isin(on.groups[group], skipped))
        return _worst(
            draws, resampling_units(on)[kept], on.groups[group][kept], outputs.right[kept]
        )
    return None


def _worst(
    draws: Draws, units: NDArray[np.int64], codes: NDArray[np.int64], right: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[B]: the smallest share of right samples of a group; those without samples do not count."""
    total = _sums(draws, units, codes)
    shares = np.full(total.shape, np.inf)
    np.divide(_sums(draws, units, codes, right), total, out=shares, where=total > 0)
    return np.asarray(shares.min(axis=0))


def _macro_f1(
    draws: Draws,
    units: NDArray[np.int64],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> NDArray[np.float64]:
    """[B]: the mean of 2 TP / (2 TP + FP + FN) over the classes that occur in a resample."""
    both = np.concatenate([labels, predicted])
    _, codes = np.unique(both, return_inverse=True)
    of_label, of_guess = codes[: len(labels)], codes[len(labels) :]
    classes = int(codes.max()) + 1
    occurs = _sums(draws, units, of_label, classes=classes)
    guessed = _sums(draws, units, of_guess, classes=classes)
    hit = _sums(draws, units, of_label, labels == predicted, classes)
    f1 = 2 * hit / np.maximum(occurs + guessed, 1)
    return np.asarray((f1 * (occurs > 0)).sum(axis=0) / (occurs > 0).sum(axis=0))


def _sums(
    draws: Draws,
    units: NDArray[np.int64],
    codes: NDArray[np.int64],
    counted: NDArray[np.bool_] | None = None,
    classes: int | None = None,
) -> NDArray[np.float64]:
    """[G, B]: how many samples [N], or `counted` ones, of each code each resample holds."""
    size = (int(codes.max()) + 1 if classes is None else classes, len(draws))
    ones = np.ones(len(codes), dtype=np.float32) if counted is None else counted.astype(np.float32)
    return np.asarray(coo_array((ones, (codes, units)), shape=size).tocsr() @ draws, dtype=float)

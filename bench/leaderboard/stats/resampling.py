"""A row's outcomes in the primary metric of a set, from its stored samples.

Accuracy and pm-k are means over samples or sets of frames: their outcomes are 0 or 1 and their
intervals exact. Macro-F1 and the worst region are not means: `bootstrap_values` returns their
values on resamples. All rows on one set share the resamples, so differences of rows are paired.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from bench.api.metrics import ACCURACY, OWN, macro_f1, pm, worst_group
from bench.core.hashing import key_of
from bench.leaderboard.samples import EvaluationSet, SampleOutputs

DRAWS = 1000
"""The number of resamples of a set with up to 30,000 units."""
BUDGET = 30_000_000
"""The most counts (units times resamples) per set: larger sets have fewer resamples."""
LEAST = 200
"""The least number of resamples, for the largest sets."""
LOCATION = "location"
"""The grouping whose groups are resampled as units, if a set has it: pictures of one camera."""

Draws = NDArray[np.float32]
"""[U, 1 + B]: how often each unit occurs in the set itself (always once) and in B resamples."""


def outcomes_of(outputs: SampleOutputs) -> NDArray[np.bool_] | None:
    """Return the outcomes [n'] of samples, or of sets of frames, in the set's primary metric.

    None if that metric is not a mean over them.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.resampling import outcomes_of
    >>> from bench.testing.fakes import fake_records
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {})
    >>> right, predicted = np.array([True, False]), np.array([0, 0])
    >>> outcomes_of(SampleOutputs(fake_records()[0], on, right, np.array([0.9, 0.6]), predicted))
    array([ True, False])
    """
    primary = outputs.record.primary_metric
    if primary == ACCURACY.name:
        return outputs.right
    metric = OWN.get(primary)
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
    """Return the unit [N] each sample is resampled with: itself, or its group of `LOCATION`.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet
    >>> from bench.leaderboard.stats.resampling import resampling_units
    >>> resampling_units(EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {}))
    array([0, 1])
    """
    if LOCATION not in on.groups:
        return np.arange(len(on.labels))
    return np.unique(on.groups[LOCATION], return_inverse=True)[1].astype(np.int64)


def resample_counts(on: EvaluationSet) -> Draws:
    """Return how often each unit occurs in each resample; deterministic for a given set.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet
    >>> from bench.leaderboard.stats.resampling import resample_counts
    >>> counts = resample_counts(EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {}))
    >>> counts[:, 0], set(counts.sum(axis=0).tolist())  # the sample itself comes first
    (array([1., 1.], dtype=float32), {2.0})
    """
    units = int(resampling_units(on).max()) + 1
    rng = np.random.Generator(np.random.PCG64(int(key_of("resamples", on.digest)[:12], 16)))
    found = np.ones((units, 1 + int(np.clip(BUDGET // units, LEAST, DRAWS))), dtype=np.float32)
    for of_draw in found.T[1:]:
        of_draw[:] = np.bincount(rng.integers(units, size=units), minlength=units)
    return found


def bootstrap_values(outputs: SampleOutputs, draws: Draws) -> NDArray[np.float64] | None:
    """Return [1 + B]: the value in the set's primary metric, and the values on B resamples.

    None if that metric is not resampled.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.resampling import bootstrap_values, resample_counts
    >>> from bench.testing.fakes import fake_records
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.array([[0], [1]]), {}, {})
    >>> right, predicted = np.array([True, False]), np.array([0, 0])
    >>> record = fake_records()[0].model_copy(update={"primary_metric": "macro-f1"})
    >>> one = SampleOutputs(record, on, right, np.array([0.9, 0.6]), predicted)
    >>> round(float(bootstrap_values(one, resample_counts(on))[0]), 2)
    0.33
    """
    metric, on = OWN.get(outputs.record.primary_metric), outputs.on
    if metric is not None and metric.function is macro_f1:
        return _macro_f1(draws, resampling_units(on), on.labels[:, 0], outputs.predicted)
    if metric is not None and metric.function is worst_group:
        group, skip = metric.params["group"], metric.params["skip"]
        skipped = [code for code, name in enumerate(on.names.get(group, ())) if name in skip]
        counted = np.flatnonzero(~np.isin(on.groups[group], skipped))
        return _worst_group(
            draws, resampling_units(on)[counted], on.groups[group][counted], outputs.right[counted]
        )
    return None


def _worst_group(
    draws: Draws, units: NDArray[np.int64], codes: NDArray[np.int64], right: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return [1 + B], the lowest accuracy of a group; groups without samples are ignored."""
    total = _sums(draws, units, codes)
    accuracies = np.full(total.shape, np.inf)
    np.divide(_sums(draws, units, codes, right), total, out=accuracies, where=total > 0)
    return np.asarray(accuracies.min(axis=0))


def _macro_f1(
    draws: Draws,
    units: NDArray[np.int64],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return [1 + B], the mean of 2 TP / (2 TP + FP + FN) over the classes in a resample."""
    both = np.concatenate([labels, predicted])
    _, codes = np.unique(both, return_inverse=True)
    label_codes, predicted_codes = codes[: len(labels)], codes[len(labels) :]
    classes = int(codes.max()) + 1
    actual = _sums(draws, units, label_codes, classes=classes)
    guessed = _sums(draws, units, predicted_codes, classes=classes)
    true_positives = _sums(draws, units, label_codes, labels == predicted, classes)
    f1 = 2 * true_positives / np.maximum(actual + guessed, 1)
    return np.asarray((f1 * (actual > 0)).sum(axis=0) / (actual > 0).sum(axis=0))


def _sums(
    draws: Draws,
    units: NDArray[np.int64],
    codes: NDArray[np.int64],
    counted: NDArray[np.bool_] | None = None,
    classes: int | None = None,
) -> NDArray[np.float64]:
    """Return [G, 1 + B], how many samples of each code [N] occur in each resample.

    With `counted` [N], only the samples where it is true are counted.
    """
    size = (int(codes.max()) + 1 if classes is None else classes, len(draws))
    ones = np.ones(len(codes), dtype=np.float32) if counted is None else counted.astype(np.float32)
    return np.asarray(coo_array((ones, (codes, units)), shape=size).tocsr() @ draws, dtype=float)

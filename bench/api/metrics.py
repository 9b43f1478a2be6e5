"""Metrics: pure functions of log-probabilities [N, C'] and a manifest, in fractions and nats.

A sample may have several acceptable labels (multi-label frames). Then the top-1 class is correct
if it is any of them. NLL and Brier score use the acceptable label with the largest probability, so
a model is not penalised for choosing one of two correct answers.

A sample may also have no correct class (`bench.api.splits.Manifest`). Then every prediction is
wrong, and the Brier score treats the true class as an additional class with probability 0. The NLL
would be infinite for every model, so it is the mean over the other samples
(docs/decisions/2026-11-22-classes-the-task-lacks.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.api.splits import Manifest
from bench.core.errors import CellError, InputError, unknown_name
from bench.core.hashing import NOT_KEYED
from bench.posthoc.calibration_error import Edges, calibration_error

LogProbs = NDArray[np.floating]


@dataclass(frozen=True)
class Metric:
    """A named function that measures predictions on one split.

    Attributes
    ----------
    name : the name on the command line and in records.
    title : the name in reports.
    higher_is_better : the direction of rankings.
    function : (log_probs, manifest, **params) -> float. It is not part of the key.
    params : keyword arguments of `function`.
    version : part of the key. Must be raised whenever the same arguments would give another number.
    unit, factor, decimals : how the value is printed: value times `factor`, in `unit`, with
        `decimals` decimal places. Not part of the key.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import all_metrics
    >>> from bench.api.splits import single_label
    >>> metric, manifest = all_metrics()["top1"], single_label("abcd", [0, 0, 0, 1])
    >>> metric(np.log([[0.9, 0.1]] * 4), manifest), metric.title, metric.unit
    (0.75, 'Accuracy', 'percent')
    """

    kind: ClassVar[str] = "Metric"

    name: str
    title: str = field(metadata=NOT_KEYED)
    higher_is_better: bool
    function: Callable[..., float] = field(metadata=NOT_KEYED, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    version: int = 1
    unit: str = field(metadata=NOT_KEYED, kw_only=True)
    factor: float = field(default=1, metadata=NOT_KEYED, kw_only=True)
    decimals: int = field(default=3, metadata=NOT_KEYED, kw_only=True)

    def __call__(self, log_probs: LogProbs, manifest: Manifest) -> float:
        """Return the metric's value.

        Parameters
        ----------
        log_probs : [N, C'], in nats.
        manifest : the manifest of the N samples, N >= 1.

        Raises InputError if shapes or labels do not match. Raises CellError if a log-probability
        is NaN or the value is not finite, such as the NLL when a true class has probability 0.
        """
        if log_probs.ndim != 2 or len(log_probs) != len(manifest) or not len(manifest):
            raise InputError(
                f"{self.name}: log-probabilities of shape {log_probs.shape} for {len(manifest)} "
                "samples, expected [samples, classes] with at least one sample"
            )
        if manifest.labels.max() >= log_probs.shape[1]:
            raise InputError(
                f"{self.name}: label {manifest.labels.max()} is out of range for "
                f"{log_probs.shape[1]} classes"
            )
        if np.isnan(log_probs).any():
            raise CellError(f"{self.name}: a log-probability is NaN; did training diverge?")
        value = float(self.function(log_probs, manifest, **self.params))
        if not np.isfinite(value):
            raise CellError(f"{self.name} is {value}: a true class has probability 0")
        return value


def top1(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the accuracy in [0, 1]: the fraction of samples whose top-1 class is acceptable.

    Ties go to the lowest class.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import top1
    >>> from bench.api.splits import single_label
    >>> top1(np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1]))
    0.75
    """
    return float(correct(log_probs, manifest).mean())


def ece(
    log_probs: LogProbs,
    manifest: Manifest,
    *,
    bins: int,
    batch: int | None = None,
    edges: Edges = "upper",
) -> float:
    """Return the expected calibration error in [0, 1]: sum_b n_b/N |acc_b - conf_b|.

    Guo et al., ICML 2017, equation 3. Confidence is the largest probability; bin b of `bins` is
    ((b-1)/bins, b/bins]. `batch` and `edges` as in `bench.posthoc.calibration_error`; use them only
    for comparisons with CaRot's tables (docs/methods.md section 11).

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import ece
    >>> from bench.api.splits import single_label
    >>> round(ece(np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1]), bins=15), 2)
    0.15
    """
    confidence = np.exp(log_probs.max(axis=1).astype(np.float64))
    right = correct(log_probs, manifest)
    return calibration_error(confidence, right, bins=bins, batch=batch, edges=edges)


def nll(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the mean negative log-likelihood of the most probable acceptable label, in nats, >= 0.

    The mean is over the samples that have an acceptable label. Raises CellError if none has one.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import nll
    >>> from bench.api.splits import single_label
    >>> round(nll(np.log([[0.5, 0.5]] * 2), single_label("ab", [0, 1])), 3)  # log 2
    0.693
    """
    rows = np.flatnonzero(manifest.first >= 0)
    if not len(rows):
        raise CellError("nll: none of the samples has a correct class, expected at least one")
    of_label = log_probs[rows, _best_label(log_probs, manifest)[rows]]
    return float(max(0.0, -of_label.mean(dtype=np.float64)))


def brier(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the multi-class Brier score in [0, 2]: mean of sum_c (p_c - y_c)^2 (Brier, 1950).

    y is one-hot at the most probable acceptable label. For a sample without one, it is one-hot at
    an additional class of probability 0.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import brier
    >>> from bench.api.splits import single_label
    >>> round(brier(np.log([[0.8, 0.2]] * 2), single_label("ab", [0, 1])), 2)
    0.68
    """
    error = np.exp(log_probs)
    is_known = manifest.first >= 0
    rows = np.flatnonzero(is_known)
    error[rows, _best_label(log_probs, manifest)[rows]] -= 1
    of_sample = np.square(error).sum(axis=1, dtype=np.float64) + ~is_known
    return float(of_sample.mean())


def macro_f1(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the mean over classes of F1 = 2 TP / (2 TP + FP + FN), in [0, 1].

    The mean is over the classes that occur as labels. Classes that are only predicted are not part
    of it, as in WILDS (Koh et al., ICML 2021) for iWildCam. Raises InputError if a sample has
    several labels or none.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import macro_f1, top1
    >>> from bench.api.splits import single_label
    >>> always_0, manifest = np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1])
    >>> round(macro_f1(always_0, manifest), 2), top1(always_0, manifest)
    (0.43, 0.75)
    """
    if manifest.labels.shape[1] > 1 or (manifest.first < 0).any():
        raise InputError("macro-F1: a sample has several labels or none, expected one each")
    labels, predictions = manifest.first, log_probs.argmax(axis=1)
    true_positives, labelled, predicted = (
        np.bincount(classes, minlength=log_probs.shape[1])
        for classes in (labels[labels == predictions], labels, predictions)
    )
    occurs = labelled > 0
    return float((2 * true_positives[occurs] / (labelled + predicted)[occurs]).mean())


def worst_group(
    log_probs: LogProbs, manifest: Manifest, *, group: str, skip: Sequence[str] = ()
) -> float:
    """Return the accuracy of the group with the lowest accuracy, in [0, 1].

    Parameters
    ----------
    group : the name of a grouping in the manifest, such as ``region``. Groups without samples are
        ignored.
    skip : names of groups to leave out, such as FMoW's region Other (WILDS, Koh et al., ICML 2021).

    Raises InputError if the manifest has no such grouping, if `skip` is given and the groups have
    no names, or if no sample is left.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import worst_group
    >>> from bench.api.splits import Manifest
    >>> regions = {"region": np.array([0, 0, 1, 1])}
    >>> manifest = Manifest(tuple("abcd"), np.array([[0], [0], [0], [1]]), regions)
    >>> worst_group(np.log([[0.9, 0.1]] * 4), manifest, group="region")
    0.5
    """
    codes = manifest.group(group)
    if skip and group not in manifest.names:
        raise InputError(
            f"group {group} has no names, which are needed to leave out {', '.join(skip)}"
        )
    skipped = [code for code, name in enumerate(manifest.names.get(group, ())) if name in skip]
    is_kept = ~np.isin(codes, skipped)
    if not is_kept.any():
        raise InputError(
            f"group {group}: every sample is in {', '.join(skip)}, which is left out, expected "
            "samples in other groups"
        )
    _, members = np.unique(codes[is_kept], return_inverse=True)
    n_correct = np.bincount(members, weights=correct(log_probs, manifest)[is_kept])
    return float((n_correct / np.bincount(members)).min())


def pm(log_probs: LogProbs, manifest: Manifest, *, k: int) -> float:
    """Return the pm-k accuracy of video frames, in [0, 1] (Shankar et al., ICCV 2021).

    The fraction of anchor frames that are classified correctly together with all their neighbours
    at most `k` frames away; k = 0 is the accuracy on the anchors. Each frame is compared with its
    own labels. `bench.api.splits.Manifest` defines the groups ``anchor`` and ``offset``, which
    describe the sets of frames. A set whose anchor is not among the samples of a limited split is
    ignored. Raises InputError if a set has several anchors, or if there is no anchor at all.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import pm
    >>> from bench.api.splits import Manifest
    >>> frames = {"anchor": np.array([0, 0, 1, 1]), "offset": np.array([0, 1, 0, 1])}
    >>> manifest = Manifest(tuple("abcd"), np.array([[0], [0], [0], [1]]), frames)
    >>> [pm(np.log([[0.9, 0.1]] * 4), manifest, k=k) for k in (0, 10)]  # one neighbour is wrong
    [1.0, 0.5]
    """
    anchors, offsets = manifest.group("anchor"), manifest.group("offset")
    codes, members = np.unique(anchors, return_inverse=True)
    found = np.bincount(members[offsets == 0], minlength=len(codes))
    if found.max() != 1:
        raise InputError(f"pm-{k}: a set of frames has {found.max()} anchors, expected one")
    is_miss = (np.abs(offsets) <= k) & ~correct(log_probs, manifest)
    misses = np.bincount(members[is_miss], minlength=len(codes))
    return float((misses[found == 1] == 0).mean())


def correct(log_probs: LogProbs, manifest: Manifest) -> NDArray[np.bool_]:
    """Return whether each sample's top-1 class is acceptable: bool [N]. Ties go to the lowest.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import correct
    >>> from bench.api.splits import single_label
    >>> correct(np.log([[0.9, 0.1]] * 2), single_label("ab", [0, 1]))
    array([ True, False])
    """
    predicted = log_probs.argmax(axis=1)[:, None]
    return np.asarray((manifest.labels == predicted).any(axis=1))


def _best_label(log_probs: LogProbs, manifest: Manifest) -> NDArray[np.int64]:
    """Return each sample's most probable acceptable label [N]; -1 if it has none.

    Ties go to the label listed first.
    """
    labels = manifest.labels
    values = np.take_along_axis(log_probs, np.maximum(labels, 0), axis=1)
    # Padding (-1) must rank below an acceptable label of probability 0.
    rank = np.where(labels < 0, -np.inf, np.nan_to_num(values))
    best = rank.argmax(axis=1)[:, None]
    return np.asarray(np.take_along_axis(labels, best, axis=1)[:, 0])


def all_metrics(
    ece_bins: int = 15, ece_batch: int | None = None, ece_edges: Edges = "upper"
) -> Mapping[str, Metric]:
    """Return the metrics of every evaluation set by name, in the order of reports.

    The arguments are the parameters of `ece`. Raises InputError if a number is below 1.

    Examples
    --------
    >>> from bench.api.metrics import all_metrics
    >>> list(all_metrics(ece_bins=10)), all_metrics(ece_bins=10)["ece"].params
    (['top1', 'ece', 'nll', 'brier'], {'bins': 10})
    """
    if ece_bins < 1 or (ece_batch is not None and ece_batch < 1):
        raise InputError(f"ECE: {ece_bins} bins and batches of {ece_batch}, expected at least 1")
    given = {"bins": ece_bins, "batch": ece_batch, "edges": ece_edges}
    params = {n: v for n, v in given.items() if v not in (None, "upper")}  # defaults: no new key
    every = (
        Metric("top1", "Accuracy", True, top1, unit="percent", factor=100, decimals=1),
        Metric("ece", "ECE", False, ece, params, unit="percent", factor=100, decimals=1),
        Metric("nll", "NLL", False, nll, unit="nats"),
        Metric("brier", "Brier", False, brier, unit="0 to 2"),
    )
    return {metric.name: metric for metric in every}


METRICS = all_metrics()
"""The metrics of every evaluation set, with default parameters."""
ACCURACY = METRICS["top1"]

_PERCENT: Mapping[str, Any] = {"unit": "percent", "factor": 100, "decimals": 1}
OWN: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("macro-f1", "Macro-F1", True, macro_f1, **_PERCENT),
        Metric(
            "worst-region", "Worst region", True, worst_group,
            {"group": "region", "skip": ("Other",)}, **_PERCENT,
        ),
        Metric("pm-0", "pm-0", True, pm, {"k": 0}, **_PERCENT),
        Metric("pm-10", "pm-10", True, pm, {"k": 10}, **_PERCENT),
    )
}  # fmt: skip
"""Metrics of some evaluation sets only. Like accuracy, they are fractions; higher is better."""
ACCURACIES = frozenset({ACCURACY.name, "worst-region", "pm-0", "pm-10"})
"""Metrics that are fractions of correct answers, so a mean over sets may mix them."""


def extra_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """Return the metrics of an evaluation set by name, without accuracy, which all sets have.

    Raises InputError for a name that is neither accuracy's nor in `OWN`.

    Examples
    --------
    >>> from bench.api.metrics import extra_metrics
    >>> [metric.title for metric in extra_metrics(["pm-0", "top1", "macro-f1"])]
    ['pm-0', 'Macro-F1']
    """
    found = dict.fromkeys(names)
    for name in found:
        if name not in (ACCURACY.name, *OWN):
            raise unknown_name("metric of an evaluation set", name, (ACCURACY.name, *OWN))
    return tuple(OWN[name] for name in found if name in OWN)


def averageable(names: Iterable[str]) -> bool:
    """Whether values of these metrics may be averaged: a single metric, or accuracies only.

    Examples
    --------
    >>> from bench.api.metrics import averageable
    >>> averageable(["top1", "worst-region"]), averageable(["top1", "macro-f1"])
    (True, False)
    """
    found = set(names)
    return len(found) <= 1 or found <= ACCURACIES


def check_metrics(names: Iterable[str], manifest: Manifest, classes: int) -> None:
    """Raise InputError if one of the metrics `names` cannot be computed for this manifest.

    Examples
    --------
    >>> from bench.api.metrics import check_metrics
    >>> from bench.api.splits import single_label
    >>> check_metrics(["worst-region"], single_label(["a", "b"], [0, 1]), classes=2)
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown group of samples 'region': valid: none
    """
    uniform = np.broadcast_to(np.float32(-np.log(classes)), (len(manifest), classes))
    for metric in extra_metrics(names):
        metric(uniform, manifest)

"""Metrics: pure functions of log-probabilities [N, C'] and a manifest. Fractions and nats.

Where a sample has several acceptable labels (multi-label frames), the top-1 class counts as right
if it is any of them, and NLL and Brier score are taken for the acceptable label with the largest
probability: a model is not punished for choosing one of two right answers. A sample that no class
is right for (`bench.api.splits.Manifest`) is always a miss, and its class one that got
probability 0; only the NLL, infinite there for every model, is the mean over the others
(docs/decisions/2026-11-22-classes-the-task-lacks.md).

To add a metric: write one function, add one line to `all_metrics`, or to `OWN` if it makes sense
for some evaluation sets alone.
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

LogProbs = NDArray[np.floating]


@dataclass(frozen=True)
class Metric:
    """A named number on one split.

    Attributes
    ----------
    name : on the command line and in records; title : as reports print it.
    higher_is_better : the direction of rankings.
    function : (log_probs, manifest, **params) -> float. Not part of the key: `version` is, and is
        raised whenever the same arguments would give another number.
    params : keyword arguments of `function`.
    unit, factor, decimals : how it is printed: value times `factor`, in `unit`, with `decimals`.
        Not part of the key.
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
        """The metric's value.

        Raises InputError if the shapes or labels do not fit, CellError if a log-probability is
        NaN or the value is not finite (NLL, when a true class has probability 0).
        """
        if log_probs.ndim != 2 or len(log_probs) != len(manifest) or not len(manifest):
            raise InputError(
                f"{self.name}: log-probabilities {log_probs.shape} for {len(manifest)} samples"
            )
        if manifest.labels.max() >= log_probs.shape[1]:
            raise InputError(
                f"{self.name}: label {manifest.labels.max()} of {log_probs.shape[1]} classes"
            )
        if np.isnan(log_probs).any():
            raise CellError(f"{self.name}: a log-probability is NaN; did training diverge?")
        value = float(self.function(log_probs, manifest, **self.params))
        if not np.isfinite(value):
            raise CellError(f"{self.name} is {value}: a true class has probability 0")
        return value


def top1(log_probs: LogProbs, manifest: Manifest) -> float:
    """Accuracy in [0, 1]: the most probable class (the lowest of equals) is acceptable."""
    return float(correct(log_probs, manifest).mean())


def ece(log_probs: LogProbs, manifest: Manifest, *, bins: int, batch: int | None = None) -> float:
    """Expected calibration error in [0, 1]: sum_b n_b/N |acc_b - conf_b|.

    Guo et al., ICML 2017, equation 3: confidence is the largest probability, bin b of `bins` is
    ((b-1)/bins, b/bins]. Over the whole set, unless `batch` is given: then each batch of so many
    samples in the manifest's order has its own bins, and the value is the batches' mean, weighted
    by size. CaRot's evaluator does so with 10 bins and batches of 512 (MLAI-Yonsei/CaRot c3e8bdc,
    ``src/models/eval.py``). It is never below that of the whole set, and some 0.02 to 0.05 even for
    a perfectly calibrated model (docs/methods.md section 11): for comparisons with its tables only.
    """
    confidence = np.exp(log_probs.max(axis=1).astype(np.float64))
    bin_of = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
    if batch is not None:
        bin_of += np.arange(len(manifest)) // batch * bins
    # n_b |acc_b - conf_b| for each bin, or each bin of each batch.
    gap = np.bincount(bin_of, weights=correct(log_probs, manifest) - confidence)
    return float(np.abs(gap).sum() / len(manifest))


def nll(log_probs: LogProbs, manifest: Manifest) -> float:
    """Mean negative log-likelihood in nats, >= 0, of the most probable acceptable label.

    Over the samples that have one. Raises CellError if none has.
    """
    rows = np.flatnonzero(manifest.first >= 0)
    if not len(rows):
        raise CellError("nll: no class is right for any of the samples")
    of_label = log_probs[rows, _best_label(log_probs, manifest)[rows]]
    return float(max(0.0, -of_label.mean(dtype=np.float64)))


def brier(log_probs: LogProbs, manifest: Manifest) -> float:
    """Multi-class Brier score in [0, 2]: mean of sum_c (p_c - y_c)^2 (Brier, 1950).

    y is one-hot at the most probable acceptable label, or beyond all classes if there is none.
    """
    error = np.exp(log_probs)
    is_known = manifest.first >= 0
    rows = np.flatnonzero(is_known)
    error[rows, _best_label(log_probs, manifest)[rows]] -= 1
    of_sample = np.square(error).sum(axis=1, dtype=np.float64) + ~is_known
    return float(of_sample.mean())


def macro_f1(log_probs: LogProbs, manifest: Manifest) -> float:
    """Mean over the classes that occur of F1 = 2 TP / (2 TP + FP + FN), in [0, 1].

    Classes that are predicted and do not occur are no part of the mean, as in WILDS (Koh et al.,
    ICML 2021) for iWildCam. Raises InputError if a sample has several labels or none.
    """
    if manifest.labels.shape[1] > 1 or (manifest.first < 0).any():
        raise InputError("macro-F1: a sample has several labels or none, expected one each")
    labels, predicted = manifest.first, log_probs.argmax(axis=1)
    hits, occurs, guessed = (
        np.bincount(classes, minlength=log_probs.shape[1])
        for classes in (labels[labels == predicted], labels, predicted)
    )
    is_there = occurs > 0
    return float((2 * hits[is_there] / (occurs + guessed)[is_there]).mean())


def worst_group(
    log_probs: LogProbs, manifest: Manifest, *, group: str, skip: Sequence[str] = ()
) -> float:
    """The smallest accuracy of a group of samples, in [0, 1]; groups without samples do not count.

    Groups named in `skip` are left out (WILDS, Koh et al., ICML 2021: FMoW's region Other).
    Raises InputError if there is no such `group`, if some of it is to be skipped and its codes
    have no names, or if nothing is left.
    """
    codes = manifest.group(group)
    if skip and group not in manifest.names:
        raise InputError(f"{group}: no names to tell which of its codes is {', '.join(skip)}")
    skipped = [code for code, name in enumerate(manifest.names.get(group, ())) if name in skip]
    is_kept = ~np.isin(codes, skipped)
    if not is_kept.any():
        raise InputError(f"{group}: no sample is in any but {', '.join(skip)}")
    _, members = np.unique(codes[is_kept], return_inverse=True)
    hits = np.bincount(members, weights=correct(log_probs, manifest)[is_kept])
    return float((hits / np.bincount(members)).min())


def pm(log_probs: LogProbs, manifest: Manifest, *, k: int) -> float:
    """pm-k accuracy of video frames, in [0, 1] (Shankar et al., ICCV 2021).

    The share of anchors that are right together with all their neighbours at most `k` frames away;
    k = 0 is the accuracy on the anchors. `bench.api.splits.Manifest` says how sets of frames are
    told. Each frame is held against its own labels. A set whose anchor is not among the samples (of
    a limited split) does not count. Raises InputError if a set has several anchors, or if there is
    no anchor at all.
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
    """[N]: whether the most probable class (the lowest of equals) is acceptable."""
    predicted = log_probs.argmax(axis=1)[:, None]
    return np.asarray((manifest.labels == predicted).any(axis=1))


def _best_label(log_probs: LogProbs, manifest: Manifest) -> NDArray[np.int64]:
    """[N]: each sample's most probable acceptable label, the first listed of equals; or -1."""
    labels = manifest.labels
    values = np.take_along_axis(log_probs, np.maximum(labels, 0), axis=1)
    # A filler must lose even against an acceptable label of probability 0.
    rank = np.where(labels < 0, -np.inf, np.nan_to_num(values))
    best = rank.argmax(axis=1)[:, None]
    return np.asarray(np.take_along_axis(labels, best, axis=1)[:, 0])


def all_metrics(ece_bins: int = 15, ece_batch: int | None = None) -> Mapping[str, Metric]:
    """Every metric by name, in the order of reports.

    `ece_bins` and `ece_batch` are the parameters of `ece`; InputError if one is below 1.
    """
    if ece_bins < 1 or (ece_batch is not None and ece_batch < 1):
        raise InputError(f"ECE: {ece_bins} bins and batches of {ece_batch}, expected at least 1")
    params = {"bins": ece_bins} | ({} if ece_batch is None else {"batch": ece_batch})
    every = (
        Metric("top1", "Accuracy", True, top1, unit="percent", factor=100, decimals=1),
        Metric("ece", "ECE", False, ece, params, unit="percent", factor=100, decimals=1),
        Metric("nll", "NLL", False, nll, unit="nats"),
        Metric("brier", "Brier", False, brier, unit="0 to 2"),
    )
    return {metric.name: metric for metric in every}


METRICS = all_metrics()
"""Every metric, with the default parameters."""
ACCURACY = METRICS["top1"]

_SHARE: Mapping[str, Any] = {"unit": "percent", "factor": 100, "decimals": 1}
OWN: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("macro-f1", "Macro-F1", True, macro_f1, **_SHARE),
        Metric(
            "worst-region", "Worst region", True, worst_group,
            {"group": "region", "skip": ("Other",)}, **_SHARE,
        ),
        Metric("pm-0", "pm-0", True, pm, {"k": 0}, **_SHARE),
        Metric("pm-10", "pm-10", True, pm, {"k": 10}, **_SHARE),
    )
}  # fmt: skip
"""Metrics of some evaluation sets alone: shares, of which more is better, as accuracy is."""
ACCURACIES = frozenset({ACCURACY.name, "worst-region", "pm-0", "pm-10"})
"""Shares of right answers, so that a mean over sets may mix them."""


def extra_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics that an evaluation set names, without accuracy, which all sets have.

    Raises InputError for a name that is neither accuracy's nor in `OWN`.
    """
    found = dict.fromkeys(names)
    for name in found:
        if name not in (ACCURACY.name, *OWN):
            raise unknown_name("metric of an evaluation set", name, (ACCURACY.name, *OWN))
    return tuple(OWN[name] for name in found if name in OWN)


def averageable(names: Iterable[str]) -> bool:
    """Whether a mean over sets in these metrics means something: one metric, or accuracies."""
    found = set(names)
    return len(found) <= 1 or found <= ACCURACIES


def check_metrics(names: Iterable[str], manifest: Manifest, classes: int) -> None:
    """Raise InputError unless each metric that an evaluation set names can be taken of it."""
    uniform = np.broadcast_to(np.float32(-np.log(classes)), (len(manifest), classes))
    for metric in extra_metrics(names):
        metric(uniform, manifest)

"""All metrics by name: those of every set, those of some sets, and those that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bench.api.metrics.accuracy import (
    balanced_accuracy,
    macro_f1,
    pm,
    top1,
    worst_class,
    worst_group,
)
from bench.api.metrics.calibration import adaptive_ece, classwise_ece, ece
from bench.api.metrics.confidence import aurc, auroc
from bench.api.metrics.metric import Metric
from bench.api.metrics.scores import brier, nll
from bench.api.splits import Manifest
from bench.core.errors import InputError, unknown_name
from bench.posthoc.calibration_error import Edges


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


def _further(ece_bins: int) -> Mapping[str, Metric]:
    bins = {"bins": ece_bins}
    every = (
        Metric("balanced", "Balanced accuracy", True, balanced_accuracy, **_PERCENT),
        Metric("worst-class", "Worst class", True, worst_class, **_PERCENT),
        Metric("adaptive-ece", "Adaptive ECE", False, adaptive_ece, bins, **_PERCENT),
        Metric(
            "classwise-ece", "Class-wise ECE", False, classwise_ece, bins,
            unit="percent", factor=100, decimals=3,
        ),
        Metric("auroc", "AUROC of confidence", True, auroc, **_PERCENT),
        Metric("aurc", "AURC", False, aurc, unit="percent", factor=100, decimals=2),
    )  # fmt: skip
    return {metric.name: metric for metric in every}


FURTHER = _further(ece_bins=15)
"""Metrics that every evaluation set can have, measured where they are asked for; of a row's chosen
candidate only, not of its curve."""
BY_CLASS = frozenset({"balanced", "worst-class"})
"""Those of `FURTHER` that a temperature cannot change."""


def asked_metrics(names: Iterable[str], ece_bins: int = 15) -> tuple[Metric, ...]:
    """Return metrics of `FURTHER` by name, each once, in their order there.

    `ece_bins` is the number of bins of the adaptive and class-wise ECE. Raises InputError for a
    name that is not in `FURTHER`.

    Examples
    --------
    >>> from bench.api.metrics import asked_metrics
    >>> [metric.title for metric in asked_metrics(["aurc", "balanced", "aurc"])]
    ['Balanced accuracy', 'AURC']
    """
    every, found = _further(ece_bins), set(names)
    for name in sorted(found - every.keys()):
        if name in METRICS:
            raise InputError(f"metric {name!r} is part of every run: leave it out")
        if name in OWN:
            raise InputError(f"metric {name!r} is that of the sets which declare it: leave it out")
        raise unknown_name("further metric", name, every)
    return tuple(metric for name, metric in every.items() if name in found)


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

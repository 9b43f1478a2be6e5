"""Metrics: pure functions of log-probabilities [N, C'] and a manifest, in fractions and nats.

A sample may have several acceptable labels (multi-label frames). Then the top-1 class is correct
if it is any of them. NLL and Brier score use the acceptable label with the largest probability, so
a model is not penalised for choosing one of two correct answers.

A sample may also have no correct class (`bench.api.splits.Manifest`). Then every prediction is
wrong, and the Brier score treats the true class as an additional class with probability 0. The NLL
would be infinite for every model, so it is the mean over the other samples
(docs/decisions/2026-11-22-classes-the-task-lacks.md).
"""

from bench.api.metrics.accuracy import (
    balanced_accuracy,
    macro_f1,
    pm,
    top1,
    worst_class,
    worst_group,
)
from bench.api.metrics.calibration import adaptive_ece, classwise_ece, ece
from bench.api.metrics.catalogue import (
    ACCURACIES,
    ACCURACY,
    BY_CLASS,
    FURTHER,
    METRICS,
    OWN,
    all_metrics,
    asked_metrics,
    averageable,
    check_metrics,
    extra_metrics,
)
from bench.api.metrics.confidence import aurc, auroc, selective_risks
from bench.api.metrics.labels import correct
from bench.api.metrics.metric import LogProbs, Metric
from bench.api.metrics.scores import brier, nll

__all__ = [
    "ACCURACIES",
    "ACCURACY",
    "BY_CLASS",
    "FURTHER",
    "METRICS",
    "OWN",
    "LogProbs",
    "Metric",
    "adaptive_ece",
    "all_metrics",
    "asked_metrics",
    "aurc",
    "auroc",
    "averageable",
    "balanced_accuracy",
    "brier",
    "check_metrics",
    "classwise_ece",
    "correct",
    "ece",
    "extra_metrics",
    "macro_f1",
    "nll",
    "pm",
    "selective_risks",
    "top1",
    "worst_class",
    "worst_group",
]

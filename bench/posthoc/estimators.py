"""The post-hoc methods as estimators for your own arrays, with scikit-learn's conventions.

The constructor takes the configuration, names of fitted attributes end in ``_``, and `fit` returns
the estimator. Inputs are NumPy arrays or torch tensors. If they are tensors, results are tensors
with the same device and float type, without gradients; fitted attributes are always NumPy arrays.
Logits are raw scores [N, C]. If a test set has a label map, project the logits first
(docs/methods.md section 1).

All methods raise InputError, with a message that names the argument, for shapes that do not match,
NaN or infinity, probabilities or one-hot predictions in place of logits, labels that are not
classes, a mixture of arrays and tensors, and an estimator that is not fitted. Valid input that is
probably not what was meant (cosines, rows without an order), and a search that ends at the edge of
its candidates, give a `bench.posthoc.remarks.PosthocWarning`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, unknown_name
from bench.posthoc import functional as posthoc
from bench.posthoc.arrays import A, like, to_numpy
from bench.posthoc.configuration import Configurable, NotFittedError, takes_table
from bench.posthoc.ensembles import (
    B_GRID,
    LogProbPair,
    average_logits,
    distance_to_kth,
    fit_temperatures,
    scaled_log_probs,
    weight_candidates,
)
from bench.posthoc.functional import Floats, KRule
from bench.posthoc.scores import checked_labels, checked_logits, checked_matrix
from bench.posthoc.selection import WEIGHTS, choose, edge_remarks

Space = Literal["probabilities", "logits"]
Criterion = Literal["nll", "confidence"]


@dataclass(eq=False)
class TemperatureScaling(Configurable):
    """Temperature scaling: softmax(logits / T), with T fitted on held-out data.

    Parameters
    ----------
    criterion : ``nll``: T minimises the mean negative log-likelihood (Guo et al., ICML 2017,
        section 4.2). ``confidence``: T makes the mean confidence equal to the accuracy (the
        official VRF code).

    Attributes
    ----------
    temperature_ : the fitted T, > 0.

    Examples
    --------
    >>> import numpy as np
    >>> from bench import TemperatureScaling
    >>> logits = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])  # 1 of 4 is wrong
    >>> scaled = TemperatureScaling().fit(logits, np.array([0, 0, 1, 1]))
    >>> scaled.predict_proba(logits).round(2)[0]
    array([0.75, 0.25])
    """

    criterion: Criterion = "nll"

    temperature_: float = field(init=False, repr=False)

    def fit(self, logits: A, labels: A) -> TemperatureScaling:
        """Fit T on held-out logits [N, C] and labels [N]."""
        scores, truth = to_numpy(logits=logits, labels=labels)
        scores = checked_logits("logits", scores, at_any_scale=True)
        (self.temperature_,) = fit_temperatures(self.criterion, _labels(truth, scores), scores)
        self.classes_ = np.arange(scores.shape[1])
        return self

    def predict(self, logits: A) -> A:
        """Return the class with the highest logit, int64 [N]; T does not change it."""
        return like(self._scores(logits).argmax(axis=1), logits)

    def predict_proba(self, logits: A) -> A:
        """Return calibrated probabilities [N, C] of logits [N, C]."""
        _check_fitted(self, "temperature_")
        return like(np.exp(scaled_log_probs(self._scores(logits), self.temperature_)), logits)

    def _scores(self, logits: Any) -> Floats:
        return checked_logits("logits", *to_numpy(logits=logits), at_any_scale=True)


@dataclass(eq=False)
class OSE(Configurable):
    """Output-space ensemble with one weight for all samples.

    Averages probabilities (Zhu et al., NeurIPS 2024, equation 1) or logits (Wortsman et al., CVPR
    2022, section 3 and figure 10) of the zero-shot and the fine-tuned model.

    Parameters
    ----------
    alpha : the weight on the fine-tuned model, in [0, 1]. None: `fit` chooses it; 0.5 before.
    space : ``probabilities`` or ``logits``: what is averaged.

    Attributes
    ----------
    alpha_ : the alpha in use.

    Examples
    --------
    >>> import numpy as np
    >>> from bench import OSE
    >>> zs, ft = np.log([[0.8, 0.2]]), np.log([[0.4, 0.6]])
    >>> OSE(alpha=0.5).predict_proba(zs, ft)
    array([[0.6, 0.4]])
    """

    alpha: float | None = None
    space: Space = "probabilities"

    alpha_: float = field(init=False, repr=False)

    @takes_table
    def fit(
        self,
        logits_zs: A,
        logits_ft: A,
        labels: A,
        alphas: Iterable[float] | None = None,
        rule: str = "within-1pt",
    ) -> OSE:
        """Choose alpha from `alphas` on held-out logits [N, C] and labels [N].

        Without `alphas`, the constructor's alpha is kept; if that is None, alpha is chosen from 0,
        0.02, ..., 1. `rule` is one of `bench.posthoc.selection.RULES`.
        """
        zs, ft, truth = to_numpy(logits_zs=logits_zs, logits_ft=logits_ft, labels=labels)
        zs, ft = _logit_pair(zs, ft)
        own = WEIGHTS if self.alpha is None else (self.alpha,)
        truth, grid = _labels(truth, zs), list(own if alphas is None else alphas)
        accuracies = [float((self._log_p(zs, ft, a).argmax(axis=1) == truth).mean()) for a in grid]
        self.alpha_, self.classes_ = grid[choose(accuracies, grid, rule)], np.arange(zs.shape[1])
        edge_remarks("alpha", self.alpha_, grid, natural=(0, 1))
        return self

    @takes_table
    def predict_proba(self, logits_zs: A, logits_ft: A) -> A:
        """Return the ensemble's probabilities [N, C]."""
        return like(np.exp(self._predict(logits_zs, logits_ft)), logits_ft)

    @takes_table
    def predict(self, logits_zs: A, logits_ft: A) -> A:
        """Return the most probable class of each sample, int64 [N]. Ties go to the lowest."""
        return like(self._predict(logits_zs, logits_ft).argmax(axis=1), logits_ft)

    def _predict(self, logits_zs: Any, logits_ft: Any) -> Floats:
        zs, ft = _logit_pair(*to_numpy(logits_zs=logits_zs, logits_ft=logits_ft))
        unfitted = 0.5 if self.alpha is None else self.alpha
        return self._log_p(zs, ft, getattr(self, "alpha_", unfitted))

    def _log_p(self, zs: Floats, ft: Floats, alpha: float) -> Floats:
        if self.space not in get_args(Space):
            raise unknown_name("space", self.space, get_args(Space))
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha must lie in [0, 1], got {alpha}")
        if self.space == "logits":
            return posthoc.log_softmax(average_logits(zs, ft, alpha))
        return LogProbPair.of(zs, ft).average(alpha)


@dataclass(eq=False)
class VRF(Configurable):
    """Output-space ensemble with one weight per sample (variance reduction fine-tuning).

    Zhu et al., NeurIPS 2024, equation 3 and steps 1 to 3. The weight on the fine-tuned model
    decreases with the distance d to the failure set V: the training samples that the fine-tuned
    model classifies correctly and the zero-shot model does not. `fit` takes training data. Then two
    optional steps take held-out data: `calibrate` fits the temperatures of both endpoints, and
    `choose` chooses a and b.

    Parameters
    ----------
    k : d is the distance to the k-th nearest neighbour in V; k is in [1, |V|]. None computes k by
        `k_rule`.
    a, b : the weight is sigmoid(-(d - a) / b), b > 0. The published values for ViT-B/32 on ImageNet
        are 1.5 and 0.6, on squared distances. The defaults are these values converted to plain
        distances, sqrt(a) and b / (2 sqrt(a)), and rounded. Other encoders need other values, which
        `choose` finds.
    p, k_rule : how k is computed from |V| (`bench.posthoc.functional.kth`).
    squared : use squared distances, as the official code does. Then `a` and `b` refer to squared
        distances too.
    criterion : the criterion of `calibrate`, as in `TemperatureScaling`.

    Attributes
    ----------
    failure_ : bool [N]: which training samples are in V.
    reference_ : [|V|, D]: the features of the samples in V.
    k_ : the k in use; 0 if V is empty.
    temperature_zs_, temperature_ft_ : the temperatures; 1 without `calibrate`.
    a_, b_ : the values that `choose` chose. Without it, `a` and `b` are used.

    Examples
    --------
    Fine-tuning repaired the second training sample; a test sample like it trusts the fine-tuned
    model, one unlike it the zero-shot model.

    >>> import numpy as np
    >>> from bench import VRF
    >>> features, labels = np.eye(2), np.array([0, 1])
    >>> zs, ft = np.log([[0.9, 0.1], [0.9, 0.1]]), np.log([[0.9, 0.1], [0.1, 0.9]])
    >>> vrf = VRF(a=0.7, b=0.1).fit(features, zs, ft, labels)
    >>> vrf.weights(features).round(3)
    array([0.001, 0.999])
    >>> vrf.predict(features, zs, ft)
    array([0, 1])
    """

    k: int | None = None
    a: float = 1.2
    b: float = 0.24
    p: float = 0.001
    k_rule: KRule = "round"
    squared: bool = False
    criterion: Criterion = "nll"

    failure_: NDArray[np.bool_] = field(init=False, repr=False)
    reference_: Floats = field(init=False, repr=False)
    k_: int = field(init=False, repr=False)
    temperature_zs_: float = field(init=False, repr=False)
    temperature_ft_: float = field(init=False, repr=False)
    a_: float = field(init=False, repr=False)
    b_: float = field(init=False, repr=False)

    @takes_table
    def fit(self, features_ft: A, logits_zs: A, logits_ft: A, labels: A) -> VRF:
        """Find V in training data. Discards results of earlier `calibrate` and `choose` calls.

        Parameters
        ----------
        features_ft : [N, D] image embeddings of the fine-tuned model; they are normalised here.
        logits_zs, logits_ft : [N, C] logits of the zero-shot and the fine-tuned model.
        labels : [N] integers in [0, C).
        """
        features, zs, ft, truth = to_numpy(
            features_ft=features_ft, logits_zs=logits_zs, logits_ft=logits_ft, labels=labels
        )
        zs, ft = _logit_pair(zs, ft)
        features, truth = self._features(features, len(zs)), _labels(truth, zs)
        failure = posthoc.failure_set(zs.argmax(axis=1) == truth, ft.argmax(axis=1) == truth)
        self.k_ = self._kth(int(failure.sum()), len(failure))
        self.failure_, self.reference_ = failure, features[failure]
        self.classes_ = np.arange(zs.shape[1])
        self.temperature_zs_ = self.temperature_ft_ = 1.0
        for name in {"a_", "b_"} & vars(self).keys():
            delattr(self, name)
        return self

    @takes_table
    def calibrate(self, logits_zs: A, logits_ft: A, labels: A) -> VRF:
        """Fit a temperature for each endpoint on held-out logits [N, C] and labels [N]."""
        _check_fitted(self, "k_")
        zs, ft, truth = to_numpy(logits_zs=logits_zs, logits_ft=logits_ft, labels=labels)
        zs, ft = _logit_pair(zs, ft)
        fitted = fit_temperatures(self.criterion, _labels(truth, zs), zs, ft)
        self.temperature_zs_, self.temperature_ft_ = fitted
        return self

    @takes_table
    def choose(
        self,
        features_ft: A,
        logits_zs: A,
        logits_ft: A,
        labels: A,
        a_grid: Sequence[float] | None = None,
        b_grid: Sequence[float] = B_GRID,
        rule: str = "within-1pt",
    ) -> VRF:
        """Choose a and b from all pairs of `a_grid` and `b_grid` on held-out data.

        Without `a_grid`, the values of a are those with mean weights 0, 0.02, ..., 1 on this data.

        Uses the current temperatures, so call `calibrate` first if you calibrate. Arrays are as in
        `fit`; `rule` is one of `bench.posthoc.selection.RULES`.
        """
        truth = to_numpy(logits_zs=logits_zs, labels=labels)[1]
        distance, endpoints = self._parts(features_ft, logits_zs, logits_ft)
        truth, candidates = (
            _labels(truth, endpoints.zs),
            weight_candidates(distance, a_grid, b_grid),
        )
        accuracies, mean_weights = [], []
        for a, b, _ in candidates:
            weight = posthoc.sigmoid_weight(distance, a, b)
            predicted = endpoints.average(weight).argmax(axis=1)
            accuracies.append(float((predicted == truth).mean()))
            mean_weights.append(float(weight.mean()))
        self.a_, self.b_, _ = candidates[choose(accuracies, mean_weights, rule)]
        if a_grid is not None:
            edge_remarks("a", self.a_, a_grid, natural=(0,))
        edge_remarks("b", self.b_, b_grid)
        return self

    @takes_table
    def distances(self, features_ft: A) -> A:
        """Return the distance of features [N, D] to their k-th nearest neighbour in V: [N].

        In [0, 2], or in [0, 4] if squared; infinite if V is empty.
        """
        (features,) = to_numpy(features_ft=features_ft)
        return like(self._distances(features), features_ft)

    @takes_table
    def weights(self, features_ft: A) -> A:
        """Return the weight on the fine-tuned model for each sample, [N] in [0, 1]."""
        (features,) = to_numpy(features_ft=features_ft)
        return like(self._weights(self._distances(features)), features_ft)

    @takes_table
    def predict_proba(self, features_ft: A, logits_zs: A, logits_ft: A) -> A:
        """Return the ensemble's probabilities [N, C], of the float type of `logits_ft`."""
        return like(np.exp(self._predict(features_ft, logits_zs, logits_ft)), logits_ft)

    @takes_table
    def predict(self, features_ft: A, logits_zs: A, logits_ft: A) -> A:
        """Return the most probable class of each sample, int64 [N]. Ties go to the lowest."""
        return like(self._predict(features_ft, logits_zs, logits_ft).argmax(axis=1), logits_ft)

    def _predict(self, features_ft: Any, logits_zs: Any, logits_ft: Any) -> Floats:
        distance, endpoints = self._parts(features_ft, logits_zs, logits_ft)
        return endpoints.average(self._weights(distance))

    def _parts(
        self, features_ft: Any, logits_zs: Any, logits_ft: Any
    ) -> tuple[Floats, LogProbPair]:
        """Return distances [N] and the calibrated log-probabilities [N, C] of both endpoints."""
        features, zs, ft = to_numpy(
            features_ft=features_ft, logits_zs=logits_zs, logits_ft=logits_ft
        )
        zs, ft = _logit_pair(zs, ft)
        distance = self._distances(features, len(zs))
        return distance, LogProbPair.of(zs, ft, (self.temperature_zs_, self.temperature_ft_))

    def _distances(self, features: NDArray[Any], count: int | None = None) -> Floats:
        _check_fitted(self, "k_")
        queries = self._features(features, count)
        if queries.shape[1] != self.reference_.shape[1]:
            raise InputError(
                f"features_ft: {queries.shape[1]} columns, expected "
                f"{self.reference_.shape[1]} as in fit"
            )
        found = distance_to_kth(queries, self.reference_, self.k_)
        return np.square(found) if self.squared else found

    def _kth(self, size: int, n_train: int) -> int:
        """Return the k to use of |V| = `size`; 0 if V is empty."""
        if size and self.k is not None and not 1 <= self.k <= size:
            raise InputError(f"k = {self.k}, expected 1 to |V| = {size}")
        if size and self.k is None:
            return posthoc.kth(size, self.p, self.k_rule, n_train)
        return self.k if size and self.k is not None else 0

    def _weights(self, distance: Floats) -> Floats:
        a, b = getattr(self, "a_", self.a), getattr(self, "b_", self.b)
        return posthoc.sigmoid_weight(distance, a, b)

    def _features(self, features: NDArray[Any], count: int | None) -> Floats:
        found = checked_matrix("features_ft", features)
        if count not in (None, len(found)):
            raise InputError(f"features_ft: {len(found)} samples, but the logits have {count}")
        return found


def _check_fitted(estimator: object, attribute: str) -> None:
    if not hasattr(estimator, attribute):
        raise NotFittedError(f"this {type(estimator).__name__} is not fitted; call fit first")


def _logit_pair(zs: NDArray[Any], ft: NDArray[Any]) -> tuple[Floats, Floats]:
    if zs.shape != ft.shape:
        raise InputError(
            f"logits_zs {zs.shape} and logits_ft {ft.shape} differ in shape, expected [N, C] each"
        )
    return checked_logits("logits_zs", zs), checked_logits("logits_ft", ft)


def _labels(labels: NDArray[Any], logits: Floats) -> NDArray[np.int64]:
    return checked_labels(labels, *logits.shape)

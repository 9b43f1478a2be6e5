"""The post-hoc methods on your own arrays, without the harness, in scikit-learn's habits.

The constructor holds the configuration, what `fit` finds ends in ``_``, `fit` returns the
estimator. Arrays are NumPy's or torch's: a tensor gives a tensor of the same device and float
type, without a gradient (fitted arrays are NumPy's, whichever were given). Logits are raw scores
[N, C]; where a test set has a label map, project them first (docs/methods.md section 1). Whatever
is unusable ends in one InputError that names it: shapes that do not fit, NaN or infinity, labels
that are no classes, arrays of two kinds, an estimator that is not fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, unknown_name
from bench.posthoc import functional as posthoc
from bench.posthoc.arrays import A, like, to_numpy
from bench.posthoc.functional import Floats, KRule
from bench.posthoc.neighbors import kth_distance
from bench.posthoc.selection import choose

Space = Literal["probabilities", "logits"]
Criterion = Literal["nll", "confidence"]

ALPHAS = tuple(i / 10 for i in range(11))
"""The grid of the weight on the fine-tuned model (VRF section 5.1)."""


@dataclass(eq=False)
class TemperatureScaling:
    """softmax(logits / T), with T fitted on held-out data.

    Parameters
    ----------
    criterion : ``nll``, the smallest mean negative log-likelihood (Guo et al., ICML 2017, section
        4.2), or ``confidence``, mean confidence equal to accuracy (the official VRF code).

    Attributes
    ----------
    temperature_ : T.
    """

    criterion: Criterion = "nll"

    temperature_: float = field(init=False, repr=False)

    def fit(self, logits: A, labels: A) -> TemperatureScaling:
        """T from held-out logits [N, C] and labels [N]."""
        scores, truth = to_numpy(logits=logits, labels=labels)
        scores = _matrix("logits", scores)
        self.temperature_ = _temperature(self.criterion)(scores, _labels(truth, scores))
        return self

    def predict_proba(self, logits: A) -> A:
        """Probabilities [N, C]."""
        _need(self, "temperature_")
        scores = _matrix("logits", *to_numpy(logits=logits))
        return like(np.exp(posthoc.log_softmax(scores / self.temperature_)), logits)


@dataclass(eq=False)
class OSE:
    """Output-space ensemble: one weight for all samples.

    Probabilities are averaged (Zhu et al., NeurIPS 2024, equation 1) or logits (Wortsman et al.,
    CVPR 2022, section 3 and figure 10).

    Parameters
    ----------
    alpha : the weight on the fine-tuned model, in [0, 1]; `fit` is there to choose another.
    space : ``probabilities`` or ``logits``.

    Attributes
    ----------
    alpha_ : the alpha that `fit` chose. Without `fit`, `alpha` is used.
    """

    alpha: float = 0.5
    space: Space = "probabilities"

    alpha_: float = field(init=False, repr=False)

    def fit(
        self,
        logits_zs: A,
        logits_ft: A,
        labels: A,
        alphas: Iterable[float] = ALPHAS,
        rule: str = "within-1pt",
    ) -> OSE:
        """Choose alpha among `alphas` on held-out logits [N, C] and labels [N].

        `rule` is one of `bench.posthoc.selection.RULES`.
        """
        zs, ft, truth = to_numpy(logits_zs=logits_zs, logits_ft=logits_ft, labels=labels)
        zs, ft = _ends(zs, ft)
        truth, grid = _labels(truth, zs), list(alphas)
        right = [float((self._log_p(zs, ft, a).argmax(axis=1) == truth).mean()) for a in grid]
        self.alpha_ = grid[choose(right, grid, rule)]
        return self

    def predict_proba(self, logits_zs: A, logits_ft: A) -> A:
        """Probabilities [N, C]."""
        return like(np.exp(self._predict(logits_zs, logits_ft)), logits_ft)

    def predict(self, logits_zs: A, logits_ft: A) -> A:
        """Classes [N], int64: the most probable, the lowest of equals."""
        return like(self._predict(logits_zs, logits_ft).argmax(axis=1), logits_ft)

    def _predict(self, logits_zs: Any, logits_ft: Any) -> Floats:
        zs, ft = _ends(*to_numpy(logits_zs=logits_zs, logits_ft=logits_ft))
        return self._log_p(zs, ft, getattr(self, "alpha_", self.alpha))

    def _log_p(self, zs: Floats, ft: Floats, alpha: float) -> Floats:
        if self.space not in get_args(Space):
            raise unknown_name("space", self.space, get_args(Space))
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha must lie in [0, 1], got {alpha}")
        if self.space == "logits":
            return posthoc.log_softmax(alpha * ft + (1 - alpha) * zs)
        return posthoc.mix(posthoc.log_softmax(zs), posthoc.log_softmax(ft), alpha)


@dataclass(eq=False)
class VRF:
    """Ensemble with one weight per sample, by distance to where fine-tuning repaired a mistake.

    Zhu et al., NeurIPS 2024, equation 3 and steps 1 to 3. `fit` takes training data. Then, both
    optional and both on held-out data: `calibrate` for the temperatures of both ends, `choose`
    for a and b.

    Parameters
    ----------
    k : which neighbour counts, in [1, |V|]; None takes `k_rule`'s.
    a, b : the weight is sigmoid(-(d - a) / b). Published for ViT-B/32 on ImageNet are 1.5 and
        0.6, on squared distances; the defaults are these moved to plain distances, sqrt(a) and
        b / 2 sqrt(a), rounded. Other encoders need others: `choose` finds them.
    p, k_rule : how k follows from |V| (`posthoc.kth`).
    squared : take squared distances, as the official code does; a and b are then on their scale.
    criterion : of `calibrate`, as in `TemperatureScaling`.

    Attributes
    ----------
    failure_ : bool [N], the training samples in V: fine-tuned right and zero-shot wrong.
    reference_ : [|V|, D], their features. k_ : the neighbour that counts, 0 where V is empty.
    temperature_zs_, temperature_ft_ : 1 without `calibrate`.
    a_, b_ : as chosen; without `choose`, `a` and `b` are used.
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

    def fit(self, features_ft: A, logits_zs: A, logits_ft: A, labels: A) -> VRF:
        """Find V in training data. Forgets what was calibrated and chosen before.

        Parameters
        ----------
        features_ft : [N, D] embeddings of the fine-tuned model, of any length (they are
            normalised). logits_zs, logits_ft : [N, C]. labels : [N].
        """
        features, zs, ft, truth = to_numpy(
            features_ft=features_ft, logits_zs=logits_zs, logits_ft=logits_ft, labels=labels
        )
        zs, ft = _ends(zs, ft)
        features, truth = self._features(features, len(zs)), _labels(truth, zs)
        failure = posthoc.failure_set(zs.argmax(axis=1) == truth, ft.argmax(axis=1) == truth)
        self.k_ = self._k(int(failure.sum()), len(failure))
        self.failure_, self.reference_ = failure, features[failure]
        self.temperature_zs_ = self.temperature_ft_ = 1.0
        for name in {"a_", "b_"} & vars(self).keys():
            delattr(self, name)
        return self

    def calibrate(self, logits_zs: A, logits_ft: A, labels: A) -> VRF:
        """A temperature for each end from held-out logits [N, C] and labels [N], before softmax."""
        _need(self, "k_")
        zs, ft, truth = to_numpy(logits_zs=logits_zs, logits_ft=logits_ft, labels=labels)
        zs, ft = _ends(zs, ft)
        truth, temperature = _labels(truth, zs), _temperature(self.criterion)
        self.temperature_zs_, self.temperature_ft_ = temperature(zs, truth), temperature(ft, truth)
        return self

    def choose(
        self,
        features_ft: A,
        logits_zs: A,
        logits_ft: A,
        labels: A,
        a_grid: Sequence[float],
        b_grid: Sequence[float],
        rule: str = "within-1pt",
    ) -> VRF:
        """Choose a and b among all pairs on held-out data, with the temperatures there are.

        Arrays as in `fit`; `rule` is one of `bench.posthoc.selection.RULES`.
        """
        truth = to_numpy(logits_zs=logits_zs, labels=labels)[1]
        distance, log_p_zs, log_p_ft = self._parts(features_ft, logits_zs, logits_ft)
        truth, pairs = _labels(truth, log_p_zs), list(product(a_grid, b_grid))
        right, mean_weight = [], []
        for pair in pairs:
            weight = posthoc.sigmoid_weight(distance, *pair)
            predicted = posthoc.mix(log_p_zs, log_p_ft, weight).argmax(axis=1)
            right.append(float((predicted == truth).mean()))
            mean_weight.append(float(weight.mean()))
        self.a_, self.b_ = pairs[choose(right, mean_weight, rule)]
        return self

    def distances(self, features_ft: A) -> A:
        """[N]: distance to the k-th nearest of V, in [0, 2], or squared; infinite if V is empty."""
        (features,) = to_numpy(features_ft=features_ft)
        return like(self._distances(features), features_ft)

    def weights(self, features_ft: A) -> A:
        """[N]: the weight on the fine-tuned model."""
        (features,) = to_numpy(features_ft=features_ft)
        return like(self._weights(self._distances(features)), features_ft)

    def predict_proba(self, features_ft: A, logits_zs: A, logits_ft: A) -> A:
        """Probabilities [N, C] from features [N, D] and logits [N, C], in `logits_ft`'s type."""
        return like(np.exp(self._predict(features_ft, logits_zs, logits_ft)), logits_ft)

    def predict(self, features_ft: A, logits_zs: A, logits_ft: A) -> A:
        """Classes [N], int64: the most probable, the lowest of equals."""
        return like(self._predict(features_ft, logits_zs, logits_ft).argmax(axis=1), logits_ft)

    def _predict(self, features_ft: Any, logits_zs: Any, logits_ft: Any) -> Floats:
        distance, log_p_zs, log_p_ft = self._parts(features_ft, logits_zs, logits_ft)
        return posthoc.mix(log_p_zs, log_p_ft, self._weights(distance))

    def _parts(
        self, features_ft: Any, logits_zs: Any, logits_ft: Any
    ) -> tuple[Floats, Floats, Floats]:
        """Distances [N] and the calibrated log-probabilities [N, C] of both ends."""
        features, zs, ft = to_numpy(
            features_ft=features_ft, logits_zs=logits_zs, logits_ft=logits_ft
        )
        zs, ft = _ends(zs, ft)
        distance = self._distances(features, len(zs))
        log_p_zs = posthoc.log_softmax(zs / self.temperature_zs_)
        return distance, log_p_zs, posthoc.log_softmax(ft / self.temperature_ft_)

    def _distances(self, features: NDArray[Any], count: int | None = None) -> Floats:
        _need(self, "k_")
        queries = self._features(features, count)
        if queries.shape[1] != self.reference_.shape[1]:
            widths = f"{queries.shape[1]} wide, {self.reference_.shape[1]} in fit"
            raise InputError(f"features_ft: {widths}")
        if not len(self.reference_):
            return np.full(len(queries), np.inf, dtype=np.float32)
        distance = kth_distance(queries, self.reference_, self.k_)
        return np.square(distance) if self.squared else distance

    def _weights(self, distance: Floats) -> Floats:
        a, b = getattr(self, "a_", self.a), getattr(self, "b_", self.b)
        return posthoc.sigmoid_weight(distance, a, b)

    def _features(self, features: NDArray[Any], count: int | None) -> Floats:
        found = _matrix("features_ft", features)
        if count not in (None, len(found)):
            raise InputError(f"features_ft: {len(found)} samples, the logits have {count}")
        return found

    def _k(self, size: int, n_train: int) -> int:
        if size == 0:
            return 0
        if self.k is None:
            return posthoc.kth(size, self.p, self.k_rule, n_train)
        if not 1 <= self.k <= size:
            raise InputError(f"k = {self.k}, expected 1 to |V| = {size}")
        return self.k


def _temperature(criterion: Criterion) -> Callable[[Floats, NDArray[np.int64]], float]:
    if criterion not in get_args(Criterion):
        raise unknown_name("criterion", criterion, get_args(Criterion))
    return posthoc.temperature if criterion == "nll" else posthoc.confident_temperature


def _need(estimator: object, attribute: str) -> None:
    if not hasattr(estimator, attribute):
        raise InputError(f"this {type(estimator).__name__} is not fitted; call fit first")


def _matrix(name: str, value: NDArray[Any]) -> Floats:
    if value.ndim != 2 or value.shape[1] == 0 or value.dtype.kind not in "fiu":
        raise InputError(
            f"{name}: {value.dtype} of shape {value.shape}, expected numbers of shape [N, D]"
        )
    if not np.isfinite(value).all():
        raise InputError(f"{name} hold NaN or infinity")
    return value if value.dtype.kind == "f" else value.astype(np.float64)


def _ends(zs: NDArray[Any], ft: NDArray[Any]) -> tuple[Floats, Floats]:
    if zs.shape != ft.shape:
        raise InputError(f"logits_zs {zs.shape} and logits_ft {ft.shape} differ in shape")
    return _matrix("logits_zs", zs), _matrix("logits_ft", ft)


def _labels(labels: NDArray[Any], logits: Floats) -> NDArray[np.int64]:
    """Labels as int64 [N] that fit logits [N, C], N >= 1."""
    count, classes = logits.shape
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or not count:
        raise InputError(
            f"labels: {labels.dtype} of shape {labels.shape}, expected integers, one for each of "
            f"{count} samples"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"labels {labels.min()} to {labels.max()} for {classes} classes")
    return cast("NDArray[np.int64]", labels.astype(np.int64, copy=False))

"""DaWin: ensembles with weights from the entropies of both endpoints, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, logsumexp

from bench.api.method import (
    Choice,
    Fitted,
    Grid,
    LabelledOutputs,
    Method,
    Models,
    Outputs,
    Prediction,
)
from bench.api.recipes import Recipe, merge
from bench.api.registry import method
from bench.core.parameters import Count, Fraction, setting
from bench.posthoc.ensembles import LogProbPair, fit_temperatures
from bench.posthoc.functional import Floats, log_softmax
from bench.posthoc.selection import ALPHAS

_CODE = "naver-ai/dawin dawin_rft/main_dawin.py"
TOLERANCE, ROUNDS = 1e-4, 1000
"""When the fit of a mixture ends: by the change of the mean log-likelihood, or after rounds."""


def entropy_weight(pair: LogProbPair, offset: bool = False) -> NDArray[np.float64]:
    """Return the weight on the fine-tuned model, [N] in (0, 1), from both models' entropies H.

    It is exp(-H_ft) / (exp(-H_zs) + exp(-H_ft)). With `offset`, o is added to the denominator and
    o mean(H_zs) / (mean(H_zs) + mean(H_ft)) to the numerator, where o is the mean of both models'
    standard deviation over mean of H; these are statistics of all N samples.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.methods.dawin import entropy_weight
    >>> from bench.posthoc.ensembles import LogProbPair
    >>> zs, ft = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.9, 0.1], [0.9, 0.1]])
    >>> entropy_weight(LogProbPair(zs, ft)).round(2)
    array([0.59, 0.5 ])
    """
    found = (log_p.astype(np.float64) for log_p in (pair.zs, pair.ft))
    zs, ft = (-(np.exp(log_p) * np.maximum(log_p, -1e4)).sum(axis=1) for log_p in found)
    means = zs.mean(), ft.mean()
    if not offset or len(zs) < 2 or min(means) <= 0:
        return np.asarray(1 / (1 + np.exp(ft - zs)))
    added = (zs.std(ddof=1) / means[0] + ft.std(ddof=1) / means[1]) / 2
    share = means[0] / sum(means)
    return np.asarray((np.exp(-ft) + added * share) / (np.exp(-zs) + np.exp(-ft) + added))


def beta_mixture(
    values: NDArray[np.float64], clusters: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Fit a mixture of Beta distributions; return each value's cluster and the clusters' means.

    As in ``mixturemodel.py`` of the official code: expectation maximisation from the clusters of
    k-means, parameters by moments, with variances of at most m (1 - m) / 4. Here k-means starts
    from quantiles, so that nothing is random.

    Parameters
    ----------
    values : [N], in (0, 1).
    clusters : at most this many; fewer if there are fewer different values.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.methods.dawin import beta_mixture
    >>> cluster, means = beta_mixture(np.array([0.1, 0.12, 0.8, 0.82]), clusters=2)
    >>> cluster, means.round(2)
    (array([0, 0, 1, 1]), array([0.11, 0.81]))
    """
    count, tiny = min(clusters, len(np.unique(values))), 10 * np.finfo(np.float64).eps
    x = values[:, None]
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(ROUNDS):
        nearest = np.abs(x - centres).argmin(axis=1)
        new = np.array(
            [x[nearest == j].mean() if j in nearest else c for j, c in enumerate(centres)]
        )
        if np.array_equal(new, centres):
            break
        centres = new
    share = np.eye(count)[nearest] + tiny
    before = -np.inf
    for _ in range(ROUNDS):
        size = share.sum(axis=0) + tiny
        mean = (share * x).sum(axis=0) / size
        spread = mean * (1 - mean)
        variance = np.minimum((share * x**2).sum(axis=0) / size - mean**2, spread / 4) + tiny
        scale = spread / (variance + 1e-10) - 1
        a, b = scale * mean, scale * (1 - mean)
        density = (a - 1) * np.log(x) + (b - 1) * np.log(1 - x) - betaln(a, b)
        joint = density + np.log(size / size.sum())
        total = logsumexp(joint, axis=1)
        if abs(total.mean() - before) < TOLERANCE:
            break
        before, share = total.mean(), np.exp(joint - total[:, None])
    return joint.argmax(axis=1), a / (a + b)


class _Entropic(Method):
    """Base class of rows whose weights are `entropy_weight` of calibrated endpoints."""

    default_base: ClassVar[str | None] = "e2e-ft"
    calibrate: Literal["nll", "none"]

    def fit(
        self, models: Models, selection: LabelledOutputs, train: LabelledOutputs
    ) -> dict[str, NDArray[Any]]:
        """Return ``temperature``, float64 [2], of the zero-shot and the fine-tuned model."""
        logits = (selection.logits(recipe) for recipe in (models.zero_shot, models.base))
        found = fit_temperatures(self.calibrate, selection.labels, *logits)
        return {"temperature": np.array(found)}

    def pair(self, models: Models, fitted: Fitted, outputs: Outputs) -> LogProbPair:
        """Return the calibrated log-probabilities of both endpoints."""
        zs, ft = (outputs.scores(recipe) for recipe in (models.zero_shot, models.base))
        t_zs, t_ft = fitted["temperature"].tolist()
        return LogProbPair.of(zs, ft, (t_zs, t_ft))


_CALIBRATE = f"constants of unknown origin in {_CODE}; here fitted on the selection split"


@method
@dataclass(frozen=True)
class DynamicOutputs(_Entropic):
    """Average of both endpoints' probabilities, with more weight on the one that is surer.

    The dynamic output ensemble of Oh et al., "DaWin: Training-free dynamic weight interpolation for
    robust adaptation", ICLR 2025, without the offset, which needs all test samples at once.

    Attributes
    ----------
    calibrate : criterion of the endpoints' temperatures: ``nll``, or ``none`` for 1.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import FakeLabelledOutputs, FakeOutputs, fake_models
    >>> models, dawin = fake_models(), find_method("dawin-output")()
    >>> fitted = dawin.fit(models, FakeLabelledOutputs(1), None)
    >>> (found,) = dawin.predict(models, fitted, FakeOutputs(2), None, ({},))
    >>> bool(0 < found.weight.min() < found.weight.max() < 1)
    True
    """

    kind: ClassVar[str] = "DynamicOutputs"
    name: ClassVar[str] = "dawin-output"
    title: ClassVar[str] = "DaWin, outputs"
    summary: ClassVar[str] = "Average of probabilities with weights by both models' entropies."
    equation: ClassVar[str] = (
        "p = w p_ft + (1 - w) p_zs, w = exp(-H_ft) / (exp(-H_zs) + exp(-H_ft))"
    )
    source: ClassVar[str] = f"Oh et al., ICLR 2025, section 3; {_CODE}"
    year: ClassVar[int | None] = 2025
    venue: ClassVar[str] = "ICLR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.03782"
    is_newer: ClassVar[bool] = True
    position: ClassVar[int] = 230
    colour: ClassVar[str | None] = "#7860f8"
    compared_with: ClassVar[tuple[str, ...]] = ("ose-calibrated", "ose")

    calibrate: Literal["nll", "none"] = setting("nll", _CALIBRATE)

    @property
    def calibrated(self) -> bool:
        """Whether `calibrate` asks for temperatures of the endpoints."""
        return self.calibrate != "none"

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return both endpoints."""
        return (models.zero_shot, models.base)

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        """Yield the average of the endpoints' probabilities."""
        pair = self.pair(models, fitted, outputs)
        weight = entropy_weight(pair, offset=self.mixes_samples)
        for _ in choices:
            yield Prediction(pair.average(weight), weight)


@method
@dataclass(frozen=True)
class DynamicOutputsOffset(DynamicOutputs):
    """The dynamic output ensemble with the offset of the official code: transductive.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> find_method("dawin-output-offset").mixes_samples
    True
    """

    kind: ClassVar[str] = "DynamicOutputsOffset"
    name: ClassVar[str] = "dawin-output-offset"
    title: ClassVar[str] = "DaWin, outputs, offset"
    summary: ClassVar[str] = "DaWin's average of probabilities, with statistics of the test set."
    equation: ClassVar[str] = (
        "as DaWin, outputs, w = (exp(-H_ft) + o c) / (exp(-H_zs) + exp(-H_ft) + o)"
    )
    position: ClassVar[int] = 231
    colour: ClassVar[str | None] = "#986880"
    mixes_samples: ClassVar[bool] = True
    compared_with: ClassVar[tuple[str, ...]] = ("dawin-output",)


@method
@dataclass(frozen=True)
class DynamicWeights(_Entropic):
    """Interpolated weights, with one alpha for each cluster of test samples: transductive.

    Oh et al., ICLR 2025, as in the official code (naver-ai/dawin ``dawin_rft``): the weights
    of all test samples are clustered by a mixture of Beta distributions, and each cluster's mean is
    the alpha of an interpolation that predicts its samples. Here that mean is rounded to the
    nearest of `alphas`, so that the classifiers are known before the test outputs are.

    Attributes
    ----------
    clusters : components of the mixture.
    alphas : the interpolations to take the nearest of, between 0 and 1.
    offset : whether weights have the offset.
    calibrate : criterion of the endpoints' temperatures: ``nll``, or ``none`` for 1.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> dawin = find_method("dawin")(alphas=(0.0, 0.5, 1.0))
    >>> len(dawin.needs(fake_models(), {}))
    3
    """

    kind: ClassVar[str] = "DynamicWeights"
    name: ClassVar[str] = "dawin"
    title: ClassVar[str] = "DaWin"
    summary: ClassVar[str] = "Interpolated weights, an alpha for each cluster of test samples."
    equation: ClassVar[str] = (
        "theta_k = (1 - w_k) theta_zs + w_k theta_ft, w_k the mean of cluster k of the weights w"
    )
    source: ClassVar[str] = f"Oh et al., ICLR 2025, section 3; {_CODE}, mixturemodel.py"
    year: ClassVar[int | None] = 2025
    venue: ClassVar[str] = "ICLR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.03782"
    is_newer: ClassVar[bool] = True
    position: ClassVar[int] = 232
    colour: ClassVar[str | None] = "#d85098"
    mixes_samples: ClassVar[bool] = True
    compared_with: ClassVar[tuple[str, ...]] = ("wise-ft",)

    clusters: Count = setting(3, "--bmm_ncluster in naver-ai/dawin dawin_rft/script/dawin.sh")
    alphas: Grid[Fraction] = setting(
        ALPHAS, "bench's choice; the cluster's mean itself in the code"
    )
    offset: bool = setting(True, "--offset-adjustment in naver-ai/dawin dawin_rft/script/dawin.sh")
    calibrate: Literal["nll", "none"] = setting("nll", _CALIBRATE)

    def merged(self, models: Models) -> dict[float, Recipe]:
        """Return the interpolation of every alpha."""
        ends = (models.zero_shot, models.base)
        return {alpha: merge(ends, (1 - alpha, alpha)) for alpha in self.alphas}

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return both endpoints and all interpolations."""
        ends = (models.zero_shot, models.base)
        return tuple(dict.fromkeys((*ends, *self.merged(models).values())))

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        """Cluster the samples, then yield the prediction of each cluster's interpolation."""
        pair = self.pair(models, fitted, outputs)
        cluster, means = beta_mixture(entropy_weight(pair, self.offset), self.clusters)
        merged = self.merged(models)
        nearest = [min(self.alphas, key=lambda alpha: abs(alpha - mean)) for mean in means]
        log_probs: Floats = np.empty_like(pair.zs)
        for j, alpha in enumerate(nearest):
            own = cluster == j
            if own.any():
                log_probs[own] = log_softmax(outputs.scores(merged[alpha]))[own]
        for _ in choices:
            yield Prediction(log_probs, np.array(nearest)[cluster])

"""OSE: output-space ensembles of the zero-shot and the fine-tuned model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bench.api.method import (
    AlphaEnsemble,
    Choice,
    Fitted,
    LabelledOutputs,
    Models,
    Outputs,
    Prediction,
)
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.core.parameters import setting
from bench.posthoc.ensembles import LogProbPair, average_logits, fit_temperatures
from bench.posthoc.functional import log_softmax


@method
@dataclass(frozen=True)
class OutputSpaceEnsemble(AlphaEnsemble):
    """Average of the zero-shot and fine-tuned probabilities with one weight for all samples.

    Probabilities, not logits, are averaged. The softmax is computed after the label map and without
    temperatures (Zhu et al., "Robust Fine-tuning of Zero-shot Models via Variance Reduction",
    NeurIPS 2024, equation 1, and its official code).

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.registry import find_method
    >>> from bench.posthoc.functional import log_softmax
    >>> from bench.testing.fakes import FakeOutputs, fake_models
    >>> models, ose = fake_models(), find_method("ose")(alphas=(0.0, 1.0))
    >>> zero_shot, tuned = ose.predict(models, {}, FakeOutputs(), None, ose.candidates())
    >>> np.array_equal(zero_shot.log_probs, log_softmax(FakeOutputs().scores(models.zero_shot)))
    True
    """

    kind: ClassVar[str] = "OutputSpaceEnsemble"
    name: ClassVar[str] = "ose"
    title: ClassVar[str] = "OSE"
    summary: ClassVar[str] = "Weighted average of zero-shot and fine-tuned probabilities."
    equation: ClassVar[str] = "p = alpha softmax(f_ft) + (1 - alpha) softmax(f_zs)"
    source: ClassVar[str] = "Zhu et al., NeurIPS 2024, equation 1"
    year: ClassVar[int | None] = 2024
    venue: ClassVar[str] = "NeurIPS"
    paper: ClassVar[str] = "https://arxiv.org/abs/2411.06966"
    position: ClassVar[int] = 160
    colour: ClassVar[str | None] = "#cc79a7"
    costs_forwards: ClassVar[bool] = False

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
        """Yield the average of the endpoints' probabilities for each alpha."""
        zs, ft = (outputs.scores(recipe) for recipe in (models.zero_shot, models.base))
        pair = LogProbPair.of(zs, ft, self.temperatures(fitted))
        for choice in choices:
            yield Prediction(pair.average(choice["alpha"]), choice["alpha"])

    def temperatures(self, fitted: Fitted) -> tuple[float, float]:
        """Return the temperatures of the zero-shot and the fine-tuned model: 1 for both."""
        return 1.0, 1.0


@method
@dataclass(frozen=True)
class CalibratedOutputSpaceEnsemble(OutputSpaceEnsemble):
    """OSE of calibrated endpoints, to separate the effects of VRF's weights and its temperatures.

    As in VRF, each endpoint's logits are first divided by a temperature that is fitted on the
    selection split.

    Attributes
    ----------
    calibrate : criterion of the temperatures: ``nll`` or ``confidence``; ``none`` makes it OSE.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import FakeLabelledOutputs, fake_models
    >>> models, ose = fake_models(), find_method("ose-calibrated")()
    >>> fitted = ose.fit(models, FakeLabelledOutputs(), None)
    >>> fitted["temperature"].shape
    (2,)
    """

    kind: ClassVar[str] = "CalibratedOutputSpaceEnsemble"
    name: ClassVar[str] = "ose-calibrated"
    title: ClassVar[str] = "OSE, calibrated"
    summary: ClassVar[str] = "OSE of endpoints that are calibrated first."
    equation: ClassVar[str] = "p = alpha softmax(f_ft / T_ft) + (1 - alpha) softmax(f_zs / T_zs)"
    source: ClassVar[str] = "a control of bench"
    year: ClassVar[int | None] = None
    venue: ClassVar[str] = ""
    position: ClassVar[int] = 180
    version: ClassVar[int] = 2  # 2: temperatures by NLL are searched beyond 0.1 to 10
    colour: ClassVar[str | None] = "#f84868"

    calibrate: Literal["nll", "confidence", "none"] = setting(
        "nll", "as VRF's, of which it is a control", official="confidence"
    )

    @property
    def calibrated(self) -> bool:
        """Whether `calibrate` asks for temperatures of the endpoints."""
        return self.calibrate != "none"

    def fit(
        self, models: Models, selection: LabelledOutputs, train: LabelledOutputs
    ) -> dict[str, NDArray[Any]]:
        """Return ``temperature``, float64 [2], of the zero-shot and the fine-tuned model."""
        logits = (selection.logits(recipe) for recipe in (models.zero_shot, models.base))
        return {
            "temperature": np.array(fit_temperatures(self.calibrate, selection.labels, *logits))
        }

    def temperatures(self, fitted: Fitted) -> tuple[float, float]:
        """Return the fitted temperatures of the zero-shot and the fine-tuned model."""
        t_zs, t_ft = fitted["temperature"].tolist()
        return t_zs, t_ft


@method
@dataclass(frozen=True)
class LogitSpaceEnsemble(OutputSpaceEnsemble):
    """Average of the zero-shot and fine-tuned logits over the task's classes, before the label map.

    WiSE-FT's output-space ensemble (Wortsman et al., CVPR 2022, section 3 and figure 10). For a
    linear classifier it equals the weight-space ensemble.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import FakeOutputs, fake_models
    >>> models, ose = fake_models(), find_method("ose-logits")(alphas=(0.5,))
    >>> (prediction,) = ose.predict(models, {}, FakeOutputs(), None, ose.candidates())
    >>> prediction.log_probs.shape
    (40, 6)
    """

    kind: ClassVar[str] = "LogitSpaceEnsemble"
    name: ClassVar[str] = "ose-logits"
    title: ClassVar[str] = "OSE of logits"
    summary: ClassVar[str] = "Weighted average of zero-shot and fine-tuned logits."
    equation: ClassVar[str] = "p = softmax(alpha f_ft + (1 - alpha) f_zs)"
    source: ClassVar[str] = "Wortsman et al., CVPR 2022, section 3"
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "CVPR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2109.01903"
    position: ClassVar[int] = 170
    colour: ClassVar[str | None] = "#6090d8"

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        """Yield, for each alpha, the softmax of the averaged and then projected logits."""
        zs, ft = (outputs.logits(recipe) for recipe in (models.zero_shot, models.base))
        for choice in choices:
            scores = outputs.project(average_logits(zs, ft, choice["alpha"]))
            yield Prediction(log_softmax(scores), choice["alpha"])

"""An ensemble with more weight on the model that is more confident about a sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.api import registry
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
from bench.api.recipes import Recipe
from bench.core.parameters import Positive
from bench.posthoc.functional import log_softmax, mix, sigmoid_weight


@registry.method
@dataclass(frozen=True)
class SurerCounts(Method):
    """OSE with one weight per sample, computed from both endpoints' confidences m = max p.

    With s = 1 the weight on the fine-tuned model is m_ft / (m_ft + m_zs).
    """

    name: ClassVar[str] = "surer"
    title: ClassVar[str] = "OSE, surer counts"
    summary: ClassVar[str] = "Average of probabilities, weighted by both models' confidence."
    equation: ClassVar[str] = "p = w p_ft + (1 - w) p_zs, w = sigmoid((log m_ft - log m_zs) / s)"
    source: ClassVar[str] = "an example of bench's documents"
    default_base: ClassVar[str | None] = "e2e-ft"
    position: ClassVar[int] = 165  # behind OSE
    compared_with: ClassVar[tuple[str, ...]] = ("ose",)

    s_grid: Grid[Positive] = (0.25, 0.5, 1.0, 2.0, 4.0)

    def candidates(self) -> tuple[Choice, ...]:
        return tuple({"s": s} for s in self.s_grid)

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        return (models.zero_shot, models.base)

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        zs, ft = (log_softmax(outputs.scores(r)) for r in (models.zero_shot, models.base))
        lag = zs.max(axis=1) - ft.max(axis=1)
        for choice in choices:
            weight = sigmoid_weight(lag, 0.0, choice["s"])
            yield Prediction(mix(zs, ft, weight), weight)

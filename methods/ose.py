"""OSE: output-space ensembling of the zero-shot and the fine-tuned model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.method import (
    AlphaEnsemble,
    Choice,
    Fitted,
    LabelledOutputs,
    Models,
    Outputs,
    Prediction,
)
from bench.posthoc import log_softmax, mix
from bench.recipes import Recipe
from bench.registry import method


@method
@dataclass(frozen=True)
class OutputSpaceEnsemble(AlphaEnsemble):
    """The average of the two ends' probabilities, with one weight for all samples.

    Probabilities are averaged, not logits, and softmax is taken after the label map (Zhu et al.,
    "Robust Fine-tuning of Zero-shot Models via Variance Reduction", NeurIPS 2024, equation 1, and
    its official code). No temperature, as there.
    """

    name: ClassVar[str] = "ose"
    title: ClassVar[str] = "OSE"
    summary: ClassVar[str] = "Weighted average of zero-shot and fine-tuned probabilities."
    equation: ClassVar[str] = "p = alpha softmax(f_ft) + (1 - alpha) softmax(f_zs)"
    source: ClassVar[str] = "Zhu et al., NeurIPS 2024, equation 1"

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Both ends."""
        return (models.zero_shot, models.base)

    def predict(
        self,
        models: Models,
        fitted: Fitted,
        outputs: Outputs,
        train: LabelledOutputs,
        choices: Sequence[Choice],
    ) -> Iterator[Prediction]:
        """The ends' probabilities, averaged with each alpha."""
        log_p_zs = log_softmax(outputs.scores(models.zero_shot))
        log_p_ft = log_softmax(outputs.scores(models.base))
        for choice in choices:
            yield Prediction(mix(log_p_zs, log_p_ft, choice["alpha"]), choice["alpha"])

"""End-to-end fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import GradientTrainer


@method
@dataclass(frozen=True)
class EndToEnd(Method):
    """Image encoder and head trained together by cross-entropy, from the zero-shot classifier.

    The standard recipe: the best ID accuracy for its simplicity, at the price of robustness. It
    is the default base of the ensembles. Defaults are those for ImageNet of WiSE-FT (Wortsman et
    al., CVPR 2022), appendix D.2: AdamW at 3e-5, 10 epochs of batches of 512.
    """

    kind: ClassVar[str] = "EndToEnd"
    name: ClassVar[str] = "e2e-ft"
    title: ClassVar[str] = "E2E-FT"
    summary: ClassVar[str] = "Image encoder and head trained together by cross-entropy."
    equation: ClassVar[str] = "min over (encoder, head) of mean -log softmax_y(head(encoder(x)))"
    source: ClassVar[str] = "Wortsman et al., CVPR 2022, appendix D.2"
    is_common_base: ClassVar[bool] = True

    trainer: GradientTrainer = field(default=GradientTrainer())

    def recipe(self, models: Models) -> Recipe:
        """The zero-shot classifier, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

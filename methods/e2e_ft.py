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
    """End-to-end fine-tuning of the zero-shot classifier's image encoder and head.

    The standard recipe: simple and accurate in distribution, but less robust. It is the default
    base of ensembles. Defaults are WiSE-FT's for ImageNet (Wortsman et al., CVPR 2022, appendix
    D.2): AdamW with learning rate 3e-5, 10 epochs, batches of 512.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> find_method("e2e-ft")().recipe(models) == models.base
    True
    """

    kind: ClassVar[str] = "EndToEnd"
    name: ClassVar[str] = "e2e-ft"
    title: ClassVar[str] = "E2E-FT"
    summary: ClassVar[str] = "Image encoder and head trained together with cross-entropy."
    equation: ClassVar[str] = "min over (encoder, head) of mean -log softmax_y(head(encoder(x)))"
    source: ClassVar[str] = "Wortsman et al., CVPR 2022, appendix D.2"
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "CVPR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2109.01903"
    position: ClassVar[int] = 30
    colour: ClassVar[str | None] = "#d55e00"
    shape: ClassVar[str | None] = "square"
    is_common_base: ClassVar[bool] = True

    trainer: GradientTrainer = field(default=GradientTrainer())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot classifier, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

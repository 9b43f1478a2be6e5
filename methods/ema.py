"""EMA: a moving average of the weights during end-to-end fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import Average, GradientTrainer
from bench.core.parameters import Fraction, setting


@method
@dataclass(frozen=True)
class MovingAverage(Method):
    """An exponential moving average of the weights during fine-tuning, from the zero-shot model on.

    One of the alternatives that WiSE-FT is compared with (Wortsman et al., CVPR 2022, appendix).
    With the same trainer as ``e2e-ft``, both come from one training run.

    Attributes
    ----------
    decay : average = decay average + (1 - decay) weights, after every step.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> recipe = find_method("ema")(decay=0.99).recipe(fake_models())
    >>> recipe.keep, recipe.training == fake_models().base
    (Average(decay=0.99), True)
    """

    kind: ClassVar[str] = "MovingAverage"
    name: ClassVar[str] = "ema"
    title: ClassVar[str] = "EMA of E2E-FT"
    summary: ClassVar[str] = "A moving average of the weights during end-to-end fine-tuning."
    equation: ClassVar[str] = "theta = decay theta + (1 - decay) theta_t after every step t"
    source: ClassVar[str] = "Wortsman et al., CVPR 2022, comparison with EMA"
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "CVPR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2109.01903"
    position: ClassVar[int] = 40
    colour: ClassVar[str | None] = "#609040"

    decay: Fraction = setting(0.9999, "bench's choice; WiSE-FT's appendix tries several")
    trainer: GradientTrainer = field(default=GradientTrainer())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the moving average that end-to-end fine-tuning keeps."""
        return replace(models.tuned(models.zero_shot, self.trainer), keep=Average(self.decay))

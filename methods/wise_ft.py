"""WiSE-FT: a weight-space ensemble of the zero-shot and the fine-tuned model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.api.method import AlphaEnsemble, Choice, Models
from bench.api.recipes import Recipe, merge
from bench.api.registry import method


@method
@dataclass(frozen=True)
class WeightSpaceEnsemble(AlphaEnsemble):
    """Linear interpolation between the weights of both endpoints, including the head.

    It adds no cost at inference. alpha = 0 is the zero-shot classifier, alpha = 1 the fine-tuned
    one. All tensors are interpolated, as in the official ``src/wise_ft.py`` (Wortsman et al.,
    "Robust fine-tuning of zero-shot models", CVPR 2022, section 3).

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> (merged,) = find_method("wise-ft")().needs(models, {"alpha": 0.25})
    >>> merged.weights
    (0.75, 0.25)
    """

    kind: ClassVar[str] = "WeightSpaceEnsemble"
    name: ClassVar[str] = "wise-ft"
    title: ClassVar[str] = "WiSE-FT"
    summary: ClassVar[str] = "Linear interpolation between zero-shot and fine-tuned weights."
    equation: ClassVar[str] = "theta = (1 - alpha) theta_zs + alpha theta_ft"
    source: ClassVar[str] = "Wortsman et al., CVPR 2022, section 3"
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "CVPR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2109.01903"
    position: ClassVar[int] = 120
    colour: ClassVar[str | None] = "#009e73"

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return the interpolated classifier."""
        alpha = choice["alpha"]
        return (merge((models.zero_shot, models.base), (1 - alpha, alpha)),)

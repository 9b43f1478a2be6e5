"""WiSE-FT: weight-space ensembling of the zero-shot and the fine-tuned model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.api.method import AlphaEnsemble, Choice, Models
from bench.api.recipes import Recipe, merge
from bench.api.registry import method


@method
@dataclass(frozen=True)
class WeightSpaceEnsemble(AlphaEnsemble):
    """One model on the straight line between the two ends' weights, head included.

    It costs nothing at inference. alpha = 0 is the zero-shot classifier, 1 the fine-tuned one.
    Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, section 3; all tensors
    are interpolated, as in its ``src/wise_ft.py``.
    """

    kind: ClassVar[str] = "WeightSpaceEnsemble"
    name: ClassVar[str] = "wise-ft"
    title: ClassVar[str] = "WiSE-FT"
    summary: ClassVar[str] = "Linear interpolation between zero-shot and fine-tuned weights."
    equation: ClassVar[str] = "theta = (1 - alpha) theta_zs + alpha theta_ft"
    source: ClassVar[str] = "Wortsman et al., CVPR 2022, section 3"

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """The interpolated classifier."""
        alpha = choice["alpha"]
        return (merge((models.zero_shot, models.base), (1 - alpha, alpha)),)

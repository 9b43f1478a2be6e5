"""Model Stock: two training runs, averaged and drawn to the start, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.api.method import Choice, Method, Models
from bench.api.recipe_parts import reseeded
from bench.api.recipes import Recipe, merge_tensors
from bench.api.registry import method
from bench.core.parameters import Count, setting


@dataclass(frozen=True)
class AngleWeights:
    """Weights of the start and of two tuned models, from the angle between their updates.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.methods.model_stock import AngleWeights
    >>> start, one, two = ({"w": np.array(w)} for w in ([0.0, 0.0], [2.0, 0.0], [1.0, 1.0]))
    >>> [round(w, 3) for w in AngleWeights().of([start, one, two])["w"]]  # cos = 0.707
    [0.172, 0.414, 0.414]
    """

    kind: ClassVar[str] = "AngleWeights"

    def of(self, states: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[float]]:
        """Return (1 - t, t/2, t/2) for every tensor, t = 2 cos / (1 + cos), 0 for cos <= 0."""
        start, one, two = states
        found = {}
        for name, origin in start.items():
            # Updates in 64 bits: exactly 1 is the cosine of equal ones.
            a, b = ((state[name] - origin).reshape(-1) for state in (one, two))
            a, b = (x.double() if hasattr(x, "double") else x.astype("float64") for x in (a, b))
            ab, aa, bb = (float((x * y).sum()) for x, y in ((a, b), (a, a), (b, b)))
            size = (aa * bb) ** 0.5
            cosine = min(1.0, max(0.0, ab / size)) if size > 0 else 0.0
            t = 2 * cosine / (1 + cosine)
            found[name] = (1 - t, t / 2, t / 2)
        return found


@method
@dataclass(frozen=True)
class ModelStock(Method):
    """The mean of two training runs that differ in their seed, drawn to the start layer by layer.

    Jang et al., "Model Stock: All we need is just a few fine-tuned models", ECCV 2024, equations 3
    and 4 for two models. The closer to orthogonal the two updates of a tensor are, the more is
    taken from the start. The paper has no negative cosines; here they count as 0. With two equal
    runs it is that run.

    Attributes
    ----------
    apart : the second run has the seed of the first plus this.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models(seed=3)
    >>> (stock,) = find_method("model-stock")().needs(models, {})
    >>> stock.parts[0] == models.zero_shot, [part.seed for part in stock.parts[1:]]
    (True, [3, 1003])
    """

    kind: ClassVar[str] = "ModelStock"
    name: ClassVar[str] = "model-stock"
    title: ClassVar[str] = "Model Stock"
    summary: ClassVar[str] = "Two training runs, averaged and drawn to the start layer by layer."
    equation: ClassVar[str] = (
        "theta = t (theta_1 + theta_2)/2 + (1 - t) theta_zs, t = 2 cos/(1 + cos) per tensor"
    )
    source: ClassVar[str] = "Jang et al., ECCV 2024, section 4"
    year: ClassVar[int | None] = 2024
    venue: ClassVar[str] = "ECCV"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.19522"
    is_newer: ClassVar[bool] = True
    position: ClassVar[int] = 145
    colour: ClassVar[str | None] = "#008890"
    default_base: ClassVar[str | None] = "e2e-ft"
    compared_with: ClassVar[tuple[str, ...]] = ("wise-ft",)

    apart: Count = setting(
        1000, "bench's choice: rows of several seeds share no training; two seeds in the paper"
    )

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return the merge of the start, the base and the base with another seed."""
        other = reseeded(models.base, models.seed + self.apart)
        return (merge_tensors((models.zero_shot, models.base, other), AngleWeights()),)

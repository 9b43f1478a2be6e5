"""Zero-shot classification with text embeddings of the class names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method


@method
@dataclass(frozen=True)
class ZeroShot(Method):
    """The pretrained model: cosine similarity of the image and each class's mean prompt embedding.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
    2021, section 3.1. Nothing is trained and nothing is chosen. It is the zero-shot endpoint of
    every ensemble.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models(tuned=False)
    >>> find_method("zero-shot")().recipe(models) == models.zero_shot
    True
    """

    kind: ClassVar[str] = "ZeroShot"
    name: ClassVar[str] = "zero-shot"
    title: ClassVar[str] = "Zero-shot"
    summary: ClassVar[str] = "The pretrained model, with a head made from the class names."
    equation: ClassVar[str] = "p(y|x) = softmax_y(s cos(f(x), mean of the prompts of y))"
    source: ClassVar[str] = "Radford et al., ICML 2021, section 3.1"
    year: ClassVar[int | None] = 2021
    venue: ClassVar[str] = "ICML"
    paper: ClassVar[str] = "https://arxiv.org/abs/2103.00020"
    position: ClassVar[int] = 0
    colour: ClassVar[str | None] = "#7888f8"

    def recipe(self, models: Models) -> Recipe:
        """Return the zero-shot classifier."""
        return models.zero_shot

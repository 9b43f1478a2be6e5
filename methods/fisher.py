"""Fisher merging: weight-space ensembling in which each weight counts by its Fisher information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.api.method import AlphaEnsemble, Choice, Models
from bench.api.recipes import Fisher, Recipe, merge
from bench.api.registry import method
from bench.core.parameters import Count, Positive


@method
@dataclass(frozen=True)
class FisherMerge(AlphaEnsemble):
    """WiSE-FT's interpolation, each weight of each end weighed by how much it matters there.

    Matena and Raffel, "Merging models with Fisher-weighted averaging", NeurIPS 2022, as
    mlfoundations/wise-ft merges (``src/wise_ft.py``, ``src/models/fisher.py``): the diagonal of
    the Fisher information by single samples, with labels drawn from the model itself.

    Attributes
    ----------
    samples : training samples for the Fisher information of each end.
    floor : no Fisher value counts less.
    """

    kind: ClassVar[str] = "FisherMerge"
    name: ClassVar[str] = "fisher"
    title: ClassVar[str] = "Fisher merge"
    summary: ClassVar[str] = "WiSE-FT with weights weighed by their Fisher information."
    equation: ClassVar[str] = "theta = sum_i c_i F_i theta_i / sum_i c_i F_i, c = 1 - alpha, alpha"
    source: ClassVar[str] = "Matena & Raffel, NeurIPS 2022; mlfoundations/wise-ft src/wise_ft.py"
    on_all_bases: ClassVar[bool] = False

    samples: Count = 1000
    floor: Positive = 1e-8

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """The merged classifier."""
        alpha, ends = choice["alpha"], (models.zero_shot, models.base)
        fishers = tuple(Fisher(end, models.train, self.samples) for end in ends)
        return (merge(ends, (1 - alpha, alpha), fishers, self.floor),)

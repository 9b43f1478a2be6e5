"""Fisher merging: weight-space ensembling with weights by Fisher information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.api.method import AlphaEnsemble, Choice, Models
from bench.api.recipes import Fisher, Recipe, merge
from bench.api.registry import method
from bench.core.parameters import Count, Positive, setting


@method
@dataclass(frozen=True)
class FisherMerge(AlphaEnsemble):
    """WiSE-FT's interpolation with each parameter also weighted by its Fisher information.

    Matena and Raffel, "Merging models with Fisher-weighted averaging", NeurIPS 2022, implemented as
    in mlfoundations/wise-ft (``src/wise_ft.py``, ``src/models/fisher.py``): the diagonal Fisher
    information from single samples, with labels sampled from the model's own predictions.

    Attributes
    ----------
    samples : number of images for the Fisher information of each endpoint; all if there are fewer.
    split : None for images of the training split, or ``selection``. Under the protocol's
        ``selects=test`` the selection split is the ID test set, as in the official code.
    floor : smallest Fisher value used; smaller ones are raised to it.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> (merged,) = find_method("fisher")(samples=100).needs(models, {"alpha": 0.5})
    >>> merged.weights, [fisher.samples for fisher in merged.fishers]
    ((0.5, 0.5), [100, 100])
    """

    kind: ClassVar[str] = "FisherMerge"
    name: ClassVar[str] = "fisher"
    title: ClassVar[str] = "Fisher merge"
    summary: ClassVar[str] = "WiSE-FT with each parameter weighted by its Fisher information."
    equation: ClassVar[str] = "theta = sum_i c_i F_i theta_i / sum_i c_i F_i, c = 1 - alpha, alpha"
    source: ClassVar[str] = "Matena & Raffel, NeurIPS 2022; mlfoundations/wise-ft src/wise_ft.py"
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "NeurIPS"
    paper: ClassVar[str] = "https://arxiv.org/abs/2111.09832"
    position: ClassVar[int] = 130
    colour: ClassVar[str | None] = "#a000d8"
    on_all_bases: ClassVar[bool] = False

    samples: Count = setting(
        1000,
        "bench's choice; every image in mlfoundations/wise-ft src/models/fisher.py, 50,000 on "
        "ImageNet",
        official=50_000,
    )
    split: Literal["selection"] | None = setting(
        None,
        "bench's choice: the training split; the loader of the test set in compute_fisher of "
        "mlfoundations/wise-ft src/models/fisher.py",
        official="selection",
        keyed_if_set=True,
    )
    floor: Positive = setting(1e-8, "mlfoundations/wise-ft src/wise_ft.py")

    def needs(self, models: Models, choice: Choice) -> tuple[Recipe, ...]:
        """Return the merged classifier."""
        alpha, endpoints = choice["alpha"], (models.zero_shot, models.base)
        images = models.train if self.split is None else models.selection
        fishers = tuple(Fisher(endpoint, images, self.samples) for endpoint in endpoints)
        return (merge(endpoints, (1 - alpha, alpha), fishers, self.floor),)

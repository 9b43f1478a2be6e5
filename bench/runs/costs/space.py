"""How much disk and memory pending work needs at least, by the sizes of the model and the data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.api.recipes import Tuned
from bench.models.sources.configurations import model_sizes
from bench.runs.items import FeaturesItem, WeightsItem, WorkItem
from bench.runs.study.study import Study

FLOAT = 4
"""Bytes of a number in float32."""
CHECKPOINTS = 6
"""Numbers per parameter in the two checkpoints of a training: weights and AdamW's two averages."""
TRAINING = 4
"""Numbers per parameter on the device in training: the weight, its gradient, two averages."""


@dataclass(frozen=True)
class SpaceEstimate:
    """Bytes that pending work needs at least; what depends on the batch comes on top.

    Attributes
    ----------
    disk : in the cache: features, weights, and the checkpoints of one training at a time.
    memory : in the machine: the features of the largest split by one encoder.
    device : for the weights in training, their gradients and the optimiser, or for evaluation.

    Examples
    --------
    >>> from bench.runs.costs.space import SpaceEstimate
    >>> SpaceEstimate(disk=8, memory=4, device=2) + SpaceEstimate(disk=1, memory=5, device=0)
    SpaceEstimate(disk=9, memory=5, device=2)
    """

    disk: int = 0
    memory: int = 0
    device: int = 0

    def __add__(self, other: SpaceEstimate) -> SpaceEstimate:
        """Both, one after the other: what is stored stays, memory is used again."""
        memory, device = max(self.memory, other.memory), max(self.device, other.device)
        return SpaceEstimate(self.disk + other.disk, memory, device)


def estimate_space(study: Study, todo: Iterable[WorkItem]) -> SpaceEstimate | None:
    """Return what pending items of a study need; None if the sizes of its model are not known."""
    sizes = model_sizes(study.backbone)
    if sizes is None:
        return None
    items = list(todo)
    rows = [item.split.size for item in items if isinstance(item, FeaturesItem)]
    head = len(study.suite.task.classnames) * (sizes.features + 1)
    trained = [
        (sizes.whole if item.recipe.trainer.tunes_text else sizes.image) + head
        for item in items
        if isinstance(item, WeightsItem) and isinstance(item.recipe, Tuned)
        if item.recipe.trainer.tunes_encoder
    ]
    largest = max(trained, default=0)
    disk = sum(rows) * sizes.features + sum(trained) + CHECKPOINTS * largest
    return SpaceEstimate(
        FLOAT * disk,
        FLOAT * max(rows, default=0) * sizes.features,
        FLOAT * max(TRAINING * largest, sizes.whole if rows else 0),
    )

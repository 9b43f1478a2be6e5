"""The order of samples in a training run, as batches of indices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StepBatches:
    """A batch sampler that yields (epoch, sample, template) indices for one process.

    Attributes
    ----------
    draw : returns the (sample, template) pairs of an epoch, int64 [n, 2], n >= `size`; pairs
        whose sample is -1 are left out of their batch.
    size : number of training samples.
    batch_size : samples per step, over all processes.
    epochs : number of epochs.
    start : the first step; earlier ones are skipped.
    rank, ranks : this process's rank and the number of processes. Each gets its part of every
        batch; all parts have the same length.

    Examples
    --------
    >>> from bench.api.trainer import GradientTrainer
    >>> from bench.models.training.batches import StepBatches
    >>> def draw(epoch):
    ...     return GradientTrainer().draws(0, epoch, size=5, templates=1)
    ...
    >>> batches = StepBatches(draw, size=5, batch_size=2, epochs=2, start=0)
    >>> len(batches), [len(batch) for batch in batches]
    (6, [2, 2, 1, 2, 2, 1])
    """

    draw: Callable[[int], NDArray[np.int64]]
    size: int
    batch_size: int
    epochs: int
    start: int
    rank: int = 0
    ranks: int = 1

    def __len__(self) -> int:
        return self.epochs * self.per_epoch - self.start

    @property
    def per_epoch(self) -> int:
        """Steps per epoch; the last batch may be smaller."""
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Sequence[tuple[int, int, int]]]:
        for epoch in range(self.start // self.per_epoch, self.epochs):
            order = self.draw(epoch).tolist()
            first = max(0, self.start - epoch * self.per_epoch)
            for step in range(first, self.per_epoch):
                drawn = order[step * self.batch_size : (step + 1) * self.batch_size]
                batch = [pair for pair in drawn if pair[0] >= 0]
                per_rank = -(-len(batch) // self.ranks)  # the same number for every rank
                own = range(self.rank, per_rank * self.ranks, self.ranks)
                yield [(epoch, *batch[i % len(batch)]) for i in own]

"""The order of samples in a training run, as batches of indices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


@dataclass(frozen=True)
class StepBatches:
    """A batch sampler that yields (epoch, sample, template) indices, of whole batches.

    Attributes
    ----------
    draw : returns the (sample, template) pairs of an epoch, int64 [n, 2], n >= `size`; pairs
        whose sample is -1 are left out of their batch.
    size : number of training samples.
    batch_size : samples per step, over all processes.
    epochs : number of epochs.
    start : the first step; earlier ones are skipped.

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
                yield [(epoch, *pair) for pair in batch]


@dataclass(frozen=True)
class BatchShare:
    """The part of each batch that one of several processes computes.

    Attributes
    ----------
    rank, ranks : this process's rank and the number of processes.

    Examples
    --------
    >>> from bench.models.training.batches import BatchShare
    >>> [BatchShare(rank, 2).of([10, 11, 12]) for rank in range(2)]
    [[10, 12], [11]]
    >>> BatchShare(1, 2).of([10]), BatchShare(1, 2).count(1)  # one that does not count
    ([10], 0)
    """

    rank: int = 0
    ranks: int = 1

    def of(self, batch: Sequence[Item]) -> list[Item]:
        """Return this process's samples of a batch, every `ranks`-th one.

        A process for which none is left takes the first one, since all have to take part in a step;
        it has no weight.
        """
        return list(batch[self.rank :: self.ranks]) or list(batch[:1])

    def count(self, size: int) -> int:
        """Return the number of samples that count in this process's part of a batch of `size`."""
        return len(range(self.rank, size, self.ranks))


ALONE = BatchShare()
"""Whole batches: the share of the only process."""

"""Whether a training run changed anything: what its schedule, losses and accuracies say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.api.trainer import DIVERGED, GradientTrainer, Trainer
from bench.core.errors import CellError

LOOKED_AT = 512
"""The most training images on which accuracy is compared before and after a training run."""


def effect_caveats(
    trainer: Trainer, size: int, history: Sequence[Mapping[str, float]], accuracies: Sequence[float]
) -> list[str]:
    """Return a sentence for each sign that a training run changed nothing.

    Raises CellError if it diverged in its last step, after which no loss is computed.

    Parameters
    ----------
    trainer : what trained.
    size : the number of training samples.
    history : the entries of its epochs, with ``loss``.
    accuracies : accuracy on training images at the start and at the end, in [0, 1]; NaN if a logit
        is not finite.

    Examples
    --------
    >>> from bench.api.trainer import GradientTrainer
    >>> from bench.models.training.effect import effect_caveats
    >>> for sentence in effect_caveats(GradientTrainer(), 1167, [], accuracies=(0.25, 0.25)):
    ...     print(sentence)
    ...
    Its learning rate never reached the peak: the warm-up of 500 steps is longer than the training \
of 30 steps; set a smaller warmup, such as 0.1.
    Its accuracy on training images did not rise: 25.0% at the start, 25.0% at the end.
    """
    start, end = accuracies
    if math.isnan(end) and not math.isnan(start):
        last = ""
        if isinstance(trainer, GradientTrainer):
            last = f" after step {trainer.epochs * -(-size // trainer.batch_size)}, the last"
        raise CellError(f"{DIVERGED}: its logits are not finite{last}; use a smaller lr")
    found = []
    if isinstance(trainer, GradientTrainer):
        steps = trainer.epochs * -(-size // trainer.batch_size)
        if trainer.warmup > steps:
            found.append(
                f"Its learning rate never reached the peak: the warm-up of {trainer.warmup:g} "
                f"steps is longer than the training of {steps} steps; set a smaller warmup, such "
                "as 0.1."
            )
    losses = [entry["loss"] for entry in history if "loss" in entry]
    if len(losses) > 1 and losses[-1] >= losses[0]:
        found.append(
            f"Its loss did not fall: {losses[0]:.4g} in the first epoch, {losses[-1]:.4g} in the "
            "last."
        )
    if end <= start < 1:
        found.append(
            f"Its accuracy on training images did not rise: {100 * start:.1f}% at the start, "
            f"{100 * end:.1f}% at the end."
        )
    return found

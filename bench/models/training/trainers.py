"""Trainers by gradient descent besides E2E-FT's: of both towers, and of a head alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bench.api.trainer import GradientTrainer
from bench.core.errors import InputError
from bench.core.parameters import NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ContrastiveTrainer(GradientTrainer):
    """Contrastive fine-tuning of a whole CLIP; the head is made of the tuned text tower.

    Every trainable tensor of both towers is tuned, the logit scale included and not clamped. With
    several processes the negatives are those of all. FLYP's settings for ImageNet
    (locuslab/FLYP, README and ``src/models/flyp_loss.py``): AdamW at 1e-5 without clipping.

    Attributes
    ----------
    captions : ``each-image``: every image once per epoch, in a random template. ``rows``: the
        official code's sampling: all (image, template) pairs in one random order, of which an
        epoch takes the next ceil(N / batch) whole batches; an image may come several times in an
        epoch, or not at all.
    smoothing : label smoothing over the batch's captions (CaRot's ``ls``).
    """

    kind: ClassVar[str] = "ContrastiveTrainer"
    title: ClassVar[str] = "both towers"
    version: ClassVar[int] = 2
    tunes_text: ClassVar[bool] = True

    lr: Positive = 1e-5
    clip: NonNegative = 0.0
    captions: Literal["each-image", "rows"] = "each-image"

    def draws(self, seed: int, epoch: int, size: int, templates: int) -> NDArray[np.int64]:
        """The (sample, template) pairs of an epoch."""
        if self.captions == "each-image":
            return super().draws(seed, epoch, size, templates)
        length = -(-size // self.batch_size) * self.batch_size
        first, whole = epoch * length, size * templates
        # Shuffled anew when all pairs are used up, in the middle of an epoch as it may be.
        turns = range(first // whole, (first + length - 1) // whole + 1)
        rows = np.concatenate([self.shuffled(seed, turn, whole, stream=3) for turn in turns])
        start = first - turns[0] * whole
        return np.stack(np.divmod(rows[start : start + length], templates), axis=1)

    def encode(
        self, model: nn.Module, batch: dict[str, Tensor], state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """``images`` and ``texts`` [B, D], normalised, and ``scale``."""
        images, texts, scale = model(batch["inputs"], batch["texts"])
        return {"images": images, "texts": texts, "scale": scale}

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """The symmetric contrastive loss of the batch."""
        from bench.models.training.losses import contrastive_loss

        images, texts, scale = (embeddings[name] for name in ("images", "texts", "scale"))
        return contrastive_loss(images, texts, scale, self.smoothing)


@dataclass(frozen=True)
class HeadTrainer(GradientTrainer):
    """A linear probe by AdamW; defaults are those of wise-ft's ``--freeze-encoder``.

    Attributes
    ----------
    start : ``zero-shot`` (the head made of class names) or ``random`` (torch's for a new layer).
    normalized : whether the head takes L2-normalised features. Without, the start must be random.
    """

    kind: ClassVar[str] = "HeadTrainer"
    title: ClassVar[str] = "linear head"
    version: ClassVar[int] = 2
    tunes_encoder: ClassVar[bool] = False

    lr: Positive = 1e-3
    start: Literal["zero-shot", "random"] = "zero-shot"
    normalized: bool = True

    @property
    def normalize(self) -> bool | None:
        """Whether the head takes L2-normalised features."""
        return self.normalized

    def check(self, starts_normalized: bool) -> None:
        """Raise InputError where the start's head is kept but takes other features."""
        if self.start == "zero-shot" and self.normalized != starts_normalized:
            kinds = {True: "L2-normalised", False: "raw"}
            raise InputError(
                f"a linear head on {kinds[self.normalized]} features cannot start from one on "
                f"{kinds[starts_normalized]} ones: set its start to random, or change normalized"
            )

    def prepare(self, model: nn.Module) -> None:
        """Draw a random head, if that is the start."""
        if self.start == "random":
            model.head.reset_parameters()  # type: ignore[operator, union-attr]

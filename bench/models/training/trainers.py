"""Gradient-based trainers of both CLIP towers and of a linear head alone.

The trainer of E2E-FT is `bench.api.trainer.GradientTrainer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bench.api.trainer import GradientTrainer
from bench.core.errors import InputError
from bench.core.parameters import Count, NonNegative, Positive, setting

if TYPE_CHECKING:
    from torch import Tensor, nn


_FREEZE = "mlfoundations/wise-ft with --freeze-encoder"
_BATCH = "as for the other trainers; 128 is the default of wise-ft's src/args.py"
EMBEDDED = ("images", "texts", "scale", "bias")
"""What a `bench.models.training.networks.DualEncoder` returns."""


@dataclass(frozen=True)
class ContrastiveTrainer(GradientTrainer):
    """Contrastive fine-tuning of a complete CLIP. The head is built from the tuned text tower.

    All trainable tensors of both towers are tuned, including the logit scale, which is not clamped.
    With several processes, the negatives of all processes are used. Defaults are FLYP's settings
    for ImageNet (locuslab/FLYP, README and ``src/models/flyp_loss.py``): AdamW with a learning rate
    of 1e-5, without clipping.

    Attributes
    ----------
    captions : ``each-image``: every image once per epoch, with a random template. ``csv-rows``:
        the official code's sampling. All (image, template) pairs are put in one random order and
        divided into batches, the last of which is smaller; each epoch takes the next
        ceil(N / batch) of them, so an image may occur several times in an epoch or not at all. When
        no batch is left, the pairs are put in another order.
    smoothing : label smoothing over the captions of the batch (CaRot's ``ls``).
    contrast : ``softmax``, over the captions and over the images of the batch, as CLIP was
        pretrained, or ``sigmoid``, of every pair with the model's bias (0 without one), as SigLIP
        was. None is ``softmax``; the plan sets ``sigmoid`` for models pretrained with it.

    Examples
    --------
    >>> from bench.models.training.trainers import ContrastiveTrainer
    >>> trainer = ContrastiveTrainer(captions="csv-rows", batch_size=4)
    >>> trainer.draws(seed=0, epoch=0, size=6, templates=3).shape  # two full batches
    (8, 2)
    >>> [int(sum(trainer.draws(0, epoch, 6, 3)[:, 0] >= 0)) for epoch in range(3)]  # 18 pairs
    [8, 8, 6]
    """

    kind: ClassVar[str] = "ContrastiveTrainer"
    title: ClassVar[str] = "both towers"
    version: ClassVar[int] = 2
    tunes_text: ClassVar[bool] = True

    lr: Positive = setting(1e-5, "locuslab/FLYP, README; MLAI-Yonsei/CaRot's script", span=10)
    clip: NonNegative = setting(0.0, "the codes of FLYP and CaRot do not clip")
    captions: Literal["each-image", "csv-rows"] = setting(
        "each-image",
        "every image once per epoch, or FLYP's shuffled list of all pairs (docs/methods.md section "
        "6; get_csv_dataset in src/datasets/laion.py)",
        official="csv-rows",
    )
    contrast: Literal["softmax", "sigmoid"] | None = setting(
        None, "that of the pretraining, as FLYP's title says", keyed_if_set=True
    )

    def pretrained_with(self, loss: str) -> dict[str, Any]:
        """Return ``contrast`` for models pretrained with the sigmoid loss."""
        return {"contrast": loss} if loss == "sigmoid" else {}

    def prepare(self, model: nn.Module) -> None:
        """Leave the bias as it is under ``softmax``, which does not depend on it."""
        from bench.models.clip import logit_bias

        bias = logit_bias(model.clip)
        if bias is not None and self.contrast != "sigmoid":
            bias.requires_grad_(False)

    def draws(self, seed: int, epoch: int, size: int, templates: int) -> NDArray[np.int64]:
        """Return the (sample, template) pairs of an epoch, int64 [n, 2]."""
        if self.captions == "each-image":
            return super().draws(seed, epoch, size, templates)
        length, pairs = self._whole_batches(size), size * templates
        # A turn is one pass over all pairs; the next one may begin in the middle of an epoch.
        first, turn_length = epoch * length, self._whole_batches(pairs)
        turns = range(first // turn_length, (first + length - 1) // turn_length + 1)
        rows = np.full((len(turns), turn_length), -1)  # -1 where the last batch has no pair
        for row, turn in zip(rows, turns, strict=True):
            row[:pairs] = self.shuffled(seed, turn, pairs, stream=3)
        start = first - turns[0] * turn_length
        return np.stack(np.divmod(rows.ravel()[start : start + length], templates), axis=1)

    def _whole_batches(self, count: int) -> int:
        return -(-count // self.batch_size) * self.batch_size

    def encode(
        self, model: nn.Module, batch: dict[str, Tensor], state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return ``images`` and ``texts`` [B, D], both normalised, ``scale`` and ``bias``."""
        return dict(zip(EMBEDDED, model(batch["inputs"], batch["texts"]), strict=True))

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """Return the contrastive loss of the batch."""
        from bench.models.training.losses import contrastive_loss, sigmoid_loss

        images, texts, scale, bias = (embeddings[name] for name in EMBEDDED)
        if self.contrast == "sigmoid":
            return sigmoid_loss(images, texts, scale, bias, self.smoothing)
        return contrastive_loss(images, texts, scale, self.smoothing)


@dataclass(frozen=True)
class HeadTrainer(GradientTrainer):
    """A linear probe trained with AdamW. Defaults are those of wise-ft's ``--freeze-encoder``.

    Attributes
    ----------
    start : the initial head: ``zero-shot`` (made from the class names) or ``random`` (torch's
        default initialisation).
    normalized : whether the head takes L2-normalised features. If not, `start` must be ``random``.

    Examples
    --------
    >>> from bench.models.training.trainers import HeadTrainer
    >>> HeadTrainer(lr=1e-3).tunes_encoder, HeadTrainer(start="random", normalized=False).normalize
    (False, False)
    """

    kind: ClassVar[str] = "HeadTrainer"
    title: ClassVar[str] = "linear head"
    version: ClassVar[int] = 2
    tunes_encoder: ClassVar[bool] = False
    least_steps: ClassVar[int] = 1000
    most_epochs: ClassVar[int] = 100
    smoke: ClassVar[Mapping[str, Any]] = {"lr": 3e-2, "epochs": 5, "batch_size": 64, "warmup": 0.1}

    lr: Positive = setting(1e-3, _FREEZE, span=10)
    batch_size: Count = setting(512, _BATCH, official=128)
    start: Literal["zero-shot", "random"] = setting("zero-shot", _FREEZE)
    normalized: bool = setting(True, f"{_FREEZE}; VRF. CaRot's heads take raw features")

    @property
    def normalize(self) -> bool | None:
        """Whether the head takes L2-normalised features."""
        return self.normalized

    def pretrained_with(self, loss: str) -> dict[str, Any]:
        """Return a random start on raw features for models without a zero-shot head."""
        return {"start": "random", "normalized": False} if loss == "labels" else {}

    def check(self, starts_normalized: bool) -> None:
        """Raise InputError if training starts from the zero-shot head, but on other features."""
        if self.start == "zero-shot" and self.normalized != starts_normalized:
            kinds = {True: "L2-normalised", False: "raw"}
            raise InputError(
                f"a linear head on {kinds[self.normalized]} features cannot start from one on "
                f"{kinds[starts_normalized]} features: set start to random, or change normalized"
            )

    def prepare(self, model: nn.Module) -> None:
        """Initialise the head at random if `start` is ``random``."""
        if self.start == "random":
            model.head.reset_parameters()  # type: ignore[operator, union-attr]

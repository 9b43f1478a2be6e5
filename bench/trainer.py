"""The trainer contract: from a start (encoder, head) and the training split to tuned weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from bench.parameters import Area, Count, NonNegative, Positive, Precision

if TYPE_CHECKING:
    from torch import Tensor, nn


class TrainInputs(Protocol):
    """What the harness hands a trainer: the start, the training split and the SGD loop."""

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        ...

    def descend(self, trainer: GradientTrainer) -> dict[str, Tensor]:
        """Run the harness's SGD loop with the hooks of `trainer`; see `bench.train`."""
        ...


class Trainer(Protocol):
    """A frozen dataclass whose fields are the hyper-parameters; they enter the recipe's key.

    `title` is how progress names it. `version` is raised whenever the same fields would give other
    weights; a golden-step test fails when they do and it was not. `tunes_encoder` is False for
    trainers of a head alone, whose features are then those of the start.
    """

    title: ClassVar[str]
    version: ClassVar[int]
    tunes_encoder: ClassVar[bool]

    def train(self, inputs: TrainInputs) -> dict[str, Tensor]:
        """Tuned weights: ``encoder.*`` (if tuned), ``head.weight`` [C, D], ``head.bias`` [C]."""
        ...


@dataclass(frozen=True)
class GradientTrainer:
    """A trainer by gradient descent: the defaults of the published recipes and the hooks.

    Defaults are E2E-FT's on ImageNet (WiSE-FT, appendix D.2): AdamW with PyTorch's betas and eps,
    weight decay on every trainable tensor, linear warm-up, cosine to zero, clipping at norm 1.
    Subclasses override hooks; the loop itself is in `bench.train`.

    Attributes
    ----------
    lr : peak learning rate.
    weight_decay : of AdamW, on every trainable tensor, biases and norms included.
    batch_size : samples per step over all devices.
    epochs : passes over the training split.
    warmup : steps if >= 1, a fraction of all steps if < 1.
    clip : maximal gradient norm; 0 for none.
    min_area : smallest area of the random crop, as a fraction of the image.
    flip : whether images are mirrored half of the time; the published recipes do not.
    precision : ``fp32`` or ``bf16`` (autocast; weights stay fp32).
    """

    title: ClassVar[str] = "end to end"
    version: ClassVar[int] = 2
    tunes_encoder: ClassVar[bool] = True

    lr: Positive = 3e-5
    weight_decay: NonNegative = 0.1
    batch_size: Count = 512
    epochs: Count = 10
    warmup: NonNegative = 500
    clip: NonNegative = 1.0
    min_area: Area = 0.9
    flip: bool = False
    precision: Precision = "fp32"

    def train(self, inputs: TrainInputs) -> dict[str, Tensor]:
        """Run the SGD loop from the start."""
        return inputs.descend(self)

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """The tensors that get gradients. Default: all of the classifier's."""
        return list(model.parameters())

    def encode(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings of a batch (``images`` [B, 3, H, W], ``labels`` [B]) for `loss`.

        Default: ``logits`` [B, C] of the classifier, and ``labels``.
        """
        return {"logits": model(batch["images"]), "labels": batch["labels"]}

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """Scalar loss of a batch's embeddings. Default: cross-entropy."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(embeddings["logits"].float(), embeddings["labels"])

    def penalty(self, model: nn.Module) -> Tensor | None:
        """A term on the weights, added to the loss at every step. Default: none."""
        return None

    def after_step(self, model: nn.Module, state: dict[str, Tensor], step: int) -> None:
        """Called after optimiser step `step`; may change `state` in place (an EMA teacher)."""

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """What the trainer keeps besides model and optimiser, at the start of training.

        It is saved with every checkpoint and handed to `after_step`, so that a resumed training
        equals an uninterrupted one. Default: nothing.
        """
        return {}

    def result(self, model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights to keep. Default: the model's own after the last step."""
        return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def rate(trainer: GradientTrainer, step: int, steps: int) -> float:
    """Learning rate of `step` (from 0) of `steps`: linear warm-up, then cosine to zero.

    lr (s+1)/W for s < W, then lr (1 + cos(pi (s-W)/(S-W))) / 2 (wise-ft ``cosine_lr``).
    """
    warmup = trainer.warmup if trainer.warmup >= 1 else trainer.warmup * steps
    if step < warmup:
        return trainer.lr * min(1.0, (step + 1) / warmup)
    return trainer.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

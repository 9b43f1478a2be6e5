"""The trainer contract: from a start (encoder, head) and the training split to tuned weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.parameters import Area, Count, Fraction, NonNegative, Positive, Precision

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class TrainInputs(Protocol):
    """What the harness hands a trainer: the start, the data and the SGD loop."""

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        ...

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes of the task."""
        ...

    def features(self, split: Literal["train", "selection"]) -> tuple[Tensor, Tensor]:
        """Stored features [N, D] of the start's encoder (evaluation transform) and labels [N].

        Only for trainers of a head alone; `selection` only for those that choose on it.
        """
        ...

    def descend(self, trainer: GradientTrainer) -> dict[str, Tensor]:
        """Run the SGD loop (`bench.models.training.loop`) with the hooks of `trainer`."""
        ...


class Trainer(Protocol):
    """A frozen dataclass whose fields are the hyper-parameters; they enter the recipe's key.

    `title` is how progress names it. `version` is raised whenever the same fields would give other
    weights; a golden-step test fails when they do and it was not. `tunes_encoder` is False for
    trainers of a head alone, whose features are then those of the start; `tunes_text` is True for
    those that train the whole CLIP; `selects` for those that choose on the selection split;
    `is_random` is False where the seed changes nothing.
    """

    title: ClassVar[str]
    version: ClassVar[int]
    tunes_encoder: ClassVar[bool]
    tunes_text: ClassVar[bool]
    selects: ClassVar[bool]
    is_random: ClassVar[bool]

    @property
    def normalize(self) -> bool | None:
        """Whether the head takes L2-normalised features; None: as at the start."""
        ...

    @property
    def precision(self) -> Precision:
        """Of the training's forwards, or of the features that a head is trained on."""
        ...

    def check(self, starts_normalized: bool) -> None:
        """Raise InputError if the trainer cannot start from a head on such features."""
        ...

    def train(self, inputs: TrainInputs) -> dict[str, Tensor]:
        """Tuned weights: ``encoder.*`` (if tuned), ``head.weight`` [C, D], ``head.bias`` [C]."""
        ...


@dataclass(frozen=True)
class GradientTrainer:
    """A trainer by gradient descent: the defaults of the published recipes and the hooks.

    Defaults are E2E-FT's on ImageNet (WiSE-FT, appendix D.2): AdamW with PyTorch's betas and eps,
    weight decay on every trainable tensor, linear warm-up, cosine to zero, clipping at norm 1.
    Subclasses override hooks; the loop itself is in `bench.models.training.loop`. `state` is what
    the trainer keeps besides the model, such as an EMA teacher.

    Attributes
    ----------
    lr : peak learning rate.
    weight_decay : on every trainable tensor, biases and norms included.
    batch_size : samples per step over all devices.
    epochs : passes over the training split.
    warmup : steps if >= 1, a fraction of all steps if < 1.
    clip : maximal gradient norm; 0 for none.
    smoothing : label smoothing s: the loss is (1 - s) NLL + s mean over classes of -log p.
    optimizer : ``adamw``, or ``sgd`` with momentum 0.9.
    min_area : smallest area of the random crop, as a fraction of the image.
    flip : whether images are mirrored half of the time; the published recipes do not.
    precision : ``fp32`` or ``bf16`` (autocast; weights stay fp32).
    """

    kind: ClassVar[str] = "GradientTrainer"
    title: ClassVar[str] = "end to end"
    version: ClassVar[int] = 3
    tunes_encoder: ClassVar[bool] = True
    tunes_text: ClassVar[bool] = False
    selects: ClassVar[bool] = False
    is_random: ClassVar[bool] = True

    lr: Positive = 3e-5
    weight_decay: NonNegative = 0.1
    batch_size: Count = 512
    epochs: Count = 10
    warmup: NonNegative = 500
    clip: NonNegative = 1.0
    smoothing: Fraction = 0.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    min_area: Area = 0.9
    flip: bool = False
    precision: Precision = "fp32"

    @property
    def normalize(self) -> bool | None:
        """Whether the head takes L2-normalised features: as at the start."""
        return None

    def check(self, starts_normalized: bool) -> None:
        """Any start will do."""

    def train(self, inputs: TrainInputs) -> dict[str, Tensor]:
        """Run the SGD loop from the start."""
        return inputs.descend(self)

    def draws(self, seed: int, epoch: int, size: int, templates: int) -> NDArray[np.int64]:
        """[n, 2]: the (sample, template) pairs of an epoch, in their order; n >= `size`.

        n is more than `size` at most by what fills the last batch. Default: every sample once in a
        random order, each with a random template.
        """
        samples = self.shuffled(seed, epoch, size, stream=1)
        chosen = random_generator(seed, epoch, 0, 2).integers(templates, size=size)
        return np.stack([samples, chosen], axis=1)

    def shuffled(self, seed: int, turn: int, size: int, stream: int) -> NDArray[np.int64]:
        """A permutation [size] that depends on its arguments only."""
        return random_generator(seed, turn, 0, stream).permutation(size)

    def prepare(self, model: nn.Module) -> None:
        """Change the model before the first step (a random head). Default: nothing."""

    def encode(
        self, model: nn.Module, batch: dict[str, Tensor], state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Embeddings of a batch for `loss`.

        ``inputs`` are images [B, 3, H, W], or features [B, D] where only a head is trained;
        ``labels`` [B]; ``texts`` [B, L] a caption each where the text tower is trained. With
        several processes the embeddings of trainers that tune the text tower are gathered before
        `loss`. Default: ``logits`` [B, C] of the classifier, and ``labels``.
        """
        return {"logits": model(batch["inputs"]), "labels": batch["labels"]}

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """Scalar loss of a batch's embeddings. Default: cross-entropy."""
        from torch.nn.functional import cross_entropy

        logits, labels = embeddings["logits"].float(), embeddings["labels"]
        return cross_entropy(logits, labels, label_smoothing=self.smoothing)

    def penalty(self, model: nn.Module, state: dict[str, Tensor]) -> Tensor | None:
        """A term on the weights, added to the loss at every step. Default: none."""
        return None

    def after_step(self, model: nn.Module, state: dict[str, Tensor], step: int, steps: int) -> None:
        """Called after optimiser step `step` of `steps`; may change `state` in place."""

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """What the trainer keeps besides model and optimiser, at the start of training.

        It is saved with every checkpoint, so that a resumed training equals an uninterrupted one.
        Default: nothing.
        """
        return {}


def epochs_needed(trainer: Trainer, keeps: Sequence[Keep | None]) -> int:
    """How many epochs of a training it takes to know all of `keeps`; 0 if it has none."""
    whole = any(not isinstance(keep, AtEpoch) for keep in keeps)
    ends = [keep.epoch for keep in keeps if isinstance(keep, AtEpoch)]
    return int(getattr(trainer, "epochs", 0)) if whole else max(ends)


def random_generator(seed: int, *place: int) -> np.random.Generator:
    """A generator that depends on `seed` and up to three numbers alone; others are independent.

    The lowest word of Philox's counter, the first, is what counts up as numbers are drawn: two
    places that differ there would share all but a few of their numbers.
    """
    counter = [0, *place, *[0] * (3 - len(place))]
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


def learning_rate(trainer: GradientTrainer, step: int, steps: int) -> float:
    """Learning rate of `step` (from 0) of `steps`: linear warm-up, then cosine to zero.

    lr (s+1)/W for s < W, then lr (1 + cos(pi (s-W)/(S-W))) / 2 (wise-ft ``cosine_lr``).
    """
    warmup = trainer.warmup if trainer.warmup >= 1 else trainer.warmup * steps
    if step < warmup:
        return trainer.lr * min(1.0, (step + 1) / warmup)
    return trainer.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


@dataclass(frozen=True)
class AtEpoch:
    """Keep the weights after epoch `epoch` (from 1) of a training."""

    kind: ClassVar[str] = "AtEpoch"

    epoch: int


@dataclass(frozen=True)
class Average:
    """Keep an exponential moving average of the weights over a training.

    After every step: average = decay average + (1 - decay) weights, from the start's weights.
    """

    kind: ClassVar[str] = "Average"

    decay: float


Keep = AtEpoch | Average

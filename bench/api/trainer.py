"""The trainer contract: train a start (encoder, head) on the training split to tuned weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.parameters import Area, Count, Fraction, NonNegative, Positive, Precision, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


DIVERGED = "training diverged"
"""How the reason of a training run begins whose loss is no longer finite."""


class TrainInputs(Protocol):
    """What the harness passes to a trainer: the start, the data and the SGD loop."""

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        ...

    @property
    def device(self) -> torch.device:
        """The device to compute on."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes of the task."""
        ...

    def features(self, split: Literal["train", "selection"]) -> tuple[Tensor, Tensor]:
        """Return stored features [N, D] of the start's encoder and labels [N].

        The features are computed with the evaluation transform. Only for trainers that train a
        head alone; ``selection`` only for trainers that choose on it (`Trainer.selects`).
        """
        ...

    def log(self, entry: Mapping[str, float]) -> None:
        """Add an entry to the training's history, such as the loss of an epoch; results ignore it.

        The SGD loop does it for every epoch, with ``epoch``, ``loss`` and ``lr``.
        """
        ...

    def descend(self, trainer: GradientTrainer) -> dict[str, Tensor]:
        """Run the SGD loop (`bench.models.training.loop`) with `trainer`; return tuned weights."""
        ...


class Trainer(Protocol):
    """A frozen dataclass whose fields are the hyper-parameters; they enter the recipe's key.

    Class attributes
    ----------------
    title : the name in progress messages.
    version : must be raised whenever the same fields would give other weights. A golden-step test
        fails if weights change and the version does not.
    tunes_encoder : False for trainers of a head alone, which use the features of the start.
    tunes_text : True for trainers that tune the whole CLIP.
    selects : True for trainers that choose on the selection split.
    is_random : False if the seed has no effect.
    """

    title: ClassVar[str]
    version: ClassVar[int]
    tunes_encoder: ClassVar[bool]
    tunes_text: ClassVar[bool]
    selects: ClassVar[bool]
    is_random: ClassVar[bool]

    @property
    def normalize(self) -> bool | None:
        """Whether the head takes L2-normalised features; None to use the setting of the start."""
        ...

    @property
    def precision(self) -> Precision:
        """Precision of the forward passes, or of the features if only a head is trained."""
        ...

    def check(self, starts_normalized: bool) -> None:
        """Raise InputError if the trainer cannot start from a head on such features.

        `starts_normalized` is whether the head of the start takes L2-normalised features.
        """
        ...

    def train(self, inputs: TrainInputs) -> dict[str, Tensor]:
        """Train and return the tuned weights.

        They are ``encoder.*`` (if the encoder is tuned), ``head.weight`` [C, D] and ``head.bias``
        [C].
        """
        ...


_SHARED = "WiSE-FT, appendix D.2; the same in the codes of wise-ft, FLYP and CaRot"
_IMAGES = "the codes of wise-ft, VRF, FLYP and CaRot, which share their transforms"


@dataclass(frozen=True)
class GradientTrainer:
    """End-to-end fine-tuning by gradient descent, and the base class of gradient-based trainers.

    Defaults are those of E2E-FT on ImageNet (WiSE-FT, appendix D.2): AdamW with PyTorch's betas and
    eps, weight decay on every trainable tensor, linear warm-up, cosine decay to zero, and gradient
    clipping at norm 1. The loop itself is in `bench.models.training.loop`; subclasses override its
    hooks. The hooks' argument `state` holds tensors that the trainer needs besides the model, such
    as an EMA teacher. The class attribute `smoke` has the hyper-parameters with which it shows, on
    synthetic images, that it runs; `least_steps` and `most_epochs` bound `suited_to`. Where
    `reads_text` is set, hooks have the pretrained model's text tower, frozen, as ``model.text``
    (`bench.models.training.networks.FrozenText`). `loss_is_mean` says of a `loss` of its own that
    it is a mean over samples, which may be summed over parts of a batch; `reads_projections`, that
    the trainer needs towers that end in linear maps.

    Attributes
    ----------
    lr : peak learning rate.
    weight_decay : weight decay on every trainable tensor, including biases and norms.
    batch_size : samples per step, over all devices.
    epochs : passes over the training split.
    warmup : warm-up length: a number of steps if >= 1, a fraction of all steps if < 1.
    clip : maximum gradient norm; 0 for no clipping.
    smoothing : label smoothing s: the loss is (1 - s) NLL + s mean over classes of -log p.
    optimizer : ``adamw``, or ``sgd`` with momentum 0.9. It changes nothing else: the method
        ``lp-ft-sgd`` has a whole recipe with SGD.
    schedule : None for a rate of its own at every step; ``by-epoch`` for the rate of an epoch's
        first step throughout the epoch.
    min_area : smallest area of the random crop, as a fraction of the image.
    flip : whether to mirror each image with probability 1/2; the published recipes do not.
    precision : ``fp32`` or ``bf16`` (autocast of towers; weights, heads and losses stay fp32).

    Examples
    --------
    >>> from bench.api.trainer import GradientTrainer
    >>> trainer = GradientTrainer(lr=1e-4, epochs=2)
    >>> trainer.draws(seed=0, epoch=0, size=3, templates=2).shape
    (3, 2)
    """

    kind: ClassVar[str] = "GradientTrainer"
    title: ClassVar[str] = "end to end"
    version: ClassVar[int] = 3
    tunes_encoder: ClassVar[bool] = True
    tunes_text: ClassVar[bool] = False
    selects: ClassVar[bool] = False
    is_random: ClassVar[bool] = True
    reads_text: ClassVar[bool] = False
    loss_is_mean: ClassVar[bool] = False
    reads_projections: ClassVar[bool] = False
    smoke: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "epochs": 1, "batch_size": 64, "warmup": 0.1}
    least_steps: ClassVar[int] = 200
    most_epochs: ClassVar[int] = 20

    lr: Positive = setting(3e-5, "WiSE-FT, appendix D.2", span=10)
    weight_decay: NonNegative = setting(0.1, _SHARED, span=10)
    batch_size: Count = setting(512, _SHARED)
    epochs: Count = setting(10, _SHARED, span=2)
    warmup: NonNegative = setting(500, _SHARED)
    clip: NonNegative = setting(1.0, "WiSE-FT, appendix D.2")
    smoothing: Fraction = setting(0.0, "none in the published recipes; the modifier +ls sets it")
    optimizer: Literal["adamw", "sgd"] = setting("adamw", _SHARED)
    schedule: Literal["by-epoch"] | None = setting(
        None, "a rate for every step in the codes of wise-ft, FLYP and CaRot", keyed_if_set=True
    )
    min_area: Area = setting(0.9, _IMAGES)
    flip: bool = setting(False, _IMAGES)
    precision: Precision = setting("fp32", "codes of wise-ft and FLYP; CaRot's trains in fp16")

    @property
    def keyed_version(self) -> int:
        """The version in keys; in bf16 the next one, since heads are computed in fp32 there."""
        return self.version + (self.precision == "bf16" and not self.tunes_text)

    @property
    def normalize(self) -> bool | None:
        """Whether the head takes L2-normalised features; None: as at the start."""
        return None

    def check(self, starts_normalized: bool) -> None:
        """Accept any start."""

    def suited_to(self, images: int, *, small: bool) -> dict[str, float]:
        """Return the hyper-parameters that follow from the number of training images.

        For data without settings of its own, where those for ImageNet would leave a few steps of
        warm-up. docs/recipes.md explains the rules: about eight batches per epoch between 16 and
        512 images each (or the trainer's own batch size, if it is smaller), 10 epochs or as many
        as `least_steps` take, up to `most_epochs`, and a warm-up of a tenth of the steps, at most
        500, unless the trainer has none. `small` is whether the tower is a small one, such as the
        embedded ``tiny``, for which learning rates are 30 times those of a ViT.

        Examples
        --------
        >>> from bench.api.trainer import GradientTrainer
        >>> GradientTrainer().suited_to(1080, small=False)
        {'lr': 3e-05, 'batch_size': 128, 'epochs': 20, 'warmup': 0.1}
        >>> GradientTrainer().suited_to(1_281_167, small=False)
        {'lr': 3e-05, 'batch_size': 512, 'epochs': 10, 'warmup': 500}
        """
        batch = min(self.batch_size, 2 ** max(4, min(9, int(math.log2(max(1, images / 8))))))
        per_epoch = -(-images // batch)
        epochs = max(10, min(self.most_epochs, -(-self.least_steps // per_epoch)))
        warmup = (0.1 if epochs * per_epoch <= 5000 else 500) if self.warmup else 0
        rate = self.lr * 30 if small else self.lr
        return {"lr": rate, "batch_size": batch, "epochs": epochs, "warmup": warmup}

    def pretrained_with(self, loss: str) -> dict[str, Any]:
        """Return the hyper-parameters that follow from the model's pretraining. Default: none.

        `loss` is ``softmax``, as CLIP's, ``sigmoid``, as SigLIP's, or ``labels``, of image towers.
        """
        return {}

    def train(self, inputs: TrainInputs) -> dict[str, Tensor]:
        """Run the SGD loop from the start and return the tuned weights."""
        return inputs.descend(self)

    def draws(self, seed: int, epoch: int, size: int, templates: int) -> NDArray[np.int64]:
        """Return the (sample, template) pairs of an epoch in order, int64 [n, 2].

        n is at least `size`; it may be larger to fill the last batch. A sample of -1 stands for
        none, which makes its batch smaller. Default: every sample once in a random order, each with
        a random template.
        """
        samples = self.shuffled(seed, epoch, size, stream=1)
        chosen = random_generator(seed, epoch, 0, 2).integers(templates, size=size)
        return np.stack([samples, chosen], axis=1)

    def shuffled(self, seed: int, turn: int, size: int, stream: int) -> NDArray[np.int64]:
        """Return a random permutation [size] that depends only on the arguments."""
        return random_generator(seed, turn, 0, stream).permutation(size)

    def prepare(self, model: nn.Module) -> None:
        """Change the model before the first step, e.g. reset its head. Default: do nothing."""

    def encode(
        self, model: nn.Module, batch: dict[str, Tensor], state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the embeddings of a batch that `loss` needs, by name.

        `batch` has ``inputs``: images [B, 3, H, W], or features [B, D] if only a head is trained;
        ``labels`` [B]; ``seed``, a number that only this step has; and, if the text tower is
        trained, ``texts`` [B, L], one tokenised caption per image. An embedding has a row for each
        sample, or is one number that does not depend on the samples, unless `loss_is_mean`. With
        several processes, `loss` gets those of the whole batch unless it is a mean. Default:
        ``logits`` [B, C] of the classifier, and ``labels``.
        """
        return {"logits": model(batch["inputs"]), "labels": batch["labels"]}

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """Return the scalar loss of a batch from its embeddings. Default: cross-entropy.

        Examples
        --------
        >>> import torch
        >>> from bench.api.trainer import GradientTrainer
        >>> logits, labels = torch.zeros(2, 4), torch.tensor([0, 3])
        >>> GradientTrainer().loss({"logits": logits, "labels": labels}, step=0)  # log 4
        tensor(1.3863)
        """
        from torch.nn.functional import cross_entropy

        logits, labels = embeddings["logits"].float(), embeddings["labels"]
        return cross_entropy(logits, labels, label_smoothing=self.smoothing)

    def penalty(self, model: nn.Module, state: dict[str, Tensor]) -> Tensor | None:
        """Return a penalty on the weights to add to the loss at every step. Default: None."""
        return None

    def after_step(self, model: nn.Module, state: dict[str, Tensor], step: int, steps: int) -> None:
        """Update `state` in place after optimiser step `step` of `steps`. Default: do nothing."""

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the trainer's own `state` at the start of training. Default: empty.

        It is saved with every checkpoint, so that a resumed training run equals an uninterrupted
        one.
        """
        return {}


def epochs_needed(trainer: Trainer, keeps: Sequence[Keep | None]) -> int:
    """Return the number of epochs to train for all of `keeps`; 0 for trainers without epochs.

    Examples
    --------
    >>> from bench.api.trainer import AtEpoch, GradientTrainer, epochs_needed
    >>> trainer = GradientTrainer(epochs=10)
    >>> epochs_needed(trainer, [AtEpoch(3), AtEpoch(5)]), epochs_needed(trainer, [AtEpoch(3), None])
    (5, 10)
    """
    needs_all = any(not isinstance(keep, AtEpoch) for keep in keeps)
    epochs = [keep.epoch for keep in keeps if isinstance(keep, AtEpoch)]
    return int(getattr(trainer, "epochs", 0)) if needs_all else max(epochs)


def random_generator(seed: int, *place: int) -> np.random.Generator:
    """Return a generator that depends only on `seed` and up to three numbers.

    Generators for different arguments are independent.

    Examples
    --------
    >>> from bench.api.trainer import random_generator
    >>> random_generator(0, 1, 2).random() == random_generator(0, 1, 2).random()
    True
    >>> random_generator(0, 1, 2).random() == random_generator(0, 1, 3).random()
    False
    """
    # The first (lowest) word of Philox's counter increases as numbers are drawn. Two generators
    # that differed only there would share almost all of their numbers, so it is always 0.
    counter = [0, *place, *[0] * (3 - len(place))]
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


def learning_rate(trainer: GradientTrainer, step: int, steps: int) -> float:
    """Return the learning rate of `step` (from 0) of `steps`: linear warm-up, cosine to zero.

    lr (s+1)/W for s < W, then lr (1 + cos(pi (s-W)/(S-W))) / 2 (wise-ft ``cosine_lr``). With
    ``schedule="by-epoch"``, s is the first step of the step's epoch; without warm-up this is
    torch's ``CosineAnnealingLR`` stepped after each epoch, as in LP-FT's code.

    Examples
    --------
    >>> from bench.api.trainer import GradientTrainer, learning_rate
    >>> trainer = GradientTrainer(lr=1.0, warmup=0.1)
    >>> [round(learning_rate(trainer, step, steps=100), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    >>> trainer = GradientTrainer(lr=1.0, epochs=2, warmup=0, schedule="by-epoch")
    >>> [learning_rate(trainer, step, steps=4) for step in range(4)]
    [1.0, 1.0, 0.5, 0.5]
    """
    if trainer.schedule == "by-epoch":
        step -= step % (steps // trainer.epochs)
    warmup = trainer.warmup if trainer.warmup >= 1 else trainer.warmup * steps
    if step < warmup:
        return trainer.lr * min(1.0, (step + 1) / warmup)
    return trainer.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


@dataclass(frozen=True)
class AtEpoch:
    """Keep the weights after epoch `epoch` (from 1) of a training run.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from bench.api.trainer import AtEpoch
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> third = replace(models.base, keep=AtEpoch(3))
    >>> third.training == models.base  # one training run gives both
    True
    """

    kind: ClassVar[str] = "AtEpoch"

    epoch: int


@dataclass(frozen=True)
class Average:
    """Keep an exponential moving average of the weights over a training run.

    It begins with the weights of the start. After every step,
    average = decay * average + (1 - decay) * weights.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from bench.api.trainer import Average
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> replace(models.base, keep=Average(0.999)).training == models.base
    True
    """

    kind: ClassVar[str] = "Average"

    decay: float


Keep = AtEpoch | Average

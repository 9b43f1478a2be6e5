"""The SGD loop of all gradient-based trainers.

It uses AdamW or SGD on the CPU or on one or more GPUs, in fp32 or bf16. It is reproducible bit for
bit on the same machine and can be resumed after it was killed: the order of samples, their crops
and the random state of every step depend only on the seed and the epoch or step, and checkpoints
contain everything else. Several processes share every batch; a step is that of one process, up to
rounding.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from accelerate.utils import gather
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.api.trainer import (
    DIVERGED,
    AtEpoch,
    Average,
    GradientTrainer,
    Keep,
    Trainer,
    epochs_needed,
    learning_rate,
)
from bench.core.errors import CellError
from bench.core.store import Store
from bench.models.devices import deterministic_algorithms, place_of_process
from bench.models.training.batches import ALONE, BatchShare, StepBatches
from bench.models.training.checkpoints import (
    Checkpoints,
    below,
    is_usable,
    json_of,
    json_tensor,
)
from bench.models.training.gradients import Gradients
from bench.models.training.interrupts import held_interrupts
from bench.models.training.networks import DualEncoder, ImageClassifier
from bench.models.training.reading import decoded_batches
from bench.models.transforms import TrainImages

log = logging.getLogger("bench.progress")
Model = ImageClassifier | DualEncoder
OnProgress = Callable[[int, int], None]
Emit = Callable[[Keep, dict[str, Tensor]], None]
Observe = Callable[[int, int, Tensor, float], None]


@dataclass(frozen=True)
class Training:
    """Everything a training run needs besides the trainer.

    Implements `bench.api.trainer.TrainInputs`.

    Attributes
    ----------
    build : builds the model with the weights of the start.
    images : the training images; None if only a head is trained.
    stored : returns stored features [N, D] and labels [N] of a split, for training a head.
    size : number of training samples.
    classes : number of classes.
    seed : the training seed.
    key : the key of the checkpoints in `store`.
    store : where checkpoints are written.
    device : the device to compute on.
    workers : number of data loading processes.
    progress : called with (samples seen, samples in total).
    keeps : the weights to keep; None stands for the last ones. The loop stops when it has all.
    emit : called with each of `keeps`, except None, and its weights as soon as they are known.
    observe : called after each step with its number from 1, the number of steps of the schedule,
        the loss of the batch (a scalar tensor) and the learning rate.
    logged : called with each entry of the training's history, in order: also, at the start, with
        those that a checkpoint holds.
    accuracy : returns the accuracy of a model on the selection split, in [0, 1], without changing
        it; called after each epoch. None to evaluate nothing.
    micro_batch : the most images that go through the model at a time; None for whole batches
        (see `bench.models.training.gradients.Gradients`).
    finish : makes what the model takes from the images of a batch, on the device.
    remark : called with a sentence that a reader of the weights should know.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from torch import nn
    >>> from bench.core.store import Store
    >>> from bench.models.training.loop import Training
    >>> from bench.models.training.networks import ImageClassifier
    >>> from bench.models.training.trainers import HeadTrainer
    >>> def build(trainer):
    ...     return ImageClassifier(nn.Identity(), torch.zeros(2, 2), torch.zeros(2), True)
    ...
    >>> features, labels = torch.eye(2), torch.tensor([0, 1])
    >>> training = Training(
    ...     build, images=None, stored=lambda split: (features, labels), size=2, classes=2, seed=0,
    ...     key="1f0c", store=Store(Path("store")), device=torch.device("cpu"), workers=0,
    ...     progress=lambda done, total: None,
    ... )
    >>> weight = training.descend(HeadTrainer(lr=0.1, epochs=20))["head.weight"]
    >>> (features @ weight.T).argmax(dim=1)
    tensor([0, 1])
    """

    build: Callable[[Trainer], Model]
    images: TrainImages | None
    stored: Callable[[str], tuple[Tensor, Tensor]]
    size: int
    classes: int
    seed: int
    key: str
    store: Store
    device: torch.device
    workers: int
    progress: OnProgress
    keeps: tuple[Keep | None, ...] = (None,)
    emit: Emit = lambda keep, weights: None
    observe: Observe = lambda step, steps, loss, rate: None
    logged: Callable[[Mapping[str, float]], None] = lambda entry: None
    accuracy: Callable[[Model], float] | None = None
    micro_batch: int | None = None
    finish: Callable[[Tensor], Tensor] = lambda pixels: pixels
    remark: Callable[[str], None] = lambda sentence: None

    def features(self, split: Literal["train", "selection"]) -> tuple[Tensor, Tensor]:
        """Return stored features [N, D] and labels [N] of a split, on the device."""
        return self.stored(split)

    def log(self, entry: Mapping[str, float]) -> None:
        """Add an entry to the training's history."""
        self.logged(entry)

    def descend(self, trainer: GradientTrainer) -> dict[str, Tensor]:
        """Train from the start, or resume from the last checkpoint; return the tuned weights."""
        images = self.images
        if images is not None:
            images = replace(images, min_area=trainer.min_area, flip=trainer.flip)
        with deterministic_algorithms(self.device):
            return _Descent(trainer, replace(self, images=images)).run()

    def batches(
        self, draws: StepBatches, share: BatchShare = ALONE
    ) -> Generator[tuple[int, dict[str, Tensor]], None, None]:
        """Yield the size of each batch and this process's share of it, on the device.

        The share has ``inputs``, ``labels`` and, for images, ``templates``.
        """
        sizes: deque[int] = deque()

        def shares() -> Iterator[Sequence[tuple[int, int, int]]]:
            for batch in draws:
                sizes.append(len(batch))
                yield share.of(batch)

        if self.images is None:
            features, labels = self.stored("train")
            for batch in shares():
                rows = [sample for _, sample, _ in batch]
                yield sizes.popleft(), {"inputs": features[rows], "labels": labels[rows]}
            return
        is_cuda = self.device.type == "cuda"
        with closing(decoded_batches(self.images, shares(), self.workers, is_cuda)) as decoded:
            for parts in decoded:
                pixels, labels, templates = (
                    part.to(self.device, non_blocking=is_cuda) for part in parts
                )
                found = {"inputs": self.finish(pixels), "labels": labels, "templates": templates}
                yield sizes.popleft(), found


class _Descent:
    """One training run: model, optimiser, the trainer's own state and the running averages."""

    def __init__(self, trainer: GradientTrainer, inputs: Training) -> None:
        torch.manual_seed(inputs.seed)
        self.trainer, self.inputs = trainer, inputs
        self.share = BatchShare(*place_of_process())
        self.stops = False
        self.model = inputs.build(trainer).train()
        trainer.prepare(self.model)
        self.model.to(inputs.device)
        self.state = trainer.state_dict(self.model)
        decays = [keep.decay for keep in inputs.keeps if isinstance(keep, Average)]
        self.averages = {decay: _copied(self.model.state_dict()) for decay in decays}
        self.tuned = list(self.model.parameters())
        self.optimizer = _optimizer(trainer, self.tuned, inputs.device)
        self.per_epoch = -(-inputs.size // trainer.batch_size)
        self.checkpoints = Checkpoints(inputs.store, inputs.key)
        self.history: list[dict[str, float]] | None = []
        self.remarks: list[str] = []
        self.summed_loss, self.summed_samples = 0.0, 0  # of this epoch so far
        self.step = self._resume()
        for entry in self.history or ():
            inputs.log(entry)
        if self.step:
            log.info("training goes on after step %d, from its checkpoint", self.step)
        part = None if inputs.images is None else inputs.micro_batch
        parallel = self._parallel()
        self.gradients = Gradients(
            trainer, self.model, parallel, inputs.device, part, self._remark, self.share
        )

    def _parallel(self) -> Any:
        """Return what averages gradients over the processes; the model itself in one process."""
        if self.share.ranks == 1:
            return self.model
        steps = gather(torch.tensor([self.step], device=self.inputs.device)).tolist()
        if len(set(steps)) > 1:
            raise CellError(
                f"the processes have checkpoints of different steps ({min(steps)} to "
                f"{max(steps)}): the cache folder must be one that all see; run the command again"
            )
        # Buffers are constants: models with batch normalisation are refused.
        return DistributedDataParallel(self.model, broadcast_buffers=False)

    def run(self) -> dict[str, Tensor]:
        trainer, inputs = self.trainer, self.inputs
        steps = trainer.epochs * self.per_epoch
        templates = self.model.prompts.shape[1] if isinstance(self.model, DualEncoder) else 1
        batches = StepBatches(
            lambda epoch: trainer.draws(inputs.seed, epoch, inputs.size, templates),
            inputs.size,
            trainer.batch_size,
            epochs_needed(trainer, inputs.keeps),
            self.step,
        )
        read = inputs.batches(batches, self.share)
        try:
            with held_interrupts() as interrupted, closing(read):
                for size, batch in read:
                    self._step(batch, size, steps, interrupted)
                    done = min(self.step * trainer.batch_size, batches.epochs * inputs.size)
                    inputs.progress(done, batches.epochs * inputs.size)
                    if self.step % self.per_epoch == 0:
                        self._log(steps)
                    self._emit()
                    # Several processes stop after the same step.
                    stops = self.stops if self.share.ranks > 1 else interrupted()
                    if stops or self.checkpoints.due:
                        self._save()
                    if stops:
                        raise KeyboardInterrupt
        finally:
            self.checkpoints.finish()
        for decay, average in self.averages.items():
            averaged = copy.deepcopy(self.model)
            averaged.load_state_dict(average)
            inputs.emit(Average(decay), _on_cpu(averaged.weights()))
        return _on_cpu(self.model.weights())

    def _step(
        self, batch: dict[str, Tensor], size: int, steps: int, interrupted: Callable[[], bool]
    ) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.trainer, self.step, steps)
        if isinstance(self.model, DualEncoder):
            batch["texts"] = self.model.prompts[batch["labels"], batch["templates"]]
        seed = self.inputs.seed * 1_000_003 + self.step
        loss = self.gradients.of(batch, size, self.state, self.step, seed)
        if self.share.ranks > 1:
            loss = self._whole(loss, size, interrupted())
        if not torch.isfinite(loss):
            raise CellError(
                f"{DIVERGED}: loss is {loss.item()} after {self.step} of {steps} steps; use a "
                "smaller lr"
            )
        self.summed_loss += loss.double().item() * size
        self.summed_samples += size
        if self.trainer.clip:
            torch.nn.utils.clip_grad_norm_(self.tuned, self.trainer.clip)
        self.optimizer.step()
        self.trainer.after_step(self.model, self.state, self.step, steps)
        for decay, average in self.averages.items():
            for name, tensor in self.model.state_dict().items():
                if tensor.is_floating_point():
                    average[name].lerp_(tensor, 1 - decay)
                else:
                    average[name].copy_(tensor)
        self.step += 1
        self.inputs.observe(self.step, steps, loss, self.optimizer.param_groups[0]["lr"])

    def _whole(self, loss: Tensor, size: int, stops: bool) -> Tensor:
        """Return the loss of the whole batch, and note whether any process is to stop."""
        mine = [loss.double(), loss.new_tensor(self.share.count(size) / size, dtype=torch.double)]
        told = gather(torch.stack([*mine, torch.full_like(mine[1], stops)])[None])
        losses, weights, stopping = told.unbind(dim=1)
        self.stops = bool(stopping.any())
        whole: Tensor = losses @ weights
        return whole

    def _log(self, steps: int) -> None:
        """At the end of an epoch, add it to the history."""
        rate = learning_rate(self.trainer, self.step - 1, steps)
        loss = self.summed_loss / self.summed_samples
        self.summed_loss, self.summed_samples = 0.0, 0
        entry = {"epoch": self.step // self.per_epoch, "loss": loss, "lr": rate}
        if self.inputs.accuracy is not None and self.share.rank == 0:
            self.checkpoints.finish()  # worker processes must not be forked beside a thread
            accuracy = self.inputs.accuracy(self.model)
            entry |= {} if math.isnan(accuracy) else {"selection": accuracy}
        if self.history is not None:
            self.history.append(entry)
            self.inputs.log(entry)

    def _emit(self) -> None:
        """At the end of an epoch whose weights are to be kept, pass them to `Training.emit`."""
        for keep in self.inputs.keeps:
            if isinstance(keep, AtEpoch) and self.step == keep.epoch * self.per_epoch:
                self.inputs.emit(keep, _on_cpu(self.model.weights()))

    def _save(self) -> None:
        """Write a checkpoint: weights, averages, optimiser state, the trainer's state, the step."""
        if self.share.rank:
            return
        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"state.{n}": t for n, t in self.state.items()}
        for decay, average in self.averages.items():
            tensors |= {f"average.{decay}.{n}": t for n, t in average.items()}
        for i, parameter in enumerate(self.tuned):
            moments = self.optimizer.state[parameter]
            tensors |= {f"optimizer.{i}.{n}": torch.as_tensor(t) for n, t in moments.items()}
        tensors["remarks"] = json_tensor(self.remarks)
        if self.history is not None:
            sums = (self.summed_loss, self.summed_samples)
            tensors["sums"] = torch.tensor(sums, dtype=torch.float64)
            tensors["history"] = json_tensor(self.history)
        self.checkpoints.save(self.step, tensors)

    def _resume(self) -> int:
        """Load the last usable checkpoint, if any, and return the step to continue with.

        A checkpoint is not usable if weights of an earlier epoch are to be kept, or if it is none
        of this model, its averages and its optimiser (`is_usable`).
        """
        keeps, device = self.inputs.keeps, self.inputs.device
        first = min([k.epoch for k in keeps if isinstance(k, AtEpoch)], default=math.inf)
        end = min(first * self.per_epoch, self.trainer.epochs * self.per_epoch + 1)
        form = self.model.state_dict(), tuple(self.averages), self.tuned, end
        step, tensors = self.checkpoints.newest(lambda found: is_usable(found, *form))
        if not step:
            return 0
        self.model.load_state_dict(below("model.", tensors))
        self.state = {n: t.to(device) for n, t in below("state.", tensors).items()}
        for decay in self.averages:
            average = below(f"average.{decay}.", tensors)
            self.averages[decay] = {n: t.to(device) for n, t in average.items()}
        for i, parameter in enumerate(self.tuned):
            moments = below(f"optimizer.{i}.", tensors)
            # A fused AdamW has its step counter on the device, too.
            self.optimizer.state[parameter] = {n: t.to(device) for n, t in moments.items()}
        self.history = None  # unknown, if an older version wrote the checkpoint
        if "history" in tensors:
            self.history = json_of(tensors["history"])
            loss, samples = tensors["sums"].tolist()
            self.summed_loss, self.summed_samples = loss, int(samples)
        for sentence in json_of(tensors["remarks"]) if "remarks" in tensors else ():
            self._remark(sentence)
        return step

    def _remark(self, sentence: str) -> None:
        """Pass a sentence on, once; it is kept with checkpoints."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)
            self.inputs.remark(sentence)


def _optimizer(
    trainer: GradientTrainer, tuned: list[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimiser, with weight decay on all tensors (docs/methods.md section 0)."""
    lr, decay, fused = trainer.lr, trainer.weight_decay, device.type in ("cpu", "cuda")
    if trainer.optimizer == "sgd":
        return torch.optim.SGD(tuned, lr, momentum=0.9, weight_decay=decay, fused=fused)
    return torch.optim.AdamW(tuned, lr, weight_decay=decay, fused=fused)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU, which later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}

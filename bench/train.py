"""The one SGD loop: AdamW on accelerate, on the CPU, one or more GPUs, in fp32 or bf16.

It is reproducible bit for bit on the same machine and resumes where it was killed: the order of
samples, their crops and every step's random state depend on (seed, epoch or step) alone, and
checkpoints hold everything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from bench.errors import CellError
from bench.images import TrainImages
from bench.store import Store
from bench.trainer import GradientTrainer, rate

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINT_SECONDS = 60.0
Progress = Callable[[int, int], None]


class ImageClassifier(nn.Module):
    """A CLIP image tower with a linear head: images [B, 3, H, W] -> logits [B, C]."""

    def __init__(self, encoder: nn.Module, weight: Tensor, bias: Tensor, normalize: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.normalize = normalize
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C]."""
        features = self.encoder(images)
        logits: Tensor = self.head(normalize(features, dim=-1) if self.normalize else features)
        return logits


@dataclass(frozen=True)
class Training:
    """All a training needs besides the trainer; satisfies `bench.trainer.TrainInputs`.

    `build` makes the classifier at its start; `key` names the training's checkpoints in `store`;
    `progress` is called with (images seen, images in all).
    """

    build: Callable[[], ImageClassifier]
    images: TrainImages
    size: int
    seed: int
    key: str
    store: Store
    device: torch.device
    workers: int
    progress: Progress

    def descend(self, trainer: GradientTrainer) -> dict[str, Tensor]:
        """Train from the start, or from the last checkpoint of the same training."""
        images = replace(self.images, min_area=trainer.min_area, flip=trainer.flip)
        return _Descent(trainer, replace(self, images=images)).run()


def sample_order(seed: int, epoch: int, size: int) -> list[int]:
    """The permutation of the training samples in an epoch."""
    rng = np.random.Generator(np.random.Philox(key=seed, counter=[epoch, 0, 0, 1]))
    return [int(i) for i in rng.permutation(size)]


@dataclass(frozen=True)
class StepBatches:
    """Batches of (epoch, sample) for the steps from `start`, this rank's share of each."""

    seed: int
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

    def __iter__(self) -> Iterator[Sequence[tuple[int, int]]]:
        for epoch in range(self.start // self.per_epoch, self.epochs):
            order = sample_order(self.seed, epoch, self.size)
            first = max(0, self.start - epoch * self.per_epoch)
            for step in range(first, self.per_epoch):
                batch = order[step * self.batch_size : (step + 1) * self.batch_size]
                share = -(-len(batch) // self.ranks)  # every rank gets equally many
                mine = range(self.rank, share * self.ranks, self.ranks)
                yield [(epoch, batch[i % len(batch)]) for i in mine]


class _Descent:
    """One run of the loop: model, optimiser and the trainer's own state."""

    def __init__(self, trainer: GradientTrainer, inputs: Training) -> None:
        from accelerate import Accelerator

        torch.manual_seed(inputs.seed)
        self.trainer, self.inputs = trainer, inputs
        self.accelerator: Accelerator = Accelerator(
            cpu=inputs.device.type == "cpu", mixed_precision="no"
        )
        self.model = inputs.build().train().to(inputs.device)
        self.state = trainer.state_dict(self.model)
        self.tuned = trainer.parameters(self.model)
        self.optimizer = torch.optim.AdamW(
            self.tuned,
            lr=trainer.lr,
            weight_decay=trainer.weight_decay,
            fused=inputs.device.type in ("cpu", "cuda"),
        )
        self.step, self.saved = self._resume(), 0
        self.parallel = self.accelerator.prepare_model(self.model, device_placement=False)

    def run(self) -> dict[str, Tensor]:
        trainer, inputs = self.trainer, self.inputs
        batches = StepBatches(
            inputs.seed,
            inputs.size,
            trainer.batch_size,
            trainer.epochs,
            self.step,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        steps, saved = trainer.epochs * batches.per_epoch, time.monotonic()
        loader = DataLoader(
            cast(Any, inputs.images),
            batch_sampler=cast(Any, batches),
            num_workers=inputs.workers,
            pin_memory=inputs.device.type == "cuda",
        )
        for images, labels in loader:
            self._step(images, labels, steps)
            done = min(self.step * trainer.batch_size, trainer.epochs * inputs.size)
            inputs.progress(done, trainer.epochs * inputs.size)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save()
                saved = time.monotonic()
        return {n: t.cpu() for n, t in trainer.result(self.model, self.state).items()}

    def _step(self, images: Tensor, labels: Tensor, steps: int) -> None:
        device = self.inputs.device
        torch.manual_seed(self.inputs.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.trainer, self.step, steps)
        batch = {"images": images.to(device), "labels": labels.to(device)}
        # Not accelerate's autocast: its precision is one for the whole process.
        bf16 = self.trainer.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            embeddings = self.trainer.encode(self.parallel, batch)
        loss = self.trainer.loss(embeddings, self.step)
        penalty = self.trainer.penalty(self.model)
        loss = loss if penalty is None else loss + penalty
        if not self.accelerator.gather(torch.isfinite(loss.detach()).reshape(1)).all():
            raise CellError(f"training diverged: loss is {loss.item()} at step {self.step}")
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        if self.trainer.clip:
            torch.nn.utils.clip_grad_norm_(self.tuned, self.trainer.clip)
        self.optimizer.step()
        self.trainer.after_step(self.model, self.state, self.step)
        self.step += 1

    def _save(self) -> None:
        """Write a checkpoint: weights, AdamW's moments, the trainer's state and the step."""
        if not self.accelerator.is_main_process:
            return
        from safetensors.torch import save

        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"state.{n}": t for n, t in self.state.items()}
        for i, parameter in enumerate(self.tuned):
            moments = self.optimizer.state[parameter]
            tensors |= {f"optimizer.{i}.{n}": torch.as_tensor(t) for n, t in moments.items()}
        tensors["step"] = torch.tensor(self.step)
        data = save({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
        self.inputs.store.write(self._slots()[self.saved % 2], data)
        self.saved += 1

    def _slots(self) -> list[Path]:
        """Two files in turn, so that a kill while one is written leaves the other whole."""
        return [self.inputs.store.path("progress", f"{self.inputs.key}-{i}") for i in range(2)]

    def _resume(self) -> int:
        """Load the last checkpoint, if there is one; the step to go on with."""
        from safetensors.torch import load

        saved = [load(d) for slot in self._slots() if (d := self.inputs.store.read(slot))]
        if not saved:
            return 0
        tensors, device = max(saved, key=lambda t: int(t["step"])), self.inputs.device
        self.model.load_state_dict(_below("model.", tensors))
        self.state = {n: t.to(device) for n, t in _below("state.", tensors).items()}
        for i, parameter in enumerate(self.tuned):
            moments = _below(f"optimizer.{i}.", tensors)
            # A fused AdamW keeps its step counter on the device, too.
            self.optimizer.state[parameter] = {n: t.to(device) for n, t in moments.items()}
        return int(tensors["step"])


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

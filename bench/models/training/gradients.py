"""The loss of a batch and its gradients, in parts where the memory does not hold the whole."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.api.trainer import GradientTrainer, random_generator
from bench.core.errors import CellError, InputError
from bench.models.training.batches import ALONE, BatchShare

log = logging.getLogger("bench.progress")
Tensors = dict[str, Tensor]


class Gradients:
    """Computes losses of batches and leaves their gradients in the model's parameters.

    With `part`, at most so many samples go through the model at a time. A mean over samples, which
    is the default loss and any with `loss_is_mean`, is summed over the parts. For any other, such
    as a contrastive one, the embeddings of all parts are computed first, then the loss and its
    gradients in them, and then those of the parameters, part by part (gradient caching: Gao et al.,
    "Scaling deep contrastive learning batch size under memory limited setup", RepL4NLP 2021): every
    pair of the batch counts, at the price of a second forward pass. Both equal the gradients of the
    whole batch up to rounding.

    So do those of several processes, each with its `share` of a batch: means are weighted with the
    number of samples, and for any other loss the embeddings of all processes are gathered.

    If the memory ends, activations are recomputed in the backward pass where the towers can do
    that, which changes no bit; then parts are halved until they fit. If torch has no deterministic
    form of an operation on the device, the step is repeated with what it has.

    Parameters
    ----------
    trainer : gives embeddings, loss and penalty.
    model, parallel : the model, and what wraps it for several processes (else the same).
    device : the device of the model.
    part : the most samples at a time; None for whole batches.
    remark : called with a sentence if the gradients are not, bit for bit, those of whole batches.
    share : which part of a batch is this process's.

    Raises InputError if the model has batch normalisation, whose statistics are those of a part.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from bench.api.trainer import GradientTrainer
    >>> from bench.models.training.gradients import Gradients
    >>> from bench.models.training.networks import ImageClassifier
    >>> model = ImageClassifier(nn.Identity(), torch.eye(2), torch.zeros(2), normalize=True)
    >>> batch = {"inputs": torch.eye(2)[[0, 0, 1]], "labels": torch.tensor([0, 1, 1])}
    >>> found = []
    >>> for part in (None, 2):
    ...     of_parts = Gradients(GradientTrainer(), model, model, torch.device("cpu"), part)
    ...     loss = of_parts.of(batch, size=3, state={}, step=0, seed=0)
    ...     found.append((loss, model.head.bias.grad))
    ...     model.zero_grad()
    >>> torch.testing.assert_close(*found)
    """

    def __init__(
        self,
        trainer: GradientTrainer,
        model: nn.Module,
        parallel: Any,
        device: torch.device,
        part: int | None = None,
        remark: Callable[[str], None] = lambda sentence: None,
        share: BatchShare = ALONE,
    ) -> None:
        self.trainer, self.model, self.parallel = trainer, model, parallel
        self.device, self.remark, self.share = device, remark, share
        self.is_mean = trainer.loss_is_mean or type(trainer).loss is GradientTrainer.loss
        self.normalised = next(
            (name for name, module in model.named_modules() if isinstance(module, _BatchNorm)), None
        )
        if self.normalised and share.ranks > 1:
            raise InputError(
                f"{trainer.title}: the model has batch normalisation ({self.normalised}), whose "
                "statistics are those of the samples that one process has: start one process"
            )
        self.part: int | None = None
        if part is not None and part < trainer.batch_size:
            if self.normalised:
                raise InputError(
                    f"--micro-batch {part}: the model has batch normalisation ({self.normalised}), "
                    "whose statistics are those of the samples that go through it together: leave "
                    "the option out, or use a smaller --train-batch-size"
                )
            self._divide(part, "as --micro-batch demands")

    def of(self, batch: Tensors, size: int, state: Tensors, step: int, seed: int) -> Tensor:
        """Return the loss of a batch, a scalar without gradients; gradients are in the parameters.

        `batch` is this process's share of one of `size` samples. The loss is that of the share if
        it is a mean over samples. `seed` is that of the step's random numbers, such as those of
        dropout. Raises CellError if not even one sample fits into the memory, a loss cannot be
        computed from parts, or, with several processes, a parameter has no gradient.
        """
        statistics = self._statistics()
        batch = batch | {"seed": torch.tensor(seed)}
        while True:
            self.model.zero_grad(set_to_none=True)
            try:
                loss = self._of(batch, size, state, step, seed)
                self._check_all_have_gradients()
                return loss
            except torch.cuda.OutOfMemoryError as error:
                if self.share.ranks > 1:
                    raise CellError(
                        f"out of memory in a process with {len(batch['labels'])} samples of a "
                        "batch: set --micro-batch, or use more devices"
                    ) from error
            except RuntimeError as error:
                self._give_up_determinism(error)
                for buffer, value in statistics:
                    buffer.copy_(value)
                continue
            # Outside the handler, as the exception holds the tensors of the pass that failed.
            self._save_memory(len(batch["labels"]))

    def _of(self, batch: Tensors, size: int, state: Tensors, step: int, seed: int) -> Tensor:
        here = len(batch["labels"])
        if self.part is None or here <= self.part:
            torch.manual_seed(seed)
            loss = self._loss(self._embeddings(batch, state), size, step)
            penalty = self.trainer.penalty(self.model, state)
            weighted = loss * self._weight(size) if self.share.ranks > 1 else loss
            (weighted if penalty is None else weighted + penalty).backward()  # type: ignore[no-untyped-call]
            return (loss if penalty is None else loss + penalty).detach()
        parts = [slice(i, min(i + self.part, here)) for i in range(0, here, self.part)]
        if self.is_mean:
            return self._summed(batch, size, parts, state, step, seed)
        return self._cached(batch, size, parts, state, step, seed)

    def _check_all_have_gradients(self) -> None:
        """Raise CellError for a parameter that is left out: torch averages all of them, or none."""
        for name, parameter in self.model.named_parameters() if self.share.ranks > 1 else ():
            if parameter.requires_grad and parameter.grad is None:
                raise CellError(
                    f"{self.trainer.title}: the loss does not depend on {name}, which several "
                    "processes cannot train with: start one process, or have the trainer's prepare "
                    "call requires_grad_(False) on it"
                )

    def _weight(self, size: int) -> float:
        """Return the factor of this process's loss, since the gradients of all are averaged."""
        return self.share.count(size) * self.share.ranks / size if self.is_mean else 1.0

    def _embeddings(self, batch: Tensors, state: Tensors) -> Tensors:
        # accelerate's autocast is not used, because its precision is global to the process.
        bf16 = self.trainer.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return self.trainer.encode(self.parallel, batch, state)

    def _loss(self, embeddings: Tensors, size: int, step: int) -> Tensor:
        if self.share.ranks > 1 and not self.is_mean:
            rows = len(self.share.of(range(size)))
            if unfit := [n for n, t in embeddings.items() if t.ndim and len(t) != rows]:
                raise self._indivisible("in several processes", unfit[0])
            embeddings = {n: _gathered(t, size, self.share) for n, t in embeddings.items()}
        return self.trainer.loss(embeddings, step)

    def _summed(
        self,
        batch: Tensors,
        size: int,
        parts: Sequence[slice],
        state: Tensors,
        step: int,
        seed: int,
    ) -> Tensor:
        """Return the mean over samples, summed over the parts, and its gradients."""
        total, here = torch.zeros((), device=self.device), len(batch["labels"])
        for own, synchronised in self._each(batch, parts, seed):
            with synchronised:
                loss = self._loss(self._embeddings(own, state), size, step)
                loss = loss * (len(own["labels"]) / here)
                total += loss.detach()
                weighted = loss * self._weight(size) if self.share.ranks > 1 else loss
                weighted.backward()  # type: ignore[no-untyped-call]
        return total + self._penalty_alone(state)

    def _cached(
        self,
        batch: Tensors,
        size: int,
        parts: Sequence[slice],
        state: Tensors,
        step: int,
        seed: int,
    ) -> Tensor:
        """Return a loss of all embeddings together, and its gradients."""
        with torch.no_grad():
            found = [self._embeddings(own, state) for own, _ in self._each(batch, parts, seed)]
        whole = {name: self._joined(name, [one[name] for one in found], parts) for name in found[0]}
        leaves = {n: t.detach().requires_grad_(t.is_floating_point()) for n, t in whole.items()}
        floating = [name for name, tensor in leaves.items() if tensor.requires_grad]
        loss = self._loss(leaves, size, step)
        slopes = torch.autograd.grad(loss, [leaves[n] for n in floating], allow_unused=True)
        known = {n: slope for n, slope in zip(floating, slopes, strict=True) if slope is not None}
        for i, (own, synchronised) in enumerate(self._each(batch, parts, seed)):
            with synchronised:
                embeddings = self._embeddings(own, state)
                # What has no rows, such as a temperature, is the same in all parts. The last one
                # has it, since there processes wait for the gradients of all parameters.
                pairs = [
                    (embeddings[name], slope[parts[i]] if slope.ndim else slope)
                    for name, slope in known.items()
                    if embeddings[name].requires_grad and (slope.ndim or i == len(parts) - 1)
                ]
                torch.autograd.backward([one for one, _ in pairs], [slope for _, slope in pairs])
        return loss.detach() + self._penalty_alone(state)

    def _each(
        self, batch: Tensors, parts: Sequence[slice], seed: int
    ) -> Iterator[tuple[Tensors, AbstractContextManager[None]]]:
        """Yield the parts of a batch, each with random numbers of its own, the same every time.

        With each is a context in which its gradients stay in this process until the last part's.
        """
        for i, rows in enumerate(parts):
            own = int(random_generator(seed, i).integers(2**32))  # torch's CPU takes 32 bits
            torch.manual_seed(own)
            waits = i < len(parts) - 1
            held = self.parallel.no_sync() if waits and self.share.ranks > 1 else nullcontext()
            yield {n: tensor[rows] if tensor.ndim else tensor for n, tensor in batch.items()}, held

    def _joined(self, name: str, found: list[Tensor], parts: Sequence[slice]) -> Tensor:
        """Return an embedding of the whole batch: its rows, or the number that all parts have."""
        first = found[0]
        if first.ndim:
            fits = [len(one) for one in found] == [rows.stop - rows.start for rows in parts]
        else:
            fits = all(torch.allclose(one, first, 0, 0, equal_nan=True) for one in found)
        if not fits:
            raise self._indivisible("in parts of a batch", name)
        return torch.cat(found) if first.ndim else first

    def _indivisible(self, how: str, name: str) -> CellError:
        return CellError(
            f"training {self.trainer.title} does not go {how}: its embedding {name} is neither a "
            "row for each sample nor the same number in all parts; if its loss is a mean over "
            "samples, set loss_is_mean"
        )

    def _penalty_alone(self, state: Tensors) -> Tensor:
        """Return the penalty, 0 if there is none, and add its gradients."""
        penalty = self.trainer.penalty(self.model, state)
        if penalty is None:
            return torch.zeros((), device=self.device)
        penalty.backward()  # type: ignore[no-untyped-call]
        return penalty.detach()

    def _statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Return the buffers that a forward pass changes, and copies, if it may be repeated."""
        if self.normalised is None or not _is_strict():
            return []
        return [(buffer, buffer.clone()) for buffer in self.model.buffers()]

    def _give_up_determinism(self, error: RuntimeError) -> None:
        """Allow what has no deterministic form from now on. Raises any other error."""
        if "deterministic" not in str(error) or not _is_strict():
            raise error
        torch.use_deterministic_algorithms(True, warn_only=True)
        warnings.filterwarnings("ignore", ".*deterministic.*", UserWarning)
        log.debug("not deterministic", exc_info=error)
        self.remark(
            f"Another run of this training may differ in its last digits: {str(error).split()[0]} "
            "has no deterministic form on this device."
        )

    def _save_memory(self, size: int) -> None:
        """Use less memory from now on. Raises CellError if that is not possible."""
        self.model.zero_grad(set_to_none=True)
        gc.collect()
        torch.cuda.empty_cache()
        now = size if self.part is None else min(self.part, size)
        advice = "use a smaller --train-batch-size, --precision bf16 or a larger device"
        if self.normalised:
            raise CellError(
                f"out of memory with {now} samples, which cannot go through the model in parts, as "
                f"it has batch normalisation ({self.normalised}): {advice}"
            )
        if self._recompute():
            log.info("out of memory: activations are computed again in the backward pass")
        elif now > 1:
            self._divide(-(-now // 2), f"since {now} did not fit into the memory")
        else:
            raise CellError(f"out of memory with a single sample: {advice}")

    def _divide(self, part: int, why: str) -> None:
        self.part = part
        log.info("gradients of at most %d samples at a time, %s", part, why)
        self.remark(
            f"Its gradients were added up over parts of at most {part} samples, {why}: they equal "
            "those of whole batches up to rounding, not bit for bit."
        )

    def _recompute(self) -> bool:
        """Have the towers recompute activations; return whether that is new."""
        found = False
        for module in (getattr(self.model, "encoder", None), getattr(self.model, "clip", None)):
            if module is None or not hasattr(module, "set_grad_checkpointing"):
                continue
            blocks = [b for b in module.modules() if hasattr(b, "grad_checkpointing")]
            stored = [b for b in blocks if not b.grad_checkpointing]
            module.set_grad_checkpointing(True)
            found = found or any(b.grad_checkpointing for b in stored)
        return found


def _is_strict() -> bool:
    """Whether torch raises an error for what has no deterministic form."""
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled() and not warns


def _gathered(embeddings: Tensor, size: int, share: BatchShare) -> Tensor:
    """Return the embeddings [size, ...] of all processes in the order of the batch, with gradients.

    Scalars are unchanged.
    """
    from torch.distributed.nn.functional import all_gather

    if embeddings.ndim == 0:
        return embeddings
    if len(embeddings) < -(-size // share.ranks):  # all have to send as much
        embeddings = torch.cat([embeddings, embeddings[-1:]])
    every = torch.stack(all_gather(embeddings), dim=1)  # type: ignore[no-untyped-call]
    return every.flatten(0, 1)[:size]

"""Checkpoints of a training run: written in the background, and gone on from if they fit.

A checksum does not say that they do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from bench.core.store import Store

CHECKPOINT_SECONDS = 5.0
"""The least time between two checkpoints."""
CHECKPOINT_SHARE = 0.05
"""The most of a training's time that checkpoints may take, which makes those of large models rarer.
"""

State = Mapping[str, Tensor]


class Checkpoints:
    """The checkpoints of the training run `key` in `store`.

    They alternate between two files: if one is damaged, the other is intact. A thread writes them,
    so that training waits only while its tensors are copied; what a kill leaves half-written is
    swept with the store's other temporary files.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.core.store import Store
    >>> from bench.models.training.checkpoints import Checkpoints
    >>> checkpoints = Checkpoints(Store(Path("store")), "1f0c")
    >>> checkpoints.save(7, {"weight": torch.ones(2)})
    >>> checkpoints.finish()
    >>> Checkpoints(Store(Path("store")), "1f0c").newest(lambda tensors: True)
    (7, {'weight': tensor([1., 1.])})
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.slots = [f"{key}-{i}" for i in range(2)]
        self.saved = 0
        self.ended, self.took = time.monotonic(), 0.0
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def newest(self, usable: Callable[[State], bool]) -> tuple[int, State]:
        """Return the step and the tensors of the last checkpoint that is usable; else (0, {}).

        `usable` is asked of the tensors, with the ``step`` among them.
        """
        from safetensors.torch import load

        stored = ((i, self.store.read("progress", slot)) for i, slot in enumerate(self.slots))
        data = {i: load(packed) for i, packed in stored if packed is not None}
        found = {i: tensors for i, tensors in data.items() if usable(tensors)}
        if not found:
            return 0, {}
        last = max(found, key=lambda i: int(found[i]["step"]))
        self.saved = last + 1  # the next checkpoint goes to the other file
        tensors = found[last]
        return int(tensors.pop("step")), tensors

    @property
    def due(self) -> bool:
        """Whether the last one was written long enough ago."""
        is_written = self.writing is None or self.writing.done()
        pause = max(CHECKPOINT_SECONDS, self.took / CHECKPOINT_SHARE)
        return is_written and time.monotonic() - self.ended > pause

    def save(self, step: int, tensors: State) -> None:
        """Copy what is to be kept of a step and have it written. Raises as `finish` does."""
        self.finish()
        began = time.monotonic()
        kept = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
        kept["step"] = torch.tensor(step)
        slot = self.slots[self.saved % 2]
        self.saved += 1
        self.writing = self.thread.submit(self._write, slot, kept, began)

    def finish(self) -> None:
        """Wait until what was saved is written. Raises OSError if it cannot be."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def discard(self) -> None:
        """Remove all, after the end of the training run."""
        self.finish()
        for slot in self.slots:
            self.store.discard("progress", slot)

    def _write(self, slot: str, tensors: State, began: float) -> None:
        from safetensors.torch import save

        self.store.write("progress", slot, save(dict(tensors)))
        self.ended = time.monotonic()
        self.took = self.ended - began


def json_tensor(value: Any) -> Tensor:
    """Return a JSON value as a tensor, its text in bytes, uint8 [n].

    Examples
    --------
    >>> from bench.models.training.checkpoints import json_of, json_tensor
    >>> json_of(json_tensor([1, {"loss": 0.5}]))
    [1, {'loss': 0.5}]
    """
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def json_of(tensor: Tensor) -> Any:
    """Return the value of a `json_tensor`.

    Examples
    --------
    >>> from bench.models.training.checkpoints import json_of, json_tensor
    >>> json_of(json_tensor("step"))
    'step'
    """
    return json.loads(bytes(tensor.tolist()))


def below(prefix: str, tensors: State) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, by the rest of their names.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.checkpoints import below
    >>> list(below("model.", {"model.bias": torch.zeros(2), "step": torch.tensor(3)}))
    ['bias']
    """
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def is_usable(
    tensors: State,
    model: State,
    decays: Iterable[float],
    tuned: Sequence[Tensor],
    end: float,
) -> bool:
    """Return whether a checkpoint is one of a model, at a step from 1 to below `end`.

    `model` is the state of the model, of which it must have the averages with `decays`, too. The
    optimiser's state must fit the parameters `tuned`.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.checkpoints import is_usable
    >>> saved = {"step": torch.tensor(3), "model.bias": torch.zeros(2)}
    >>> is_usable(saved, {"bias": torch.ones(2)}, (), [], end=5)
    True
    >>> is_usable(saved, {"bias": torch.ones(3)}, (), [], end=5)
    False
    """
    step = tensors.get("step")
    if step is None or step.shape != () or step.dtype != torch.int64 or not 1 <= int(step) < end:
        return False
    states = [below(f"{name}.", tensors) for name in ("model", *(f"average.{d}" for d in decays))]
    if any(_forms(state) != _forms(model) for state in states):
        return False
    for place, parameter in enumerate(tuned):
        for moment in below(f"optimizer.{place}.", tensors).values():
            if moment.shape not in ((), parameter.shape) or not moment.isfinite().all():
                return False
    remarks = tensors.get("remarks", json_tensor([]))
    return _is_list(remarks, str) and ("history" not in tensors or _is_history(tensors))


def _forms(tensors: State) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _is_history(tensors: State) -> bool:
    sums = tensors.get("sums")
    is_whole = sums is not None and sums.shape == (2,) and bool(sums.isfinite().all())
    return is_whole and _is_list(tensors["history"], dict)


def _is_list(tensor: Tensor, kind: type) -> bool:
    """Whether a tensor is the `json_tensor` of a list of values of a kind."""
    if tensor.dtype != torch.uint8:
        return False
    try:
        found = json_of(tensor)
    except (ValueError, RecursionError, TypeError):
        return False
    return isinstance(found, list) and all(isinstance(one, kind) for one in found)

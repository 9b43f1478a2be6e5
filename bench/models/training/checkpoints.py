"""Checkpoints of a training run, written in the background."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
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
    >>> Checkpoints(Store(Path("store")), "1f0c").newest(lambda step, tensors: step < 9)
    (7, {'weight': tensor([1., 1.])})
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.slots = [f"{key}-{i}" for i in range(2)]
        self.saved = 0
        self.ended, self.took = time.monotonic(), 0.0
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def newest(self, usable: Callable[[int, State], bool]) -> tuple[int, State]:
        """Return the step and the tensors of the last checkpoint that is usable; else (0, {})."""
        from safetensors.torch import load

        stored = ((i, self.store.read("progress", slot)) for i, slot in enumerate(self.slots))
        data = {i: load(packed) for i, packed in stored if packed is not None}
        steps = {i: int(tensors.pop("step")) for i, tensors in data.items()}
        found = [i for i in data if usable(steps[i], data[i])]
        if not found:
            return 0, {}
        last = max(found, key=lambda i: steps[i])
        self.saved = last + 1  # the next checkpoint goes to the other file
        return steps[last], data[last]

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

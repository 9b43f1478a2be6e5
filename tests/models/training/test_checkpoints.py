"""Checkpoints of trainings by hand: a right checksum, and content that is of no such training."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from picture_training import QUICK, training
from safetensors.torch import load, save
from torch import Tensor

from bench.core.store import Store
from bench.core.store.container import opened
from bench.models.training.loop import Training

State = dict[str, Tensor]
BRACE = torch.tensor([ord("{")], dtype=torch.uint8)


def of_one(state: State, prefix: str) -> str:
    return max((name for name in state if name.startswith(prefix)), key=lambda n: state[n].numel())


def without(prefix: str) -> Callable[[State], State]:
    return lambda state: {n: t for n, t in state.items() if n != of_one(state, prefix)}


def with_other(prefix: str, change: Callable[[Tensor], Tensor]) -> Callable[[State], State]:
    return lambda state: state | {(name := of_one(state, prefix)): change(state[name])}


FORGED: dict[str, Callable[[State], State]] = {
    "nothing": lambda state: {},
    "no step": without("step"),
    "no weights": without("model."),
    "weights of another shape": with_other("model.", lambda t: t[:1]),
    "weights of another type": with_other("model.", Tensor.double),
    "moments of another shape": with_other("optimizer.", lambda t: t.flatten()[:3]),
    "moments that are not finite": with_other("optimizer.", lambda t: t / 0),
    "more weights": lambda state: state | {"model.other": torch.zeros(2)},
    "a step before the first": lambda state: state | {"step": torch.tensor(-1)},
    "a step after the last": lambda state: state | {"step": torch.tensor(10**9)},
    "a step that is a fraction": lambda state: state | {"step": torch.tensor(2.5)},
    "several steps": lambda state: state | {"step": torch.tensor([1, 2])},
    "a history that is no list": lambda state: state | {"history": BRACE},
    "remarks that are no list": lambda state: state | {"remarks": BRACE},
    "a history without sums": without("sums"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> State:
    return QUICK.train(training(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("name", FORGED)
def test_a_checkpoint_of_another_form_is_not_gone_on_from(
    name: str, whole: State, tmp_path: Path
) -> None:
    """They ended in internal errors or in other weights."""
    inputs, store = interrupted(tmp_path)
    files = sorted((store.root / "progress").rglob("*.safetensors"))
    assert files
    for path in files:
        state = load(opened(f"progress/{path.stem}", path.read_bytes()))
        store.write("progress", path.stem, save(FORGED[name](state)))
    seen: list[int] = []
    found = QUICK.train(replace(inputs, progress=lambda done, _: seen.append(done)))
    assert seen[0] == min(QUICK.batch_size, inputs.size)  # from the start
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[n], whole[n]) for n in whole)


def interrupted(folder: Path) -> tuple[Training, Store]:
    """A training with a checkpoint, and its store."""
    inputs, seen = training(folder), list[int]()

    def strike(done: int, _: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        QUICK.train(replace(inputs, progress=strike))
    return inputs, Store(inputs.store.root)

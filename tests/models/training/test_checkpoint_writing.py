"""Checkpoints are written beside the steps, seldom enough, and hold what the step had."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

import bench.models.training.checkpoints as module
from bench.core.store import Store
from bench.models.training.checkpoints import Checkpoints


class Slow(Store):
    """A store whose writes wait until they may go on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        object.__setattr__(self, "go", threading.Event())

    def write(self, kind: str, key: str, packed: bytes) -> None:
        assert self.go.wait(30)
        super().write(kind, key, packed)


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    checkpoints, weight = Checkpoints(store, "key"), torch.ones(3)
    checkpoints.save(1, {"weight": weight})
    weight.add_(1)  # the next step, while the store still waits
    assert not checkpoints.due
    store.go.set()
    checkpoints.finish()
    step, tensors = Checkpoints(store, "key").newest(lambda tensors: True)
    assert step == 1 and tensors["weight"].tolist() == [1, 1, 1]


def test_checkpoints_take_a_twentieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    checkpoints = Checkpoints(Store(tmp_path), "key")
    assert not checkpoints.due
    now += 5.1
    assert checkpoints.due
    checkpoints.save(1, {})
    checkpoints.finish()
    checkpoints.took = 3.0
    now += 59.9
    assert not checkpoints.due
    now += 0.2
    assert checkpoints.due


def test_the_last_usable_one_is_found_and_the_other_replaced(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Store(tmp_path), "key")
    for step in (1, 2, 3):
        checkpoints.save(step, {"weight": torch.tensor(step)})
    checkpoints.finish()
    again = Checkpoints(Store(tmp_path), "key")
    assert again.newest(lambda tensors: tensors["step"] < 3)[0] == 2
    again.save(4, {"weight": torch.tensor(4)})  # in place of 3, which was not usable
    again.finish()
    assert Checkpoints(Store(tmp_path), "key").newest(lambda tensors: tensors["step"] == 3)[0] == 0
    again.discard()
    assert Checkpoints(Store(tmp_path), "key").newest(lambda tensors: True) == (0, {})


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "progress").write_text("a file where the folder would be")
    checkpoints = Checkpoints(Store(tmp_path), "key")
    checkpoints.save(1, {"weight": torch.ones(1)})
    with pytest.raises(OSError):
        checkpoints.finish()

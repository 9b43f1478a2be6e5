"""Interrupts in training: a checkpoint first, then KeyboardInterrupt; resumed to the same bits."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from picture_training import QUICK, training

from bench.models.training.interrupts import held_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stores_a_checkpoint_of_the_step_it_came_in(
    number: signal.Signals, tmp_path: Path
) -> None:
    whole = QUICK.train(training(tmp_path / "whole"))
    seen: list[int] = []

    def strike(done: int, _: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        QUICK.train(replace(training(tmp_path / "cut"), progress=strike))
    assert len(seen) == 3  # the step is finished, and no other is begun
    later: list[int] = []
    rest = QUICK.train(
        replace(training(tmp_path / "cut"), progress=lambda done, _: later.append(done))
    )
    assert later[0] > seen[-1]
    assert rest.keys() == whole.keys()
    assert all(torch.equal(rest[name], whole[name]) for name in whole)


def test_a_second_signal_is_not_held() -> None:
    with pytest.raises(KeyboardInterrupt), held_interrupts() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second interrupt was held")


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with held_interrupts() as interrupted:
        assert not interrupted()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_hold_nothing() -> None:
    found: list[bool] = []

    def work() -> None:
        with held_interrupts() as interrupted:
            found.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]

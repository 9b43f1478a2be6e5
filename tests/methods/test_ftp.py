"""FTP: every step ends with a projection towards the start, to learned radii."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from block_training import QUICK, build, resumed, same, tuned
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.api.registry import find_method
from bench.api.trainer import GradientTrainer
from bench.methods.ftp import LEAST, Projected, projected, row_norms

FTP = Projected(**QUICK, clip=0.0)
PLAIN = GradientTrainer(**QUICK, clip=0.0, weight_decay=0.0)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(st.integers(0, 10_000), st.floats(0, 10))
def test_no_row_is_farther_than_its_radius_and_others_stay(seed: int, radius: float) -> None:
    start, end = drawn(seed, 4, 3, 2), drawn(seed + 1, 4, 3, 2)
    found = projected(start, end, torch.tensor(radius))
    far = (end - start).abs().sum(dim=(1, 2))
    for row in range(4):
        if far[row] <= radius:
            assert torch.equal(found[row], end[row])
        else:
            assert (found[row] - start[row]).abs().sum() == pytest.approx(radius, abs=1e-4)
            towards = (found[row] - start[row]) * far[row]
            torch.testing.assert_close(towards, (end[row] - start[row]) * radius, atol=1e-3, rtol=0)


def test_its_limits_are_the_start_and_plain_fine_tuning() -> None:
    start, end = drawn(0, 5, 3), drawn(1, 5, 3)
    assert torch.equal(projected(start, end, torch.tensor(float("inf"))), end)
    assert torch.equal(projected(start, end, torch.tensor(0.0)), start)


def test_norms_of_vectors_and_numbers_are_those_of_the_whole() -> None:
    assert row_norms(torch.tensor([1.0, -2.0])).tolist() == [3]
    assert row_norms(torch.tensor(-2.0)).item() == 2
    assert row_norms(torch.ones(2, 3, 4)).shape == (2, 1, 1)


def test_radii_that_grow_at_once_give_plain_fine_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def free(start: Tensor, end: Tensor, radius: Tensor) -> Tensor:
        return projected(start, end, torch.tensor(float("inf")))

    monkeypatch.setattr("bench.methods.ftp.projected", free)
    assert same(tuned(FTP, tmp_path / "a"), tuned(PLAIN, tmp_path / "b"))


def test_radii_that_do_not_grow_leave_the_start(tmp_path: Path) -> None:
    found = tuned(replace(FTP, radius_lr=1e-12), tmp_path)
    for name, start in build().state_dict().items():
        torch.testing.assert_close(found[name], start, atol=1e-6, rtol=0)


def test_the_head_may_move_freely(tmp_path: Path) -> None:
    bound = replace(FTP, radius_lr=1e-12, with_head=False)
    start, found = build().state_dict(), tuned(bound, tmp_path)
    assert (found["head.weight"] - start["head.weight"]).abs().max() > 1e-3
    assert (found["encoder.stem.weight"] - start["encoder.stem.weight"]).abs().max() < 1e-6


def test_radii_follow_adam_on_the_gradient_of_the_last_projection() -> None:
    """The slope is the derivative of the loss by the radius, by finite differences."""
    start, end, target = drawn(0, 2, 3).double(), drawn(1, 2, 3).double(), drawn(2, 2, 3).double()

    def loss(radius: float) -> Tensor:
        placed = projected(start, end, torch.tensor(radius, dtype=torch.float64))
        return (placed * target).sum()  # its gradient by the weights is `target`

    slope = (loss(0.1 + 1e-6) - loss(0.1 - 1e-6)) / 2e-6
    trainer, model = Projected(radius_lr=0.5), torch.nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(start)
    state = trainer.state_dict(model)
    for step in range(2):
        with torch.no_grad():
            model.weight.copy_(end)
        model.weight.grad = target.clone()
        trainer.after_step(model, state, step, 10)
    assert state["first.weight"].item() == pytest.approx(0.1 * slope.item(), rel=1e-5)
    towards, size = 0.1 * slope / (1 - 0.9**2), (0.001 * slope**2 / (1 - 0.999**2)).sqrt()
    wanted = LEAST - 0.5 * (towards / size).item()
    largest = row_norms(end - start).max().item()
    assert state["radius.weight"].item() == pytest.approx(
        min(largest, max(LEAST, wanted)), rel=1e-4
    )


def test_a_radius_that_may_only_grow_does(tmp_path: Path) -> None:
    model: Any = torch.nn.Linear(3, 2, bias=False)
    state = (trainer := Projected(anneal=0.0)).state_dict(model)
    seen = []
    for step in range(6):
        with torch.no_grad():
            model.weight.add_(drawn(step, 2, 3))
        model.weight.grad = drawn(step + 50, 2, 3)
        trainer.after_step(model, state, step, 10)
        seen.append(state["radius.weight"].item())
    assert seen == sorted(seen)


def test_a_killed_training_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(FTP, tmp_path / "whole")
    assert same(whole, resumed(FTP, tmp_path / "killed", monkeypatch))


def test_the_official_code_leaves_the_head_and_does_not_clip() -> None:
    from bench.core.parameters import settings

    official = {n: s.official for n, s in settings(find_method("ftp")()).items()}
    assert (official["with_head"], official["clip"], official["weight_decay"]) == (False, 0.0, 0.0)

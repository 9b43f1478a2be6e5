"""L2-SP: the penalty is half the pull times the squared distance from the start."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.api.registry import find_method


@pytest.mark.parametrize("pull", [0.0, 0.1, 4.0])
def test_the_penalty_equals_its_formula_and_so_does_its_gradient(pull):
    trainer = replace(find_method("l2-sp")().trainer, pull=pull)
    model = nn.Linear(3, 2)
    state = trainer.state_dict(model)
    assert trainer.penalty(model, state).item() == 0
    with torch.no_grad():
        model.weight.add_(2.0)
        model.bias.sub_(1.0)
    penalty = trainer.penalty(model, state)
    assert penalty.item() == pytest.approx(pull / 2 * (6 * 2.0**2 + 2 * 1.0**2))
    penalty.backward()
    torch.testing.assert_close(model.weight.grad, torch.full((2, 3), pull * 2.0))
    torch.testing.assert_close(model.bias.grad, torch.full((2,), -pull))

"""CaRot: the moving average that teaches."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from tiny_clip import Tiny

from bench.api.registry import methods
from bench.models.training.networks import DualEncoder


def test_a_teacher_follows_at_its_period(tiny: Tiny) -> None:
    trainer = replace(methods()["carot"]().trainer, period=2, start=0.25, end=0.25)  # type: ignore[attr-defined]
    model = DualEncoder(copy.deepcopy(tiny.clip.model), tiny.prompts)
    state = trainer.state_dict(model)
    old = state["clip.text_projection"].clone()
    with torch.no_grad():
        model.clip.text_projection.add_(1)
    trainer.after_step(model, state, 1, 100)
    assert torch.equal(state["clip.text_projection"], old)
    trainer.after_step(model, state, 2, 100)
    torch.testing.assert_close(state["clip.text_projection"], old + 0.75)

"""LiNeS: weights that grow from block to block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_ensembles import MODELS
from hypothesis import given
from hypothesis import strategies as st

from bench.api.recipes import Merged, merge_tensors
from bench.api.registry import find_method
from bench.core.errors import CellError
from bench.core.store import Store
from bench.methods.lines import LayerScaling
from bench.models.heads import load_head
from bench.models.weights import interpolate, interpolate_tensors, tower_blocks

BLOCKS = ("a.resblocks.0.w", "a.resblocks.1.w", "a.resblocks.1.mlp.0.b", "a.resblocks.2.w")
NAMES = ("conv1", *BLOCKS, "proj")


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(3, generator=generator) for n in NAMES} | {"count": torch.tensor(seed)}


@given(st.floats(0, 1))
def test_it_adds_the_update_scaled_by_depth(alpha: float) -> None:
    start, tuned = state(1), state(2)
    merged = interpolate_tensors([start, tuned], LayerScaling(alpha))
    depth = {n: int(n.split(".")[2]) / 2 if n in BLOCKS else 0.0 for n in NAMES}
    for name in NAMES:
        scaled = (alpha + (1 - alpha) * depth[name]) * (tuned[name] - start[name])
        torch.testing.assert_close(merged[name], start[name] + scaled)
    assert merged["count"] == 2


def test_its_end_is_the_tuned_model_bit_for_bit() -> None:
    merged = interpolate_tensors([state(1), state(2)], LayerScaling(1.0))
    assert all(torch.equal(merged[n], t) for n, t in state(2).items())
    lines = find_method("lines")()
    assert lines.needs(MODELS, {"alpha": 1.0}) == (MODELS.base,)
    assert lines.needs(MODELS, {"alpha": 0.0}) != (MODELS.zero_shot,)


def test_the_last_block_is_tuned_whatever_alpha_is() -> None:
    merged = interpolate_tensors([state(1), state(2)], LayerScaling(0.0))
    assert torch.equal(merged["a.resblocks.2.w"], state(2)["a.resblocks.2.w"])
    assert torch.equal(merged["conv1"], state(1)["conv1"])


def test_outside_of_blocks_it_is_wise_ft() -> None:
    plain = interpolate([state(1), state(2)], (0.7, 0.3))
    merged = interpolate_tensors([state(1), state(2)], LayerScaling(0.3))
    for name in ("conv1", "proj", "a.resblocks.0.w"):
        torch.testing.assert_close(merged[name], plain[name])


def test_a_head_lies_outside_of_blocks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "bench.models.heads._stored",
        lambda head, store: (np.full((2, 3), head.seed, np.float32), np.zeros(2, np.float32)),
    )
    monkeypatch.setattr("bench.models.heads.normalizes", lambda head: True)
    from bench.testing.fakes import fake_models

    parts = tuple(fake_models(seed=s).base for s in (0, 1))
    head = load_head(merge_tensors(parts, LayerScaling(0.25)), Store(tmp_path))
    assert np.array_equal(head.weight, np.full((2, 3), 0.25, np.float32))


def test_a_tower_without_blocks_is_refused() -> None:
    bare = {"conv1.weight": torch.zeros(1), "proj": torch.zeros(1)}
    with pytest.raises(CellError, match="0 numbered blocks"):
        interpolate_tensors([bare, bare], LayerScaling(0.5))


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("transformer.resblocks.11.mlp.c_fc.weight", "transformer.resblocks.11"),
        ("trunk.stages.2.blocks.1.conv_dw.weight", "trunk.stages.2.blocks.1"),
        ("trunk.blocks.0.norm1.bias", "trunk.blocks.0"),
        ("layer3.5.bn1.running_mean", "layer3.5"),
        ("vision_model.encoder.layers.4.mlp.fc1.bias", "vision_model.encoder.layers.4"),
        ("trunk.stages.1.downsample.0.weight", None),
        ("trunk.stem.0.weight", None),
        ("attnpool.c_proj.weight", None),
    ],
)
def test_blocks_of_towers_are_found(name: str, block: str | None) -> None:
    assert tower_blocks([name]) == ([block] if block else [])


def test_equal_encoders_need_no_merge() -> None:
    from bench.api.recipe_parts import encoder_of, head_of
    from bench.models.training.trainers import HeadTrainer

    probe = MODELS.tuned(MODELS.zero_shot, HeadTrainer())
    merged = merge_tensors((MODELS.zero_shot, probe), LayerScaling(0.5))
    assert encoder_of(merged) == MODELS.zero_shot.encoder
    assert isinstance(head_of(merged), Merged)

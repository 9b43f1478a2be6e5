"""LDIFS: cross-entropy plus the distance of intermediate features from the start's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from block_training import QUICK, Tower, build, resumed, same, tuned
from picture_training import SIDE
from torch import nn

from bench.api.trainer import GradientTrainer
from bench.core.errors import CellError
from bench.methods.ldifs import FeaturesPulledBack, feature_distance, recorded

LDIFS = FeaturesPulledBack(**QUICK)


def test_distances_equal_their_formula() -> None:
    rng = np.random.default_rng(0)
    shapes = ((2, 3, 4), (2, 5, 3, 2), (2, 6))
    one, two = ([rng.normal(size=s) for s in shapes] for _ in range(2))
    expected = []
    for a, b, channels in zip(one, two, (2, 1, 1), strict=True):
        a, b = (np.moveaxis(f, channels, -1).reshape(-1, f.shape[channels]) for f in (a, b))
        units = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in (a, b)]
        expected.append(np.mean([np.sum((u - v) ** 2) for u, v in zip(*units, strict=True)]))
    found = feature_distance([torch.tensor(f) for f in one], [torch.tensor(f) for f in two])
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert feature_distance(list(map(torch.tensor, one)), list(map(torch.tensor, one))) == 0


def test_the_features_of_a_tower_are_its_blocks_and_its_embedding() -> None:
    tower, images = Tower().eval(), torch.rand(3, 3, SIDE, SIDE)
    with recorded(tower, "blocks") as found:
        embedding = tower(images)
    first = tower.blocks[0](tower.stem(images.flatten(1)))
    assert torch.equal(found[0], first) and torch.equal(found[1], found[2])
    assert torch.equal(found[2], embedding) and len(found) == 3
    tower(images)
    assert len(found) == 3  # nothing is recorded afterwards


def test_with_weight_0_it_is_end_to_end_fine_tuning_bit_for_bit(tmp_path: Path) -> None:
    plain = tuned(GradientTrainer(**QUICK), tmp_path / "plain")
    assert same(plain, tuned(replace(LDIFS, pull=0.0), tmp_path / "ldifs"))
    assert not same(plain, tuned(LDIFS, tmp_path / "pulled"))


def test_features_move_less_with_more_weight(tmp_path: Path) -> None:
    images = torch.rand(16, 3, SIDE, SIDE)

    def moved(pull: float) -> float:
        ends = [build(), build()]
        trainer = replace(LDIFS, pull=pull, epochs=6)
        ends[1].load_state_dict(tuned(trainer, tmp_path / str(pull), dropout=0.0))
        features = []
        for model in ends:
            with torch.no_grad(), recorded(model.eval().encoder, "blocks") as found:
                model(images)
            features.append(found)
        return feature_distance(*features).item()

    assert moved(0.0) > 2 * moved(1000.0)


def test_the_start_is_not_touched(tmp_path: Path) -> None:
    model = build()
    state = LDIFS.state_dict(model)
    before = {n: t.clone() for n, t in state.items()}
    batch = {"inputs": torch.rand(2, 3, SIDE, SIDE), "labels": torch.tensor([0, 1])}
    LDIFS.loss(LDIFS.encode(model, batch, state), 0).backward()
    assert all(torch.equal(before[n], t) and t.grad is None for n, t in state.items())
    assert all(p.grad is not None for p in model.parameters())


def test_the_points_of_the_official_code_are_six() -> None:
    import open_clip

    tower = open_clip.model.VisionTransformer(
        image_size=8, patch_size=4, width=8, layers=3, heads=2, mlp_ratio=2, output_dim=5
    ).eval()
    images = torch.rand(2, 3, 8, 8)
    with recorded(tower, "official-code") as found:
        tower(images)
    assert [tuple(f.shape) for f in found] == [(2, 4, 8), *[(2, 5, 8)] * 5]
    assert torch.equal(found[1], found[2])
    torch.testing.assert_close(found[3], tower.ln_pre(found[2]))
    torch.testing.assert_close(found[0], tower.conv1(images).flatten(2).transpose(1, 2))


@pytest.mark.parametrize("points", ["blocks", "official-code"])
def test_a_tower_without_these_features_is_refused(points: str) -> None:
    with (
        pytest.raises(CellError, match="this image tower lacks"),
        recorded(
            nn.Linear(2, 2),
            points,  # type: ignore[arg-type]
        ),
    ):
        pass


def test_a_killed_training_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(LDIFS, tmp_path / "whole")
    assert same(whole, resumed(LDIFS, tmp_path / "killed", monkeypatch))

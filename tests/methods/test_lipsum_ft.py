"""Lipsum-FT: cross-entropy plus the change of energies with random texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from block_training import QUICK, build, resumed, same, tuned
from picture_training import SIDE
from torch import Tensor
from torch.nn.functional import normalize

from bench.api.trainer import GradientTrainer
from bench.core.errors import CellError
from bench.methods.lipsum_ft import TextGuided, energy_gap
from bench.models.clip import Clip, identify_backbone, load_clip
from bench.models.training.networks import FrozenText

LIPSUM = TextGuided(**QUICK, texts=3)


class Texts:
    """A text tower of random numbers."""

    scale = 5.0

    def random(self, count: int, length: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return normalize(torch.randn(count, 4, generator=generator), dim=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return load_clip(identify_backbone("tiny", "embedded", tmp_path_factory.mktemp("cache")))


def test_the_gap_equals_its_formula() -> None:
    rng = np.random.default_rng(0)
    start, end, texts = rng.normal(size=(3, 5)), rng.normal(size=(3, 5)), rng.normal(size=(4, 5))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    total = 0.0
    for x in range(3):
        for t in texts:
            cosines = [f[x] @ t / np.linalg.norm(f[x]) for f in (start, end)]
            total += (7.0 * cosines[1] - 7.0 * cosines[0]) ** 2
    found = energy_gap(*map(torch.tensor, (start, end, texts)), scale=7.0)
    assert found.item() == pytest.approx(total / (2 * 4) / 3, rel=1e-5)


def test_with_weight_0_it_is_end_to_end_fine_tuning_bit_for_bit(tmp_path: Path) -> None:
    plain = tuned(GradientTrainer(**QUICK), tmp_path / "plain")
    free = tuned(replace(LIPSUM, pull=0.0), tmp_path / "free", text=Texts())
    assert same(plain, free)
    assert not same(plain, tuned(LIPSUM, tmp_path / "guided", text=Texts()))


def test_energies_change_less_with_more_weight(tmp_path: Path) -> None:
    images, texts = torch.rand(16, 3, SIDE, SIDE), Texts().random(50, 8, 0)

    def gap(pull: float) -> float:
        ends = [build(), build()]
        trainer = replace(LIPSUM, pull=pull, epochs=6)
        found = tuned(trainer, tmp_path / str(pull), text=Texts(), dropout=0.0)
        ends[1].load_state_dict(found)
        with torch.no_grad():
            return energy_gap(*(e.eval().encoder(images) for e in ends), texts, 5.0).item()

    assert gap(0.0) > 2 * gap(1000.0)


def test_texts_are_new_at_every_step_and_the_same_again(tmp_path: Path) -> None:
    seeds: list[int] = []

    class Watched(Texts):
        def random(self, count: int, length: int, seed: int) -> Tensor:
            seeds.append(seed)
            return super().random(count, length, seed)

    for place in "ab":
        tuned(LIPSUM, tmp_path / place, text=Watched())
    half = len(seeds) // 2
    assert seeds[:half] == seeds[half:] and len(set(seeds)) == half == 8


def test_a_killed_training_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(LIPSUM, tmp_path / "whole", text=Texts())
    assert same(whole, resumed(LIPSUM, tmp_path / "killed", monkeypatch, text=Texts()))


def test_random_texts_are_framed_as_the_tokenizer_frames(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def encode(model: Any, tokens: Tensor) -> Tensor:
        seen.append(tokens)
        return torch.ones(len(tokens), 4)

    monkeypatch.setattr("bench.models.training.networks.encode_text", encode)
    text = FrozenText(clip, torch.device("cpu"))
    text.random(200, 8, seed=0), text.random(200, 8, seed=0), text.random(200, 8, seed=1)
    (end,) = set(clip.tokenizer([""]).max().reshape(1).tolist())
    assert (seen[0][:, 8] == end).all() and (seen[0][:, 9:] == 0).all()
    assert (seen[0][:, :8] < end).all() and len(seen[0][:, :8].unique()) > 100
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])

    def framed(texts: list[str]) -> Tensor:  # as CLIP's tokenizer, whose start token is 49406
        return torch.tensor([[49406, 49407, *[0] * 75]])

    with_start = replace(clip, tokenizer=framed)
    FrozenText(with_start, torch.device("cpu")).random(100, 8, seed=0)
    assert (seen[-1][:, 0] == 49406).all() and (seen[-1][:, 9] == 49407).all()
    assert seen[-1][:, 1:9].max() < 49406 and seen[-1][:, 1:9].max() > 40_000


def test_embeddings_are_those_of_the_text_tower(clip: Clip) -> None:
    found = FrozenText(clip, torch.device("cpu")).random(5, 8, seed=0)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    assert len({tuple(row.tolist()) for row in found}) == 5


def test_a_tower_that_reads_no_end_token_is_refused(clip: Clip) -> None:
    other = replace(clip, model=SimpleNamespace(text_pool_type="last"))
    with pytest.raises(CellError, match="reads its end token"):
        FrozenText(other, torch.device("cpu")).random(2, 8, seed=0)
    with pytest.raises(CellError, match="a context of 40"):
        FrozenText(clip, torch.device("cpu")).random(2, 39, seed=0)

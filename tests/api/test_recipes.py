"""Recipes reduce to the weights they need, and their keys name those weights only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api.recipe_parts import backbone_of, encoder_of, head_of, is_seeded, normalizes
from bench.api.recipes import Backbone, Classifier, Merged, Pretrained, TextHead, Tuned, merge
from bench.api.splits import Split
from bench.api.trainer import AtEpoch, GradientTrainer
from bench.core.errors import InputError
from bench.core.hashing import key_of
from bench.models.training.trainers import HeadTrainer
from bench.runs.items import WeightsItem

BACKBONE = Backbone("ViT-B-32", "openai", "tag:openai")
HEAD = TextHead(BACKBONE, ("cat", "dog"), ("a {}",))
ZERO_SHOT = Classifier(Pretrained(BACKBONE), HEAD)
LINEAR = Tuned(ZERO_SHOT, HeadTrainer(), "train", 0)
E2E = Tuned(ZERO_SHOT, GradientTrainer(), "train", 0)
LP_FT = Tuned(LINEAR, GradientTrainer(), "train", 0)


def test_zero_shot_and_linear_share_an_encoder():
    assert encoder_of(ZERO_SHOT) == encoder_of(LINEAR) == Pretrained(BACKBONE)
    assert head_of(ZERO_SHOT) == HEAD
    assert head_of(LINEAR) == LINEAR


def test_fine_tuned_recipes_have_encoders_of_their_own():
    assert encoder_of(E2E) == head_of(E2E) == E2E
    assert encoder_of(LP_FT) == LP_FT


def test_every_alpha_over_a_linear_probe_shares_one_encoder():
    merged = merge((ZERO_SHOT, LINEAR), (0.3, 0.7))
    assert encoder_of(merged) == Pretrained(BACKBONE)
    assert head_of(merged) == Merged((HEAD, LINEAR), (0.3, 0.7))


def test_a_merge_with_all_weight_on_one_part_is_that_part():
    assert merge((ZERO_SHOT, E2E), (1.0, 0.0)) == ZERO_SHOT
    assert merge((ZERO_SHOT, E2E), (0.0, 1.0)) == E2E
    assert merge((E2E, E2E), (0.4, 0.6)) == E2E


@given(st.floats(0.01, 0.99))
def test_a_merge_reduces_part_by_part(alpha):
    merged = merge((ZERO_SHOT, E2E), (1 - alpha, alpha))
    assert encoder_of(merged) == Merged((Pretrained(BACKBONE), E2E), (1 - alpha, alpha))
    assert head_of(merged) == Merged((HEAD, E2E), (1 - alpha, alpha))
    assert encoder_of(encoder_of(merged)) == encoder_of(merged)


@pytest.mark.parametrize("weights", [(0.5,), (0.5, 0.6), (float("nan"), 1.0), (1.0, 0.5, -0.5)])
def test_merge_weights_must_be_one_per_part_and_sum_to_one(weights):
    with pytest.raises(InputError, match="sum to 1"):
        merge((ZERO_SHOT, E2E), weights)


def test_keys_do_not_hold_the_path_of_a_checkpoint():
    def e2e_on(backbone: Backbone) -> Tuned:
        start = Classifier(Pretrained(backbone), replace(HEAD, backbone=backbone))
        return Tuned(start, GradientTrainer(), "train", 0)

    moved = replace(BACKBONE, pretrained="/elsewhere/model.pt")
    other = replace(BACKBONE, digest="sha256:0")
    assert key_of(e2e_on(moved)) == key_of(E2E)
    assert key_of(e2e_on(other)) != key_of(E2E)


def test_whatever_changes_weights_changes_the_key():
    recipes = [
        E2E,
        LINEAR,
        LP_FT,
        replace(E2E, seed=1),
        replace(E2E, train="other"),
        replace(E2E, trainer=GradientTrainer(lr=1e-5)),
        merge((ZERO_SHOT, E2E), (0.5, 0.5)),
        merge((ZERO_SHOT, E2E), (0.4, 0.6)),
    ]
    assert len({key_of(recipe) for recipe in recipes}) == len(recipes)
    assert key_of(replace(E2E)) == key_of(E2E)


def test_a_trainers_version_enters_the_key():
    @dataclass(frozen=True)
    class Version2(GradientTrainer):
        version: ClassVar[int] = 2

    Version2.__name__ = "GradientTrainer"
    assert key_of(Version2()) != key_of(GradientTrainer())


def test_keys_are_the_same_in_every_process():
    # Recorded values: a change here invalidates all stored outputs and needs a reason.
    assert key_of("bench", 1, 0.5, (True, None)) == "395c52d4db226d3ad2412f2b6f99a054"
    assert key_of(ZERO_SHOT) == "6194ee06359ca736c95f5bcde0e160ed"


def test_a_merge_of_two_backbones_or_head_kinds_is_refused():
    other = Backbone("RN50", "openai", "tag:openai")
    foreign = Classifier(Pretrained(other), replace(HEAD, backbone=other))
    with pytest.raises(InputError, match="different backbones"):
        backbone_of(Merged((ZERO_SHOT, foreign), (0.5, 0.5)))
    raw = Classifier(Pretrained(BACKBONE), replace(HEAD, normalize=False))
    with pytest.raises(InputError, match="normalised"):
        normalizes(Merged((ZERO_SHOT, raw), (0.5, 0.5)))
    assert backbone_of(merge((ZERO_SHOT, LP_FT), (0.5, 0.5))) == BACKBONE
    assert normalizes(LP_FT)


def test_only_training_brings_a_seed():
    assert not is_seeded(ZERO_SHOT)
    assert is_seeded(LINEAR)
    assert is_seeded(merge((ZERO_SHOT, E2E), (0.5, 0.5)))
    assert not is_seeded(encoder_of(LINEAR))


def test_weights_of_all_epochs_of_a_training_are_claimed_together():
    """A run that has those of one epoch already once trained for the others beside another run."""
    split = Split("train", "1f0c", 4, load=lambda: pytest.fail("not needed"))
    last, first = (
        WeightsItem(key, (), replace(E2E, keep=keep), split, split)
        for key, keep in (("a", None), ("b", AtEpoch(1)))
    )
    assert last.made_by == first.made_by
    assert WeightsItem("c", (), LP_FT, split, split).made_by != last.made_by
    assert WeightsItem("d", (), HEAD, split, split).made_by == "d"

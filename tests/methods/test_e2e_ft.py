"""End-to-end fine-tuning."""

from __future__ import annotations

from dataclasses import replace

from fake_ensembles import MODELS

from bench.api.recipes import Tuned
from bench.api.registry import find_method


def test_e2e_ft_tunes_the_zero_shot_classifier_on_the_training_split():
    method = find_method("e2e-ft")()
    tuned = Tuned(MODELS.zero_shot, method.trainer, "fake-train", seed=3)
    assert method.recipe(replace(MODELS, seed=3)) == tuned
    assert method.train_needs(MODELS) == ()

"""FLYP: both towers tuned from the zero-shot classifier."""

from __future__ import annotations

import pytest

from bench.api.recipes import Tuned
from bench.api.registry import find_method
from bench.core.errors import InputError
from bench.testing.fakes import fake_models

MODELS = fake_models(tuned=False)


def test_flyp_tunes_both_towers_and_follows_the_seed():
    recipe = find_method("flyp")().recipe(MODELS)
    assert isinstance(recipe, Tuned) and recipe.start == MODELS.zero_shot
    assert recipe.trainer.tunes_encoder and recipe.trainer.tunes_text
    assert (recipe.train, recipe.seed) == (MODELS.train, MODELS.seed)


def test_flyp_has_no_text_tower_to_tune_in_an_imported_classifier():
    from dataclasses import replace

    from bench.api.recipes import Backbone, Classifier, Imported, Pretrained

    backbone = Backbone("ViT-B-32", "openai", "tag:openai")
    imported = Imported(backbone, "0" * 64, 3, True)
    models = replace(MODELS, zero_shot=Classifier(Pretrained(backbone), imported))
    with pytest.raises(InputError, match="text tower"):
        find_method("flyp")().recipe(models)

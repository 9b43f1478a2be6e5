"""LP-FT and its variants."""

from __future__ import annotations

import pytest

from bench.api.recipe_parts import normalizes
from bench.api.recipes import merge
from bench.api.registry import find_method
from bench.core.errors import InputError
from bench.testing.fakes import fake_models

MODELS = fake_models(tuned=False)


def test_lp_ft_and_its_variants() -> None:
    names = ("lp-ft", "lp-ft-raw", "lp-ft-sgd")
    found = {name: find_method(name)().recipe(MODELS) for name in names}
    optimizers = {n: r.trainer.optimizer for n, r in found.items()}  # type: ignore[union-attr]
    assert optimizers == {"lp-ft": "adamw", "lp-ft-raw": "adamw", "lp-ft-sgd": "sgd"}
    assert normalizes(found["lp-ft"]) and not normalizes(found["lp-ft-raw"])
    with pytest.raises(InputError, match="normalised"):
        normalizes(merge((MODELS.zero_shot, found["lp-ft-raw"]), (0.5, 0.5)))

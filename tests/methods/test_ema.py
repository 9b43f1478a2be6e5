"""EMA: the average that end-to-end fine-tuning keeps, out of the same training run."""

from __future__ import annotations

from fake_ensembles import MODELS

from bench.api.recipes import Tuned
from bench.api.registry import find_method
from bench.api.trainer import Average


def test_ema_comes_out_of_the_training_run_of_e2e_ft():
    average = find_method("ema")(decay=0.9).recipe(MODELS)
    plain = find_method("e2e-ft")().recipe(MODELS)
    assert isinstance(average, Tuned) and average.keep == Average(0.9)
    assert average.training == plain and average != plain

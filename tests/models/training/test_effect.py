"""Trainings that changed nothing are recognised by schedule, losses and accuracies."""

from __future__ import annotations

import pytest

from bench.api.trainer import GradientTrainer
from bench.methods.linear import LogisticRegression
from bench.models.training.effect import effect_caveats

GOOD = (0.2, 0.6)


def said(
    trainer: GradientTrainer, size: int, *losses: float, rise: tuple[float, float] = GOOD
) -> str:
    history = [{"epoch": n, "loss": loss} for n, loss in enumerate(losses, start=1)]
    return " ".join(effect_caveats(trainer, size, history, rise))


def test_a_training_that_worked_is_silent() -> None:
    assert said(GradientTrainer(warmup=0.1), 1000, 2.0, 1.0) == ""
    assert said(GradientTrainer(warmup=20), 1000, 2.0) == ""  # 20 of 20 steps: the peak is reached
    assert effect_caveats(LogisticRegression(), 1000, [{"C": 1.0, "selection": 0.5}], GOOD) == []


@pytest.mark.parametrize(("warmup", "steps"), [(500, 30), (21, 20)])
def test_a_peak_that_is_never_reached(warmup: int, steps: int) -> None:
    text = said(GradientTrainer(warmup=warmup), 512 * steps // 10, 2.0, 1.0)
    assert f"warm-up of {warmup} steps is longer than the training of {steps} steps" in text


@pytest.mark.parametrize("last", [2.0, 2.5])
def test_a_loss_that_did_not_fall(last: float) -> None:
    assert "loss did not fall: 2 in" in said(GradientTrainer(warmup=0.1), 1000, 2.0, 1.5, last)


@pytest.mark.parametrize("rise", [(0.5, 0.5), (0.5, 0.1), (0.0, 0.0)])
def test_accuracy_that_did_not_rise(rise: tuple[float, float]) -> None:
    text = said(GradientTrainer(warmup=0.1), 1000, 2.0, 1.0, rise=rise)
    assert "did not rise" in text and f"{100 * rise[0]:.1f}% at the start" in text


def test_a_start_that_is_already_right_cannot_rise() -> None:
    assert said(GradientTrainer(warmup=0.1), 1000, 2.0, 1.0, rise=(1.0, 1.0)) == ""

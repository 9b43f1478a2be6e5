"""Linear classifiers: logistic regression by L-BFGS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_heads import N, accuracy, features, training
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

import bench.methods.linear
from bench.api.registry import methods


def test_logistic_regression_is_at_the_minimum_of_its_objective(tmp_path: Path) -> None:
    trainer = replace(methods()["linear-lbfgs"]().trainer, cs=(10.0,), max_iter=1000)  # type: ignore[attr-defined]
    found = trainer.train(training(tmp_path, trainer))
    x, y = features()
    x = normalize(x, dim=1).double()
    w = found["head.weight"].double().requires_grad_()
    b = found["head.bias"].double().requires_grad_()
    loss = cross_entropy(x @ w.T + b, y) + w.square().sum() / (2 * 10.0 * N)
    for slope in torch.autograd.grad(loss, (w, b)):
        assert slope.abs().max() < 1e-4
    assert accuracy(found, True) > 0.8
    assert found["chosen.C"].tolist() == [10.0]


def test_logistic_regression_takes_the_strength_that_does_best_on_the_selection_split(
    tmp_path: Path,
) -> None:
    trainer = methods()["linear-lbfgs"]().trainer  # type: ignore[attr-defined]
    alone = {
        c: accuracy(replace(trainer, cs=(c,)).train(training(tmp_path, trainer)), True)
        for c in trainer.cs
    }
    found = trainer.train(training(tmp_path, trainer))["chosen.C"].item()
    assert found == min(c for c, value in alone.items() if value == max(alone.values()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_blocks_of_samples_give_the_same_regression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoothing: float
) -> None:
    trainer = replace(methods()["linear-lbfgs"]().trainer, cs=(1.0,), smoothing=smoothing)  # type: ignore[attr-defined]
    whole = trainer.train(training(tmp_path, trainer))
    rows: list[int] = []

    def counted(logits: Tensor, *given: Any, **options: Any) -> Tensor:
        rows.append(len(logits))
        return cross_entropy(logits, *given, **options)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", counted)
    monkeypatch.setattr(bench.methods.linear, "ROWS", 7)
    parts = trainer.train(training(tmp_path, trainer))
    assert max(rows) == 7 and min(rows) == N % 7
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-4)

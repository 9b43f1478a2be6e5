"""Recipes that follow from the data: steps, warm-up and rates at every size, and who gets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from suite_files import BASE, write

from bench.api.registry import methods
from bench.api.trainer import GradientTrainer, learning_rate
from bench.core.parameters import parameters, suited_settings, with_parameters
from bench.models.training.trainers import HeadTrainer
from bench.runs.study.config import load_config
from bench.runs.study.resolve import resolve_studies


@pytest.mark.parametrize(
    ("images", "batch", "epochs", "steps"),
    [(200, 16, 16, 208), (1200, 128, 20, 200), (10_000, 512, 10, 200), (50_000, 512, 10, 980)],
)
def test_the_documented_sizes(images: int, batch: int, epochs: int, steps: int) -> None:
    found = GradientTrainer().suited_to(images, small=False)
    assert (found["batch_size"], found["epochs"], found["warmup"]) == (batch, epochs, 0.1)
    assert epochs * -(-images // batch) == steps
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    assert f"| {images:,} | {batch} | {epochs} | 10% | {steps} |" in text


@given(st.integers(2, 3_000_000), st.booleans())
def test_any_size_reaches_its_peak_in_few_steps_and_trains_some(images: int, small: bool) -> None:
    for trainer in (GradientTrainer(), HeadTrainer()):
        own = with_parameters(trainer, trainer.suited_to(images, small=small), "own")
        steps = own.epochs * -(-images // own.batch_size)
        assert steps >= min(own.least_steps, 10)
        warm = own.warmup if own.warmup >= 1 else own.warmup * steps
        assert warm <= 0.101 * steps
        peak = max(learning_rate(own, step, steps) for step in range(min(steps, 600)))
        assert peak == pytest.approx(own.lr, rel=0.05)
        assert own.lr == trainer.lr * (30 if small else 1)


def test_on_imagenet_it_is_the_papers_recipe() -> None:
    own = with_parameters(
        GradientTrainer(), GradientTrainer().suited_to(1_281_167, small=False), ""
    )
    assert own == GradientTrainer()


def test_every_method_takes_it() -> None:
    for name, cls in methods().items():
        method = cls()
        changes = suited_settings(method, 1200, small=True)
        changed = with_parameters(method, changes, name)
        assert all(parameters(changed)[n] == value for n, value in changes.items())


def test_suite_files_get_it_unless_they_or_the_protocol_say_otherwise(
    pets: Path, tmp_path: Path
) -> None:
    suite = write(pets, BASE)

    def trainer(*, protocol: str = "clean", **own: object) -> GradientTrainer:
        options = {"suite": [str(suite)], "methods": ["e2e-ft"], "model": "tiny", **own}
        options |= {"pretrained": "embedded", "cache_dir": tmp_path, "protocol": protocol}
        (study,) = resolve_studies(load_config(None, options))
        method = study.rows[-1].method
        return method.trainer  # type: ignore[attr-defined,no-any-return]

    assert (trainer().batch_size, trainer().warmup, trainer().lr) == (16, 0.1, pytest.approx(9e-4))
    assert trainer(set=("e2e-ft.lr=0.5",)).lr == 0.5
    official = trainer(protocol="official")
    assert (official.batch_size, official.warmup, official.lr) == (512, 500, 3e-5)
    write(pets, BASE | {"defaults": {"e2e-ft": {"epochs": 3}}})
    assert (trainer().epochs, trainer().batch_size) == (3, 16)
    mini = load_config(None, {"suite": ["mini"], "methods": ["e2e-ft"], "cache_dir": tmp_path})
    (study,) = resolve_studies(mini)
    assert study.rows[-1].method.trainer.epochs == 8  # type: ignore[attr-defined]

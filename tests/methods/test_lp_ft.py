"""LP-FT and its variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_heads import features, training
from torch.nn.functional import cross_entropy

from bench.api.protocol import OFFICIAL
from bench.api.recipe_parts import normalizes
from bench.api.recipes import merge
from bench.api.registry import find_method
from bench.api.trainer import GradientTrainer
from bench.core.errors import InputError
from bench.core.parameters import settings, with_parameters
from bench.testing.fakes import fake_models

MODELS = fake_models(tuned=False)
SGD = find_method("lp-ft-sgd")()


def published(name: str, task: str = "imagenet") -> Any:
    """Return a method with its official hyper-parameters."""
    method = find_method(name)()
    return with_parameters(method, OFFICIAL.changes(method, task), name)


def test_lp_ft_and_its_variants() -> None:
    names = ("lp-ft", "lp-ft-raw", "lp-ft-sgd")
    found = {name: find_method(name)().recipe(MODELS) for name in names}
    optimizers = {n: r.trainer.optimizer for n, r in found.items()}  # type: ignore[union-attr]
    assert optimizers == {"lp-ft": "adamw", "lp-ft-raw": "adamw", "lp-ft-sgd": "sgd"}
    assert normalizes(found["lp-ft"]) and not normalizes(found["lp-ft-raw"])
    assert normalizes(found["lp-ft-sgd"]) and not normalizes(published("lp-ft-sgd").recipe(MODELS))
    with pytest.raises(InputError, match="normalised"):
        normalizes(merge((MODELS.zero_shot, found["lp-ft-raw"]), (0.5, 0.5)))


def test_sgd_is_the_whole_recipe_of_the_authors_code() -> None:
    """Their configs/adaptation/imagenet.yaml and resnet50_transfer.yaml, in both phases."""
    for trainer in (SGD.trainer, published("lp-ft-sgd").probe):  # type: ignore[attr-defined]
        assert (trainer.optimizer, trainer.weight_decay, trainer.clip) == ("sgd", 0, 0)
        assert (trainer.batch_size, trainer.warmup, trainer.schedule) == (128, 0, "by-epoch")
    sources = {name: own.source for name, own in settings(SGD).items()}
    ours = ("lr", "epochs", "batch_size", "weight_decay", "clip", "warmup", "schedule", "probe.lr")
    assert all("AnanyaKumar/transfer_learning" in sources[name] for name in ours)
    for images in (200, 10_000, 1_281_167):
        suited = SGD.trainer.suited_to(images, small=False)  # type: ignore[attr-defined]
        assert suited["warmup"] == 0 and suited["batch_size"] <= 128


@pytest.mark.parametrize("phase", ["probe", "trainer"])
def test_sgd_trains_as_a_loop_of_torch_does(tmp_path: Path, phase: str) -> None:
    """SGD with momentum alone: no decay, no clipping, and a scheduler that steps by epoch."""
    whole: GradientTrainer = getattr(published("lp-ft-sgd"), phase)
    start = {"start": "zero-shot"} if phase == "probe" else {}
    trainer = replace(whole, lr=0.3, batch_size=16, epochs=4, **start)
    inputs, rates = training(tmp_path, trainer), list[float]()
    inputs = replace(inputs, observe=lambda step, steps, loss, rate: rates.append(rate))
    weights = trainer.train(inputs)

    model, (x, y) = inputs.build(trainer), features()
    norms, expected = list[float](), list[float]()
    optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for epoch in range(4):
        order = torch.as_tensor(trainer.draws(inputs.seed, epoch, len(x), 1)[:, 0])
        for batch in order.split(16):
            optimizer.zero_grad()
            cross_entropy(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
            optimizer.step()
            expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    assert max(norms) > 1.5  # clipping would show
    assert rates == pytest.approx(expected) and len(set(rates)) == 4
    assert [len(set(rates[first : first + 4])) for first in range(0, 16, 4)] == [1, 1, 1, 1]
    for name, tensor in model.weights().items():
        torch.testing.assert_close(weights[name], tensor.detach(), rtol=1e-4, atol=1e-5)


def test_official_probes_are_those_of_the_papers() -> None:
    assert (published("lp-ft").probe.lr, published("lp-ft").probe.batch_size) == (0.1, 512)
    assert published("linear").trainer.batch_size == 128
    raw = {task: published("lp-ft-raw", task).probe for task in ("imagenet", "cifar10", "fmow")}
    assert {task: probe.epochs for task, probe in raw.items()} == {
        "imagenet": 5, "cifar10": 10, "fmow": 10,
    }  # fmt: skip
    assert {probe.batch_size for probe in raw.values()} == {512}

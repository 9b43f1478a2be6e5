"""The sigmoid loss and its bias: against open_clip's, in training, and set by the plan."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import SigLipLoss
from PIL import Image
from small_clips import reduced, small_clip, texts_of
from torch import Tensor
from torch.nn.functional import normalize

from bench.core.hashing import canonical, key_of
from bench.core.store import Store
from bench.methods.carot import CarotTrainer, SelfDistillation
from bench.models.clip import prompt_head
from bench.models.training.checkpoints import Checkpoints
from bench.models.training.gradients import Gradients
from bench.models.training.loop import Training
from bench.models.training.losses import (
    sigmoid_distillation,
    sigmoid_kl_distillation,
    sigmoid_loss,
)
from bench.models.training.networks import DualEncoder, ImageClassifier
from bench.models.training.trainers import ContrastiveTrainer
from bench.models.transforms import TrainImages, byte_tensor
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies
from bench.runs.study.rows import Settings

NAME = "ViT-B-16-SigLIP2"
B, D = 5, 4
SEEDS = st.integers(0, 1000)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def embeddings(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, B, D, dtype=torch.float64, generator=generator)
    return normalize(pair[0], dim=1), normalize(pair[1], dim=1)


@given(SEEDS, st.floats(0, 120), st.floats(-20, 20))
def test_the_loss_is_open_clips(seed: int, scale: float, bias: float) -> None:
    images, texts = embeddings(seed)
    theirs = SigLipLoss()(images, texts, number(scale), number(bias))
    assert sigmoid_loss(images, texts, number(scale), number(bias)) == pytest.approx(float(theirs))


@given(SEEDS, st.floats(0, 1))
def test_smoothing_moves_every_target_towards_a_half(seed: int, smoothing: float) -> None:
    images, texts = embeddings(seed)
    logits = (7 * images @ texts.T - 3).tolist()
    expected = 0.0
    for i, row in enumerate(logits):
        for j, logit in enumerate(row):
            yes, no = (-torch.nn.functional.logsigmoid(number(x)) for x in (logit, -logit))
            y = (1 - smoothing) * (i == j) + smoothing / 2
            expected += float(y * yes + (1 - y) * no) / B
    found = sigmoid_loss(images, texts, number(7), number(-3), smoothing)
    assert found == pytest.approx(expected)


def test_distillation_has_no_slope_where_student_and_teacher_agree() -> None:
    same = [t.requires_grad_() for t in (*embeddings(0), number(9), number(-4))]
    teacher, other = [t.detach() for t in same], (*embeddings(1), number(5), number(-2))
    for term in (sigmoid_distillation, sigmoid_kl_distillation):
        slopes = torch.autograd.grad(term(*same, *teacher), same)
        assert all(float(slope.abs().max()) < 1e-12 for slope in slopes)
        inputs = [t.clone().requires_grad_() for t in other]
        assert torch.autograd.gradcheck(lambda *x, of=term: of(*x, *teacher), inputs)
    assert sigmoid_kl_distillation(*same, *teacher) == 0
    assert sigmoid_kl_distillation(*other, *teacher) > 0
    gap = sigmoid_distillation(*other, *teacher) - sigmoid_kl_distillation(*other, *teacher)
    assert gap == pytest.approx(float(sigmoid_distillation(*teacher, *teacher)))


@pytest.fixture(scope="module")
def siglip() -> Any:
    model = small_clip(NAME)
    model.logit_scale.data.fill_(3.0)
    return model


@pytest.fixture
def prompts() -> Tensor:
    return texts_of(reduced(open_clip.get_model_config(NAME)), templates=1)


def test_zero_shot_logits_are_the_models_own(siglip: Any, prompts: Tensor) -> None:
    head, images = prompt_head(siglip, prompts), torch.randn(4, 3, 32, 32)
    assert float(head["head.bias"][0]) == pytest.approx(-10)
    classifier = ImageClassifier(siglip.visual, head["head.weight"], head["head.bias"], True).eval()
    with torch.no_grad():
        theirs, _ = siglip.get_logits(images, prompts[:, 0])
        torch.testing.assert_close(classifier(images), theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("trainer", [ContrastiveTrainer, SelfDistillation, CarotTrainer])
@pytest.mark.parametrize("contrast", ["sigmoid", "softmax"])
def test_a_siglip_is_trained_with_the_named_loss(
    siglip: Any, prompts: Tensor, trainer: Any, contrast: str
) -> None:
    trainer = trainer(contrast=contrast)
    model = DualEncoder(copy.deepcopy(siglip), prompts).train()
    trainer.prepare(model)
    state = trainer.state_dict(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch, losses = {"inputs": images, "texts": prompts[:, 0]}, []
    for step in range(6):
        found = trainer.encode(model, batch, state)
        losses.append(ContrastiveTrainer.loss(trainer, found, step).item())
        loss = trainer.loss(found, step)
        optimizer.zero_grad()
        loss.backward()
        idle = [name for name, p in model.named_parameters() if p.grad is None]
        assert idle == ([] if contrast == "sigmoid" else ["clip.logit_bias"])
        optimizer.step()
        trainer.after_step(model, state, step, 6)
    assert losses[-1] < losses[0]
    moved = model.clip.logit_bias.item() != siglip.logit_bias.item()
    assert moved == (contrast == "sigmoid")


def test_the_plan_takes_the_loss_of_the_pretraining(tmp_path: Path) -> None:
    common = {"suite": ("micro",), "methods": ("flyp", "carot", "wise-ft:flyp", "lp-ft")}
    common |= {"cache_dir": tmp_path}
    plain, sigmoid, named = (
        resolve_studies(RunConfig(**common, **more))[0]
        for more in (
            {"model": "ViT-B-16", "pretrained": "openai"},
            {"model": "ViT-B-16-SigLIP", "pretrained": "webli"},
            {"model": "ViT-B-16-SigLIP", "pretrained": "webli",
             "set": {"flyp": {"contrast": "softmax"}}},
        )
    )  # fmt: skip
    found = {row.name: row.method.trainer.contrast for row in plain.rows if _contrasts(row)}
    assert found == {"flyp": None, "carot": None}
    found = {row.name: row.method.trainer.contrast for row in sigmoid.rows if _contrasts(row)}
    assert found == {"flyp": "sigmoid", "carot": "sigmoid"}
    found = {row.name: row.method.trainer.contrast for row in named.rows if _contrasts(row)}
    assert found == {"flyp": "softmax", "carot": "sigmoid"}


def _contrasts(row: Any) -> bool:
    return hasattr(getattr(row.method, "trainer", None), "contrast")


def test_keys_of_models_without_a_bias_are_as_before() -> None:
    before, now = (Settings(pretraining=loss).method("carot") for loss in ("softmax", "sigmoid"))
    assert "contrast" not in str(canonical(before)) and key_of(before) != key_of(now)


@pytest.mark.parametrize("trainer", [ContrastiveTrainer, CarotTrainer])
def test_parts_of_a_batch_have_its_loss_and_gradients(
    siglip: Any, prompts: Tensor, trainer: Any
) -> None:
    trainer, found = trainer(contrast="sigmoid", batch_size=6), []
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    batch = {"inputs": images, "texts": prompts[[0, 1, 2, 0, 1, 2], 0], "labels": torch.arange(6)}
    for part in (None, 4):
        model = DualEncoder(copy.deepcopy(siglip), prompts).train()
        state = {name: t * 0.9 for name, t in trainer.state_dict(model).items()}
        parts = Gradients(trainer, model, model, torch.device("cpu"), part)
        loss = parts.of(batch, 6, state, step=1, seed=0)
        found.append([loss, *(p.grad for p in model.parameters())])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("contrast", ["sigmoid", "softmax"])
def test_a_training_goes_on_where_it_was_killed(
    siglip: Any, prompts: Tensor, contrast: str, tmp_path: Path, monkeypatch: Any
) -> None:
    trainer = ContrastiveTrainer(contrast=contrast, lr=1e-3, batch_size=4, epochs=3, warmup=1)
    pictures = [Image.new("RGB", (32, 32), (40 * i, 9, 200 - 30 * i)) for i in range(6)]

    def training(store: str, stop: int | None = None) -> Training:
        def observe(step: int, steps: int, loss: Tensor, rate: float) -> None:
            if step == stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(Checkpoints, "due", property(lambda _: True))
        return Training(
            build=lambda _: DualEncoder(copy.deepcopy(siglip), prompts),
            images=TrainImages(pictures, [0, 1, 2] * 2, 32, byte_tensor, seed=0),
            stored=lambda split: (torch.zeros(0), torch.zeros(0)),
            size=6, classes=3, seed=0, key="1f0c", store=Store(tmp_path / store),
            device=torch.device("cpu"), workers=0, progress=lambda done, total: None,
            observe=observe, finish=lambda pixels: pixels.float() / 255,
        )  # fmt: skip

    whole = training("whole").descend(trainer)
    with pytest.raises(KeyboardInterrupt):
        training("killed", stop=4).descend(trainer)
    resumed = training("killed").descend(trainer)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    bias = whole["text.logit_bias"] == siglip.logit_bias
    assert bool(bias) == (contrast == "softmax")

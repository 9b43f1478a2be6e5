"""What "fp32" and "bf16" mean: no TF32, and heads and losses in float32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from picture_training import QUICK, build, training
from torch import Tensor

from bench.api.trainer import GradientTrainer
from bench.core.hashing import canonical
from bench.core.progress import SilentProgress
from bench.core.store import Store
from bench.models.clip import identify_backbone
from bench.models.devices import deterministic_algorithms, exact_arithmetic
from bench.models.training.trainers import ContrastiveTrainer, HeadTrainer
from bench.runs.engine import Engine


def test_an_engine_computes_products_and_convolutions_without_tf32(tmp_path: Path) -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        backbone = identify_backbone("tiny", "embedded", tmp_path)
        store, progress = Store(tmp_path), SilentProgress()
        Engine(backbone, store, "cpu", "fp32", 64, 0, progress, lambda split: split.load())
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        exact_arithmetic()


@pytest.mark.parametrize("normalized", [True, False])
def test_the_head_is_computed_in_float32_under_autocast(normalized: bool) -> None:
    model = build().eval()
    model.normalize = normalized
    images = torch.rand(7, 3, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits, features = model(images), model.encoder(images)
    assert features.dtype == torch.bfloat16 and logits.dtype == torch.float32
    with torch.no_grad():
        exact = features.float()
        exact = torch.nn.functional.normalize(exact, dim=-1) if normalized else exact
        assert torch.equal(logits, model.head(exact))


@dataclass(frozen=True)
class Looking(GradientTrainer):
    def encode(self, model, batch, state):  # type: ignore[no-untyped-def]
        assert torch.is_autocast_enabled("cpu")
        return super().encode(model, batch, state)

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        assert not torch.is_autocast_enabled("cpu")
        assert embeddings["logits"].dtype == torch.float32
        return super().loss(embeddings, step)


def test_the_loss_is_computed_outside_autocast(tmp_path: Path) -> None:
    Looking(lr=0.01, batch_size=16, epochs=1, precision="bf16").train(training(tmp_path))


def test_only_what_changed_in_bf16_has_another_version_in_keys() -> None:
    for trainer in (GradientTrainer(), HeadTrainer()):
        assert canonical(trainer)["version"] == trainer.version
        assert canonical(replace(trainer, precision="bf16"))["version"] == trainer.version + 1
    for precision in ("fp32", "bf16"):
        contrastive = ContrastiveTrainer(precision=precision)
        assert canonical(contrastive)["version"] == ContrastiveTrainer.version
    assert replace(QUICK, precision="bf16").keyed_version == GradientTrainer.version + 1


def test_training_on_a_gpu_is_deterministic_and_leaves_the_process_as_it_was() -> None:
    memory = torch.utils.deterministic
    before = memory.fill_uninitialized_memory
    for device in ("cpu", "cuda"):
        with pytest.raises(KeyError), deterministic_algorithms(torch.device(device)):
            assert torch.are_deterministic_algorithms_enabled() == (device == "cuda")
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            if device == "cuda":  # as where an operation has no deterministic form
                torch.use_deterministic_algorithms(True, warn_only=True)
            raise KeyError
        assert not torch.are_deterministic_algorithms_enabled()
        assert memory.fill_uninitialized_memory == before

"""End-to-end fine-tuning with a reward for high entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.api import registry
from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.trainer import GradientTrainer
from bench.core.parameters import NonNegative

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RewardedEntropy(GradientTrainer):
    """Subtracts `reward` times the mean entropy of the predictions, in nats, from the loss."""

    title: ClassVar[str] = "end to end, entropy rewarded"
    version: ClassVar[int] = 1

    reward: NonNegative = 0.1

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        log_p = embeddings["logits"].float().log_softmax(dim=1)
        entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
        return super().loss(embeddings, step) - self.reward * entropy


@registry.method
@dataclass(frozen=True)
class Unsure(Method):
    """E2E-FT with a penalty on confidence."""

    name: ClassVar[str] = "unsure"
    title: ClassVar[str] = "E2E-FT, entropy rewarded"
    summary: ClassVar[str] = "End-to-end fine-tuning with a penalty on confident predictions."
    equation: ClassVar[str] = "CE - reward H(p)"
    source: ClassVar[str] = "Pereyra et al., ICLR workshop 2017, section 3"

    defaults_on: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "mini": {"lr": 1e-3, "epochs": 8, "batch_size": 128, "warmup": 0.1}
    }

    trainer: RewardedEntropy = RewardedEntropy()

    def recipe(self, models: Models) -> Recipe:
        return models.tuned(models.zero_shot, self.trainer)

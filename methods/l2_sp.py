"""L2-SP: end-to-end fine-tuning with an L2 penalty towards the starting point."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import GradientTrainer
from bench.core.parameters import NonNegative, setting

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class PulledBack(GradientTrainer):
    """End-to-end fine-tuning with a penalty on the squared distance of all weights from the start.

    Attributes
    ----------
    pull : the penalty is pull / 2 times the squared distance.

    Examples
    --------
    >>> from torch import nn
    >>> from bench.methods.l2_sp import PulledBack
    >>> model = nn.Linear(1, 1, bias=False)
    >>> trainer, start = PulledBack(pull=0.1), {"weight": model.weight.detach() - 2}
    >>> round(trainer.penalty(model, start).item(), 3)  # 0.1 / 2 times the square of 2
    0.2
    """

    kind: ClassVar[str] = "PulledBack"
    title: ClassVar[str] = "end to end, L2-SP"
    version: ClassVar[int] = 2

    pull: NonNegative = setting(0.1, "bench's choice; the papers search it", span=10)

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """Return a copy of the start's weights."""
        return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}

    def penalty(self, model: nn.Module, state: dict[str, Tensor]) -> Tensor | None:
        """Return `pull` / 2 times the squared distance from the start."""
        import torch

        moved = [(p - state[name]).square().sum() for name, p in model.named_parameters()]
        return self.pull / 2 * torch.stack(moved).sum()


@method
@dataclass(frozen=True)
class StartingPoint(Method):
    """E2E-FT with a penalty on the distance from the zero-shot weights, including the head.

    Li et al., "Explicit inductive bias for transfer learning with convolutional networks", ICML
    2018; one of the alternatives that WiSE-FT is compared with.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.methods.l2_sp import PulledBack
    >>> from bench.testing.fakes import fake_models
    >>> find_method("l2-sp")(PulledBack(pull=0.01)).recipe(fake_models()).trainer.pull
    0.01
    """

    kind: ClassVar[str] = "StartingPoint"
    name: ClassVar[str] = "l2-sp"
    title: ClassVar[str] = "L2-SP"
    summary: ClassVar[str] = (
        "End-to-end fine-tuning with an L2 penalty towards the zero-shot weights."
    )
    equation: ClassVar[str] = "CE + pull/2 |theta - theta_zs|^2"
    source: ClassVar[str] = "Li et al., ICML 2018, section 3; Wortsman et al., CVPR 2022"
    year: ClassVar[int | None] = 2018
    venue: ClassVar[str] = "ICML"
    paper: ClassVar[str] = "https://arxiv.org/abs/1802.01483"
    position: ClassVar[int] = 50
    colour: ClassVar[str | None] = "#d00000"

    trainer: PulledBack = field(default=PulledBack())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot classifier, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

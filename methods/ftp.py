"""FTP: fine-tuning projected towards the start, with a learned radius for every tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import GradientTrainer
from bench.core.parameters import Area, Count, Fraction, NonNegative, Positive, setting

if TYPE_CHECKING:
    from torch import Tensor, nn

_CODE = "GT-RIPL/FTP util/FTP.py"
_RUN = "as for E2E-FT; AdamP on DomainNet in GT-RIPL/FTP README"
_CROPS = "as for E2E-FT; RandomResizedCrop and flips in GT-RIPL/FTP datasets/domainnet_loader.py"
LEAST = 1e-8
"""The first and the smallest radius, and what is added to norms (util/FTP.py)."""


def row_norms(moved: Tensor) -> Tensor:
    """Return the L1 norm of each row of a tensor, or of a whole vector, kept as dimensions of 1.

    Examples
    --------
    >>> import torch
    >>> from bench.methods.ftp import row_norms
    >>> row_norms(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    tensor([[3.],
            [3.]])
    """
    rows = tuple(range(1, moved.ndim)) if moved.ndim > 1 else tuple(range(moved.ndim))
    return moved.abs().sum(dim=rows, keepdim=True) + LEAST if rows else moved.abs() + LEAST


def projected(start: Tensor, tuned: Tensor, radius: Tensor) -> Tensor:
    """Return `tuned` with every row drawn to `start` until the norm of its update is `radius`.

    Examples
    --------
    >>> import torch
    >>> from bench.methods.ftp import projected
    >>> projected(torch.zeros(2, 2), torch.tensor([[1.0, 3.0], [1.0, 0.0]]), torch.tensor(2.0))
    tensor([[0.5000, 1.5000],
            [1.0000, 0.0000]])
    """
    import torch

    moved = tuned - start
    ratio = radius / row_norms(moved)
    return torch.where(ratio < 1, start + ratio * moved, tuned)


@dataclass(frozen=True)
class Projected(GradientTrainer):
    """End-to-end fine-tuning in which every step ends with a projection towards the start.

    The radius of a tensor is learned with Adam: its gradient is that of the loss with respect to
    the last projection.

    Attributes
    ----------
    anneal : factor of gradients that would shrink a radius, in [0, 1]: 0 for radii that only grow.
    radius_lr : learning rate of the radii.
    with_head : whether the head is projected, too.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from bench.methods.ftp import Projected
    >>> model, trainer = nn.Linear(2, 1, bias=False), Projected()
    >>> start = model.weight.detach().clone()
    >>> state = trainer.state_dict(model)
    >>> _ = nn.init.ones_(model.weight)
    >>> model.weight.grad = torch.ones(1, 2)
    >>> trainer.after_step(model, state, step=0, steps=10)  # the first radius is 1e-8
    >>> torch.allclose(model.weight, start)
    True
    """

    kind: ClassVar[str] = "Projected"
    title: ClassVar[str] = "end to end, FTP"
    version: ClassVar[int] = 1

    lr: Positive = setting(3e-5, _RUN, official=1e-4, span=10)
    weight_decay: NonNegative = setting(0.0, "GT-RIPL/FTP main_finetune.py", span=10)
    batch_size: Count = setting(512, f"{_RUN}, 64 on each of 4 GPUs", official=256)
    epochs: Count = setting(10, _RUN, official=50, span=2)
    warmup: NonNegative = setting(500, f"{_RUN}, none", official=0)
    clip: NonNegative = setting(
        1.0, "as for E2E-FT; GT-RIPL/FTP engine_finetune.py does not clip", official=0.0
    )
    schedule: Literal["by-epoch"] | None = setting(
        None,
        "as for E2E-FT; CosineAnnealingLR after each epoch in GT-RIPL/FTP main_finetune.py",
        official="by-epoch",
        keyed_if_set=True,
    )
    min_area: Area = setting(0.9, _CROPS, official=0.08)
    flip: bool = setting(False, _CROPS, official=True)
    anneal: Fraction = setting(1.0, f"k in {_CODE}, 1 by default")
    radius_lr: Positive = setting(1e-2, f"mu in {_CODE}", span=10)
    with_head: bool = setting(
        True,
        "bench's choice, as the head has a start; excluded in GT-RIPL/FTP main_finetune.py, where "
        "it starts at random",
        official=False,
    )

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """Return, for every tensor, its start, radius, moments and last update and norms."""
        import torch

        found = {}
        for name, tensor in self._of(model):
            found[f"start.{name}"] = tensor.detach().clone()
            for part in ("radius", "first", "second"):
                found[f"{part}.{name}"] = tensor.new_zeros(())
            found[f"moved.{name}"] = torch.zeros_like(tensor)
            found[f"norms.{name}"] = row_norms(torch.zeros_like(tensor))
        return found

    def _of(self, model: nn.Module) -> list[tuple[str, nn.Parameter]]:
        named = model.named_parameters()
        return [(n, p) for n, p in named if self.with_head or not n.startswith("head.")]

    def after_step(self, model: nn.Module, state: dict[str, Tensor], step: int, steps: int) -> None:
        """Learn the radii, then project every tensor."""
        import torch

        for name, tensor in self._of(model):
            start, radius = state[f"start.{name}"], state[f"radius.{name}"]
            if tensor.grad is None:
                continue
            with torch.no_grad():
                moved = tensor - start
                norms = row_norms(moved)
                if step == 0:
                    radius.fill_(LEAST)
                else:
                    slope = (tensor.grad * state[f"moved.{name}"] / state[f"norms.{name}"]).sum()
                    slope = slope * self.anneal if slope > 0 else slope
                    first, second = state[f"first.{name}"], state[f"second.{name}"]
                    first.lerp_(slope, 0.1)
                    second.lerp_(slope.square(), 0.001)
                    towards = first / (1 - 0.9 ** (step + 1))
                    size = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                    radius.sub_(self.radius_lr * towards / size).clamp_(LEAST, norms.max().item())
                state[f"moved.{name}"].copy_(moved)
                state[f"norms.{name}"].copy_(norms)
                tensor.copy_(projected(start, tensor, radius))


@method
@dataclass(frozen=True)
class FastTrainableProjection(Method):
    """E2E-FT whose weights are projected, row by row, to a learned distance from the start.

    Tian et al., "Fast trainable projection for robust fine-tuning", NeurIPS 2023, and its official
    code (GT-RIPL/FTP ``util/FTP.py``). With radii of infinity it is E2E-FT, with radii of 0 the
    zero-shot model. The norm of a row is the sum of its absolute values.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> find_method("ftp")().recipe(fake_models()).trainer.anneal
    1.0
    """

    kind: ClassVar[str] = "FastTrainableProjection"
    name: ClassVar[str] = "ftp"
    title: ClassVar[str] = "FTP"
    summary: ClassVar[str] = "End-to-end fine-tuning, projected to learned distances of the start."
    equation: ClassVar[str] = "theta = theta_zs + min(1, gamma/|u|_1) u per row, gamma learned"
    source: ClassVar[str] = f"Tian et al., NeurIPS 2023; {_CODE}"
    year: ClassVar[int | None] = 2023
    venue: ClassVar[str] = "NeurIPS"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.19182"
    is_newer: ClassVar[bool] = True
    position: ClassVar[int] = 54
    colour: ClassVar[str | None] = "#b09028"

    trainer: Projected = field(default=Projected())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot classifier, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

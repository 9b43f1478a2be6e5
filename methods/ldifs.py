"""LDIFS: end-to-end fine-tuning that keeps intermediate features near those of the start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import GradientTrainer
from bench.core.errors import CellError
from bench.core.parameters import Count, NonNegative, Positive, setting
from bench.models.weights import tower_blocks

if TYPE_CHECKING:
    from torch import Tensor, nn

Points = Literal["blocks", "official-code"]
_REPO = "omegafragger/ldifs_code"
_CODE = f"{_REPO} loss/ldifs.py, model/modeling_analysis.py"


@contextmanager
def recorded(encoder: nn.Module, points: Points) -> Iterator[list[Tensor]]:
    """Collect the features of an image tower at `points` while it runs once.

    ``blocks``: the outputs of all blocks, then the embedding. ``official-code``: what the code
    compares of a vision transformer. Raises CellError for a tower that lacks such modules.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from bench.methods.ldifs import recorded
    >>> tower = nn.Module()
    >>> tower.blocks = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    >>> tower.forward = tower.blocks.forward
    >>> with recorded(tower, "blocks") as features:
    ...     _ = tower(torch.ones(5, 2))
    ...
    >>> [tuple(f.shape) for f in features]
    [(5, 3), (5, 4), (5, 4)]
    """
    blocks = tower_blocks(encoder.state_dict())
    modules = dict(encoder.named_modules())
    lacking = not blocks or (points == "official-code" and not {"conv1", "ln_pre"} <= set(modules))
    if lacking:
        raise CellError(
            f"LDIFS compares features of {'blocks' if points == 'blocks' else 'an open_clip ViT'}, "
            "which this image tower lacks: use e2e-ft, or another model"
        )
    found: list[Tensor] = []

    def keep(_: Any, inputs: Any, output: Any, times: int = 1) -> None:
        found.extend([output[0] if isinstance(output, tuple) else output] * times)

    if points == "blocks":
        handles = [modules[name].register_forward_hook(keep) for name in blocks]
        handles.append(encoder.register_forward_hook(keep))
    else:  # the patches, their embeddings (twice, as without dropout), ln_pre and two blocks
        handles = [
            modules["conv1"].register_forward_hook(lambda m, i, o: keep(m, i, o.flatten(2).mT)),
            modules["ln_pre"].register_forward_pre_hook(lambda m, i: keep(m, i, i, 2)),
        ]
        handles += [modules[n].register_forward_hook(keep) for n in ("ln_pre", *blocks[:2])]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def feature_distance(
    start: Sequence[Tensor], tuned: Sequence[Tensor], points: Points = "blocks"
) -> Tensor:
    """Return the mean over points of the squared distance of normalised features.

    Features are [B, T, D] of tokens, [B, D, H, W] of maps, or [B, D]. ``blocks``: the features of
    each place, which are D numbers, have norm 1; distances are summed over D and averaged over
    samples and places. ``official-code``: each of the D channels has norm 1 over the places, and
    squared differences are averaged over all dimensions.

    Examples
    --------
    >>> import torch
    >>> from bench.methods.ldifs import feature_distance
    >>> one, two = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    >>> feature_distance([one, one], [one, two])  # 0 and 2
    tensor(1.)
    """
    import torch
    from torch.nn.functional import normalize

    found = []
    for pair in zip(start, tuned, strict=True):
        one, two = (f.to(torch.promote_types(f.dtype, torch.float32)) for f in pair)
        if points == "official-code":
            a, b = (f / (f.norm(dim=1, keepdim=True) + 1e-10) for f in (one, two))
            found.append((a - b).square().mean())
        else:
            channels = 1 if one.ndim == 4 else -1
            a, b = (normalize(f, dim=channels) for f in (one, two))
            found.append((a - b).square().sum(dim=channels).mean())
    return torch.stack(found).mean()


@dataclass(frozen=True)
class FeaturesPulledBack(GradientTrainer):
    """End-to-end fine-tuning with a penalty on the distance of features from the start's.

    Attributes
    ----------
    pull : coefficient of `feature_distance`.
    points : where features are compared and how, see `recorded` and `feature_distance`.

    Examples
    --------
    >>> from bench.methods.ldifs import FeaturesPulledBack
    >>> FeaturesPulledBack(pull=0.1).points
    'blocks'
    """

    kind: ClassVar[str] = "FeaturesPulledBack"
    title: ClassVar[str] = "end to end, LDIFS"
    version: ClassVar[int] = 1
    loss_is_mean: ClassVar[bool] = True

    lr: Positive = setting(3e-5, f"as for E2E-FT; {_REPO} finetune.py", official=1e-5, span=10)
    batch_size: Count = setting(512, f"as for E2E-FT; {_REPO} args.py", official=128)
    pull: NonNegative = setting(10.0, f"--ldifs-alpha in {_REPO} args.py", span=10)
    points: Points = setting(
        "blocks",
        "all blocks and the embedding; in the code, six early points of a transformer, normalised "
        f"over tokens: {_CODE}",
        official="official-code",
    )

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """Return a copy of the start's image tower."""
        tower: Any = model.encoder
        return {name: tensor.detach().clone() for name, tensor in tower.state_dict().items()}

    def encode(
        self, model: nn.Module, batch: dict[str, Tensor], state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the logits, the labels and the distance from the start's features, ``moved``."""
        import torch
        from torch.func import functional_call

        tower: Any = getattr(model, "module", model).encoder
        with recorded(tower, self.points) as tuned:
            found = super().encode(model, batch, state)
        with torch.no_grad(), recorded(tower, self.points) as start:
            functional_call(tower, state, (batch["inputs"],))
        return found | {"moved": feature_distance(start, tuned, self.points)}

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """Return the cross-entropy plus `pull` times the distance."""
        return super().loss(embeddings, step) + self.pull * embeddings["moved"]


@method
@dataclass(frozen=True)
class FeatureDistance(Method):
    """E2E-FT with a penalty on the distance of intermediate features from the zero-shot model's.

    Mukhoti et al., "Fine-tuning can cripple your foundation model; preserving features may be the
    solution", TMLR 2024, and its official code (omegafragger/ldifs_code).

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> find_method("ldifs")().recipe(fake_models()).trainer.pull
    10.0
    """

    kind: ClassVar[str] = "FeatureDistance"
    name: ClassVar[str] = "ldifs"
    title: ClassVar[str] = "LDIFS"
    summary: ClassVar[str] = "End-to-end fine-tuning with features kept near the zero-shot model's."
    equation: ClassVar[str] = "CE + pull mean_l |f_l/|f_l| - f_l,zs/|f_l,zs||^2"
    source: ClassVar[str] = "Mukhoti et al., TMLR 2024; omegafragger/ldifs_code loss/ldifs.py"
    year: ClassVar[int | None] = 2024
    venue: ClassVar[str] = "TMLR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2308.13320"
    is_newer: ClassVar[bool] = True
    position: ClassVar[int] = 52
    colour: ClassVar[str | None] = "#806000"

    trainer: FeaturesPulledBack = field(default=FeaturesPulledBack())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot classifier, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

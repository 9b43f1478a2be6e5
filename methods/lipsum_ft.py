"""Lipsum-FT: end-to-end fine-tuning that keeps the similarities to random texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import GradientTrainer
from bench.core.parameters import Count, NonNegative, Positive, Precision, setting

if TYPE_CHECKING:
    from torch import Tensor, nn

_FILE = "scripts/Lipsum-FT.py"
_CODE = f"cs-giung/lipsum-ft {_FILE}"
_RUN = "as for E2E-FT; cs-giung/lipsum-ft"


def energy_gap(start: Tensor, tuned: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Return half of the mean squared change of the energies of images and texts.

    The energy of an image and a text is `scale` times the cosine of their embeddings: `start` and
    `tuned` [B, D] of the same images, and `texts` [K, D] of norm 1.

    Examples
    --------
    >>> import torch
    >>> from bench.methods.lipsum_ft import energy_gap
    >>> axes = torch.eye(2)
    >>> energy_gap(axes[:1], 3 * axes[1:], axes, scale=10.0)  # both energies change by 10
    tensor(50.)
    """
    import torch
    from torch.nn.functional import normalize

    whole = torch.promote_types(tuned.dtype, torch.float32)
    change = normalize(tuned.to(whole), dim=-1) - normalize(start.to(whole), dim=-1)
    return (scale * change @ texts.T).square().mean() / 2


@dataclass(frozen=True)
class TextGuided(GradientTrainer):
    """End-to-end fine-tuning with a penalty on changes of energies with random token texts.

    At every step, the frozen text tower of the pretrained model embeds new texts of random tokens.

    Attributes
    ----------
    pull : coefficient of `energy_gap`.
    texts : random texts per step.
    length : tokens of a text, besides its start and end.

    Examples
    --------
    >>> from bench.methods.lipsum_ft import TextGuided
    >>> TextGuided().reads_text, TextGuided(texts=8).texts
    (True, 8)
    """

    kind: ClassVar[str] = "TextGuided"
    title: ClassVar[str] = "end to end, Lipsum-FT"
    version: ClassVar[int] = 1
    reads_text: ClassVar[bool] = True
    loss_is_mean: ClassVar[bool] = True

    lr: Positive = setting(3e-5, f"{_RUN} README", official=1e-5, span=10)
    weight_decay: NonNegative = setting(0.1, f"{_RUN} {_FILE}", official=0.0, span=10)
    batch_size: Count = setting(512, f"{_RUN} scripts/defaults.py", official=256)
    warmup: NonNegative = setting(500, f"{_RUN} {_FILE}", official=0.1)
    clip: NonNegative = setting(1.0, f"{_RUN} {_FILE}", official=0.0)
    precision: Precision = setting("fp32", f"{_RUN} {_FILE}", official="bf16")
    pull: NonNegative = setting(1.0, f"--feat_regularization in {_CODE}", span=10)
    texts: Count = setting(80, f"--token_k_ways in {_CODE}")
    length: Count = setting(8, f"--token_length in {_CODE}")

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """Return a copy of the start's image tower."""
        tower: Any = model.encoder
        return {name: tensor.detach().clone() for name, tensor in tower.state_dict().items()}

    def encode(
        self, model: nn.Module, batch: dict[str, Tensor], state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the logits, the labels and the change of energies, ``gap``."""
        import torch
        from torch.func import functional_call

        inner: Any = getattr(model, "module", model)
        tuned: list[Tensor] = []
        handle = inner.encoder.register_forward_hook(lambda m, i, output: tuned.append(output))
        try:
            found = super().encode(model, batch, state)
        finally:
            handle.remove()
        with torch.no_grad():
            start = functional_call(inner.encoder, state, (batch["inputs"],))
            texts = inner.text.random(self.texts, self.length, int(batch["seed"]))
        return found | {"gap": energy_gap(start, tuned[0], texts, inner.text.scale)}

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """Return the cross-entropy plus `pull` times the change of energies."""
        return super().loss(embeddings, step) + self.pull * embeddings["gap"]


@method
@dataclass(frozen=True)
class LipsumFineTuning(Method):
    """E2E-FT with a penalty on changes of the similarities to texts of random tokens.

    Nam et al., "Lipsum-FT: Robust fine-tuning of zero-shot models using random text guidance",
    ICLR 2024, and its official code (cs-giung/lipsum-ft, in JAX).

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> find_method("lipsum-ft")().recipe(fake_models()).trainer.texts
    80
    """

    kind: ClassVar[str] = "LipsumFineTuning"
    name: ClassVar[str] = "lipsum-ft"
    title: ClassVar[str] = "Lipsum-FT"
    summary: ClassVar[str] = "End-to-end fine-tuning that keeps similarities to random texts."
    equation: ClassVar[str] = "CE + pull/2 mean over x, t of (s cos(f, t) - s cos(f_zs, t))^2"
    source: ClassVar[str] = f"Nam et al., ICLR 2024; {_CODE}"
    year: ClassVar[int | None] = 2024
    venue: ClassVar[str] = "ICLR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2404.00860"
    is_newer: ClassVar[bool] = True
    position: ClassVar[int] = 56
    colour: ClassVar[str | None] = "#b87868"

    trainer: TextGuided = field(default=TextGuided())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot classifier, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

"""CaRot: calibrated robust fine-tuning, as published and as in its authors' earlier slides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.core.parameters import Count, Fraction, NonNegative, setting
from bench.models.training.trainers import EMBEDDED, ContrastiveTrainer

if TYPE_CHECKING:
    from torch import Tensor, nn

_SCRIPT = "MLAI-Yonsei/CaRot example_scripts/carot.sh"
_PARSER = "MLAI-Yonsei/CaRot src/args.py"
_SLIDES = "the slides state none"
TEACHER = tuple(f"teacher_{name}" for name in EMBEDDED)


@dataclass(frozen=True)
class SelfDistillation(ContrastiveTrainer):
    """Contrastive fine-tuning with a moving average of the model as the teacher.

    Attributes
    ----------
    distill : coefficient of the KL divergence from the teacher, summed over both directions.
    period : steps between two updates of the teacher; the first update is after step 0.
    start, end, ramp : the teacher's momentum rises from `start` to `end` over the fraction `ramp`
        of all steps (see `bench.models.training.losses.ema_momentum`).

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from bench.methods.carot import SelfDistillation
    >>> trainer = SelfDistillation(period=1)
    >>> model, state = nn.Linear(1, 1, bias=False), {"weight": torch.zeros(1, 1)}
    >>> _ = nn.init.ones_(model.weight)
    >>> trainer.after_step(model, state, step=0, steps=100)
    >>> state  # the teacher is 0.05 of itself and 0.95 of the student
    {'weight': tensor([[0.9500]])}
    """

    kind: ClassVar[str] = "SelfDistillation"
    title: ClassVar[str] = "both towers, self-distilled"
    version: ClassVar[int] = 2
    smoke: ClassVar[Mapping[str, Any]] = {**ContrastiveTrainer.smoke, "period": 2}

    distill: NonNegative = setting(1.5, f"{_SCRIPT}; {_SLIDES}", span=10)
    period: Count = setting(500, f"{_PARSER}; {_SLIDES}")
    start: Fraction = setting(0.05, f"{_PARSER}; {_SLIDES}")
    end: Fraction = setting(0.9, f"{_PARSER}; {_SLIDES}")
    ramp: Fraction = setting(0.2, f"{_PARSER}; {_SLIDES}")

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the teacher, which is initially a copy of the student."""
        return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def encode(
        self, model: nn.Module, batch: dict[str, Tensor], state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the student's and the teacher's embeddings and scales."""
        import torch
        from torch.func import functional_call

        student = super().encode(model, batch, state)
        with torch.no_grad():
            unwrapped = getattr(model, "module", model)  # without the wrapper for several processes
            teacher = functional_call(unwrapped, state, (batch["inputs"], batch["texts"]))
        return student | dict(zip(TEACHER, teacher, strict=True))

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """Return the contrastive loss plus, after step 0, the distance from the teacher."""
        loss = super().loss(embeddings, step)
        return loss if step == 0 else loss + self.distill * self.distance(embeddings)

    def distance(self, embeddings: dict[str, Tensor]) -> Tensor:
        """Return the distance in the slides' form: KL divergences."""
        from bench.models.training.losses import kl_distillation, sigmoid_kl_distillation

        return self._apart(embeddings, kl_distillation, sigmoid_kl_distillation)

    def _apart(
        self,
        embeddings: dict[str, Tensor],
        softmax: Callable[..., Tensor],
        sigmoid: Callable[..., Tensor],
    ) -> Tensor:
        """Return the term for the trainer's `contrast`; only that of the sigmoid has biases."""
        names = [*EMBEDDED, *TEACHER]
        if self.contrast == "sigmoid":
            return sigmoid(*(embeddings[name] for name in names))
        return softmax(*(embeddings[name] for name in names if not name.endswith("bias")))

    def after_step(self, model: nn.Module, state: dict[str, Tensor], step: int, steps: int) -> None:
        """Update the teacher every `period` steps: teacher = m teacher + (1 - m) student."""
        from bench.models.training.losses import ema_momentum

        if step % self.period:
            return
        m = ema_momentum(step, steps, self.start, self.end, self.ramp)
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                state[name].mul_(m).add_(tensor, alpha=1 - m)


@dataclass(frozen=True)
class CarotTrainer(SelfDistillation):
    """CaRot's trainer: self-distillation as cross-entropy, and two penalties on the projections.

    Attributes
    ----------
    orthogonal : coefficient of ||W_v^T W_v - I||_F, where W_v is the visual projection.
    cross : coefficient of ||W_v W_t^T||_F, where W_t is the text projection.

    Examples
    --------
    >>> from bench.methods.carot import CarotTrainer
    >>> CarotTrainer().orthogonal, CarotTrainer(distill=0.0).distill
    (0.2, 0.0)
    """

    kind: ClassVar[str] = "CarotTrainer"
    title: ClassVar[str] = "both towers, CaRot"
    version: ClassVar[int] = 2
    reads_projections: ClassVar[bool] = True

    orthogonal: NonNegative = setting(0.2, _SCRIPT)
    cross: NonNegative = setting(0.05, _SCRIPT)

    def distance(self, embeddings: dict[str, Tensor]) -> Tensor:
        """Return the distance in the published code's form: cross-entropies.

        Its gradient equals that of the KL divergences.
        """
        from bench.models.training.losses import distillation, sigmoid_distillation

        return self._apart(embeddings, distillation, sigmoid_distillation)

    def penalty(self, model: nn.Module, state: dict[str, Tensor]) -> Tensor | None:
        """Return the orthogonality and the cross-covariance penalty."""
        from bench.models.training.losses import cross_covariance, orthogonality

        visual, text = model.projections()  # type: ignore[operator]
        return self.orthogonal * orthogonality(visual) + self.cross * cross_covariance(visual, text)


@method
@dataclass(frozen=True)
class Carot(Method):
    """FLYP with an orthogonal visual projection and self-distillation from a moving average.

    Oh et al., "Towards Calibrated Robust Fine-Tuning of Vision-Language Models", NeurIPS 2024,
    and its official code (MLAI-Yonsei/CaRot ``src/models/carot_loss.py``). The student is
    evaluated, not the teacher. The official script trains in fp16; here, `precision` is an option.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> find_method("carot")().recipe(fake_models()).trainer.cross
    0.05
    """

    kind: ClassVar[str] = "Carot"
    name: ClassVar[str] = "carot"
    title: ClassVar[str] = "CaRot"
    summary: ClassVar[str] = "FLYP with an orthogonal visual projection and an EMA teacher."
    equation: ClassVar[str] = (
        "L_con + 0.05 ||W_v W_t^T||_F + 0.2 ||W_v^T W_v - I||_F + 1.5 CE(teacher, student)"
    )
    source: ClassVar[str] = "Oh et al., NeurIPS 2024; MLAI-Yonsei/CaRot src/models/carot_loss.py"
    year: ClassVar[int | None] = 2024
    venue: ClassVar[str] = "NeurIPS"
    paper: ClassVar[str] = "https://arxiv.org/abs/2311.01723"
    position: ClassVar[int] = 110
    colour: ClassVar[str | None] = "#d010b8"
    is_common_base: ClassVar[bool] = True

    trainer: CarotTrainer = field(default=CarotTrainer())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot model, tuned."""
        return models.tuned(models.zero_shot, self.trainer)


@method
@dataclass(frozen=True)
class CarotSlides(Method):
    """CaRot as first presented: contrastive loss and distillation, without penalties.

    The authors' slides state neither the coefficient of the distillation nor the schedule of the
    teacher, so those of the published code are used, also under ``--protocol official``.
    The label smoothing that they tried is the modifier ``+ls``.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> find_method("carot-slides")().recipe(fake_models()).trainer.kind
    'SelfDistillation'
    """

    kind: ClassVar[str] = "CarotSlides"
    name: ClassVar[str] = "carot-slides"
    title: ClassVar[str] = "CaRot (slides)"
    summary: ClassVar[str] = "FLYP with distillation from an EMA teacher, without penalties."
    equation: ClassVar[str] = "L_con + 1.5 (KL_i2t(teacher, student) + KL_t2i(teacher, student))"
    source: ClassVar[str] = "CaRot's authors' slides; schedule from MLAI-Yonsei/CaRot"
    venue: ClassVar[str] = "slides"
    position: ClassVar[int] = 100
    colour: ClassVar[str | None] = "#f840e0"

    trainer: SelfDistillation = field(default=SelfDistillation())

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the zero-shot model, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

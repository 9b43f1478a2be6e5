"""CaRot: calibrated robust fine-tuning, as published and as in its authors' earlier slides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.core.parameters import Count, Fraction, NonNegative
from bench.models.training.trainers import ContrastiveTrainer

if TYPE_CHECKING:
    from torch import Tensor, nn

TEACHER = ("teacher_images", "teacher_texts", "teacher_scale")


@dataclass(frozen=True)
class SelfDistillation(ContrastiveTrainer):
    """Contrastive fine-tuning with the model's own moving average as a teacher.

    Attributes
    ----------
    distill : coefficient of the KL divergence from the teacher, both directions summed.
    period : steps between two updates of the teacher, the first after step 0.
    start, end, ramp : the teacher's momentum rises from `start` to `end` over the fraction `ramp`
        of all steps (see `bench.models.training.losses.ema_momentum`).
    """

    kind: ClassVar[str] = "SelfDistillation"
    title: ClassVar[str] = "both towers, self-distilled"
    version: ClassVar[int] = 2

    distill: NonNegative = 1.5
    period: Count = 500
    start: Fraction = 0.05
    end: Fraction = 0.9
    ramp: Fraction = 0.2

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """The teacher, at first the student itself."""
        return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def encode(
        self, model: nn.Module, batch: dict[str, Tensor], state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The student's and the teacher's embeddings and scales."""
        import torch
        from torch.func import functional_call

        student = super().encode(model, batch, state)
        with torch.no_grad():
            alone = getattr(model, "module", model)
            taught = functional_call(alone, state, (batch["inputs"], batch["texts"]))
        return student | dict(zip(TEACHER, taught, strict=True))

    def loss(self, embeddings: dict[str, Tensor], step: int) -> Tensor:
        """The contrastive loss and the distance from the teacher, which is off at step 0."""
        loss = super().loss(embeddings, step)
        return loss if step == 0 else loss + self.distill * self.distance(embeddings)

    def distance(self, embeddings: dict[str, Tensor]) -> Tensor:
        """The slides' form: KL divergences."""
        from bench.models.training.losses import kl_distillation

        return kl_distillation(*(embeddings[n] for n in ("images", "texts", "scale", *TEACHER)))

    def after_step(self, model: nn.Module, state: dict[str, Tensor], step: int, steps: int) -> None:
        """teacher = m teacher + (1 - m) student, every `period` steps."""
        from bench.models.training.losses import ema_momentum

        if step % self.period:
            return
        m = ema_momentum(step, steps, self.start, self.end, self.ramp)
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                state[name].mul_(m).add_(tensor, alpha=1 - m)


@dataclass(frozen=True)
class CarotTrainer(SelfDistillation):
    """CaRot's trainer: two penalties on the projections, and distillation as cross-entropy.

    Attributes
    ----------
    orthogonal : coefficient of ||W_v^T W_v - I||_F on the visual projection.
    cross : coefficient of ||W_v W_t^T||_F on both projections.
    """

    kind: ClassVar[str] = "CarotTrainer"
    title: ClassVar[str] = "both towers, CaRot"
    version: ClassVar[int] = 2

    orthogonal: NonNegative = 0.2
    cross: NonNegative = 0.05

    def distance(self, embeddings: dict[str, Tensor]) -> Tensor:
        """The published code's form: cross-entropies. Its gradient is the KL divergences'."""
        from bench.models.training.losses import distillation

        return distillation(*(embeddings[n] for n in ("images", "texts", "scale", *TEACHER)))

    def penalty(self, model: nn.Module, state: dict[str, Tensor]) -> Tensor | None:
        """Orthogonality of the visual projection, and the cross-covariance term."""
        from bench.models.training.losses import cross_covariance, orthogonality

        visual, text = model.projections()  # type: ignore[operator]
        return self.orthogonal * orthogonality(visual) + self.cross * cross_covariance(visual, text)


@method
@dataclass(frozen=True)
class Carot(Method):
    """FLYP with an orthogonal visual projection and self-distillation from a moving average.

    Oh et al., "Towards Calibrated Robust Fine-Tuning of Vision-Language Models", NeurIPS 2024,
    and its official code (MLAI-Yonsei/CaRot ``src/models/carot_loss.py``). The student is what is
    evaluated. The official script trains in fp16; here `precision` says in what.
    """

    kind: ClassVar[str] = "Carot"
    name: ClassVar[str] = "carot"
    title: ClassVar[str] = "CaRot"
    summary: ClassVar[str] = "FLYP with orthogonal projections and an EMA teacher."
    equation: ClassVar[str] = (
        "L_con + 0.05 ||W_v W_t^T||_F + 0.2 ||W_v^T W_v - I||_F + 1.5 CE(teacher, student)"
    )
    source: ClassVar[str] = "Oh et al., NeurIPS 2024; MLAI-Yonsei/CaRot src/models/carot_loss.py"
    is_common_base: ClassVar[bool] = True

    trainer: CarotTrainer = field(default=CarotTrainer())

    def recipe(self, models: Models) -> Recipe:
        """The zero-shot model, tuned."""
        return models.tuned(models.zero_shot, self.trainer)


@method
@dataclass(frozen=True)
class CarotSlides(Method):
    """CaRot as first presented: contrastive loss and distillation, without penalties.

    The authors' slides give no schedule for the teacher; the published code's stands in. Label
    smoothing, which they tried, is ``+ls``.
    """

    kind: ClassVar[str] = "CarotSlides"
    name: ClassVar[str] = "carot-slides"
    title: ClassVar[str] = "CaRot (slides)"
    summary: ClassVar[str] = "FLYP with distillation from an EMA teacher, without penalties."
    equation: ClassVar[str] = "L_con + 1.5 (KL_i2t(teacher, student) + KL_t2i(teacher, student))"
    source: ClassVar[str] = "CaRot's authors' slides; schedule from MLAI-Yonsei/CaRot"

    trainer: SelfDistillation = field(default=SelfDistillation())

    def recipe(self, models: Models) -> Recipe:
        """The zero-shot model, tuned."""
        return models.tuned(models.zero_shot, self.trainer)

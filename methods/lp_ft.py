"""LP-FT: a linear probe, then end-to-end fine-tuning from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import GradientTrainer
from bench.core.parameters import setting
from bench.models.training.trainers import HeadTrainer


@method
@dataclass(frozen=True)
class ProbeThenTune(Method):
    """A linear probe, followed by end-to-end fine-tuning that starts from it.

    The head is fitted before the encoder is tuned, which distorts the pretrained features less.
    Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution", ICLR 2022. Settings are those of VRF (NeurIPS 2024, section 5.1): a head
    on normalised features, then AdamW with learning rate 1e-5.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> recipe = find_method("lp-ft")().recipe(fake_models())
    >>> recipe.trainer.title, recipe.start.trainer.title
    ('end to end', 'linear head')
    """

    kind: ClassVar[str] = "ProbeThenTune"
    name: ClassVar[str] = "lp-ft"
    title: ClassVar[str] = "LP-FT"
    summary: ClassVar[str] = "A linear probe, then end-to-end fine-tuning from it."
    equation: ClassVar[str] = "E2E-FT, started from (f_zs, argmin over head of CE(head(f_zs)))"
    source: ClassVar[str] = "Kumar et al., ICLR 2022; settings of Zhu et al., NeurIPS 2024, 5.1"
    position: ClassVar[int] = 60
    colour: ClassVar[str | None] = "#a04840"
    shape: ClassVar[str | None] = "triangle-up"
    is_common_base: ClassVar[bool] = True

    probe: HeadTrainer = field(default=HeadTrainer())
    trainer: GradientTrainer = setting(GradientTrainer(lr=1e-5), "VRF, section 5.1")

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the linear probe, tuned end to end."""
        return models.tuned(models.tuned(models.zero_shot, self.probe), self.trainer)


@method
@dataclass(frozen=True)
class ProbeThenTuneBySgd(ProbeThenTune):
    """LP-FT with its authors' optimiser: SGD with momentum 0.9, no weight decay, no clipping.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> find_method("lp-ft-sgd")().trainer.optimizer
    'sgd'
    """

    kind: ClassVar[str] = "ProbeThenTuneBySgd"
    name: ClassVar[str] = "lp-ft-sgd"
    title: ClassVar[str] = "LP-FT (SGD)"
    summary: ClassVar[str] = "LP-FT with SGD with momentum in the second phase."
    source: ClassVar[str] = "Kumar et al., ICLR 2022; AnanyaKumar/transfer_learning"
    position: ClassVar[int] = 70
    colour: ClassVar[str | None] = "#9850a0"
    in_all: ClassVar[bool] = False
    is_common_base: ClassVar[bool] = False

    trainer: GradientTrainer = setting(
        GradientTrainer(optimizer="sgd", lr=3e-5, weight_decay=0.0, clip=0.0),
        "AnanyaKumar/transfer_learning, CLIP ViT-B/16 on ImageNet, the second of three rates",
    )


@method
@dataclass(frozen=True)
class ProbeThenTuneRaw(ProbeThenTune):
    """LP-FT with a random head on features that are not normalised, as in CaRot's comparison.

    Examples
    --------
    >>> from bench.api.recipe_parts import normalizes
    >>> from bench.api.registry import find_method
    >>> from bench.testing.fakes import fake_models
    >>> normalizes(find_method("lp-ft-raw")().recipe(fake_models()))
    False
    """

    kind: ClassVar[str] = "ProbeThenTuneRaw"
    name: ClassVar[str] = "lp-ft-raw"
    title: ClassVar[str] = "LP-FT (raw features)"
    summary: ClassVar[str] = "LP-FT with a head on unnormalised features."
    source: ClassVar[str] = "MLAI-Yonsei/CaRot; AnanyaKumar/transfer_learning"
    position: ClassVar[int] = 80
    colour: ClassVar[str | None] = "#d01060"
    in_all: ClassVar[bool] = False
    is_common_base: ClassVar[bool] = False

    probe: HeadTrainer = setting(
        HeadTrainer(start="random", normalized=False, epochs=5), "MLAI-Yonsei/CaRot, on ImageNet"
    )

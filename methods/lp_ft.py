"""LP-FT: a linear probe, then end-to-end fine-tuning from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bench.api.method import Method, Models
from bench.api.recipes import Recipe
from bench.api.registry import method
from bench.api.trainer import GradientTrainer
from bench.core.parameters import setting
from bench.models.training.trainers import HeadTrainer

_RAW = HeadTrainer(start="random", normalized=False, epochs=5)
_CODE = "AnanyaKumar/transfer_learning configs/adaptation/imagenet.yaml, resnet50_transfer.yaml"
_RUNNER = "fine_tuning_experiments of scripts/run_adaptation_experiments.py"
_SGD: Mapping[str, Any] = {
    "optimizer": "sgd", "weight_decay": 0.0, "batch_size": 128, "warmup": 0, "clip": 0.0,
    "schedule": "by-epoch",
}  # fmt: skip


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
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "ICLR"
    paper: ClassVar[str] = "https://arxiv.org/abs/2202.10054"
    position: ClassVar[int] = 60
    colour: ClassVar[str | None] = "#a04840"
    shape: ClassVar[str | None] = "triangle-up"
    is_common_base: ClassVar[bool] = True

    probe: HeadTrainer = setting(
        HeadTrainer(),
        "VRF, appendix C.1: batch 512, rate 0.1 for all data; the rest is not stated",
        official=HeadTrainer(lr=0.1),
    )
    trainer: GradientTrainer = setting(GradientTrainer(lr=1e-5), "VRF, section 5.1")

    def recipe(self, models: Models) -> Recipe:
        """Return the recipe: the linear probe, tuned end to end."""
        return models.tuned(models.tuned(models.zero_shot, self.probe), self.trainer)


@method
@dataclass(frozen=True)
class ProbeThenTuneBySgd(ProbeThenTune):
    """LP-FT with its authors' recipe for CLIP on ImageNet instead of AdamW with warm-up.

    SGD with momentum 0.9, no weight decay, no clipping, batches of 128, no warm-up, and a cosine
    schedule that changes the learning rate after each epoch. The linear probe is that of ``lp-ft``;
    under ``--protocol official`` it is the authors', on features that are not normalised, with the
    same recipe. docs/methods.md section 16 lists what still differs.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> trainer = find_method("lp-ft-sgd")().trainer
    >>> trainer.optimizer, trainer.batch_size, trainer.clip, trainer.schedule
    ('sgd', 128, 0.0, 'by-epoch')
    """

    kind: ClassVar[str] = "ProbeThenTuneBySgd"
    name: ClassVar[str] = "lp-ft-sgd"
    title: ClassVar[str] = "LP-FT (SGD)"
    summary: ClassVar[str] = "LP-FT with its authors' recipe of SGD in the second phase."
    source: ClassVar[str] = "Kumar et al., ICLR 2022; AnanyaKumar/transfer_learning"
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "ICLR"
    position: ClassVar[int] = 70
    colour: ClassVar[str | None] = "#9850a0"
    in_all: ClassVar[bool] = False
    is_common_base: ClassVar[bool] = False

    probe: HeadTrainer = setting(
        HeadTrainer(),
        f"clean: that of lp-ft; official: {_CODE}, with 5 epochs at 0.1 in {_RUNNER}",
        official=HeadTrainer(start="random", normalized=False, epochs=5, lr=0.1, **_SGD),
        also=("batch_size",),
    )
    trainer: GradientTrainer = setting(
        GradientTrainer(lr=3e-5, **_SGD),
        f"{_CODE}; 3e-5 is the second of three rates in {_RUNNER}",
        also=("lr", "epochs"),
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
    year: ClassVar[int | None] = 2022
    venue: ClassVar[str] = "ICLR"
    position: ClassVar[int] = 80
    colour: ClassVar[str | None] = "#d01060"
    in_all: ClassVar[bool] = False
    is_common_base: ClassVar[bool] = False

    probe: HeadTrainer = setting(
        _RAW,
        "MLAI-Yonsei/CaRot src/main.py and src/args.py; 5 epochs on ImageNet and 10 on other data "
        "in finetune of src/models/ft_loss.py; the rate is not published",
        official=replace(_RAW, epochs=10),
        on={"imagenet": _RAW},
    )
    trainer: GradientTrainer = setting(
        GradientTrainer(lr=1e-5),
        "VRF, section 5.1, and the default of MLAI-Yonsei/CaRot src/args.py; CaRot's rate for "
        "LP-FT is not published",
    )

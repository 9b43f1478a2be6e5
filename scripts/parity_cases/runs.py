"""Comparisons of complete training runs of tiny models: our loop and the official functions."""

from __future__ import annotations

import tempfile
import time
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import registry
from bench.api.trainer import GradientTrainer
from bench.core.store import Store
from bench.models.training.batches import StepBatches
from bench.models.training.loop import Model, Training
from bench.models.training.networks import DualEncoder, ImageClassifier
from parity_cases.case import Arrays, Case
from parity_cases.losses import clip_loss_class
from parity_cases.official import Checkout, on_cpu
from parity_cases.training import cosine

MODELS, UTILS = "src/models", "src/models/utils.py"
SAMPLES, CLASSES, TEMPLATES = 20, 3, 2
SEED = 1

CLASSIFIER = {"images": (SAMPLES, 3, 2, 2), "encoder": (4, 12), "head": (CLASSES, 4)}
PAIRS = {
    "images": (SAMPLES, 3, 2, 2),
    "encoder": (5, 12),
    "visual_projection": (5, 4),
    "words": (CLASSES * TEMPLATES, 6),
    "text_projection": (6, 4),
    "logit_scale": (),
}


def short(trainer: Any, **changes: Any) -> Any:
    """Return the trainer with six steps of a high learning rate."""
    return replace(trainer, lr=0.01, weight_decay=0.1, batch_size=8, epochs=2, warmup=2, **changes)


CLIPPED = short(GradientTrainer())
SMOOTHED = short(GradientTrainer(), smoothing=0.1)
FLYP = short(registry.find_method("flyp")().trainer)  # type: ignore[attr-defined]
CAROT = short(registry.find_method("carot")().trainer, period=2, ramp=0.9)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Samples:
    """A replacement for `bench.models.transforms.TrainImages` without random augmentation."""

    pixels: Tensor
    min_area: float = 1.0
    flip: bool = False

    def __getitem__(self, item: tuple[int, int, int]) -> tuple[Tensor, int, int]:
        _, sample, template = item
        return self.pixels[sample], sample % CLASSES, template


def samples(inputs: Arrays) -> Samples:
    """Return the images, float32."""
    return Samples(torch.tensor(inputs["images"]).float())


def batches(trainer: GradientTrainer, inputs: Arrays, templates: int) -> list[dict[str, Tensor]]:
    """Return all batches of a training run: ``images``, ``labels`` and ``templates``."""
    draw = partial(trainer.draws, SEED, size=SAMPLES, templates=templates)
    images, found = samples(inputs), []
    for rows in StepBatches(draw, SAMPLES, trainer.batch_size, trainer.epochs, 0):
        pixels, labels, chosen = zip(*(images[row] for row in rows), strict=True)
        found.append({
            "images": torch.stack(pixels),
            "labels": torch.tensor(labels),
            "templates": torch.tensor(chosen),
        })  # fmt: skip
    return found


def trained(trainer: GradientTrainer, model: Model, inputs: Arrays) -> Arrays:
    """Return the weights after a training run with the harness's own loop."""
    with tempfile.TemporaryDirectory() as folder:
        training = Training(
            build=lambda trainer: model,
            images=samples(inputs),  # type: ignore[arg-type]
            stored=lambda split: (torch.empty(0), torch.empty(0)),
            size=SAMPLES,
            classes=CLASSES,
            seed=SEED,
            key="parity",
            store=Store(Path(folder)),
            device=torch.device("cpu"),
            workers=0,
            progress=lambda done, total: None,
        )
        return {n: t.numpy() for n, t in trainer.train(training).items()}


def settings(trainer: GradientTrainer, **more: Any) -> SimpleNamespace:
    """Return the arguments of an official training function."""
    return SimpleNamespace(
        train_dataset="Tiny", data_location=None, save=None, ls=trainer.smoothing,
        batch_size=trainer.batch_size, epochs=trainer.epochs, lr=trainer.lr,
        wd=trainer.weight_decay, warmup_length=trainer.warmup, min_lr=0.0, **more,
    )  # fmt: skip


def dataset(steps: int) -> SimpleNamespace:
    """Return a replacement for the module of data sets, which gives the steps per epoch."""
    return SimpleNamespace(Tiny=lambda *a, **k: SimpleNamespace(train_loader=range(steps)))


def nothing(*arguments: Any, **options: Any) -> None:
    """Replace evaluation, logging and writing of files: do nothing."""


class Encoder(nn.Module):
    """An image tower of one layer, and a projection if the inputs have one."""

    train_preprocess = val_preprocess = None

    def __init__(self, inputs: Arrays) -> None:
        super().__init__()
        weight = torch.tensor(inputs["encoder"]).float()
        self.layer = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.layer.weight.copy_(weight)
            self.layer.bias.zero_()
        if "visual_projection" in inputs:
            self.proj = nn.Parameter(torch.tensor(inputs["visual_projection"]).float())

    def forward(self, images: Tensor) -> Tensor:
        """Encode images: [B, 3, H, W] -> [B, D]."""
        features: Tensor = self.layer(images.flatten(1))
        return features @ self.proj if hasattr(self, "proj") else features


def head(inputs: Arrays) -> Tensor:
    """Return the head's weight, scaled so that four of six gradients are clipped.

    If all were clipped, Adam's result would not depend on how much they are clipped.
    """
    return 2 * torch.tensor(inputs["head"]).float()


def our_classifier(inputs: Arrays, trainer: GradientTrainer) -> Arrays:
    """Train E2E-FT with our loop."""
    model = ImageClassifier(Encoder(inputs), head(inputs), torch.zeros(CLASSES), normalize=True)
    return trained(trainer, model, inputs)


def official_classifier(inputs: Arrays, official: Checkout, trainer: GradientTrainer) -> Arrays:
    """Train with WiSE-FT's `finetune`."""
    modeling = f"{MODELS}/modeling.py"
    linear = official.define(modeling, "ClassificationHead", torch=torch)
    classifier = official.define(modeling, "ImageClassifier", torch=torch)
    model = classifier(Encoder(inputs), linear(normalize=True, weights=head(inputs)))
    rows = batches(trainer, inputs, 1)
    steps = len(rows) // trainer.epochs
    epochs = iter([rows[i * steps :][:steps] for i in range(trainer.epochs)])
    finetune = official.define(
        f"{MODELS}/finetune.py",
        "finetune",
        ImageClassifier=SimpleNamespace(load=lambda path: model),
        datasets=dataset(steps),
        get_dataloader=lambda *a, **k: next(epochs),
        maybe_dictionarize=lambda batch: batch,
        evaluate=nothing,
        cosine_lr=cosine(official),
        LabelSmoothing=official.define(UTILS, "LabelSmoothing", torch=torch),
        torch=torch,
        time=time,
    )
    with on_cpu():
        finetune(settings(trainer, load="start", freeze_encoder=False))
    return renamed(model, {"image_encoder.": "encoder.", "classification_head.": "head."})


def renamed(model: nn.Module, prefixes: dict[str, str]) -> Arrays:
    """Return a model's weights under our names: the first matching prefix is replaced."""
    found = {}
    for name, tensor in model.state_dict().items():
        theirs = next(prefix for prefix in prefixes if name.startswith(prefix))
        found[prefixes[theirs] + name.removeprefix(theirs)] = tensor.numpy()
    return found


class TinyClip(nn.Module):
    """Two towers of one layer each; a prompt is the index of its row in `words`."""

    def __init__(self, inputs: Arrays) -> None:
        super().__init__()
        given = {name: torch.tensor(array).float() for name, array in inputs.items()}
        self.visual = Encoder(inputs)
        self.words = nn.Parameter(given["words"])
        self.text_projection = nn.Parameter(given["text_projection"])
        self.logit_scale = nn.Parameter(given["logit_scale"] + 2)

    def encode_image(self, images: Tensor) -> Tensor:
        """Encode images: [B, 3, H, W] -> [B, D]."""
        features: Tensor = self.visual(images)
        return features

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Encode prompts: [n, 1] -> [n, D]."""
        return self.words[tokens[:, 0]] @ self.text_projection


class Pairs(nn.Module):
    """A CLIP wrapped as in the official training functions, with the official `forward`."""

    train_preprocess = val_preprocess = None

    def __init__(self, model: TinyClip, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.official_forward = forward

    def forward(self, images: Tensor, texts: Tensor) -> Any:
        """Return normalised embeddings and the scale."""
        return self.official_forward(self.model, images, texts)


PROMPTS = torch.arange(CLASSES * TEMPLATES).reshape(CLASSES, TEMPLATES, 1)


def our_pairs(inputs: Arrays, trainer: GradientTrainer) -> Arrays:
    """Train FLYP or CaRot with our loop; the head is left out, since another case compares it."""
    found = trained(trainer, DualEncoder(TinyClip(inputs), PROMPTS), inputs)
    return {name: array for name, array in found.items() if not name.startswith("head.")}


def official_pairs(
    inputs: Arrays, official: Checkout, trainer: GradientTrainer, function: str, **more: Any
) -> Arrays:
    """Train with FLYP's or CaRot's own training function."""
    rows = batches(trainer, inputs, TEMPLATES)
    loader = [(r["images"], PROMPTS[r["labels"], r["templates"]]) for r in rows]
    clip = official.define("clip/model.py", "CLIP", nn=nn, torch=torch, **vars(typing))
    model = Pairs(TinyClip(inputs), clip.forward)
    train = official.define(
        f"{MODELS}/{function}.py",
        function,
        ClipLoss=clip_loss_class(official),
        datasets=dataset(len(rows) // trainer.epochs),
        get_data=lambda *a, **k: {"train_ft": SimpleNamespace(dataloader=loader)},
        get_zeroshot_classifier=lambda *a: nn.Identity(),
        cosine_lr=cosine(official),
        evaluate=nothing,
        os=SimpleNamespace(makedirs=nothing),
        pd=SimpleNamespace(DataFrame=lambda rows: SimpleNamespace(to_csv=nothing)),
        wandb=SimpleNamespace(log=nothing),
        torch=torch,
        time=time,
        F=F,
    )
    arguments = settings(trainer, exp_name="", run=1, **more)
    with on_cpu():
        train(arguments, model, nn.Identity(), SimpleNamespace(info=nothing))
    return renamed(model.model, {"visual.": "encoder.", "": "text."})


CAROT_ARGUMENTS = {
    "model": "ViT-B/16",
    "use_fp16": 0,
    "clip_load": None,
    "distil_coef": CAROT.distill,
    "ema_up_freq": CAROT.period,
    "m_sche_src": CAROT.start,
    "m_sche_tar": CAROT.end,
    "m_warm_up": CAROT.ramp,
    "cross_fnorm": CAROT.cross,
    "l_orth_wv": CAROT.orthogonal,
}

FINETUNE, CLOSE = f"{MODELS}/finetune.py:finetune", 1e-6
CASES = (
    *(
        Case(
            name, "wise-ft", FINETUNE, CLOSE, partial(our_classifier, trainer=trainer),
            partial(official_classifier, trainer=trainer), CLASSIFIER, 13,
        )
        for name, trainer in (
            ("six steps", CLIPPED),
            ("six steps with label smoothing", SMOOTHED),
        )
    ),
    Case(
        "six steps", "FLYP", f"{MODELS}/flyp_loss.py:flyp_loss", CLOSE,
        partial(our_pairs, trainer=FLYP),
        partial(official_pairs, trainer=FLYP, function="flyp_loss"), PAIRS, 15,
    ),
    Case(
        "six steps", "CaRot", f"{MODELS}/carot_loss.py:carot_loss", CLOSE,
        partial(our_pairs, trainer=CAROT),
        partial(official_pairs, trainer=CAROT, function="carot_loss", **CAROT_ARGUMENTS),
        PAIRS, 16,
    ),
)  # fmt: skip

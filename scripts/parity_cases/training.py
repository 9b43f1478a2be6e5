"""Comparisons of the formulas of WiSE-FT's fine-tuning and of its zero-shot head."""

from __future__ import annotations

import ast
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api.recipes import Backbone, TextHead
from bench.api.trainer import GradientTrainer, learning_rate
from bench.models.clip import Clip, text_head
from parity_cases.case import Arrays, Case, leaves, value_and_gradients
from parity_cases.official import Checkout, on_cpu

MODELS, UTILS = "src/models", "src/models/utils.py"
LABELS = np.array([0, 2, 1, 2, 0, 1])
SMOOTHING = 0.1

IMAGENET_STEPS = 25_030
SOME_STEPS = (0, 1, 250, 499, 500, 501, 5_000, 12_765, 20_000, 25_029)


def our_rates(inputs: Arrays) -> Arrays:
    """Compute `learning_rate` with the trainer's defaults."""
    trainer = GradientTrainer()
    return {"rate": np.array([learning_rate(trainer, step, IMAGENET_STEPS) for step in SOME_STEPS])}


def cosine(official: Checkout) -> Any:
    """Return the repository's `cosine_lr`, with the two helpers that it calls."""
    helpers = {n: official.define(UTILS, n) for n in ("assign_learning_rate", "_warmup_lr")}
    return official.define(UTILS, "cosine_lr", np=np, **helpers)


def official_rates(inputs: Arrays, official: Checkout) -> Arrays:
    """Return the rates that the schedule writes into an optimiser's only group."""
    trainer, found = GradientTrainer(), []
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}])
    adjust = cosine(official)(optimizer, trainer.lr, trainer.warmup, IMAGENET_STEPS)
    for step in SOME_STEPS:
        adjust(step)
        found.append(optimizer.param_groups[0]["lr"])
    return {"rate": np.array(found)}


def our_smoothing(inputs: Arrays) -> Arrays:
    """Compute torch's cross-entropy with label smoothing, which bench uses."""
    logits = leaves(inputs)
    value = cross_entropy(logits["logits"], torch.tensor(LABELS), label_smoothing=SMOOTHING)
    return value_and_gradients(value, logits)


def official_smoothing(inputs: Arrays, official: Checkout) -> Arrays:
    """Compute the repository's own loss."""
    logits = leaves(inputs)
    loss = official.define(UTILS, "LabelSmoothing", torch=torch)(SMOOTHING)
    return value_and_gradients(loss(logits["logits"], torch.tensor(LABELS)), logits)


def our_clipping(inputs: Arrays) -> Arrays:
    """Compute g min(1, c / (||g|| + 1e-6)), ||g|| over all tensors and c the trainer's default."""
    large = {name: 3 * array for name, array in inputs.items()}
    norm = np.sqrt(sum((array**2).sum() for array in large.values()))
    factor = min(1.0, GradientTrainer().clip / (norm + 1e-6))
    return {name: factor * array for name, array in large.items()}


def official_clipping(inputs: Arrays, official: Checkout) -> Arrays:
    """Run the repository's clipping statement, between backward and the optimiser's step."""
    params = [nn.Parameter(torch.zeros(array.shape)) for array in inputs.values()]
    for parameter, array in zip(params, inputs.values(), strict=True):
        parameter.data = torch.zeros(array.shape, dtype=torch.float64)
        parameter.grad = torch.tensor(3 * array)
    official.run(
        f"{MODELS}/finetune.py", "finetune", ast.Expr, "clip_grad_norm_", torch=torch, params=params
    )
    return {name: p.grad.numpy() for name, p in zip(inputs, params, strict=True)}  # type: ignore[union-attr]


class TextTower:
    """A CLIP with fixed text embeddings: those of prompt "c t" are row [c, t]."""

    def __init__(self, inputs: Arrays) -> None:
        self.embeddings = torch.tensor(inputs["embeddings"], dtype=torch.float32)
        self.logit_scale = torch.tensor(float(inputs["logit_scale"]) + 4)
        self.classes, self.templates = self.embeddings.shape[:2]

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed token pairs: [n, 2] -> [n, D]."""
        return self.embeddings[tokens[:, 0], tokens[:, 1]].clone()

    def eval(self) -> TextTower:
        """Return the tower itself."""
        return self

    def to(self, device: object) -> TextTower:
        """Return the tower itself."""
        return self


def tokenize(prompts: list[str]) -> Tensor:
    """Return the two numbers of each prompt."""
    return torch.tensor([[int(word) for word in prompt.split()] for prompt in prompts])


def our_head(inputs: Arrays) -> Arrays:
    """Compute `text_head` of the fixed embeddings."""
    tower = TextTower(inputs)
    names = tuple(map(str, range(tower.classes)))
    templates = tuple(f"{{}} {t}" for t in range(tower.templates))
    recipe = TextHead(Backbone("given", "given", "given"), names, templates)
    head = text_head(Clip(tower, tokenize, None), recipe, torch.device("cpu"))
    return {name: tensor.numpy() for name, tensor in head.items()}


def official_head(inputs: Arrays, official: Checkout) -> Arrays:
    """Compute the repository's head of the same embeddings."""
    tower = TextTower(inputs)
    names = [str(c) for c in range(tower.classes)]
    templates = [partial("{1} {0}".format, t) for t in range(tower.templates)]
    build = official.define(
        f"{MODELS}/zeroshot.py",
        "get_zeroshot_classifier",
        torch=torch,
        tqdm=lambda rows: rows,
        templates=SimpleNamespace(given=templates),
        datasets=SimpleNamespace(Tiny=lambda *a, **k: SimpleNamespace(classnames=names)),
        clip=SimpleNamespace(tokenize=tokenize),
        ClassificationHead=official.define(
            f"{MODELS}/modeling.py", "ClassificationHead", torch=torch
        ),
    )
    args = SimpleNamespace(
        template="given", train_dataset="Tiny", data_location=None, batch_size=1, classnames=None,
        device="cpu",
    )  # fmt: skip
    with on_cpu():
        head = build(args, tower)
    return {f"head.{n}": t.detach().numpy() for n, t in head.state_dict().items()}


FINETUNE = f"{MODELS}/finetune.py:finetune"
CASES = (
    *(
        Case("learning rate", name, f"{UTILS}:cosine_lr", 1e-18, our_rates, official_rates)
        for name in ("wise-ft", "FLYP", "CaRot")
    ),
    Case(
        "label smoothing", "wise-ft", f"{UTILS}:LabelSmoothing", 1e-9, our_smoothing,
        official_smoothing, {"logits": (len(LABELS), 3)}, 11,
    ),
    Case(
        "gradient clipping", "wise-ft", FINETUNE, 1e-9, our_clipping, official_clipping,
        {"weight": (3, 4), "bias": (3,)}, 12,
    ),
    Case(
        "zero-shot head", "wise-ft", f"{MODELS}/zeroshot.py:get_zeroshot_classifier", 1e-5,
        our_head, official_head, {"embeddings": (5, 3, 4), "logit_scale": ()}, 14,
    ),
)  # fmt: skip

"""Comparisons of the loss terms of FLYP and CaRot, in float64."""

from __future__ import annotations

import argparse
import ast
import os
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.training.losses import (
    contrastive_loss,
    cross_covariance,
    distillation,
    ema_momentum,
    orthogonality,
)
from parity_cases.case import Arrays, Case, leaves, value_and_gradients
from parity_cases.official import Checkout, on_cpu

BATCH = {"images": (6, 4), "texts": (6, 4), "logit_scale": ()}
TEACHER = {f"teacher_{name}": shape for name, shape in BATCH.items()}
PROJECTIONS = {"visual": (7, 4), "text": (5, 4)}
EXACT = 1e-9
SMOOTHING = 0.1

STEPS = (0, 500, 1000, 2500, 5000, 5500, 25_000)
EPOCHS, PER_EPOCH = 10, 2503  # of ImageNet in batches of 512


def batch(inputs: Arrays) -> dict[str, Tensor]:
    """Return the inputs as leaf tensors: normalised embeddings and a logit scale of about 2."""
    ready = dict(inputs)
    for name, array in inputs.items():
        if array.ndim == 2:
            ready[name] = array / np.linalg.norm(array, axis=1, keepdims=True)
        else:
            ready[name] = array + 2
    return leaves(ready)


def sides(tensors: dict[str, Tensor], prefix: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Return image embeddings, text embeddings and exp(logit scale)."""
    images, texts, scale = (tensors[f"{prefix}{name}"] for name in BATCH)
    return images, texts, scale.exp()


def our_contrast(inputs: Arrays, smoothing: float = 0.0) -> Arrays:
    """Compute `contrastive_loss` and its gradients."""
    tensors = batch(inputs)
    return value_and_gradients(contrastive_loss(*sides(tensors), smoothing), tensors)


def clip_loss_class(official: Checkout) -> Any:
    """Return the repository's class of the loss; CaRot's has label smoothing."""
    names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F}
    if official.name == "CaRot":
        utils = "src/models/utils.py"
        names["LabelSmoothing"] = official.define(utils, "LabelSmoothing", torch=torch)
    return official.define("clip/loss.py", "ClipLoss", **names)


def clip_loss(official: Checkout, caller: str, smoothing: float = 0.0) -> Any:
    """Return the loss object, built as in the training function `caller`."""
    given = {"ClipLoss": clip_loss_class(official), "args": SimpleNamespace(ls=smoothing)}
    names = official.run(f"src/models/{caller}.py", caller, ast.Assign, "ClipLoss", **given)
    return names["clip_loss_fn"]


def flyp_contrast(inputs: Arrays, official: Checkout) -> Arrays:
    """Compute FLYP's loss and its gradients."""
    tensors = batch(inputs)
    return value_and_gradients(clip_loss(official, "flyp_loss")(*sides(tensors)), tensors)


def carot_contrast(inputs: Arrays, official: Checkout, smoothing: float = 0.0) -> Arrays:
    """Compute CaRot's contrastive term; its loss object also returns the logits."""
    tensors = batch(inputs)
    value = clip_loss(official, "carot_loss", smoothing)(*sides(tensors))[0]
    return value_and_gradients(value, tensors)


def carot_branch(official: Checkout, mentions: str, args: Any, **given: Any) -> dict[str, Any]:
    """Run one optional term of the training step on a loss of zero; return all names after it."""
    args = SimpleNamespace(model="ViT-B/16", **vars(args))
    zero = torch.zeros((), dtype=torch.float64)
    with on_cpu():
        return official.run(
            "src/models/carot_loss.py", "carot_loss", ast.If, mentions,
            args=args, ft_clip_loss=zero, torch=torch, F=F, **given,
        )  # fmt: skip


def clip_with(tensors: dict[str, Tensor]) -> SimpleNamespace:
    """Return what CaRot's penalties read from a wrapped CLIP: its projections."""
    visual = SimpleNamespace(proj=tensors["visual"])
    inner = SimpleNamespace(visual=visual, text_projection=tensors.get("text"))
    return SimpleNamespace(module=SimpleNamespace(model=inner))


def our_penalty(inputs: Arrays, function: Any) -> Arrays:
    """Compute one of our penalties on projections, and its gradients."""
    tensors = leaves(inputs)
    return value_and_gradients(function(*tensors.values()), tensors)


def carot_penalty(inputs: Arrays, official: Checkout, coefficient: str) -> Arrays:
    """Compute one of CaRot's penalties with a coefficient of 1."""
    tensors, args = leaves(inputs), SimpleNamespace(**{coefficient: 1.0})
    names = carot_branch(official, coefficient, args, model=clip_with(tensors))
    return value_and_gradients(names["ft_clip_loss"], tensors)


def our_distillation(inputs: Arrays) -> Arrays:
    """Compute `distillation` and its gradients."""
    tensors = batch(inputs)
    value = distillation(*sides(tensors), *sides(tensors, "teacher_"))
    return value_and_gradients(value, {name: tensors[name] for name in BATCH})


def carot_distillation(inputs: Arrays, official: Checkout) -> Arrays:
    """Compute CaRot's self-distillation term at step 1 with a coefficient of 1."""
    tensors = batch(inputs)
    _, to_texts, to_images = clip_loss(official, "carot_loss")(*sides(tensors))
    names = carot_branch(
        official,
        "distil_coef softmax",
        SimpleNamespace(distil_coef=1.0),
        step=1,
        fp16_scaler=None,
        teacher_enc=lambda image, text: sides(tensors, "teacher_"),
        ft_image=None,
        ft_text=None,
        logits_per_image=to_texts,
        logits_per_text=to_images,
    )
    return value_and_gradients(names["ft_clip_loss"], {name: tensors[name] for name in BATCH})


def our_teacher(inputs: Arrays) -> Arrays:
    """Compute our momentum, and the teacher after one update, at each of `STEPS`."""
    momentum = np.array([ema_momentum(step, EPOCHS * PER_EPOCH) for step in STEPS])
    student, teacher = inputs["student"], inputs["teacher"]
    updated = [m * teacher + (1 - m) * student for m in momentum]
    return {"momentum": momentum, "teacher": np.array(updated)}


def carot_teacher(inputs: Arrays, official: Checkout) -> Arrays:
    """Run the update of CaRot's training loop with the default arguments of the schedule."""
    parse = official.define(
        "src/args.py", "parse_arguments", argparse=argparse, torch=torch, np=np, os=os
    )
    with mock.patch.object(sys, "argv", ["main.py"]):
        defaults = parse()
    schedule = {k: v for k, v in vars(defaults).items() if k.startswith("m_") or "ema" in k}
    momentum, updated = [], []
    for step in STEPS:
        student, teacher = (
            nn.ParameterList([torch.tensor(inputs[name])]) for name in ("student", "teacher")
        )
        names = carot_branch(
            official,
            "distil_coef m_warm_up",
            SimpleNamespace(distil_coef=1.0, epochs=EPOCHS, **schedule),
            step=step,
            num_batches=PER_EPOCH,
            model=SimpleNamespace(module=student),
            teacher_enc=teacher,
        )
        momentum.append(names["m"])
        updated.append(teacher[0].detach().numpy())
    return {"momentum": np.array(momentum), "teacher": np.array(updated)}


LOSS, STEP = "clip/loss.py:ClipLoss", "src/models/carot_loss.py:carot_loss"
CASES = (
    Case("contrastive loss", "FLYP", LOSS, EXACT, our_contrast, flyp_contrast, BATCH, 1),
    Case("contrastive term", "CaRot", LOSS, EXACT, our_contrast, carot_contrast, BATCH, 2),
    Case(
        f"contrastive term, label smoothing {SMOOTHING}", "CaRot", LOSS, EXACT,
        partial(our_contrast, smoothing=SMOOTHING), partial(carot_contrast, smoothing=SMOOTHING),
        BATCH, 3,
    ),
    Case(
        "cross-covariance term", "CaRot", STEP, EXACT,
        partial(our_penalty, function=cross_covariance),
        partial(carot_penalty, coefficient="cross_fnorm"), PROJECTIONS, 4,
    ),
    Case(
        "orthogonality term", "CaRot", STEP, EXACT,
        partial(our_penalty, function=orthogonality),
        partial(carot_penalty, coefficient="l_orth_wv"), {"visual": PROJECTIONS["visual"]}, 5,
    ),
    Case(
        "self-distillation term", "CaRot", STEP, EXACT, our_distillation, carot_distillation,
        BATCH | TEACHER, 6,
    ),
    Case(
        "EMA momentum and teacher", "CaRot", STEP, 1e-12, our_teacher, carot_teacher,
        {"student": (3,), "teacher": (3,)}, 7,
    ),
)  # fmt: skip

"""Comparisons of WiSE-FT's interpolation of weights, plain and with Fisher information."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import InputError
from bench.models.weights import fisher_interpolate, interpolate
from parity_cases.case import Arrays, Case
from parity_cases.official import Checkout

FILE = "src/wise_ft.py"
ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)
ENTRIES = {"matrix": (3, 4), "bias": (3,), "scale": ()}
MODELS = ("zs", "ft")
STATES = {f"{model}.{name}": shape for model in MODELS for name, shape in ENTRIES.items()}
FISHERS = {
    f"fisher.{model}.{name}": ENTRIES[name] for model in MODELS for name in ("matrix", "bias")
}
FLOOR = 1e-3


def states(inputs: Arrays, dtype: torch.dtype = torch.float32) -> list[dict[str, Tensor]]:
    """Return the zero-shot and the fine-tuned state dict."""
    return [
        {n: torch.tensor(inputs[f"{model}.{n}"]).to(dtype) for n in ENTRIES} for model in MODELS
    ]


def fishers(inputs: Arrays) -> list[dict[str, Tensor]]:
    """Return the Fisher information of both models, none for the scale; some is below `FLOOR`."""
    return [
        {n: torch.tensor(inputs[f"fisher.{model}.{n}"] ** 8).float() for n in ("matrix", "bias")}
        for model in MODELS
    ]


def numbers(merged: dict[str, Any]) -> Arrays:
    """Return every entry of every merged state dict, as float64 (exact)."""
    return {
        f"{label} {n}": t.double().numpy()
        for label, state in merged.items()
        for n, t in state.items()
    }


def our_merge(inputs: Arrays) -> Arrays:
    """Run `interpolate` in single and half precision."""
    return numbers(
        {
            f"{alpha} {dtype}": interpolate(states(inputs, dtype), (1 - alpha, alpha))
            for alpha in ALPHAS
            for dtype in (torch.float32, torch.float16)
        }
    )


def official_merge(inputs: Arrays, official: Checkout) -> Arrays:
    """Run the repository's merge in single and half precision."""
    merge = official.define(FILE, "_merge", torch=torch)
    return numbers(
        {
            f"{alpha} {dtype}": merge(alpha, *states(inputs, dtype), None, None)
            for alpha in ALPHAS
            for dtype in (torch.float32, torch.float16)
        }
    )


def our_fisher_merge(inputs: Arrays) -> Arrays:
    """Run `fisher_interpolate`."""
    both, known = states(inputs), fishers(inputs)
    return numbers({str(a): fisher_interpolate(both, (1 - a, a), known, FLOOR) for a in ALPHAS})


def official_fisher_merge(inputs: Arrays, official: Checkout) -> Arrays:
    """Run the repository's merge with Fisher information."""
    merge = official.define(FILE, "_merge", torch=torch)
    return numbers({str(a): merge(a, *states(inputs), fishers(inputs), FLOOR) for a in ALPHAS})


def mismatched(inputs: Arrays) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Return three pairs: one that fits, and two with a surplus entry on one side."""
    zs, ft = states(inputs)
    extra = {"extra": torch.zeros(1)}
    return [(zs, ft), (zs | extra, ft), (zs, ft | extra)]


def our_refusals(inputs: Arrays) -> Arrays:
    """Return which pairs `interpolate` refuses."""
    refused = []
    for pair in mismatched(inputs):
        try:
            interpolate(pair, (0.5, 0.5))
            refused.append(0)
        except InputError:
            refused.append(1)
    return {"refused": np.array(refused)}


def official_refusals(inputs: Arrays, official: Checkout) -> Arrays:
    """Return which pairs the repository's check before merging refuses."""
    refused = []
    for zs, ft in mismatched(inputs):
        try:
            official.run(FILE, "wise_ft", ast.Assert, "theta_0 theta_1", theta_0=zs, theta_1=ft)
            refused.append(0)
        except AssertionError:
            refused.append(1)
    return {"refused": np.array(refused)}


MERGE = f"{FILE}:_merge"
CASES = (
    Case("merged weights", "wise-ft", MERGE, 0, our_merge, official_merge, STATES, 21),
    Case(
        "Fisher-merged weights", "wise-ft", MERGE, 1e-6, our_fisher_merge, official_fisher_merge,
        STATES | FISHERS, 22,
    ),
    Case(
        "weights that do not fit are refused", "wise-ft", f"{FILE}:wise_ft", 0, our_refusals,
        official_refusals, STATES, 23,
    ),
)  # fmt: skip

"""One comparison: inputs from a seed, our numbers, the official code's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from parity_cases.official import Checkout

Arrays = Mapping[str, NDArray[np.float64]]
"""Inputs, or numbers to compare, by name."""


@dataclass(frozen=True)
class Case:
    """What is compared, with what, and how closely.

    Attributes
    ----------
    name : of the row. repository, source : the official file and function.
    tolerance : largest absolute difference; 0 demands equal bits.
    shapes : of the inputs, drawn in turn from U(-1, 1) with `seed`. Uniform numbers are the same
        bits on every machine, which those that pass through a logarithm need not be.
    ours, official : from the inputs to the numbers, few enough to be recorded.
    """

    name: str
    repository: str
    source: str
    tolerance: float
    ours: Callable[[Arrays], Arrays]
    official: Callable[[Arrays, Checkout], Arrays]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seed: int = 0

    def inputs(self) -> Arrays:
        """The inputs, float64."""
        rng = np.random.default_rng(self.seed)
        return {n: np.asarray(2 * rng.random(s) - 1) for n, s in self.shapes.items()}


def difference(ours: Arrays, official: Arrays) -> float:
    """Largest absolute difference; infinite for NaN, other names or other shapes."""
    if ours.keys() != official.keys():
        return float("inf")
    worst = 0.0
    for name, expected in official.items():
        found = np.asarray(ours[name], dtype=np.float64)
        if found.shape != np.shape(expected):
            return float("inf")
        gap = np.abs(found - expected).max(initial=0.0)
        worst = max(worst, float("inf") if np.isnan(gap) else float(gap))
    return worst


def leaves(inputs: Arrays) -> dict[str, torch.Tensor]:
    """The inputs as tensors that collect gradients."""
    return {n: torch.tensor(a, requires_grad=True) for n, a in inputs.items()}


def value_and_gradients(
    value: torch.Tensor, wanted: Mapping[str, torch.Tensor]
) -> dict[str, NDArray[np.float64]]:
    """`value` and its gradient with respect to each of `wanted`."""
    gradients = torch.autograd.grad(value, list(wanted.values()))
    found = {f"d {n}": g.numpy() for n, g in zip(wanted, gradients, strict=True)}
    return {"value": value.detach().numpy(), **found}

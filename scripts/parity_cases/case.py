"""One comparison: inputs from a seed, our numbers, the official code's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from parity_cases.official import Checkout

Arrays = Mapping[str, NDArray[np.float64]]
"""Inputs or results, by name."""


@dataclass(frozen=True)
class Case:
    """One comparison of our code with an official function.

    Attributes
    ----------
    name : of the row in the table.
    repository, source : the official repository, and its file and function.
    tolerance : largest absolute difference allowed; 0 requires equal bits.
    ours, official : functions from the inputs to the numbers, few enough to be recorded.
    shapes : of the inputs, drawn in turn from U(-1, 1) with `seed`. Uniform numbers have the same
        bits on every machine; numbers computed through a logarithm need not.
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
        """Return the inputs, float64, by name."""
        rng = np.random.default_rng(self.seed)
        return {n: np.asarray(2 * rng.random(s) - 1) for n, s in self.shapes.items()}


def difference(ours: Arrays, official: Arrays) -> float:
    """Return the largest absolute difference; infinite for NaN, other names or other shapes."""
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
    """Return the inputs as tensors that require gradients."""
    return {n: torch.tensor(a, requires_grad=True) for n, a in inputs.items()}


def value_and_gradients(
    value: torch.Tensor, wanted: Mapping[str, torch.Tensor]
) -> dict[str, NDArray[np.float64]]:
    """Return `value` and its gradient with respect to each of `wanted`."""
    gradients = torch.autograd.grad(value, list(wanted.values()))
    found = {f"d {n}": g.numpy() for n, g in zip(wanted, gradients, strict=True)}
    return {"value": value.detach().numpy(), **found}

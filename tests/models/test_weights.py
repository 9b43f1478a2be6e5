"""Merging state dicts: formulae and errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.core.errors import InputError
from bench.models.weights import fisher_interpolate, interpolate

SHAPES: dict[str, tuple[int, ...]] = {"matrix": (3, 2), "bias": (4,), "scale": ()}


def state(seed: int, low: float = -1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {n: low + (1 - low) * torch.rand(s, generator=generator) for n, s in SHAPES.items()}
    return {**tensors, "counter": torch.tensor(7)}


def equal(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 0.0) -> bool:
    return found.keys() == expected.keys() and all(
        torch.allclose(found[n], expected[n], rtol=0, atol=atol) for n in found
    )


@given(st.floats(0, 1))
def test_a_merge_is_the_weighted_sum_and_its_ends_are_exact(alpha):
    zs, ft = state(0), state(1)
    expected = {n: (1 - alpha) * zs[n] + alpha * ft[n] for n in SHAPES} | {"counter": zs["counter"]}
    assert equal(interpolate((zs, ft), (1 - alpha, alpha)), expected)
    assert equal(interpolate((zs, ft), (0.0, 1.0)), ft)


@given(st.floats(0, 1), st.floats(0.01, 100))
def test_equal_fishers_change_nothing(alpha, size):
    states, weights = (state(0), state(1)), (1 - alpha, alpha)
    fishers = [{n: torch.full(s, size) for n, s in SHAPES.items()}] * 2
    plain = interpolate(states, weights)
    assert equal(fisher_interpolate(states, weights, fishers, 1e-8), plain, atol=1e-6)
    assert equal(fisher_interpolate(states, weights, ({}, {}), 1e-8), plain, atol=1e-6)


def test_an_entry_follows_the_model_that_needs_it():
    zs, ft = state(0), state(1)
    certain, free = {"bias": torch.full((4,), 1e6)}, {"bias": torch.zeros(4)}
    merged = fisher_interpolate((zs, ft), (0.5, 0.5), (certain, free), 1e-6)
    assert torch.allclose(merged["bias"], zs["bias"], atol=1e-6)
    assert torch.allclose(merged["matrix"], (zs["matrix"] + ft["matrix"]) / 2)
    floored = fisher_interpolate((zs, ft), (0.25, 0.75), (free, free), 1e-3)
    assert torch.allclose(floored["bias"], 0.25 * zs["bias"] + 0.75 * ft["bias"])


def test_three_models_are_averaged():
    states = [state(seed) for seed in range(3)]
    fishers = [state(seed, low=0.1) for seed in range(3, 6)]
    merged = fisher_interpolate(states, (0.2, 0.3, 0.5), fishers, 1e-8)["scale"]
    worth = [w * f["scale"] for w, f in zip((0.2, 0.3, 0.5), fishers, strict=True)]
    total = sum(c * s["scale"] for c, s in zip(worth, states, strict=True))
    assert merged == pytest.approx(float(total / sum(worth)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": torch.zeros(1)}, "only one side has extra"),
        ({"bias": torch.zeros(5)}, r"bias is \(4,\) and \(5,\)"),
        ({"counter": torch.tensor(8)}, "counter differs"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    states = (state(0), state(1) | change)
    with pytest.raises(InputError, match=message):
        interpolate(states, (0.5, 0.5))
    with pytest.raises(InputError, match=message):
        fisher_interpolate(states, (0.5, 0.5), ({}, {}), 1e-8)


@pytest.mark.parametrize(
    ("fishers", "floor", "message"),
    [
        (({"bias": torch.ones(4)}, {}), 1e-8, "only some models have a Fisher of bias"),
        (({"bias": torch.ones(1)}, {"bias": torch.ones(4)}), 1e-8, "another shape"),
        (({}, {}), 0.0, "floor must be positive"),
    ],
)
def test_fishers_that_do_not_fit_are_refused(fishers, floor, message):
    with pytest.raises(InputError, match=message):
        fisher_interpolate((state(0), state(1)), (0.5, 0.5), fishers, floor)

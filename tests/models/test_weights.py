"""Merging state dicts: formulae and errors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.api.recipe_parts import encoder_of, weights_key
from bench.api.recipes import Pretrained, merge
from bench.core.errors import InputError
from bench.core.store import Store
from bench.models.weights import HeldEncoders, encoder_state, fisher_interpolate, interpolate
from bench.testing.fakes import fake_models

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
        ({"counter": torch.tensor(8.0)}, "counter has integers or booleans on one side and float"),
        ({"matrix": torch.zeros(3, 2, dtype=torch.complex64)}, "matrix is torch.complex64"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    states = (state(0), state(1) | change)
    with pytest.raises(InputError, match=message):
        interpolate(states, (0.5, 0.5))
    with pytest.raises(InputError, match=message):
        fisher_interpolate(states, (0.5, 0.5), ({}, {}), 1e-8)


COUNTED = {
    "steps": (torch.tensor(0), torch.tensor(5)),
    "small": (torch.tensor([0], dtype=torch.uint8), torch.tensor([9], dtype=torch.uint8)),
    "position_ids": (torch.arange(3)[None], torch.arange(3)[None] + 1),
    "mask": (torch.tensor([True, False]), torch.tensor([True, True])),
}


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", COUNTED)
def test_counters_are_those_of_the_fine_tuned_model(name, alpha):
    """As timm and torch's averaged models do; wise-ft's code averages even these."""
    zs, ft = ({**state(seed), name: COUNTED[name][seed]} for seed in range(2))
    weights = (1 - alpha, alpha)
    for merged in (
        interpolate((zs, ft), weights),
        fisher_interpolate((zs, ft), weights, ({}, {}), 1e-8),
        interpolate((zs, zs, ft), (1 - alpha, 0.0, alpha)),
    ):
        assert torch.equal(merged[name], ft[name]) and merged[name].dtype == ft[name].dtype
    assert torch.equal(interpolate((zs, ft), (1.0, 0.0))[name], zs[name])


def test_running_statistics_are_averaged_as_wise_ft_does():
    one, two = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    two(torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1)
    states = one.state_dict(), two.state_dict()
    merged = interpolate(states, (0.25, 0.75))
    for name in ("running_mean", "running_var"):
        assert torch.allclose(merged[name], 0.25 * states[0][name] + 0.75 * states[1][name])
    assert merged["num_batches_tracked"] == 1
    one.load_state_dict(merged)


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


class Counting(Store):
    """A store that counts how often each key is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        object.__setattr__(self, "reads", Counter())

    def read(self, kind: str, key: str) -> bytes | None:
        self.reads[key] += 1
        return super().read(kind, key)


@pytest.mark.parametrize(("room", "reads"), [(10**9, 1), (0, 12), (4 * 128, None)])
def test_tuned_encoders_that_are_merged_are_read_once_if_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, reads: int | None
) -> None:
    """Four tuned bases at three alphas in four blocks, with the pretrained one: 4 reads, not 140.

    Memory shrinks by what is kept, but never by pretrained weights.
    """
    store, seeds = Counting(tmp_path), [fake_models(seed=i) for i in range(4)]
    for i, models in enumerate(seeds):
        arrays = {"encoder.proj": np.full((4, 8), float(i), np.float32)}
        store.write_arrays("weights", weights_key(models.base), arrays)
    pretrained = {"proj": torch.full((4, 8), 9.0)}
    held = HeldEncoders(store, lambda: pretrained, torch.device("cpu"))
    monkeypatch.setattr(
        "bench.models.devices.free_memory",
        lambda device: room - sum(t.nbytes for s in held.kept.values() for t in s.values()),
    )
    merges = [
        merge((models.zero_shot, models.base), (1 - alpha, alpha))
        for models in seeds
        for alpha in (0.25, 0.5, 0.75)
    ]
    for _ in range(4):
        for place, merged in enumerate(merges):
            state = encoder_state(encoder_of(merged), held.state_of)
            alpha, seed = (0.25, 0.5, 0.75)[place % 3], place // 3
            assert state["proj"][0, 0] == pytest.approx((1 - alpha) * 9 + alpha * seed)
    expected = [reads] * 4 if reads else [1, 1, 1, 12]
    assert [store.reads[weights_key(models.base)] for models in seeds] == expected
    assert not any(isinstance(encoder, Pretrained) for encoder in held.kept)
    held.keep_only([encoder_of(merges[0])])
    assert set(held.kept) <= {seeds[0].base}
    held.keep_only(())
    assert not held.kept


def test_stored_weights_are_in_the_order_of_the_model(tmp_path: Path) -> None:
    """A rule by depth finds the blocks of an imported start in order, which files do not keep."""
    names = [f"blocks.{i}.weight" for i in range(12)]
    store, models = Store(tmp_path), fake_models()
    store.write_arrays(
        "weights",
        weights_key(models.base),
        {f"encoder.{name}": np.zeros(2, np.float32) for name in (*names, "of no model")},
    )
    pretrained = {name: torch.ones(2) for name in names}
    held = HeldEncoders(store, lambda: pretrained, torch.device("cpu"))
    assert list(held.state_of(models.base)) == [*names, "of no model"]

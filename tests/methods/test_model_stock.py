"""Model Stock: weights from the angle between two updates."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.api.registry import find_method
from bench.methods.model_stock import AngleWeights
from bench.models.weights import interpolate_tensors
from bench.testing.fakes import fake_models

SHAPES = {"matrix": (4, 3), "bias": (5,), "scale": ()}


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(s, generator=generator) for n, s in SHAPES.items()}


@given(st.integers(0, 10_000))
def test_it_is_the_mean_drawn_to_the_start_by_the_angle(seed: int) -> None:
    start, one, two = (state(3 * seed + i) for i in range(3))
    merged = interpolate_tensors([start, one, two], AngleWeights())
    for name, origin in start.items():
        a, b = ((s[name] - origin).double().numpy().ravel() for s in (one, two))
        angle = math.acos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))
        t = 2 * math.cos(angle) / (1 + math.cos(angle)) if angle < math.pi / 2 else 0.0
        expected = t * (one[name] + two[name]) / 2 + (1 - t) * origin
        torch.testing.assert_close(merged[name], expected, atol=1e-5, rtol=1e-4)


def test_the_merge_is_the_foot_of_the_perpendicular_from_the_centre() -> None:
    """Two runs on a shell around a centre: the merge is the point of their plane nearest to it."""
    rng = np.random.default_rng(0)
    start, centre = torch.zeros(400), torch.zeros(400)
    centre[0] = 1.0
    noise = torch.tensor(np.linalg.qr(rng.normal(size=(400, 3)))[0].T[1:]).float()
    noise[:, 0] = 0
    one, two = (centre + 0.8 * n / n.norm() for n in noise)
    merged = interpolate_tensors([{"w": start}, {"w": one}, {"w": two}], AngleWeights())["w"]
    basis = torch.stack([one, two]).T.double()
    nearest = basis @ torch.linalg.lstsq(basis, centre.double()[:, None]).solution[:, 0]
    torch.testing.assert_close(merged.double(), nearest, atol=2e-2, rtol=0)


@given(st.integers(0, 10_000))
def test_two_equal_trainings_give_that_training(seed: int) -> None:
    tuned = state(seed)
    merged = interpolate_tensors([state(seed + 1), tuned, tuned], AngleWeights())
    assert all(torch.equal(merged[n], t) for n, t in tuned.items())


def test_orthogonal_opposed_and_absent_updates_leave_the_start() -> None:
    start = torch.zeros(2)
    for one, two in (([1.0, 0.0], [0.0, 1.0]), ([1.0, 0.0], [-1.0, 0.0]), ([0.0, 0.0], [1.0, 0.0])):
        states = [{"w": start}, {"w": torch.tensor(one)}, {"w": torch.tensor(two)}]
        assert torch.equal(interpolate_tensors(states, AngleWeights())["w"], start)


def test_counters_and_marks_are_those_of_the_last_part() -> None:
    states = [
        {"w": torch.rand(2), "count": torch.tensor(i), "mark": torch.tensor(i == 2)}
        for i in range(3)
    ]
    merged = interpolate_tensors(states, AngleWeights())
    assert (merged["count"], merged["mark"]) == (2, True)


def test_rows_of_several_seeds_share_no_training() -> None:
    method = find_method("model-stock")()
    seeds = [
        part.seed
        for seed in (0, 1, 2)
        for part in method.needs(fake_models(seed=seed), {})[0].parts[1:]
    ]
    assert len(set(seeds)) == 6

"""k-th neighbour distances against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.core.errors import InputError
from bench.posthoc.neighbors import bounds, kth, kth_distance
from bench.posthoc.neighbors.vectors import prepared


def vectors(count: int, seed: int = 0, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def brute_force(queries: np.ndarray, reference: np.ndarray, k: int, normalize: bool) -> np.ndarray:
    q, r = queries.astype(np.float64), reference.astype(np.float64)
    if normalize:
        q, r = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, r))
    return np.sort(np.linalg.norm(q[:, None] - r[None], axis=2), axis=1)[:, k - 1]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("k", [1, 2, 17, 60])
@pytest.mark.parametrize("count", [1, 90])
def test_equals_brute_force(count, k, normalize):
    queries, reference = 3 * vectors(count, 1), 3 * vectors(60, 2)
    found = kth_distance(queries, reference, k, normalize)
    assert found.dtype == np.float32
    assert np.allclose(found, brute_force(queries, reference, k, normalize), atol=1e-5)


def test_is_plain_not_squared():
    found = kth_distance(np.array([[1.0, 0.0]]), np.array([[0.0, 5.0], [-1.0, 0.0]]), k=1)
    assert found == pytest.approx([np.sqrt(2)])


def test_is_exact_for_the_same_and_for_opposite_vectors():
    points = vectors(30, width=512)
    assert np.array_equal(kth_distance(points, points, 1), np.zeros(30))
    assert kth_distance(-points[:1], points[:1], 1) == pytest.approx([2], abs=1e-6)


def test_takes_zero_vectors_and_no_queries():
    assert kth_distance(np.zeros((1, 2)), np.array([[3.0, 4.0]]), 1) == pytest.approx([1])
    assert kth_distance(vectors(0), vectors(3), 1).shape == (0,)


def test_blocks_change_nothing_and_runs_repeat(monkeypatch):
    queries, reference = vectors(101, 1), vectors(60, 2)
    whole = kth_distance(queries, reference, 5)
    assert np.array_equal(whole, kth_distance(queries, reference, 5))
    monkeypatch.setattr(kth, "BLOCK", 35)
    assert np.allclose(whole, kth_distance(queries, reference, 5), atol=1e-6)


@pytest.mark.parametrize(("k", "moved"), [(5, 1), (kth.GPU_MAX_K + 1, 0)])
def test_index_moves_to_the_gpu_of_the_process_if_it_can_return_k_neighbours(monkeypatch, k, moved):
    import faiss

    seen = []

    class Resources:
        def setTempMemory(self, size):
            self.size = size

    def moved_to(resources, gpu, index):
        seen.append((resources.size, gpu))
        return index

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 8)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", moved_to, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)  # that of this process, alone
    queries, reference = vectors(3, 1, width=2), vectors(kth.GPU_MAX_K + 1, 2, width=2)
    found = kth_distance(queries, reference, k)
    assert seen == [(kth.GPU_SCRATCH, 3)] * moved
    assert np.allclose(found, brute_force(queries, reference, k, True), atol=1e-5)


def clusters(kind: str, count: int, seed: int, width: int = 24) -> np.ndarray:
    """Points that are hard to tell apart by few digits."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, width))
    if kind == "near-equal":
        points = 1 + 1e-4 * points
    elif kind == "duplicates":
        points = points[rng.integers(0, 7, count)]
    elif kind == "shells":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        points = 5 + points * (1 + 1e-6 * rng.integers(0, 3, (count, 1)))
    elif kind == "zeros":
        points[rng.random(count) < 0.2] = 0
    elif kind == "sizes":
        points *= 10.0 ** rng.integers(-3, 4, (count, 1))
    return points.astype(np.float32)


@pytest.mark.parametrize("width", [1, 3, 24])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", ["noise", "near-equal", "duplicates", "shells", "zeros", "sizes"])
def test_bounds_give_the_distances_of_brute_force(monkeypatch, kind, normalize, width):
    """Of points in several chunks, and of points that are among the queries."""
    monkeypatch.setattr(bounds, "CHUNK", 128)
    monkeypatch.setattr(bounds, "ROWS", 50)
    reference = clusters(kind, 500, 1, width)
    queries = np.concatenate([clusters(kind, 90, 2, width), reference[:30]])
    for k in (1, 2, 9, 32, 400, 500):
        found = bounds.by_bounds(queries, reference, k, normalize)
        assert found is not None
        unit = [prepared(x, normalize).astype(np.float64) for x in (queries, reference)]
        gaps = np.linalg.norm(unit[0][:, None] - unit[1][None], axis=2)
        assert np.array_equal(found, np.sort(gaps, axis=1)[:, k - 1].astype(np.float32))


@pytest.mark.parametrize("kind", ["noise", "zeros"])
def test_both_searches_give_the_same_digits(monkeypatch, kind):
    queries, reference = clusters(kind, 70, 2), clusters(kind, 400, 1)
    by_faiss = [kth_distance(queries, reference, k) for k in (1, 7, 60)]
    calls = []
    real = bounds.by_bounds
    monkeypatch.setattr(kth, "LARGE", 0)
    monkeypatch.setattr(kth, "RUN", 1)
    monkeypatch.setattr(kth, "has_fast_bf16", lambda: True)
    monkeypatch.setattr(kth, "by_bounds", lambda *a: calls.append(a) or real(*a))
    for k, expected in zip((1, 7, 60), by_faiss, strict=True):
        assert np.array_equal(kth_distance(queries, reference, k), expected)
    assert len(calls) == 3


def test_points_too_close_to_tell_apart_are_left_to_faiss(monkeypatch):
    monkeypatch.setattr(bounds, "MOST", 1000)
    same = np.ones((200, 8), dtype=np.float32)
    assert bounds.by_bounds(same, same, 3, True) is None
    monkeypatch.setattr(kth, "LARGE", 0)
    monkeypatch.setattr(kth, "has_fast_bf16", lambda: True)
    assert np.array_equal(kth_distance(same, same, 3), np.zeros(200))


def test_the_bound_of_rounding_is_that_of_bfloat16():
    numbers = torch.linspace(-3, 3, 100_001)
    rounded = numbers.bfloat16().float()
    error = (numbers - rounded).abs()
    assert bool(
        (error <= bounds.U * numbers.abs()).all() and (error <= bounds.U * rounded.abs()).all()
    )
    assert float((error / numbers.abs()).nan_to_num().max()) > 0.95 * bounds.U


@given(numbers=arrays(np.float32, 40, elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_integers_have_the_order_of_the_numbers_they_stand_for(numbers):
    low = bounds._integer_below(numbers)
    below, above = bounds._value_of(low), bounds._value_of(low + np.int16(1))
    assert (below <= numbers).all() and ((above > numbers) | (numbers == 0)).all()
    exact = torch.from_numpy(numbers).bfloat16().float().numpy()
    assert np.array_equal(bounds._value_of(bounds._integer_below(exact)), exact)


def test_a_chunk_with_a_larger_error_lowers_the_floor():
    """The bound is not renewed for every chunk, but the error of its points always counts."""
    this = bounds._Round(vectors(6, 1), k=2)
    for seed in range(9):
        assert this.add(vectors(64, 2 + seed))
    before, known = this.floor(slice(None)), this.known
    assert this.add(1e3 * vectors(64, 20)) and this.known == known  # not renewed
    t = bounds._value_of(this.bound) * (1 - bounds.U) - 2 * this.error.numpy()
    assert (this.floor(slice(None)) < before).all()
    assert (bounds._value_of(this.floor(slice(None))) <= t * (1 - bounds.U)).all()


def test_rounds_become_shorter_when_too_many_pairs_are_kept(monkeypatch):
    monkeypatch.setattr(bounds, "ROWS", 8)
    monkeypatch.setattr(bounds, "MOST", 900)
    sizes, real = [], bounds._Round.__init__

    def watched(self, queries, k):
        sizes.append(len(queries))
        real(self, queries, k)

    monkeypatch.setattr(bounds._Round, "__init__", watched)
    same = np.repeat(vectors(1, 1), 60, axis=0)
    found = bounds.by_bounds(vectors(64, 2), same, 2, True)
    assert np.array_equal(found, kth._by_faiss(vectors(64, 2), same, 2, True))
    assert sizes[0] > sizes[1] and min(sizes) >= 8


def test_only_points_within_the_error_are_looked_at_again(monkeypatch):
    monkeypatch.setattr(bounds, "CHUNK", 512)
    looked, real, k = [], bounds._kth_of, 20

    def watched(query, near, place):
        looked.append((len(near.raw), place))
        return real(query, near, place)

    monkeypatch.setattr(bounds, "_kth_of", watched)
    rng = np.random.default_rng(0)
    reference, queries = rng.normal(size=(4000, 64)), rng.normal(size=(50, 64))
    found = bounds.by_bounds(queries, reference, k, False)
    gaps = np.sort(np.linalg.norm(queries[:, None] - reference[None], axis=2), axis=1)
    assert np.allclose(found, gaps[:, k - 1], rtol=1e-6)
    counts, places = np.array(looked).T
    assert counts.mean() < 20 and (places <= counts).all() and places.mean() < k / 2


def test_squares_that_float32_cannot_hold_are_left_to_faiss():
    far = 1e25 * clusters("noise", 200, 1)
    assert bounds.by_bounds(far, far, 3, False) is None


@pytest.mark.parametrize("search", [bounds.by_bounds, kth._by_faiss])
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e30])
def test_only_the_direction_of_normalised_vectors_counts(search, size):
    points = clusters("noise", 200, 1)
    expected = search(points[:50], points[50:], 3, True)
    found = search(size * points[:50], size * points[50:], 3, True)
    assert np.allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("queries", "reference", "k", "message"),
    [
        (vectors(2), vectors(0), 1, "empty"),
        (vectors(2), vectors(3, width=7), 1, "do not match"),
        (vectors(2), vectors(3), 4, "expected 1 to 3"),
        (vectors(2), vectors(3), 0, "expected 1 to 3"),
        (vectors(2) * np.nan, vectors(3), 1, "NaN"),
    ],
)
def test_refuses_unusable_input(queries, reference, k, message):
    with pytest.raises(InputError, match=message):
        kth_distance(queries, reference, k)

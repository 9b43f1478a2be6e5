"""k-th neighbour distances against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.posthoc import neighbors as knn
from bench.posthoc.neighbors import kth_distance


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
    monkeypatch.setattr(knn, "BLOCK", 35)
    assert np.allclose(whole, kth_distance(queries, reference, 5), atol=1e-6)


@pytest.mark.parametrize(("k", "moved"), [(5, 1), (knn.GPU_MAX_K + 1, 0)])
def test_index_moves_to_a_gpu_that_can_return_k_neighbours(monkeypatch, k, moved):
    import faiss

    seen = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(
        faiss, "index_cpu_to_all_gpus", lambda i: seen.append(i) or i, raising=False
    )
    queries, reference = vectors(3, 1, width=2), vectors(knn.GPU_MAX_K + 1, 2, width=2)
    found = kth_distance(queries, reference, k)
    assert len(seen) == moved
    assert np.allclose(found, brute_force(queries, reference, k, True), atol=1e-5)


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

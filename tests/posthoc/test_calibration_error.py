"""The calibration error: the edges of its bins, against a loop and against torchmetrics."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.api.metrics import METRICS, all_metrics
from bench.api.protocol import OFFICIAL
from bench.api.splits import single_label
from bench.core.errors import InputError
from bench.posthoc.calibration_error import calibration_error

Sample = tuple[NDArray[np.float64], NDArray[np.bool_]]
SOME = st.one_of(st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.floats(0.01, 1))


def looped(sample: Sample, bins: int, batch: int, edges: str) -> float:
    """The definition: for each batch and bin, n |accuracy - mean confidence|; a bin by its rule."""
    gaps: dict[tuple[int, int], float] = defaultdict(float)
    for i, (c, r) in enumerate(zip(*sample, strict=True)):
        if edges == "upper":
            of = sum(c > k / bins for k in range(1, bins))
        else:
            c = float(np.float32(c))
            of = sum(c >= np.float32(k / bins) for k in range(1, bins + 1))
        gaps[i // batch, of] += r - c
    return sum(map(abs, gaps.values())) / len(sample[0])


@given(
    st.lists(st.tuples(SOME, st.booleans()), min_size=1, max_size=30),
    st.integers(1, 12), st.integers(1, 40), st.sampled_from(["upper", "lower"]),
)  # fmt: skip
def test_it_is_its_definition(
    pairs: list[tuple[float, bool]], bins: int, batch: int, edges: Literal["upper", "lower"]
) -> None:
    sample = np.array([c for c, _ in pairs]), np.array([r for _, r in pairs])
    expected = looped(sample, bins, batch, edges)
    found = calibration_error(*sample, bins=bins, batch=batch, edges=edges)
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_confidence_of_one_has_a_bin_of_its_own_only_with_lower_edges() -> None:
    sample = np.array([0.95, 1.0]), np.array([True, False])
    assert calibration_error(*sample, bins=10) == pytest.approx(abs(0.05 - 1) / 2)
    assert calibration_error(*sample, bins=10, edges="lower") == pytest.approx((0.05 + 1) / 2)
    almost = np.array([0.95, 1 - 1e-9]), sample[1]  # 1 in float32
    assert calibration_error(*almost, bins=10, edges="lower") == pytest.approx((0.05 + 1) / 2)
    half = np.array([0.5, 0.45]), np.array([True, False])
    assert calibration_error(*half, bins=10) == pytest.approx(0.05 / 2)  # 0.5 is in (0.4, 0.5]
    assert calibration_error(*half, bins=10, edges="lower") == pytest.approx(0.95 / 2)


@pytest.mark.parametrize("number", [0, -1, 2.5, True, 2**31])
@pytest.mark.parametrize("name", ["bins", "batch"])
def test_numbers_of_bins_and_of_a_batch_are_counts(name: str, number: Any) -> None:
    sample = np.array([0.95, 1.0]), np.array([True, False])
    with pytest.raises(InputError, match=f"{name}={number}: expected a whole number from 1 on"):
        calibration_error(*sample, **({"bins": 10} | {name: number}))
    one = calibration_error(*sample, bins=1, batch=np.int64(1))
    assert one == pytest.approx((0.05 + 1) / 2)


def outputs(count: int) -> tuple[NDArray[np.float32], Any]:
    """Return float32 log-probabilities, some of which are certain but wrong, and a manifest."""
    rng = np.random.default_rng(0)
    is_certain = rng.random(count) < 0.33
    scores = rng.normal(size=(count, 4)) * np.where(is_certain, 200, 2)[:, None]
    scores[:40] = np.log([0.5, 0.25, 0.125, 0.125])  # at an edge of ten bins
    scores = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    labels = np.where(is_certain, rng.integers(0, 4, count), scores.argmax(axis=1))
    return scores.astype(np.float32), single_label([f"{i}" for i in range(count)], labels)


def test_the_official_ece_is_that_of_carots_evaluator() -> None:
    """A loop over batches of 512 with torchmetrics in float32, weighted by their sizes."""
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    log_probs, manifest = outputs(1200)
    total = 0.0
    for start in range(0, 1200, 512):
        probs = torch.tensor(log_probs[start : start + 512]).exp()
        labels = torch.tensor(manifest.first[start : start + 512])
        each = classification.multiclass_calibration_error(probs, labels, 4, n_bins=10, norm="l1")
        total += float(each) * len(probs)
    assert (np.exp(log_probs.max(axis=1)) == 1).sum() > 300
    found = OFFICIAL.metrics()["ece"](log_probs, manifest)
    assert found == pytest.approx(total / 1200, abs=2e-6)
    upper = all_metrics(10, 512)["ece"](log_probs, manifest)
    assert abs(found - upper) > 0.001
    assert METRICS["ece"].params == {"bins": 15}

"""Caveats that arise where cells are measured: accuracies that no reading of the data explains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs_folders import Arrays, alter, found, score
from outputs_folders import folder as outputs_folder

from bench.runs.results.caveats import far_below_chance


@settings(deadline=None)
@given(st.integers(2, 1000), st.integers(1, 5000), st.integers(0, 99))
def test_chance_itself_is_never_suspicious(classes: int, n: int, seed: int) -> None:
    right = np.random.default_rng(seed).binomial(n, 1 / classes)
    assert far_below_chance(right / n, n, classes, "id") == []


@pytest.mark.parametrize(
    ("accuracy", "n", "classes", "said"),
    [
        (0.0, 100, 2, True),
        (0.02, 300, 3, True),
        (0.0, 20_000, 1000, True),
        (0.0, 5000, 1000, False),  # five right were expected
        (0.0, 10, 2, False),
        (0.08, 100_000, 10, False),  # surely below chance, but not far
        (0.16, 300, 3, True),
        (0.2, 300, 3, False),
    ],
)
def test_far_below_chance(accuracy: float, n: int, classes: int, said: bool) -> None:
    assert bool(far_below_chance(accuracy, n, classes, "v2")) == said


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_of_the_wrong_sign_are_said(sign: int, tmp_path: Path) -> None:
    path = outputs_folder(tmp_path)

    def change(arrays: Arrays) -> None:
        arrays |= {name: np.repeat(array, 10, axis=0) for name, array in arrays.items()}
        for name in ("clip.logits", "tuned.logits"):
            noise = np.random.default_rng(1).random((200, 3))
            arrays[name] = (sign * 4 * np.eye(3)[arrays["labels"]] + noise).astype(np.float32)

    alter(path, "sketch", change)
    result = score(path, "--methods", "ose")
    assert ("On sketch, 0.0% are right, far below" in result.err) == (sign == -1)
    said = {text for r in found(path) for text in r.provenance.get("caveats", {}).get("row", ())}
    assert any("On sketch" in text for text in said) == (sign == -1)

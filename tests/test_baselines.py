"""Shipped baselines: whence they are, where they are drawn, and how mini's are made."""

from __future__ import annotations

from pathlib import Path

import mini_baselines
import numpy as np
import pytest
import torch

from bench import baselines
from bench.registry import find_dataset


@pytest.mark.parametrize("kind", ["convolutions", "ConvNeXt"])
def test_a_small_model_learns_and_is_measured_on_every_set(kind: str, tmp_path: Path) -> None:
    suite = find_dataset("micro")().suite(None, tmp_path)
    width = {"convolutions": 4, "ConvNeXt": 96}[kind]
    model = mini_baselines.Model(kind, width, 0.5, 2)
    network = mini_baselines.trained(model, suite, 0)
    found = mini_baselines.accuracies(network, suite)
    assert list(found) == ["id", "v2", "sketch", "rendition", "adversarial", "objectnet"]
    again = mini_baselines.accuracies(mini_baselines.trained(model, suite, 0), suite)
    assert again == found

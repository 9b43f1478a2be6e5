"""Weights of two runs that may differ by rounding."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load

from bench.core.store import Store


def assert_same_weights(one: Path, other: Path, at_least: int) -> None:
    """Assert that two caches have the same weights to 1e-4, and the first at least so many.

    The bias of attention's keys has no influence, and no gradient but rounding, which Adam scales.
    """
    keys = [path.stem for path in one.glob("weights/*/*.safetensors")]
    assert len(keys) >= at_least
    for key in keys:
        first, second = (load(Store(cache).read("weights", key) or b"") for cache in (one, other))
        for name, tensor in first.items():
            same = torch.isclose(second[name], tensor, rtol=1e-4, atol=1e-4)
            if name.endswith("attn.in_proj_bias"):
                third = len(tensor) // 3
                same[third : 2 * third] = True
            assert same.all(), (key, name)

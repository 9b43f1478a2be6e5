"""For tests: a small model of timm for images of 32 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer

NAME, WIDTH = "bench_test_vit", 32
CARD = {
    "input_size": (3, 32, 32), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2), "crop_pct": 0.875,
    "interpolation": "bicubic", "classifier": "head",
}  # fmt: skip


@register_model
def bench_test_vit(pretrained: bool = False, num_classes: int = 10, **_: Any) -> VisionTransformer:
    """A vision transformer with two narrow blocks."""
    assert not pretrained
    tower = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=WIDTH, depth=2, num_heads=2, num_classes=num_classes
    )
    tower.default_cfg = tower.pretrained_cfg = CARD
    return tower


def tower_file(path: Path, **changed: Any) -> Path:
    """Weights of the tower with its classifier, as timm saves them."""
    torch.manual_seed(0)
    state = timm.create_model(NAME).state_dict()
    save_file({name: t.contiguous() for name, t in (state | changed).items()}, path)
    return path

"""The tiny CLIP of `mini`: open_clip's CLIP with a small ConvNeXt and a small transformer."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import load as load_safetensors
from timm.models import register_model
from timm.models.convnext import ConvNeXt

from bench.data.mini.words import CONTEXT, VOCABULARY, WordTokenizer

WEIGHTS = "tiny.safetensors"
CARD = "tiny.json"

PREPROCESS: dict[str, Any] = {
    "size": 32,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 96,
    "vision": {"patch_size": 2, "depths": (1, 2, 2, 1), "dims": (32, 64, 96, 160)},
    "text": {"width": 64, "heads": 2, "layers": 2},
}

CONFIGURATION: dict[str, Any] = {
    "embed_dim": ARCHITECTURE["embed_dim"],
    "vision_cfg": {
        "timm_model_name": "bench_mini_convnext",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": PREPROCESS["size"],
    },
    "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, **ARCHITECTURE["text"]},
}
"""The architecture as open_clip's configurations state it; the image tower is registered below."""


@register_model
def bench_mini_convnext(pretrained: bool = False, **_: Any) -> ConvNeXt:
    """Build a ConvNeXt for images of 32 pixels.

    It has no layer scale: a prototype with the usual 1e-6 did not train. timm's other arguments
    select pretrained weights and are ignored.
    """
    if pretrained:
        raise ValueError(
            "bench_mini_convnext has no pretrained weights in timm: use bench's load()"
        )
    trunk = ConvNeXt(ls_init_value=None, **ARCHITECTURE["vision"])
    setattr(trunk, "default_cfg", {"pool_size": (2, 2)})  # noqa: B010  (open_clip reads it)
    return trunk


def build_tiny() -> open_clip.CLIP:
    """Return the architecture with random weights from torch's global generator."""
    vision = CLIPVisionCfg(**CONFIGURATION["vision_cfg"])
    text = CLIPTextCfg(**CONFIGURATION["text_cfg"])
    return open_clip.CLIP(CONFIGURATION["embed_dim"], vision, text)


@lru_cache(maxsize=1)
def _shipped() -> dict[str, torch.Tensor]:
    data = files(__package__).joinpath(WEIGHTS).read_bytes()
    return {name: tensor.float() for name, tensor in load_safetensors(data).items()}


def load_tiny() -> open_clip.CLIP:
    """Return a new copy of the pretrained model, in float32 and eval mode."""
    model = build_tiny()
    model.load_state_dict(_shipped())
    model.eval()
    return model


def tiny_tokenizer() -> WordTokenizer:
    """Return the tokenizer of the text tower."""
    return WordTokenizer()

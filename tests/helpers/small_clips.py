"""For tests: open_clip's architectures, so small that each is built and trained in a moment."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import open_clip
import timm
import torch
from open_clip.coca_model import CoCa
from torch import Tensor

WIDTH = 32
"""Width of transformers, and of the embedding of models without a projection."""
WORDS = 600
"""Words of the text towers."""


def trunk_sizes(name: str) -> dict[str, Any]:
    """The arguments with which timm builds a small model of the same kind."""
    if name.startswith("fastvit"):
        stages = 5 if name in ("fastvit_mci3", "fastvit_mci4") else 4
        widths = tuple(16 * 2**i for i in range(stages))
        return {"layers": (1,) * stages, "embed_dims": widths, "mlp_ratios": (1.0,) * stages}
    if name.startswith("convnext"):
        return {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, WIDTH)}
    if name.startswith("swin"):
        sizes = {"depths": (1, 1, 1, 1), "embed_dim": 8, "num_heads": (1, 1, 2, 2)}
        return {**sizes, "img_size": 64, "window_size": 2}
    if name.startswith("vitamin"):
        return {"depth": 1, "img_size": 32}
    if name == "vit_base_mci_224":
        return {"depth": 1, "img_size": 32}
    side = 28 if "patch14" in name else 32
    return {"embed_dim": WIDTH, "depth": 2, "num_heads": 2, "img_size": side}


@contextmanager
def small_trunks() -> Iterator[None]:
    """Have timm build small models."""
    create = timm.create_model

    def small(name: str, pretrained: bool = False, **own: Any) -> Any:
        assert not pretrained
        return create(name, **{**own, **trunk_sizes(name)})

    with patch("timm.create_model", small):
        yield


def reduced(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of open_clip's with small towers of the same kinds."""
    found = copy.deepcopy(dict(config))
    vision, text = found["vision_cfg"], found["text_cfg"]
    name = vision.get("timm_model_name")
    found["embed_dim"] = WIDTH
    if name is None:
        is_resnet = isinstance(vision["layers"], list)
        layers = [1, 1, 1, 1] if is_resnet else 2
        vision |= {"width": WIDTH, "head_width": 16, "layers": layers, "image_size": 32}
        if not is_resnet:
            vision["patch_size"] = 8
        if vision.get("attentional_pool"):
            vision |= {"attn_pooler_heads": 2, "attn_pooler_queries": 4}
    else:
        vision["image_size"] = trunk_sizes(name).get("img_size", 64)
    if "hf_model_name" not in text:
        text |= {"width": WIDTH, "heads": 2, "layers": 2, "vocab_size": WORDS}
        text["context_length"] = min(text["context_length"], 16)
    if multimodal := found.get("multimodal_cfg"):
        multimodal |= {"width": WIDTH, "heads": 2, "layers": 1, "attn_pooler_heads": 2}
        multimodal |= {"vocab_size": WORDS, "context_length": 16}
    return found


def built(config: Mapping[str, Any]) -> Any:
    """The model of a reduced configuration, as open_clip builds it, with seeded random weights."""
    found = copy.deepcopy(dict(config))
    custom = found.pop("custom_text", False) or "hf_model_name" in found["text_cfg"]
    kinds = {True: open_clip.model.CustomTextCLIP, False: open_clip.CLIP}
    kind = CoCa if "multimodal_cfg" in found else kinds[custom]
    torch.manual_seed(0)
    with small_trunks():
        model = kind(**found).eval()
    for parameter in model.parameters():  # CoCa's decoder has one that is never initialised
        parameter.data.nan_to_num_(0, 0, 0)
    return model


def small_clip(name: str) -> Any:
    """A small model of the kind of open_clip's model `name`."""
    return built(reduced(open_clip.get_model_config(name)))


def texts_of(config: Mapping[str, Any], classes: int = 3, templates: int = 2) -> Tensor:
    """Tokens [C, T, L] of texts that fill a small model's context, their end token last."""
    text = config["text_cfg"]
    words, context = text.get("vocab_size", WORDS), text.get("context_length", 16)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, words - 2, (classes, templates, context), generator=generator)
    tokens[..., -1] = words - 1
    return tokens

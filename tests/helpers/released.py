"""For tests: classifiers pickled in the format of WiSE-FT's code, without that code.

The modules have the names, parameters and attributes of the official ones, but no forward method.
They have the official module names only during pickling, so that reading cannot depend on them.
"""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torchvision import transforms

CLASSES, DIMENSION = 5, 16


class LayerNorm(nn.LayerNorm):
    pass


class QuickGELU(nn.Module):
    pass


class ResidualAttentionBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = LayerNorm(width)
        parts = [nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width)]
        names = ("c_fc", "gelu", "c_proj")
        self.mlp = nn.Sequential(OrderedDict(zip(names, parts, strict=True)))
        self.ln_2 = LayerNorm(width)
        self.attn_mask = None


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(
            *(ResidualAttentionBlock(width, heads) for _ in range(layers))
        )


class VisualTransformer(nn.Module):
    def __init__(self, side: int, patch: int, width: int, layers: int, dimension: int) -> None:
        super().__init__()
        self.input_resolution = side
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((side // patch) ** 2 + 1, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, layers, max(1, width // 64))
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, dimension))


class CLIP(nn.Module):
    """CLIP without a text transformer, as in the E2E-FT and zero-shot checkpoints."""

    def __init__(self, tower: nn.Module, dimension: int) -> None:
        super().__init__()
        self.visual = tower
        self.token_embedding = nn.Embedding(10, 8)
        self.positional_embedding = nn.Parameter(torch.randn(7, 8))
        self.ln_final = LayerNorm(8)
        self.text_projection = nn.Parameter(torch.randn(8, dimension))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))


def _convert_to_rgb(image: Any) -> Any:
    return image


class ImageEncoder(nn.Module):
    def __init__(self, model: nn.Module, side: int) -> None:
        super().__init__()
        last = [
            _convert_to_rgb,
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.3,) * 3),
        ]
        bicubic = transforms.InterpolationMode.BICUBIC
        self.model = model
        self.train_preprocess = transforms.Compose(
            [transforms.RandomResizedCrop(side, (0.9, 1.0), interpolation=bicubic), *last]
        )
        self.val_preprocess = transforms.Compose(
            [transforms.Resize(side, bicubic), transforms.CenterCrop(side), *last]
        )
        self.cache_dir = None


class ClassificationHead(nn.Linear):
    def __init__(self, normalize: bool, weights: torch.Tensor) -> None:
        super().__init__(*reversed(weights.shape))
        self.normalize = normalize
        self.weight = nn.Parameter(weights.clone())


class ImageClassifier(nn.Module):
    def __init__(self, encoder: ImageEncoder, head: ClassificationHead) -> None:
        super().__init__()
        self.image_encoder = encoder
        self.classification_head = head
        self.process_images = False
        self.train_preprocess = encoder.train_preprocess
        self.val_preprocess = encoder.val_preprocess


OFFICIAL: dict[str, tuple[Any, ...]] = {
    "clip.clip": (_convert_to_rgb,),
    "clip.model": (CLIP, LayerNorm, QuickGELU, ResidualAttentionBlock, Transformer,
                   VisualTransformer),
    "src.models.modeling": (ClassificationHead, ImageClassifier, ImageEncoder),
}  # fmt: skip


def tower(
    side: int = 32, patch: int = 8, width: int = 64, layers: int = 2, dimension: int = DIMENSION
) -> VisualTransformer:
    """Return an image tower with random weights."""
    return VisualTransformer(side, patch, width, layers, dimension)


def classifier(visual: VisualTransformer, dimension: int = DIMENSION) -> ImageClassifier:
    """Return a classifier of `CLASSES` classes; its head weight is a transposed view."""
    encoder = ImageEncoder(CLIP(visual, dimension), visual.input_resolution)
    head = ClassificationHead(True, torch.randn(dimension, CLASSES).T)
    return ImageClassifier(encoder, head)


@contextmanager
def official_names() -> Iterator[None]:
    """Context in which the classes above have the names of their official modules."""
    modules = {name: ModuleType(name) for name in OFFICIAL}
    packages = {name.rpartition(".")[0] for name in OFFICIAL} | {"src"}
    before = {x: x.__module__ for members in OFFICIAL.values() for x in members}
    saved = {name: sys.modules.get(name) for name in (*modules, *packages)}
    sys.modules.update(modules | {name: ModuleType(name) for name in packages})
    try:
        for name, members in OFFICIAL.items():
            for member in members:
                member.__module__ = name
                setattr(modules[name], member.__name__, member)
        yield
    finally:
        for member, name in before.items():
            member.__module__ = name
        for name, module in saved.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


Save = Callable[[object, Path], None]


def pickled(protocol: int) -> Save:
    """Return a function that saves as WiSE-FT does: a plain pickle of a protocol.

    Python 3.6, which WiSE-FT used, wrote protocol 3; later versions write 4.
    """

    def save(value: object, path: Path) -> None:
        with official_names():
            path.write_bytes(pickle.dumps(value, protocol))

    return save


def zipped(value: object, path: Path) -> None:
    """Save as CaRot's baseline does: with torch.save."""
    with official_names():
        torch.save(value, path)

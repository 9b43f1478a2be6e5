"""CLIP backbones: their identity (without torch) and, when weights are needed, the models."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from safetensors import SafetensorError

from bench.api.recipes import Backbone, TextHead
from bench.core.errors import InputError, unknown_name
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.data.prompts import fill_template

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TINY = "tiny"
EMBEDDED = "embedded"


def identify_backbone(model: str, pretrained: str, cache_dir: Path) -> Backbone:
    """The identity of an open_clip model name and pretrained tag or checkpoint file.

    ``tiny`` with ``embedded`` is the CLIP shipped with bench. Raises InputError for a name that
    open_clip does not have. Tags are checked when the model is loaded, or here where a file of
    that name would be meant.
    """
    if model == TINY:
        if pretrained != EMBEDDED and not Path(pretrained).is_file():
            raise InputError(f"--pretrained {pretrained}: model 'tiny' has only 'embedded' weights")
        if pretrained == EMBEDDED:
            return Backbone(TINY, EMBEDDED, _embedded_digest())
    elif model not in (names := _model_names()):
        raise unknown_name("model", model, [TINY, *names])
    path = Path(pretrained).expanduser()
    if path.is_file():
        return Backbone(model, str(path), _file_digest(path.resolve(), cache_dir))
    if os.sep in pretrained or path.suffix in {".pt", ".pth", ".bin", ".safetensors"}:
        raise InputError(f"--pretrained {pretrained}: no such checkpoint file")
    return Backbone(model, pretrained, f"tag:{pretrained}")


def _embedded_digest() -> str:
    card = files("bench.data.mini") / "tiny.json"
    digest: str = json.loads(card.read_text())["sha256"]
    return digest


@cache
def _model_names() -> tuple[str, ...]:
    """open_clip's model names from its configuration files, without importing it (5 s)."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("open_clip is not installed: pip install open_clip_torch")
    folder = Path(spec.submodule_search_locations[0]) / "model_configs"
    return tuple(sorted(p.stem for p in folder.glob("*.json")))


def _file_digest(path: Path, cache_dir: Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time."""
    stat = path.stat()
    mark = key_of("digest", str(path), stat.st_size, stat.st_mtime_ns)
    remembered = cache_dir / "index" / f"{mark}.digest"
    if remembered.is_file():
        return remembered.read_text()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_atomic(remembered, digest.encode())
    return digest


@dataclass(frozen=True)
class Clip:
    """A loaded backbone: open_clip's model (float32, eval), its tokenizer and preprocessing."""

    model: Any
    tokenizer: Any
    preprocess: Any

    @property
    def scale(self) -> float:
        """exp(logit_scale): 100 for OpenAI's models."""
        return float(self.model.logit_scale.detach().exp())


def load_clip(identity: Backbone) -> Clip:
    """Load a backbone on the CPU.

    Raises InputError if the tag is unknown, the weights cannot be downloaded or a checkpoint
    does not fit the model.
    """
    _offline_if_there_is_no_network()
    import open_clip
    from open_clip.transform import PreprocessCfg

    if identity.model == TINY and identity.pretrained == EMBEDDED:
        from bench.data.mini.model import PREPROCESS, load_tiny, tiny_tokenizer

        return Clip(load_tiny(), tiny_tokenizer(), PreprocessCfg(**PREPROCESS))
    is_file = Path(identity.pretrained).is_file()
    tags = open_clip.list_pretrained_tags_by_model(identity.model)
    if not is_file and identity.pretrained not in tags:
        raise unknown_name(f"pretrained tag of {identity.model}", identity.pretrained, tags)
    try:
        model = open_clip.create_model(
            identity.model,
            pretrained=identity.pretrained,
            force_quick_gelu=not is_file and wants_quick_gelu(identity.model, identity.pretrained),
        )
    except Exception as error:
        raise InputError(_why(identity, is_file, error)) from error
    tokenizer = open_clip.get_tokenizer(identity.model)
    return Clip(model.eval(), tokenizer, PreprocessCfg(**model.visual.preprocess_cfg))


def wants_quick_gelu(model: str, tag: str) -> bool:
    """Whether the released weights were trained with QuickGELU, as OpenAI's were.

    open_clip only warns where the model's configuration says otherwise, and every number is off.
    """
    import open_clip

    return bool((open_clip.get_pretrained_cfg(model, tag) or {}).get("quick_gelu"))


def _offline_if_there_is_no_network() -> None:
    """Spare a user without network the minute that the hub's client spends on trying again."""
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"))
    if not proxied:
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _why(identity: Backbone, is_file: bool, error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    telling = ("size mismatch", "Missing key", "Unexpected key")
    first = next((x.strip() for x in lines if any(t in x for t in telling)), lines[0])[:200]
    if is_file and isinstance(error, UnpicklingError | EOFError | SafetensorError):
        return f"checkpoint {identity.pretrained} holds no weights that torch or safetensors reads"
    if is_file:
        return (
            f"checkpoint {identity.pretrained} does not fit model {identity.model}: {first}; "
            "give the --model it was made with"
        )
    return (
        f"weights {identity} could not be downloaded ({first}); connect to the network, "
        "or give a local checkpoint file with --pretrained"
    )


def text_head(
    clip: Clip,
    recipe: TextHead,
    device: torch.device,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, Tensor]:
    """``head.weight`` [C, D] and ``head.bias`` [C] of a zero-shot head.

    `progress` is told of every class.
    """
    import torch

    prompts = tokenized(clip, recipe)
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    with bf16:
        return prompt_head(clip.model.to(device), prompts.to(device), progress)


def tokenized(clip: Clip, recipe: TextHead) -> Tensor:
    """The prompts of a head: tokens int64 [C, T, L] of every class in every template."""
    import torch

    return torch.stack(
        [
            clip.tokenizer([fill_template(t, name) for t in recipe.templates])
            for name in recipe.classnames
        ]
    )


def prompt_head(
    model: Any, prompts: Tensor, progress: Callable[[int], None] = lambda count: None
) -> dict[str, Tensor]:
    """``head.weight`` [C, D] and ``head.bias`` [C] of an open_clip model's text tower.

    Each class: embed all templates, normalise, average, normalise, times exp(logit_scale);
    bias 0 (wise-ft ``src/models/zeroshot.py``). `prompts` are tokens [C, T, L].
    """
    import torch
    from torch.nn.functional import normalize

    rows = []
    with torch.no_grad():
        for tokens in prompts:
            embeddings = normalize(encode_text(model, tokens).float(), dim=-1)
            rows.append(normalize(embeddings.mean(dim=0), dim=-1))
            progress(1)
        weight = torch.stack(rows).float() * model.logit_scale.detach().exp().float()
    return {"head.weight": weight.cpu(), "head.bias": torch.zeros(len(rows))}


def encode_text(model: Any, tokens: Tensor) -> Tensor:
    """open_clip's ``encode_text`` [n, context] -> [n, D], without work on padding.

    In a causal text tower nothing after the end token (the highest id) reaches the embedding, so
    the context is cut to the longest text: about five times faster for ImageNet's prompts, equal
    up to rounding. Other towers run in full. Gradients flow as through the whole.
    """
    mask = getattr(model, "attn_mask", None)
    if mask is None or getattr(model, "text_pool_type", None) != "argmax":
        embeddings: Tensor = model.encode_text(tokens)
        return embeddings
    from torch.func import functional_call

    length = int(tokens.argmax(dim=-1).max()) + 1
    cut = {
        "model.attn_mask": mask[:length, :length],
        "model.positional_embedding": model.positional_embedding[:length],
    }
    cropped: Tensor = functional_call(_text_tower(model), cut, (tokens[:, :length],))
    return cropped


def _text_tower(model: Any) -> Any:
    """The module whose forward is the model's ``encode_text``."""
    from torch import nn

    class TextTower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Tensor) -> Tensor:
            embeddings: Tensor = self.model.encode_text(tokens)
            return embeddings

    return TextTower()

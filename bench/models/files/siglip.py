"""transformers' ``SiglipModel`` as an open_clip model: its towers, and the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import InputError

_WHOLE = {
    "logit_scale": "logit_scale",
    "logit_bias": "logit_bias",
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
}
_MODULES = {
    "text_model.final_layer_norm": "text.ln_final",
    "text_model.head": "text.text_projection",
    "vision_model.embeddings.patch_embedding": "visual.trunk.patch_embed.proj",
    "vision_model.post_layernorm": "visual.trunk.norm",
    "vision_model.head.attention.out_proj": "visual.trunk.attn_pool.proj",
    "vision_model.head.layernorm": "visual.trunk.attn_pool.norm",
    "vision_model.head.mlp.fc1": "visual.trunk.attn_pool.mlp.fc1",
    "vision_model.head.mlp.fc2": "visual.trunk.attn_pool.mlp.fc2",
}
_BLOCK = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.([\w.]+)\.(weight|bias)")
_IN_BLOCKS = {
    "text": {
        "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj",
    },
    "vision": {
        "layer_norm1": "norm1", "layer_norm2": "norm2", "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2", "self_attn.out_proj": "attn.proj",
    },
}  # fmt: skip


def build_siglip(config: Mapping[str, Any]) -> Any:
    """Return an open_clip model of SigLIP's kind with random weights.

    `config` is that of `open_clip_configuration`. open_clip builds the image towers of timm by
    their names alone; this one has the sizes in the configuration.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.models.files.siglip import build_siglip
    >>> from bench.models.files.transformers_config import open_clip_configuration
    >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    >>> sizes |= {"num_attention_heads": 2}
    >>> found = open_clip_configuration(
    ...     {
    ...         "model_type": "siglip",
    ...         "text_config": {**sizes, "vocab_size": 50},
    ...         "vision_config": {**sizes, "image_size": 32},
    ...     },
    ...     Path("config.json"),
    ... )
    >>> model = build_siglip(found)
    >>> model.visual(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 16])
    """
    import timm
    from open_clip.model import CustomTextCLIP

    vision = dict(config["vision_cfg"])
    sizes, norm = vision.pop("timm_sizes"), vision.pop("norm_kwargs")
    name, vision["timm_model_name"] = vision["timm_model_name"], "vit_tiny_patch16_224"
    model = CustomTextCLIP(
        config["embed_dim"], vision, config["text_cfg"], init_logit_bias=config["init_logit_bias"]
    )
    norm_layer = partial(nn.LayerNorm, **norm)
    model.visual.trunk = timm.create_model(
        name, num_classes=0, global_pool="map", norm_layer=norm_layer, **sizes
    )
    return model


def from_siglip(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Return a state dict of ``SiglipModel`` with the names and layout that `build_siglip` has.

    Raises InputError for a name that ``SiglipModel`` does not have.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.models.files.siglip import from_siglip
    >>> list(from_siglip({"vision_model.head.mlp.fc1.bias": torch.ones(2)}, Path("w.pt")))
    ['visual.trunk.attn_pool.mlp.fc1.bias']
    """
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        block = _BLOCK.fullmatch(name)
        if name.endswith("embeddings.position_ids"):
            continue
        if name in _WHOLE:
            own = _WHOLE[name]
            found[own] = tensor[None] if own.endswith("pos_embed") else tensor
        elif module in _MODULES:
            found[f"{_MODULES[module]}.{kind}"] = tensor
        elif name in (f"vision_model.head.attention.in_proj_{one}" for one in ("weight", "bias")):
            query, *others = tensor.chunk(3)
            kind = name.rpartition("_")[2]
            found[f"visual.trunk.attn_pool.q.{kind}"] = query.contiguous()
            found[f"visual.trunk.attn_pool.kv.{kind}"] = torch.cat(others)
        elif block is not None:
            tower, number, inner, kind = block.groups()
            is_text = tower == "text"
            place = (
                f"text.transformer.resblocks.{number}."
                if is_text
                else (f"visual.trunk.blocks.{number}.")
            )
            if inner in _IN_BLOCKS[tower]:
                found[f"{place}{_IN_BLOCKS[tower][inner]}.{kind}"] = tensor
            elif inner in (f"self_attn.{one}_proj" for one in "qkv"):
                own = f"attn.in_proj_{kind}" if is_text else f"attn.qkv.{kind}"
                parts.setdefault(f"{place}{own}", {})[inner] = tensor
            else:
                raise _unknown(name, source)
        else:
            raise _unknown(name, source)
    for name, three in parts.items():
        if len(three) != 3:
            raise _unknown(name, source)
        found[name] = torch.cat([three[f"self_attn.{one}_proj"] for one in "qkv"])
    return found


def _unknown(name: str, source: Path) -> InputError:
    return InputError(
        f"checkpoint {source} has {name[:100]}, which transformers' SiglipModel does not have, or "
        "has only a part of it: give the weights that belong to its config.json"
    )

"""What ``config.json`` of transformers' CLIP and SigLIP says, as open_clip's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import InputError, shortened

CLIP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "text_config": {
        "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "eos_token_id": 49407,
    },
    "vision_config": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "num_channels": 3, "image_size": 224, "patch_size": 32,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    },
}  # fmt: skip
SIGLIP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "text_config": {
        "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072,
        "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 64,
        "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "projection_size": None,
    },
    "vision_config": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "num_channels": 3, "image_size": 224, "patch_size": 16,
        "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "vision_use_head": True,
    },
}  # fmt: skip
"""transformers' own defaults: files leave out what equals them."""

KINDS = {"clip": CLIP_DEFAULTS, "siglip": SIGLIP_DEFAULTS}
"""The models that are converted, by their ``model_type``."""

TANH = {"approximate": "tanh"}


def open_clip_configuration(config: Any, path: Path) -> dict[str, Any]:
    """Return open_clip's configuration of a model of transformers.

    Its image tower may be one of timm's with other sizes than timm's name says; those are in
    ``timm_sizes`` (see `bench.models.files.siglip`). Raises InputError, naming `path`, for other
    models than CLIP and SigLIP, and for parts that open_clip does not have.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.files.transformers_config import open_clip_configuration
    >>> found = open_clip_configuration({"model_type": "clip"}, Path("config.json"))
    >>> found["embed_dim"], found["quick_gelu"], found["vision_cfg"]["patch_size"]
    (512, True, 32)
    >>> open_clip_configuration({"model_type": "blip"}, Path("config.json"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: config.json is of the model 'blip', expected clip or siglip: ...
    """
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in KINDS:
        raise InputError(
            f"{path} is of the model {shortened(repr(kind), 60)}, expected clip or siglip: other "
            "models of transformers are not converted; give a model of open_clip"
        )
    try:
        text, vision = (_part(config, name, KINDS[kind][name]) for name in KINDS[kind])
        for values in (text, vision):
            for name in ("image_size", "patch_size", "hidden_size", "num_hidden_layers"):
                if name in values and (type(values[name]) is not int or values[name] < 1):
                    raise InputError(
                        f"{path}: {name} is {shortened(repr(values[name]), 60)}, expected a whole "
                        "number above 0: check the file"
                    )
        return (_clip if kind == "clip" else _siglip)(config, text, vision, path)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"{path} has a value of another kind than expected: {error}") from error


def _part(config: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a tower; old files repeat it under another name, which counts more."""
    older = config.get(f"{name}_dict")
    last = {} if older is None else {**defaults, **older}
    return {**defaults, **(config.get(name) or {}), **last}


def _clip(
    config: Mapping[str, Any], text: dict[str, Any], vision: dict[str, Any], path: Path
) -> dict[str, Any]:
    acts = {"quick_gelu": True, "gelu": False}
    found = {part["hidden_act"] for part in (text, vision)}
    if len(found) > 1 or not found <= acts.keys():
        raise _odd(path, "hidden_act", " and ".join(sorted(map(str, found))), "quick_gelu or gelu")
    words, end = text["vocab_size"], text["eos_token_id"]
    # 2 stands for the highest token in transformers, too, which older files have by mistake.
    ends = {} if end in (2, words - 1) else {"pool_type": "eos", "eos_id": end}
    return {
        "embed_dim": config.get("projection_dim", 512),
        "quick_gelu": acts[found.pop()],
        "vision_cfg": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "width": vision["hidden_size"],
            "layers": vision["num_hidden_layers"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "mlp_ratio": _ratio(vision),
            "norm_kwargs": {"eps": vision["layer_norm_eps"]},
        },
        "text_cfg": _text(text) | ends,
    }


def _siglip(
    config: Mapping[str, Any], text: dict[str, Any], vision: dict[str, Any], path: Path
) -> dict[str, Any]:
    width = vision["hidden_size"]
    for part in (text, vision):
        if part["hidden_act"] != "gelu_pytorch_tanh":
            raise _odd(path, "hidden_act", part["hidden_act"], "gelu_pytorch_tanh")
    if not vision["vision_use_head"]:
        raise _odd(path, "vision_use_head", False, "a pooling head")
    projected = text["projection_size"] or text["hidden_size"]
    if projected != width:
        raise _odd(
            path, "projection_size of the text tower", projected, f"the image tower's {width}"
        )
    return {
        "embed_dim": width,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision["image_size"],
            "timm_model_name": "vit_base_patch16_siglip_224",
            "timm_pool": "map",
            "timm_proj": "none",
            "timm_sizes": {
                "img_size": vision["image_size"],
                "patch_size": vision["patch_size"],
                "embed_dim": width,
                "depth": vision["num_hidden_layers"],
                "num_heads": vision["num_attention_heads"],
                "mlp_ratio": _ratio(vision),
                "act_layer": "gelu_tanh",
            },
            "norm_kwargs": {"eps": vision["layer_norm_eps"]},
        },
        "text_cfg": _text(text)
        | {
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "act_kwargs": TANH,
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    }


def _text(text: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "width": text["hidden_size"],
        "heads": text["num_attention_heads"],
        "layers": text["num_hidden_layers"],
        "mlp_ratio": _ratio(text),
        "norm_kwargs": {"eps": text["layer_norm_eps"]},
        "hf_tokenizer_name": ".",
    }


def _ratio(part: Mapping[str, Any]) -> float:
    """Return the ratio from which open_clip and timm compute the width of an MLP, rounding down."""
    ratio: float = part["intermediate_size"] / part["hidden_size"]
    return ratio if int(part["hidden_size"] * ratio) == part["intermediate_size"] else ratio + 1e-9


def _odd(path: Path, name: str, value: object, expected: str) -> InputError:
    return InputError(
        f"{path}: {name} is {shortened(str(value), 60)}, expected {expected}: such models are not "
        "converted; give a model of open_clip"
    )

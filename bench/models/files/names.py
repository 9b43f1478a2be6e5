"""The names of a CLIP's tensors in checkpoints: wrappers, other codes, and open_clip's own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import InputError
from bench.models.files.siglip import from_siglip

WRAPPERS = frozenset({"module", "_orig_mod", "_forward_module"})
"""Parts of names that DataParallel, torch.compile and the like put in."""

OUTER = ("model.", "clip.", "clip_model.", "student.", "net.")
"""Prefixes of all names in checkpoints of training code that holds the CLIP as an attribute."""

OPENAI = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Numbers that OpenAI's archives keep among the weights."""

TRANSFORMERS = ("vision_model.", "text_model.")

_BLOCK = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)")
_INNER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
_WHOLE = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
    "logit_scale": "logit_scale",
    **{
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for kind in ("weight", "bias")
        for theirs, ours in (
            ("vision_model.pre_layrnorm", "visual.ln_pre"),
            ("vision_model.post_layernorm", "visual.ln_post"),
            ("text_model.final_layer_norm", "ln_final"),
        )
    },
}


def unwrapped(
    tensors: Mapping[str, Tensor], source: Path, known: Collection[str]
) -> dict[str, Tensor]:
    """Return tensors without what wrappers and training code put into their names.

    `known` are the model's own names: a prefix that they have is left. Raises InputError if two
    names become one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.files.names import unwrapped
    >>> unwrapped({"module._orig_mod.visual.proj": 1, "module.scale": 2}, Path("w.pt"), ())
    {'visual.proj': 1, 'scale': 2}
    """
    ours = {part for name in known for part in name.split(".")}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        bare = ".".join(p for p in name.split(".") if p not in WRAPPERS or p in ours)
        if bare in found:
            raise InputError(
                f"checkpoint {source} has {bare} twice, once as {name:.80}: save one state dict of "
                "the model alone"
            )
        found[bare] = tensor
    for prefix in OUTER:
        if found and all(name.startswith(prefix) for name in found):
            if any(name.startswith(prefix) for name in known):
                continue
            return unwrapped({n.removeprefix(prefix): t for n, t in found.items()}, source, known)
    return found


def adapted(tensors: Mapping[str, Tensor], model: Any, source: Path) -> dict[str, Tensor]:
    """Return tensors with the names that an open_clip model has, as far as they are known.

    OpenAI's, transformers' and Apple's names are converted, and those of CLIP and CustomTextCLIP
    to each other. Buffers without an effect that the model lacks are left out. What the result has
    and lacks is for `strict` to check.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.data.mini.model import load_tiny
    >>> from bench.models.files.names import adapted
    >>> tiny = load_tiny()
    >>> saved = {f"module.{name}": t for name, t in tiny.state_dict().items()}
    >>> adapted(saved, tiny, Path("w.pt")).keys() == tiny.state_dict().keys()
    True
    """
    known = model.state_dict().keys()
    found = unwrapped(tensors, source, known)
    found = {n: t for n, t in found.items() if n in known or n not in OPENAI}
    if any(name.startswith(TRANSFORMERS) for name in found):
        found = (from_siglip if "logit_bias" in known else from_transformers)(found, source)
    found = _converted(found, model, source)
    for ours, theirs in (("text.", ""), ("", "text.")):
        found = _moved_text(found, known, ours, theirs)
    for name in {"logit_scale", "logit_bias"} & found.keys() & known:
        if found[name].numel() == 1:
            found[name] = found[name].reshape(model.state_dict()[name].shape)
    inert = (".position_ids", "attn_mask")
    return {n: t for n, t in found.items() if n in known or not n.endswith(inert)}


def _converted(found: dict[str, Tensor], model: Any, source: Path) -> dict[str, Tensor]:
    """Return tensors with Apple's names for MobileCLIP converted by open_clip."""
    from open_clip.convert import convert_state_dict

    try:
        converted: dict[str, Tensor] = convert_state_dict(model, found)
    except Exception as error:  # it looks up names and shapes without checks
        raise InputError(
            f"checkpoint {source} has Apple's names for MobileCLIP, but open_clip cannot convert "
            "them for this model: give the --model it was made with, or open_clip's release"
        ) from error
    return converted


_TEXT = ("text_projection", "positional_embedding", "token_embedding", "transformer.", "ln_final")


def _moved_text(
    found: dict[str, Tensor], known: Set[str], ours: str, theirs: str
) -> dict[str, Tensor]:
    """Move the text tower from names with `theirs` in front to names with `ours`, if that fits."""
    text = {n for n in found if n.startswith(tuple(f"{theirs}{part}" for part in _TEXT))}
    moved = {n: f"{ours}{n.removeprefix(theirs)}" for n in text}
    if not text or known & text or not known & set(moved.values()):
        return found
    return {moved.get(n, n): t for n, t in found.items()}


def from_transformers(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Return a state dict of transformers' ``CLIPModel`` with open_clip's names and layout.

    Raises InputError for a name that ``CLIPModel`` does not have.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.models.files.names import from_transformers
    >>> from_transformers({"visual_projection.weight": torch.ones(2, 3)}, Path("w.pt"))
    {'visual.proj': tensor(...)}
    >>> from_transformers({"vision_model.head.probe": torch.ones(2)}, Path("w.pt"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: checkpoint w.pt has the names of transformers, but ...
    """
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.endswith("embeddings.position_ids"):
            continue
        if name in _WHOLE:
            turned = name in ("visual_projection.weight", "text_projection.weight")
            found[_WHOLE[name]] = tensor.T.contiguous() if turned else tensor
            continue
        block = _BLOCK.fullmatch(name)
        inner, _, kind = block[3].rpartition(".") if block else ("", "", "")
        if block is None or kind not in ("weight", "bias"):
            raise _not_clip(name, source)
        tower = "visual.transformer" if block[1] == "vision" else "transformer"
        place = f"{tower}.resblocks.{block[2]}."
        if inner in _INNER:
            found[f"{place}{_INNER[inner]}.{kind}"] = tensor
        elif inner in (f"self_attn.{one}_proj" for one in "qkv"):
            parts.setdefault(f"{place}attn.in_proj_{kind}", {})[inner] = tensor
        else:
            raise _not_clip(name, source)
    for name, three in parts.items():
        if len(three) != 3:
            raise _not_clip(name, source)
        found[name] = torch.cat([three[f"self_attn.{one}_proj"] for one in "qkv"])
    return found


def _not_clip(name: str, source: Path) -> InputError:
    return InputError(
        f"checkpoint {source} has the names of transformers, but not those of its CLIPModel, such "
        f"as {name[:80]}: only CLIPModel is converted to this model; give the --model it was made "
        "with, its folder as --model local-dir:PATH, or save it with open_clip's names"
    )

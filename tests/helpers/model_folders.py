"""For tests: small models with random weights in folders of open_clip's and transformers' forms."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from small_clips import built, reduced

from bench.api.recipes import Backbone
from bench.models.clip import Clip, identify_backbone, load_clip
from bench.models.sources.released_tags import configuration

SIDE, CONTEXT = 32, 24
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2}
WEIGHTS = "model.safetensors"
PROCESSOR, CONFIG = "preprocessor_config.json", "config.json"
TEXTS = ["a photo of a cat.", "The dog", "a photo of the dog of the cat of a"]
WORDS = ("a", "photo", "of", "the", *"bcdefghijklmnopqrstuvwxyz0123456789.,-'")
"""Words of the stand-in for tokenizers; it spells all others."""
LETTERS = tuple(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
TOKENS = ("<pad>", "<unk>", *WORDS, *LETTERS, "<start>", "<end>")
ENDS = {"bos_token_id": len(TOKENS) - 2, "eos_token_id": len(TOKENS) - 1}


def save_tokenizer(folder: Path) -> None:
    """Save a small tokenizer of transformers, which pads with its end token, as CLIP's does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = {token: number for number, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.WordPiece(known, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(name, known[name]) for name in ("<start>", "<end>")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<end>", eos_token="<end>", bos_token="<start>",
        unk_token="<unk>", sep_token="<end>",
    ).save_pretrained(folder)  # fmt: skip


def clip_folder(folder: Path, act: str = "quick_gelu", **text: Any) -> Any:
    """A small CLIP of transformers in a folder; return transformers' model."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    words = {"vocab_size": len(TOKENS), "max_position_embeddings": CONTEXT, "hidden_act": act}
    config = CLIPConfig(
        text_config={**SIZES, **words, **ENDS, **text},
        vision_config={**SIZES, "image_size": SIDE, "patch_size": 8, "hidden_act": act},
        projection_dim=24,
    )
    processor = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return _saved(folder, CLIPModel(config), processor)


def siglip_folder(folder: Path, **vision: Any) -> Any:
    """A small SigLIP of transformers in a folder; return transformers' model."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    words = {"vocab_size": len(TOKENS), "max_position_embeddings": CONTEXT}
    config = SiglipConfig(
        text_config={**SIZES, **words, **ENDS},
        vision_config={**SIZES, "image_size": SIDE, "patch_size": 8, **vision},
    )
    model = SiglipModel(config)
    model.logit_scale.data.fill_(3.0)
    model.logit_bias.data.fill_(-4.0)
    side = config.vision_config.image_size
    processor = SiglipImageProcessor(size={"height": side, "width": side})
    return _saved(folder, model, processor)


def _saved(folder: Path, model: Any, processor: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if (
            parameter.numel() > 1
        ):  # biases and norms are 0 and 1 at first, which hides what is swapped
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(0.1 * noise)
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().config.save_pretrained(folder)
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / WEIGHTS)
    processor.save_pretrained(folder)
    save_tokenizer(folder)
    return model


def open_clip_folder(folder: Path, name: str, **text: Any) -> Mapping[str, Any]:
    """A small model of the kind of open_clip's `name` in a folder; return its configuration."""
    config = reduced(configuration(name))
    config["text_cfg"] |= {"vocab_size": 49408, **text}
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    whole = {"model_cfg": config, "preprocess_cfg": {**preprocess, "resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    state = {n: t.contiguous() for n, t in built(config).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return config


def identified(folder: Path) -> Backbone:
    """The model of a folder, by its contents."""
    return identify_backbone(f"local-dir:{folder}", str(folder), folder.parent / "cache")


def loaded(folder: Path) -> Clip:
    """The model of a folder, loaded."""
    return load_clip(identified(folder))


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the object in a JSON file."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))

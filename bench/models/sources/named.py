"""Models of open_clip by their names, with a released tag or a checkpoint file; ``tiny``."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from bench.api.reading import Reading
from bench.api.recipes import Backbone
from bench.core.errors import InputError, reason_of, unknown_name
from bench.data.readers.fingerprints import file_digest
from bench.models.sources.network import go_offline_without_network
from bench.models.sources.released_tags import TINY, configuration, model_names, released_tags
from bench.models.sources.source import LoadedModel, check_packages
from bench.models.sources.towers import two_towers

EMBEDDED = "embedded"
SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".npz", ".safetensors"})
"""Endings of checkpoint files."""
TAGS_SHOWN = 8
"""The most tags of a model in an error."""


class Named:
    """A model of open_clip, or ``tiny``, with weights that its tag or a file has.

    Implements `bench.models.sources.source.Source`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.sources.named import Named
    >>> Named().identify("ViT-B-32", "openai", Path("cache"), None).digest
    'tag:openai'
    """

    def default_weights(self, model: str) -> str:
        """Return the weights of ``tiny``; a model of open_clip has none of its own."""
        if model == TINY:
            return EMBEDDED
        _check_model(model)
        tags = list(released_tags(model))
        shown = ", ".join(tags[:TAGS_SHOWN])
        if len(tags) > TAGS_SHOWN:
            shown += f" or one of {len(tags) - TAGS_SHOWN} more (bench list models)"
        where = f"{shown}, or a" if tags else "it has no released weights; give a"
        raise InputError(f"--model {model} needs --pretrained as well: {where} checkpoint file")

    def identify(
        self, model: str, pretrained: str, cache_dir: Path, reading: Reading | None
    ) -> Backbone:
        """Return the backbone. Tags are checked when the model is loaded."""
        path = Path(pretrained).expanduser()
        is_file = path.is_file()
        if model == TINY:
            if pretrained != EMBEDDED and not is_file:
                raise InputError(
                    f"--pretrained {pretrained}: model 'tiny' has only 'embedded' weights, and no "
                    "such file exists: leave --pretrained out, or give an existing file"
                )
        else:
            _check_model(model)
            check_packages(model, configuration(model))
        if is_file and pretrained != EMBEDDED:
            digest = file_digest(path.resolve(), cache_dir)
            return Backbone(model, str(path), digest, reading or Reading())
        if os.sep in pretrained or path.suffix in SUFFIXES or path.is_dir():
            what = "is a folder" if path.is_dir() else "no such checkpoint file"
            raise InputError(
                f"--pretrained {pretrained}: {what}; give an existing file, or a pretrained tag of "
                f"{model}"
            )
        if reading is not None and reading.said():
            raise InputError(
                f"--set model.{next(iter(reading.said()))} says how a checkpoint file is read, but "
                f"--pretrained {pretrained} is none; its preprocessing and activation are known: "
                "leave the option out"
            )
        if model == TINY:
            return Backbone(TINY, EMBEDDED, _embedded_digest())
        return Backbone(model, pretrained, f"tag:{pretrained}")

    def configuration(self, backbone: Backbone) -> dict[str, Any]:
        """Return open_clip's configuration of the name."""
        return configuration(backbone.model)

    def load(self, backbone: Backbone) -> LoadedModel:
        """Load the embedded weights, a file, or a tag, whose weights may be downloaded."""
        go_offline_without_network()
        from open_clip.transform import PreprocessCfg

        if backbone.model == TINY and backbone.reading is None:
            from bench.data.mini.model import PREPROCESS, load_tiny

            return LoadedModel(load_tiny(), _tokenizer(backbone), PreprocessCfg(**PREPROCESS))
        if backbone.reading is not None:
            from bench.models.files.backbone import load_file

            model, preprocess, caveats = load_file(backbone)
            return LoadedModel(model, _tokenizer(backbone), preprocess, caveats)
        model = _released(backbone)
        preprocess = PreprocessCfg(**model.visual.preprocess_cfg)
        return LoadedModel(two_towers(model).eval(), _tokenizer(backbone), preprocess)


def wants_quick_gelu(model: str, tag: str) -> bool:
    """Whether the released weights of a tag were trained with QuickGELU, as OpenAI's were.

    If the model's configuration differs, open_clip only warns, and all outputs are wrong.

    Examples
    --------
    >>> from bench.models.sources.named import wants_quick_gelu
    >>> wants_quick_gelu("ViT-B-32", "openai"), wants_quick_gelu("ViT-B-32", "laion2b_s34b_b79k")
    (True, False)
    """
    import open_clip

    return bool((open_clip.get_pretrained_cfg(model, tag) or {}).get("quick_gelu"))


def _check_model(name: str) -> None:
    """Raise InputError, which names the three nearest, unless open_clip has the model."""
    if name not in model_names():
        raise unknown_name("model", name, [TINY, *model_names()], "bench list models")


def _embedded_digest() -> str:
    card = files("bench.data.mini") / "tiny.json"
    digest: str = json.loads(card.read_text())["sha256"]
    return digest


def _released(backbone: Backbone) -> Any:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(backbone.model)
    if backbone.pretrained not in tags:
        raise unknown_name(
            f"pretrained tag of {backbone.model}", backbone.pretrained, tags, "bench list models"
        )
    try:
        return open_clip.create_model(
            backbone.model,
            pretrained=backbone.pretrained,
            force_quick_gelu=wants_quick_gelu(backbone.model, backbone.pretrained),
        )
    except Exception as error:
        raise InputError(
            f"weights {backbone} could not be downloaded ({reason_of(error)}); connect to the "
            "network, or give a local checkpoint file with --pretrained"
        ) from error


def _tokenizer(backbone: Backbone) -> Any:
    import open_clip

    if backbone.model == TINY:
        from bench.data.mini.model import tiny_tokenizer

        return tiny_tokenizer()
    return open_clip.get_tokenizer(backbone.model)

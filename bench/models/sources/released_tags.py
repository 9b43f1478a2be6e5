"""open_clip's models and their released weights, read without its import, which takes 5 s."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.core.errors import InputError
from bench.core.foreign.documents import read_json

TINY = "tiny"
"""The model that is shipped with bench; the others are open_clip's."""

HEAVY = ("safetensors.torch", "huggingface_hub")
"""What open_clip's table of tags imports for its downloads alone; it can do without."""


@cache
def model_names() -> tuple[str, ...]:
    """Return open_clip's model names, from its configuration files.

    Examples
    --------
    >>> from bench.models.sources.released_tags import model_names
    >>> "ViT-B-32" in model_names()
    True
    """
    return tuple(sorted(configuration_files()))


@cache
def configuration_files() -> Mapping[str, Path]:
    """Return {model name: file of its configuration} of open_clip's models.

    Examples
    --------
    >>> from bench.models.sources.released_tags import configuration_files
    >>> configuration_files()["ViT-B-32"].name
    'ViT-B-32.json'
    """
    return {path.stem: path for path in (_folder() / "model_configs").glob("*.json")}


def configuration(model: str) -> dict[str, Any]:
    """Return open_clip's configuration of a model by its name; empty for any other name.

    Examples
    --------
    >>> from bench.models.sources.released_tags import configuration
    >>> configuration("ViT-B-16-SigLIP")["init_logit_bias"], configuration("tiny")
    (-10, {})
    """
    path = configuration_files().get(model)
    found: dict[str, Any] = {} if path is None else read_json(path)
    return found


def released_tags(model: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the released weights of a model: {tag: preprocessing, activation and address}.

    Examples
    --------
    >>> from bench.models.sources.released_tags import released_tags
    >>> released_tags("ViT-B-32")["openai"]["quick_gelu"], released_tags("ViT-S-32-alt")
    (True, {})
    """
    found: Mapping[str, Mapping[str, Any]] = _table().get(model, {})
    return found


@cache
def _table() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Return open_clip's table of released weights; its module needs no other than constants."""
    if "open_clip" in sys.modules:
        module = importlib.import_module("open_clip.pretrained")
    else:
        alias = "_open_clip_alone"
        package = ModuleType(alias)
        package.__path__ = [str(_folder())]
        with _without(HEAVY):
            sys.modules[alias] = package
            try:
                module = importlib.import_module(f"{alias}.pretrained")
            finally:
                for name in [n for n in sys.modules if n.partition(".")[0] == alias]:
                    del sys.modules[name]
    table: Mapping[str, Mapping[str, Mapping[str, Any]]] = module._PRETRAINED
    return table


@contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """Let imports of modules that are not loaded yet fail."""
    blocked = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in blocked:
            del sys.modules[name]


def _folder() -> Path:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("open_clip is not installed: pip install open_clip_torch")
    return Path(spec.submodule_search_locations[0])

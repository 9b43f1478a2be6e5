"""The sources of models, by what stands before the colon of a name."""

from __future__ import annotations

from collections.abc import Mapping

from bench.models.sources.folder import LOCAL_DIR, ModelFolder
from bench.models.sources.hub import HUB, Hub
from bench.models.sources.image_towers import TIMM, ImageTowers
from bench.models.sources.named import Named
from bench.models.sources.source import Source

SOURCES: Mapping[str, Source] = {LOCAL_DIR: ModelFolder(), HUB: Hub(), TIMM: ImageTowers()}
"""All sources but open_clip's own names, which have no prefix."""


def source_of(model: str) -> Source:
    """Return the source of a model, by its name: ``PREFIX:NAME``, ``PREFIX``, or a plain name.

    Examples
    --------
    >>> from bench.models.sources.table import source_of
    >>> [type(source_of(name)).__name__ for name in ("ViT-B-32", "hf-hub:owner/name", "local-dir")]
    ['Named', 'Hub', 'ModelFolder']
    """
    return SOURCES.get(model.partition(":")[0], Named())

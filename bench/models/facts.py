"""What is known of a loaded model: its activation, image size, preprocessing, and caveats.

The engine stores it once per backbone, because a run whose outputs are all stored loads no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.api.recipes import Backbone
from bench.core.hashing import key_of
from bench.core.store import Store

KIND = "models"


@dataclass(frozen=True)
class ModelNote:
    """The facts of a model, such as ``activation`` and ``image_size``, and what was assumed."""

    facts: Mapping[str, Any]
    caveats: tuple[str, ...] = ()


def model_note(store: Store, backbone: Backbone) -> ModelNote | None:
    """Return what the store knows of a model; None if it was never loaded with this store.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import Backbone
    >>> from bench.core.store import Store
    >>> from bench.models.facts import ModelNote, model_note, store_model_note
    >>> backbone, store = Backbone("ViT-B-32", "openai", "tag:openai"), Store(Path("store"))
    >>> store_model_note(store, backbone, ModelNote({"image_size": 224}))
    >>> model_note(store, backbone).facts
    {'image_size': 224}
    """
    note = store.read_note(KIND, key_of(backbone))
    return None if note is None else ModelNote(note["facts"], tuple(note["caveats"]))


def store_model_note(store: Store, backbone: Backbone, note: ModelNote) -> None:
    """Store what is known of a model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import Backbone
    >>> from bench.core.store import Store
    >>> from bench.models.facts import ModelNote, model_note, store_model_note
    >>> backbone, store = Backbone("ViT-B-32", "openai", "tag:openai"), Store(Path("store"))
    >>> store_model_note(store, backbone, ModelNote({}, ("OpenAI's mean was assumed.",)))
    >>> model_note(store, backbone).caveats
    ("OpenAI's mean was assumed.",)
    """
    stored = {"facts": dict(note.facts), "caveats": list(note.caveats)}
    store.write_arrays(KIND, key_of(backbone), {}, stored)

"""Facts of a loaded model, kept in the store for runs that do not load it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.api.recipes import Backbone
from bench.core.hashing import canonical_json, key_of
from bench.core.store import Store
from bench.models.sources.released_tags import TINY
from bench.models.sources.table import source_of

if TYPE_CHECKING:
    from bench.models.clip import Clip


@dataclass(frozen=True)
class ModelFacts:
    """What determines a model's outputs besides its weights.

    Attributes
    ----------
    activation : ``gelu`` or ``quick_gelu``, of the towers that have a choice.
    image_size : side of its images in pixels.
    mean, std : normalisation of the three channels.
    interpolation : the filter by which images are resized.
    resize : ``shortest`` side then centre crop, ``longest`` side then padding, or ``squash``.

    Examples
    --------
    >>> from bench.models.facts import ModelFacts
    >>> half = (0.5, 0.5, 0.5)
    >>> ModelFacts("gelu", 224, half, half, "bicubic", "squash").resize
    'squash'
    """

    activation: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize: str


def facts_of(clip: Clip) -> ModelFacts:
    """Return the facts of a loaded model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.clip import identify_backbone, load_clip
    >>> from bench.models.facts import facts_of
    >>> facts = facts_of(load_clip(identify_backbone("tiny", "embedded", Path("cache"))))
    >>> facts.activation, facts.image_size, facts.std
    ('gelu', 32, (0.25, 0.25, 0.25))
    """
    from open_clip.transformer import QuickGELU

    from bench.models.transforms import input_size

    use = clip.preprocess
    is_quick = any(isinstance(module, QuickGELU) for module in clip.model.modules())
    return ModelFacts(
        activation="quick_gelu" if is_quick else "gelu",
        image_size=input_size(use),
        mean=tuple(map(float, use.mean)),
        std=tuple(map(float, use.std)),
        interpolation=use.interpolation,
        resize=use.resize_mode,
    )


def configuration_of(clip: Clip, backbone: Backbone) -> dict[str, Any]:
    """Return the configuration with which open_clip builds a loaded model; empty if none is known.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.facts import configuration_of
    >>> from bench.models.clip import identify_backbone, load_clip
    >>> tiny = identify_backbone("tiny", "embedded", Path("cache"))
    >>> configuration_of(load_clip(tiny), tiny)["embed_dim"]
    96
    """
    if backbone.model == TINY:
        from bench.data.mini.model import CONFIGURATION

        return copy.deepcopy(CONFIGURATION)
    found = copy.deepcopy(source_of(backbone.model).configuration(backbone))
    facts = facts_of(clip)
    is_quick = facts.activation == "quick_gelu"
    if is_quick or "quick_gelu" in found:
        found["quick_gelu"] = is_quick
    if "image_size" in found.get("vision_cfg", {}):
        found["vision_cfg"]["image_size"] = facts.image_size
    if found.pop("multimodal_cfg", None) is not None:  # of CoCa, whose text decoder is left out
        found["custom_text"] = True
        for part in ("vision_cfg", "text_cfg"):
            found[part]["output_tokens"] = False
    return found


def write_model_note(
    store: Store, backbone: Backbone, facts: ModelFacts, caveats: Sequence[str]
) -> None:
    """Store the facts of a backbone, and what was assumed when it was loaded, if that is new.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import Backbone
    >>> from bench.core.store import Store
    >>> from bench.models.facts import ModelFacts, read_model_note, write_model_note
    >>> store, backbone = Store(Path("store")), Backbone("ViT-B-32", "openai", "tag:openai")
    >>> facts = ModelFacts("quick_gelu", 224, (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest")
    >>> write_model_note(store, backbone, facts, ["Something was assumed."])
    >>> read_model_note(store, backbone)["caveats"]
    ['Something was assumed.']
    """
    note = {"facts": asdict(facts), "caveats": list(caveats)}
    if canonical_json(read_model_note(store, backbone)) != canonical_json(note):
        store.write_arrays("models", key_of(backbone), {}, note=note)


def read_model_note(store: Store, backbone: Backbone) -> dict[str, Any] | None:
    """Return {"facts": the fields of `ModelFacts`, "caveats": sentences} of a backbone.

    None if no run has loaded it since bench stores them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import Backbone
    >>> from bench.core.store import Store
    >>> from bench.models.facts import read_model_note
    >>> read_model_note(Store(Path("empty")), Backbone("ViT-B-32", "openai", "tag:openai")) is None
    True
    """
    return store.read_note("models", key_of(backbone))

"""What is known of a model without its weights: sizes, loss of pretraining, what cannot train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from bench.api.recipes import Backbone
from bench.api.trainer import Trainer
from bench.core.errors import InputError
from bench.models.sources.released_tags import TINY, configuration
from bench.models.sources.table import source_of

Loss = Literal["softmax", "sigmoid", "labels"]


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model: its `features` per image, and the parameters of its towers.

    `image` counts those of the image tower, `whole` those of both towers.

    Examples
    --------
    >>> from bench.models.sources.configurations import ModelSizes
    >>> ModelSizes(features=512, image=2, whole=3).whole
    3
    """

    features: int
    image: int
    whole: int


def model_sizes(backbone: Backbone) -> ModelSizes | None:
    """Return the sizes of a model with two towers of open_clip; None for all others.

    Loads no weights. Of CoCa these are the two towers that `two_towers` keeps.

    Examples
    --------
    >>> from bench.api.recipes import Backbone
    >>> from bench.models.sources.configurations import model_sizes
    >>> model_sizes(Backbone("ViT-B-32", "openai", "tag:openai"))
    ModelSizes(features=512, image=87849216, whole=151277313)
    """
    return _sizes(source_of(backbone.model).configuration(backbone))


@cache
def parameters_of(name: str) -> Mapping[str, int] | None:
    """Return how many parameters a model has that records or published tables call `name`.

    These are the `image` tower's, and the `whole` model's as in `ModelSizes`. None for a name that
    does not tell the architecture, such as that of a folder.

    Examples
    --------
    >>> from bench.models.sources.configurations import parameters_of
    >>> parameters_of("ViT-B-32/openai"), parameters_of("local-dir/mine@1f2e3d4c")
    ({'image': 87849216, 'whole': 151277313}, None)
    """
    model, _, _ = name.partition("/")
    found = configuration(model)
    if model == TINY:
        from bench.data.mini.model import CONFIGURATION as found
    sizes = _sizes(found)
    return None if sizes is None else {"image": sizes.image, "whole": sizes.whole}


def _sizes(found: Mapping[str, Any]) -> ModelSizes | None:
    """Return the sizes of a model by open_clip's configuration, built without memory.

    Text towers of transformers are left out: their own configurations would be downloaded.
    """
    if "text_cfg" not in found or found["text_cfg"].get("hf_model_name"):
        return None
    import torch
    from open_clip import CLIP, CustomTextCLIP

    build = CustomTextCLIP if found.get("custom_text") else CLIP
    own = {name: of for name, of in found.items() if name not in ("custom_text", "multimodal_cfg")}
    own["vision_cfg"] = {**found["vision_cfg"], "timm_model_pretrained": False}
    try:
        with torch.device("meta"):
            model = build(**own)
    except Exception:  # open_clip raises almost anything for configurations of other models
        return None
    image = sum(one.numel() for one in model.visual.parameters())
    whole = sum(one.numel() for one in model.parameters())
    return ModelSizes(found["embed_dim"], image, whole)


def features_without_text(backbone: Backbone) -> int | None:
    """Return the number of features of a backbone without a text tower; None if it has one.

    Examples
    --------
    >>> from bench.api.recipes import Backbone
    >>> from bench.models.sources.configurations import features_without_text
    >>> [
    ...     features_without_text(Backbone(model, tag, f"tag:{tag}"))
    ...     for model, tag in (("timm:resnet18", "a1_in1k"), ("ViT-B-32", "openai"))
    ... ]
    [512, None]
    """
    found = source_of(backbone.model).configuration(backbone)
    return found["embed_dim"] if found and "text_cfg" not in found else None


def pretraining_loss(backbone: Backbone) -> Loss:
    """Return the loss that a backbone was pretrained with.

    It is ``sigmoid`` for those with a bias, ``labels`` for those without a text tower, else
    ``softmax``.

    Examples
    --------
    >>> from bench.api.recipes import Backbone
    >>> from bench.models.sources.configurations import pretraining_loss
    >>> [
    ...     pretraining_loss(Backbone(model, tag, f"tag:{tag}"))
    ...     for model, tag in (("ViT-B-16-SigLIP", "webli"), ("ViT-B-32", "openai"))
    ... ]
    ['sigmoid', 'softmax']
    """
    if features_without_text(backbone) is not None:
        return "labels"
    has_bias = source_of(backbone.model).configuration(backbone).get("init_logit_bias") is not None
    return "sigmoid" if has_bias else "softmax"


def check_trainable(backbone: Backbone, trainer: Trainer) -> None:
    """Raise InputError if a trainer needs what a model's configuration does not have.

    Examples
    --------
    >>> from bench.api.recipes import Backbone
    >>> from bench.methods.carot import CarotTrainer
    >>> from bench.models.sources.configurations import check_trainable
    >>> check_trainable(Backbone("ViT-B-16-SigLIP", "webli", "tag:webli"), CarotTrainer())
    >>> odd = Backbone("ViT-SO400M-16-SigLIP-i18n-256", "webli", "tag:webli")
    >>> check_trainable(odd, CarotTrainer())
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: the text tower of ViT-SO400M-16-SigLIP-i18n-256/webli does not ...
    """
    needs_text = trainer.tunes_text or getattr(trainer, "reads_text", False)
    if needs_text and features_without_text(backbone) is not None:
        raise InputError(
            f"training {trainer.title} needs a text tower, and {backbone} has none: leave the row "
            "out"
        )
    text = source_of(backbone.model).configuration(backbone).get("text_cfg", {})
    reads_end = text.get("pool_type", "argmax") == "argmax" and not text.get("hf_model_name")
    if getattr(trainer, "reads_text", False) and not reads_end:
        raise InputError(
            f"training {trainer.title} embeds random tokens by a text tower that reads its end "
            f"token, and that of {backbone} does not: leave the row out, or use another model"
        )
    if getattr(trainer, "reads_projections", False) and text.get("proj_type") == "none":
        raise InputError(
            f"the text tower of {backbone} does not end in a linear projection, which training "
            f"{trainer.title} needs: leave the row out, or use another model"
        )

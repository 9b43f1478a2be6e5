"""Models of timm, which have an image tower and no text tower: ``timm:NAME``."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

from bench.api.reading import Reading
from bench.api.recipes import Backbone
from bench.core.errors import InputError, reason_of, unknown_name
from bench.data.readers.fingerprints import file_digest
from bench.models.sources.folder import named_after
from bench.models.sources.network import go_offline_without_network
from bench.models.sources.source import LoadedModel

TIMM = "timm"


class ImageTowers:
    """A model of timm with a released tag or a checkpoint file.

    Implements `bench.models.sources.source.Source`. Its classifier is not used; features are what
    the classifier takes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.sources.image_towers import ImageTowers
    >>> backbone = ImageTowers().identify("timm:resnet18", "a1_in1k", Path("cache"), None)
    >>> str(backbone), ImageTowers().configuration(backbone)["embed_dim"]
    ('timm:resnet18/a1_in1k', 512)
    """

    def default_weights(self, model: str) -> str:
        """Raise InputError, which names the tags: a name does not say which weights."""
        tags = _tags(named_after(model, "NAME"))
        where = f"a tag, such as {', '.join(tags[:3])}, or a file" if tags else "a checkpoint file"
        raise InputError(f"--model {model} needs --pretrained as well: {where}")

    def identify(
        self, model: str, pretrained: str, cache_dir: Path, reading: Reading | None
    ) -> Backbone:
        """Return the backbone, whose name and tag are checked."""
        tags = _tags(named_after(model, "NAME"))
        if reading is not None and reading.said():
            raise InputError(
                f"--set model.{next(iter(reading.said()))}: --model {model} has timm's own "
                "preprocessing: leave the option out"
            )
        path = Path(pretrained).expanduser()
        if path.is_file():
            return Backbone(model, str(path), file_digest(path.resolve(), cache_dir), Reading())
        if os.sep in pretrained or path.suffix:
            raise InputError(f"--pretrained {pretrained}: no such checkpoint file")
        if pretrained not in tags:
            raise unknown_name(f"pretrained tag of {model}", pretrained, tags)
        return Backbone(model, pretrained, f"tag:{pretrained}")

    def configuration(self, backbone: Backbone) -> dict[str, Any]:
        """Return the number of features as ``embed_dim``, and no ``text_cfg``."""
        name = named_after(backbone.model, "NAME")
        return {"embed_dim": _width(name), "vision_cfg": {"timm_model_name": name}}

    def load(self, backbone: Backbone) -> LoadedModel:
        """Load the image tower; the weights of a tag may be downloaded."""
        import timm
        from open_clip.transform import PreprocessCfg
        from timm.data.config import resolve_model_data_config
        from torch import nn

        go_offline_without_network()
        name, is_tag = named_after(backbone.model, "NAME"), backbone.reading is None
        try:
            tower = timm.create_model(
                f"{name}.{backbone.pretrained}" if is_tag else name,
                pretrained=is_tag,
                num_classes=0,
            )
        except Exception as error:
            raise InputError(
                f"weights {backbone} could not be downloaded ({reason_of(error)}); connect to the "
                "network, or give a local checkpoint file with --pretrained"
            ) from error
        if not is_tag:
            _load_file(tower, Path(backbone.pretrained), backbone.model)
        data: dict[str, Any] = resolve_model_data_config(tower)  # type: ignore[no-untyped-call]
        preprocess = PreprocessCfg(
            size=data["input_size"][-1],
            mean=data["mean"],
            std=data["std"],
            interpolation="bilinear" if data["interpolation"] == "bilinear" else "bicubic",
        )
        model = nn.Module()
        model.visual = tower
        share = data["crop_pct"]
        said = f"Images are resized to the model's size whole; timm crops {share:.1%} of each side."
        return LoadedModel(model.eval(), None, preprocess, (said,) if share != 1 else ())


def _tags(name: str) -> list[str]:
    """Return the tags of a model of timm. Raises InputError if there is no such model."""
    logging.getLogger("timm").setLevel(logging.ERROR)
    import timm
    from timm.models import get_arch_pretrained_cfgs

    plain, dot, tag = name.partition(".")
    if dot:
        raise InputError(
            f"--model {TIMM}:{name} names weights, too: use --model {TIMM}:{plain} --pretrained "
            f"{tag}"
        )
    if not timm.is_model(name):
        raise unknown_name("model of timm", name, timm.list_models())
    return [full.partition(".")[2] for full in get_arch_pretrained_cfgs(name) if "." in full]


@cache
def _width(name: str) -> int:
    """Return the number of features of a model of timm; nothing is computed for it."""
    import timm
    import torch

    with torch.device("meta"):
        tower: Any = timm.create_model(name, num_classes=0)
    return int(getattr(tower, "head_hidden_size", tower.num_features))


def _load_file(tower: Any, path: Path, name: str) -> None:
    """Load a file into a tower of timm, without the classifier that it may have."""
    from bench.models.files.containers import choose_weights, read_candidates
    from bench.models.files.names import unwrapped
    from bench.models.files.strict import load_strictly, widened

    known = tower.state_dict().keys()
    classifier = tower.default_cfg.get("classifier") or ()
    layers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    starts = tuple(f"{layer}." for layer in layers)
    found = {place: unwrapped(t, path, known) for place, t in read_candidates(path).items()}
    found = {
        place: {n: t for n, t in tensors.items() if n in known or not n.startswith(starts)}
        for place, tensors in found.items()
    }
    fitting = {place: len(known & tensors.keys()) for place, tensors in found.items()}
    taken, _ = choose_weights(path, found, fitting, None)
    source = f"checkpoint {path}"
    load_strictly(tower, widened(found[taken], source), source, name)

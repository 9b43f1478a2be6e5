"""What a checkpoint file does not say: the activation and the preprocessing of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.api.reading import Reading
from bench.core.errors import InputError, shortened, unknown_name
from bench.core.foreign.documents import read_json
from bench.models.sources.released_tags import model_names, released_tags

FIELDS = {"mean": "mean", "std": "std", "interpolation": "interpolation", "resize": "resize_mode"}
"""The fields of a `Reading` by those of open_clip's preprocessing."""


@dataclass(frozen=True)
class Assumed:
    """How the weights of a file are used, and sentences on what was assumed.

    Attributes
    ----------
    quick_gelu : whether the activation is QuickGELU.
    preprocess : fields of open_clip's ``PreprocessCfg``, without the size.
    caveats : what was assumed, and how to say otherwise.

    Examples
    --------
    >>> from bench.models.files.preprocessing import Assumed
    >>> Assumed(False, {"resize_mode": "squash"}, ()).caveats
    ()
    """

    quick_gelu: bool
    preprocess: Mapping[str, Any]
    caveats: tuple[str, ...]


def assumed(model: str, config_quick: bool, reading: Reading, is_openai: bool) -> Assumed:
    """Return how the weights of a file for `model` are used.

    What the user says counts first, then what is known of OpenAI's own archives, then the released
    weights of the model where they agree, then open_clip's defaults, with a caveat.

    Parameters
    ----------
    model : the open_clip model name.
    config_quick : whether the model's configuration has QuickGELU.
    reading : what the user says.
    is_openai : whether the file is an archive as OpenAI publishes them.

    Examples
    --------
    >>> from bench.api.reading import Reading
    >>> from bench.models.files.preprocessing import assumed
    >>> assumed("ViT-B-16-SigLIP", False, Reading(), False).preprocess["resize_mode"]
    'squash'
    >>> found = assumed("ViT-B-32", False, Reading(), is_openai=False)
    >>> found.quick_gelu, len(found.caveats)
    (False, 1)
    """
    if reading.like is not None:
        released = {reading.like: _like(model, reading.like)}
    elif is_openai:
        released = {"openai": released_tags("ViT-B-32")["openai"]}
    else:
        released = dict(released_tags(model))
    quick, activation = _activation(model, released, config_quick, reading)
    is_known = reading.like is not None or is_openai
    activation = "" if is_known else activation
    preprocess, images = _preprocess(model, released, reading)
    return Assumed(quick, preprocess, tuple(text for text in (activation, images) if text))


def _like(model: str, like: str) -> Mapping[str, Any]:
    """Return the released weights TAG of `model`, or MODEL/TAG."""
    other, slash, tag = like.rpartition("/")
    other = other if slash else model
    if other not in model_names():
        raise unknown_name("model in --set model.like", other, model_names(), "bench list models")
    tags = released_tags(other)
    if not tags:
        raise InputError(
            f"--set model.like={like}: {other} has no released weights; name those of another "
            "model, as MODEL/TAG"
        )
    if tag not in tags:
        raise unknown_name(f"released weights of {other} in --set model.like", tag, tags)
    return tags[tag]


def _activation(
    model: str, released: Mapping[str, Mapping[str, Any]], config_quick: bool, reading: Reading
) -> tuple[bool, str]:
    quick = [tag for tag, facts in released.items() if facts.get("quick_gelu")]
    if reading.quick_gelu is not None:
        return reading.quick_gelu, ""
    if config_quick or not quick:
        return config_quick, ""
    if len(quick) == len(released):
        return True, (
            f"The file does not say its activation: QuickGELU was taken, as all released weights "
            f"of {model} have it; say otherwise with --set model.quick_gelu=false"
        )
    named = ", ".join(quick[:3]) + (", ..." if len(quick) > 3 else "")
    return False, (
        f"The file does not say its activation: GELU was taken, the model's own, but released "
        f"weights of {model} with QuickGELU exist ({named}); if these are such weights: --set "
        "model.quick_gelu=true"
    )


def _preprocess(
    model: str, released: Mapping[str, Mapping[str, Any]], reading: Reading
) -> tuple[dict[str, Any], str]:
    from open_clip.transform import PreprocessCfg

    default, said = PreprocessCfg(), reading.said()
    found: dict[str, Any] = {}
    guessed = []
    for name, field in FIELDS.items():
        values = {_plain(facts[field]) for facts in released.values()}
        if name in said:
            found[field] = said[name]
        elif len(values) == 1:
            found[field] = values.pop()
        else:
            found[field] = getattr(default, field)
            guessed.append(name)
    if not guessed:
        unusual = [
            n for n, f in FIELDS.items() if n not in said and found[f] != getattr(default, f)
        ]
        return found, _unusual(model, found, unusual) if reading.like is None else ""
    reason = "differ in it" if released else "do not exist"
    like = "TAG" if released else "MODEL/TAG"
    own = "" if released or "quick_gelu" in said else ", and the activation of the model"
    return found, (
        f"The file does not say its preprocessing, and released weights of {model} {reason}: "
        f"OpenAI's {', '.join(guessed)} were taken{own}; say otherwise with --set "
        f"model.like={like} or --set model.{guessed[0]}=..."
    )


def _unusual(model: str, found: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the sentence on preprocessing that is not OpenAI's, but the model's own."""
    if not names:
        return ""
    values = ", ".join(f"{name} {_text(found[FIELDS[name]])}" for name in names)
    return (
        f"The file does not say its preprocessing: that of the released weights of {model} was "
        f"taken ({values}); say otherwise with --set model.{names[0]}=..."
    )


def _text(value: Any) -> str:
    return " ".join(f"{v:.3g}" for v in value) if isinstance(value, tuple) else str(value)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def from_processor(folder: Path, size: Any, configuration: Mapping[str, Any]) -> tuple[Any, str]:
    """Return (open_clip's ``PreprocessCfg``, a caveat or ``""``) of a model of transformers.

    They are those of the ``image_processor`` in ``processor_config.json``, or else of
    ``preprocessor_config.json``, as for transformers. If a folder has neither, they are those of
    CLIP or of SigLIP, with a caveat. `size` is that of the image tower. Raises InputError for steps
    that open_clip does not have.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.files.preprocessing import from_processor
    >>> found, caveat = from_processor(Path("nowhere"), 224, {"init_logit_bias": -10})
    >>> found.resize_mode, found.mean, caveat
    ('squash', (0.5, 0.5, 0.5), 'The folder has no preprocessor_config.json: that of SigLIP was ...)
    """
    from open_clip.transform import PreprocessCfg

    side = size if isinstance(size, int) else size[0]
    is_siglip = "init_logit_bias" in configuration
    own = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash"} if is_siglip else {}
    plain = PreprocessCfg(size=side, **own)
    path, values = _processor(folder)
    if path is None:
        kind = "SigLIP" if is_siglip else "CLIP"
        return plain, f"The folder has no preprocessor_config.json: that of {kind} was taken."
    try:
        return _prepared(path, values, plain, crops=values.get("do_center_crop", not is_siglip)), ""
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path} has a value of another kind than expected: {error}") from error


def _prepared(path: Path, values: Mapping[str, Any], plain: Any, crops: bool) -> Any:
    """Return what a file says of images, as far as it differs from `plain`."""
    side, shape, crop = plain.size, values.get("size", {}), values.get("crop_size") or {}
    shape = {"shortest_edge": shape} if isinstance(shape, int) else shape
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    mean, std = (tuple(map(float, values.get(f"image_{n}", getattr(plain, n)))) for n in _CHANNELS)
    expected = {
        "size": (
            shape,
            ({"shortest_edge": side},) if crops else ({"height": side, "width": side},),
        ),
        "crop_size": (crop, ({"height": side, "width": side}, {}) if crops else (crop,)),
        "resample": (values.get("resample", 3), tuple(_FILTERS)),
        **{f"do_{step}": (values.get(f"do_{step}", True), (True,)) for step in _STEPS},
        "rescale_factor": (round(1 / values.get("rescale_factor", 1 / 255), 3), (255,)),
        "image_mean": (len(mean), (3,)),
        "image_std": (len(std), (3,)),
    }
    for name, (found, known) in expected.items():
        if found not in known and found != {}:
            raise InputError(
                f"{path}: {name} is {shortened(str(values.get(name)), 60)}, which is not how "
                f"images of {side} pixels are prepared for such models: correct the file"
            )
    return replace(
        plain,
        mean=mean,
        std=std,
        interpolation=_FILTERS[values.get("resample", 3)],
        resize_mode="shortest" if crops else "squash",
    )


_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters."""
_STEPS, _CHANNELS = ("resize", "rescale", "normalize"), ("mean", "std")


def _processor(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """Return the file that describes the preprocessing of a folder, and what it says."""
    for name, inner in (
        ("processor_config.json", "image_processor"),
        ("preprocessor_config.json", None),
    ):
        path = folder / name
        if path.is_file():
            values = read_json(path)
            values = values.get(inner) if inner and isinstance(values, dict) else values
            if isinstance(values, dict):
                return path, values
    return None, {}

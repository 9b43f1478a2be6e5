"""Which of open_clip's models a file of weights fits, by the sizes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from bench.core.errors import InputError
from bench.models.sources.released_tags import model_names

PATCHES = ("visual.conv1.weight", "visual.trunk.patch_embed.proj.weight")
"""Names of the weights [width, 3, height, width] that embed patches of images."""
MOST = 3
"""The most models that are suggested."""


def check_patches(
    expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], refused: str
) -> None:
    """Raise InputError if a file's patches are not those of the model, naming models that fit.

    `refused` begins the message. The number of positions says nothing of the size of images then.

    Examples
    --------
    >>> import torch
    >>> from bench.models.files.architecture import check_patches
    >>> ours, theirs = (
    ...     {"visual.conv1.weight": torch.zeros(384, 3, side, side)} for side in (16, 32)
    ... )
    >>> check_patches(ours, theirs, "w.pt does not fit: ")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: w.pt does not fit: its patches are 32 x 32 pixels, the model's ...
    """
    for name in PATCHES:
        ours, theirs = expected.get(name), tensors.get(name)
        if ours is None or theirs is None or ours.ndim != 4 or theirs.ndim != 4:
            continue
        if ours.shape[2:] != theirs.shape[2:]:
            (a, b), (c, d) = theirs.shape[2:], ours.shape[2:]
            names = fitting_models(tensors)
            fit = " or ".join(f"--model {name}" for name in names[:MOST])
            advice = f"give {fit}" if fit else "give the --model it was made with"
            raise InputError(
                f"{refused}its patches are {a} x {b} pixels, the model's {c} x {d}: the file is of "
                f"another architecture; {advice}"
            )


def fitting_models(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return open_clip's plain vision transformers with the sizes of these tensors.

    Examples
    --------
    >>> import torch
    >>> from bench.models.files.architecture import fitting_models
    >>> fitting_models({"visual.proj": torch.zeros(2, 3)})
    ()
    """
    theirs = _sizes(tensors)
    return () if theirs is None else tuple(n for n, s in _configured() if s == theirs)


def _sizes(tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Sizes of a CLIP's towers; None if it is no plain vision transformer with a plain text tower.

    They are embedding, patch, image side, width and layers of the image tower, context, words,
    width and layers of the text tower.
    """
    try:
        patches, places = tensors[PATCHES[0]], tensors["visual.positional_embedding"]
        side = math.isqrt(len(places) - 1) * patches.shape[-1]
        image = patches.shape[-1], side, patches.shape[0], _layers(tensors, "visual.transformer.")
        words, width = tensors["token_embedding.weight"].shape
        text = len(tensors["positional_embedding"]), words, width, _layers(tensors, "transformer.")
        return (tensors["visual.proj"].shape[1], *image, *text)
    except (KeyError, IndexError, ValueError, TypeError):
        return None


def _layers(tensors: Mapping[str, Tensor], tower: str) -> int:
    start = f"{tower}resblocks."
    return len({n[len(start) :].partition(".")[0] for n in tensors if n.startswith(start)})


def _configured() -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield each of open_clip's models with its sizes, as in `_sizes`, where it has them."""
    import open_clip

    for name in model_names():
        config = open_clip.get_model_config(name) or {}
        image, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
        sides = (image.get(one) for one in ("patch_size", "image_size", "width", "layers"))
        words = (text.get(one) for one in ("context_length", "vocab_size", "width", "layers"))
        yield name, (config.get("embed_dim"), *sides, *words)

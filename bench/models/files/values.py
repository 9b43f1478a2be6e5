"""Check the values of a file's weights: a usable logit_scale, and towers that are not all zero."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from bench.core.errors import InputError

LARGEST = 20.0
"""The largest usable |logit_scale|: its exponential is 5e8; CLIP's is 4.6, the logarithm of 100."""


def check_values(tensors: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Return a caveat on the `logit_scale` of a model's weights, if one is due.

    Raises InputError for a `logit_scale` whose exponential is no scale, and for a model or an image
    tower whose weights are all 0.

    Examples
    --------
    >>> import torch
    >>> from bench.models.files.values import check_values
    >>> check_values({"w": torch.ones(1), "logit_scale": torch.tensor(4.6)}, "checkpoint w.pt")
    ()
    >>> check_values({"w": torch.ones(1), "logit_scale": torch.tensor(100.0)}, "checkpoint w.pt")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: checkpoint w.pt: logit_scale is 100: expected its logarithm, ...
    """
    weights = {n: t for n, t in tensors.items() if n != "logit_scale" and t.is_floating_point()}
    for part, start in (("weights", ""), ("weights of the image tower", "visual.")):
        own = [tensor for name, tensor in weights.items() if name.startswith(start)]
        if own and not any(bool(tensor.any()) for tensor in own):
            raise InputError(
                f"{source}: all {part} are 0, so it gives all images the same scores: give a file "
                "with trained weights"
            )
    scale = tensors.get("logit_scale")
    if scale is None or scale.numel() != 1:
        return ()
    value = float(scale)
    if value > LARGEST:
        raise InputError(
            f"{source}: logit_scale is {value:.4g}: expected its logarithm, about "
            f"{math.log(value):.1f}; store the logarithm of the factor on cosine similarities"
        )
    if value < -LARGEST:
        raise InputError(
            f"{source}: logit_scale is {value:.4g}: expected the logarithm of the factor on cosine "
            "similarities, about 4.6 for CLIP; give other weights"
        )
    if value <= 0:
        return (
            f"logit_scale of the file is {value:.3g}, so cosine similarities are multiplied by "
            f"{math.exp(value):.3g} only and probabilities are nearly flat; about 4.6 is usual, "
            "the logarithm of 100.",
        )
    return ()

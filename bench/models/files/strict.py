"""Check that weights of a file are those of a model: names, shapes, kinds of numbers, values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import InputError
from bench.core.foreign.expansion import check_expansion
from bench.models.files.architecture import check_patches


def check_kinds(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise InputError, naming the tensor, for one that is no array of values as weights are.

    These are complex, quantised and sparse ones, and those without values or with far more of them
    than the file stores.

    Examples
    --------
    >>> import torch
    >>> from bench.models.files.strict import check_kinds
    >>> check_kinds({"w": torch.ones(1)}, "checkpoint w.pt")
    >>> check_kinds({"w": torch.ones(1, dtype=torch.complex64)}, "checkpoint w.pt")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: checkpoint w.pt: w is complex (torch.complex64), expected ...
    """
    for name, tensor in tensors.items():
        kinds = (
            (tensor.is_meta, "without values (on the device meta)"),
            (tensor.layout is not torch.strided, f"sparse ({tensor.layout})"),
            (tensor.is_quantized, f"quantised ({tensor.dtype})"),
            (tensor.is_complex(), f"complex ({tensor.dtype})"),
        )
        kind = next((text for is_so, text in kinds if is_so), None)
        if kind is not None:
            raise InputError(
                f"{source}: {name:.100} is {kind}, expected floating-point numbers; save the "
                "weights as float32"
            )
        size = tensor.numel() * tensor.element_size()
        check_expansion(tensor.untyped_storage().nbytes(), size, f"{source}: {name:.100}")


def widened(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return tensors with all floating-point numbers as float32.

    Raises InputError that names the tensor as `check_kinds`, and for values that are not finite.

    Examples
    --------
    >>> import torch
    >>> from bench.models.files.strict import widened
    >>> widened({"w": torch.ones(1, dtype=torch.float16)}, "checkpoint w.pt")["w"].dtype
    torch.float32
    >>> widened({"w": torch.tensor([1.0, float("nan")])}, "checkpoint w.pt")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: checkpoint w.pt: w has values that are not finite (1 NaN ...): ...
    """
    check_kinds(tensors, source)
    found = {}
    for name, tensor in tensors.items():
        plain = tensor.detach()
        if plain.is_floating_point():
            plain = plain.float()
            if not plain.isfinite().all():
                raise InputError(f"{source}: {name:.100} {_not_finite(tensor.detach())}")
        found[name] = plain.contiguous()
    return found


def _not_finite(tensor: Tensor) -> str:
    """Say which of the numbers of a tensor are none, or too large."""
    numbers = tensor.double()
    counts = {
        "NaN": int(numbers.isnan().sum()),
        "infinite": int(numbers.isinf().sum()),
        "too large for float32": int(numbers.isfinite().sum() - tensor.float().isfinite().sum()),
    }
    odd = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return (
        f"has values that are not finite ({odd} of {tensor.numel():,}): the file is damaged, or "
        "they were so when it was saved; give other weights"
    )


def load_strictly(model: Any, tensors: Mapping[str, Tensor], source: str, name: str) -> None:
    """Load weights into an open_clip model called `name`.

    Nothing is resampled, filled in or left out. Raises InputError unless the weights have exactly
    the model's names, its shapes and its kinds of numbers.

    Examples
    --------
    >>> from bench.data.mini.model import load_tiny
    >>> from bench.models.files.strict import load_strictly
    >>> tiny = load_tiny()
    >>> load_strictly(tiny, tiny.state_dict(), "checkpoint w.pt", "tiny")
    >>> load_strictly(tiny, {}, "checkpoint w.pt", "tiny")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: checkpoint w.pt does not fit model tiny: it lacks ...
    """
    expected = model.state_dict()
    advice = "give the --model it was made with"
    refused = f"{source} does not fit model {name}: "
    for problem, odd in (
        ("it lacks", [n for n in expected if n not in tensors]),
        ("the model lacks its", [n for n in tensors if n not in expected]),
    ):
        if odd:
            others = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise InputError(f"{refused}{problem} {odd[0]:.100}{others}; {advice}")
    check_patches(expected, tensors, refused)
    for key, wanted in expected.items():
        found = tensors[key]
        if found.shape != wanted.shape:
            sizes = f"{tuple(found.shape)}, the model's is {tuple(wanted.shape)}"
            reason = _size_reason(model, key, found, wanted)
            raise InputError(f"{refused}{key:.100} is {sizes}{reason or f'; {advice}'}")
        if found.is_floating_point() != wanted.is_floating_point():
            kind = "true or false" if found.dtype is torch.bool else "whole numbers"
            kind = "decimal numbers" if found.is_floating_point() else kind
            raise InputError(
                f"{refused}{key:.100} has {kind} ({found.dtype}), expected {wanted.dtype}: save "
                "the weights as float32, without quantisation"
            )
    model.load_state_dict(dict(tensors), strict=True)


def _size_reason(model: Any, key: str, found: Tensor, wanted: Tensor) -> str:
    """Explain positional embeddings of another number of patches, or of tokens of text."""
    if not key.endswith(("positional_embedding", "pos_embed")) or found.ndim != wanted.ndim:
        return ""
    if found.shape[-1] != wanted.shape[-1]:
        return ""
    theirs, ours = found.shape[-2], wanted.shape[-2]
    if not key.startswith("visual."):
        return (
            f": the weights are for texts of {theirs} tokens, and positions are not resampled; "
            "give the --model it was made with"
        )
    size = model.visual.image_size
    side = size if isinstance(size, int) else size[0]
    grid = math.isqrt(ours)
    other = math.isqrt(theirs - (ours - grid * grid))
    if not grid or other * other + ours - grid * grid != theirs:
        return ""
    pixels = side * other // grid
    return (
        f": the weights are for images of {pixels} pixels, the model's for {side}, and positions "
        f"are not resampled; add --set model.image_size={pixels}, or give the --model it was made "
        "with"
    )

"""NumPy arrays or torch tensors in, the same kind out; torch is imported by its owners only."""

from __future__ import annotations

import sys
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError

A = TypeVar("A")
"""A NumPy array or a torch tensor."""


def to_numpy(**given: Any) -> list[NDArray[Any]]:
    """Every argument as a NumPy array, in order.

    Floats of under 32 bits, some of which NumPy lacks, become float32. Tensors lose their
    gradient. Raises InputError that names two arguments which are of different kinds, or tensors
    on different devices.
    """
    first, *others = given
    for name in others:
        if _place(given[name]) != _place(given[first]):
            raise InputError(
                f"{first} is {_place(given[first])}, {name} is {_place(given[name])}: "
                "give all of one kind"
            )
    return [_to_numpy(value) for value in given.values()]


def like(result: NDArray[Any], model: A) -> A:
    """`result` as the kind of `model`: tensor or array, on its device, in its float type.

    Integers stay integers, and floats stay as they are where `model` holds integers.
    """
    if _is_tensor(model):
        import torch

        tensor = cast(torch.Tensor, model)
        found = torch.from_numpy(result)
        both = found.is_floating_point() and tensor.is_floating_point()
        return cast(A, found.to(tensor.device, tensor.dtype if both else found.dtype))
    of_model = np.asarray(model).dtype
    both = result.dtype.kind == of_model.kind == "f"
    return cast(A, result.astype(of_model, copy=False) if both else result)


def _is_tensor(value: Any) -> bool:
    """Without an import: where torch is not loaded, nobody can hold a tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _place(value: Any) -> str:
    return f"a torch tensor on {value.device}" if _is_tensor(value) else "a NumPy array"


def _to_numpy(value: Any) -> NDArray[Any]:
    if _is_tensor(value):
        tensor = value.detach().cpu()
        small = tensor.is_floating_point() and tensor.element_size() < 4
        return np.asarray((tensor.float() if small else tensor).numpy())
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float16 else array

"""Conversion between NumPy arrays and torch tensors; torch is imported only for tensors."""

from __future__ import annotations

import sys
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError

A = TypeVar("A")
"""A NumPy array or a torch tensor."""


def to_numpy(**arguments: Any) -> list[NDArray[Any]]:
    """Return all arguments as NumPy arrays, in order.

    Floats with fewer than 32 bits, some of which NumPy lacks, become float32. Tensors are detached.
    Raises InputError if arrays and tensors are mixed or tensors are on different devices; the
    message names two such arguments, or one that is no array: rows of different lengths, masked or
    sparse values.

    Examples
    --------
    >>> import torch
    >>> from bench.posthoc.arrays import to_numpy
    >>> zs, ft = to_numpy(zs=torch.ones(2, dtype=torch.bfloat16), ft=torch.zeros(2))
    >>> zs, ft.dtype
    (array([1., 1.], dtype=float32), dtype('float32'))
    """
    first, *others = arguments
    for name in others:
        if _location(arguments[name]) != _location(arguments[first]):
            raise InputError(
                f"{first} is {_location(arguments[first])}, {name} is {_location(arguments[name])}:"
                " pass only NumPy arrays, or only tensors on one device"
            )
    return [_to_numpy(name, value) for name, value in arguments.items()]


def like(result: NDArray[Any], model: A) -> A:
    """Return `result` as the same kind as `model`: an array, or a tensor on its device.

    If both are floating point, the result also has the dtype of `model`; otherwise it keeps its
    own.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from bench.posthoc.arrays import like
    >>> like(np.array([0.25, 0.75]), torch.zeros(1))
    tensor([0.2500, 0.7500])
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
    """Whether `value` is a tensor, without importing torch: if it is not loaded, none exists."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _location(value: Any) -> str:
    return f"a torch tensor on {value.device}" if _is_tensor(value) else "a NumPy array"


def _to_numpy(name: str, value: Any) -> NDArray[Any]:
    if _is_tensor(value):
        tensor = value.detach().cpu()
        small = tensor.is_floating_point() and tensor.element_size() < 4
        return np.asarray((tensor.float() if small else tensor).numpy())
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(f"{name}: some values are masked: leave out these samples first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name}: not an array, rows differ in length: {error}") from error
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array.astype(np.float64) if array.dtype == np.longdouble else array

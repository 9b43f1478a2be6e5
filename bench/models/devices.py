"""The device that a run computes on, and how exactly it computes there."""

from __future__ import annotations

import os
from contextlib import suppress

import torch
from accelerate import PartialState

from bench.core.errors import InputError


def pick_device(name: str) -> torch.device:
    """Return the torch device for ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.

    Raises InputError if this machine does not have it.

    Examples
    --------
    >>> from bench.models.devices import pick_device
    >>> pick_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device(PartialState().device)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    with suppress(RuntimeError, AssertionError):
        device = torch.device(name)
        torch.empty(1, device=device)
        return device
    raise InputError(f"--device {name}: not available on this machine; use another, or auto")


def exact_arithmetic() -> None:
    """Have float32 mean IEEE's float32, and the same convolutions chosen each time.

    On a GPU torch would otherwise round the inputs of convolutions, and on request those of
    products, to TF32 with 10 bits. bench never does, so that ``fp32`` needs no second name in keys
    and records. Must be called before the first product, since cuBLAS reads the size of its
    workspace only then.

    Examples
    --------
    >>> import torch
    >>> from bench.models.devices import exact_arithmetic
    >>> torch.backends.cudnn.allow_tf32 = True
    >>> exact_arithmetic()
    >>> torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    (False, 'highest')
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True

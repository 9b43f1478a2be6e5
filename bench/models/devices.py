"""The device that a run computes on."""

from __future__ import annotations

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

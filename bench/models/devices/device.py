"""The device that a run computes on, and how exactly it computes there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import torch
from accelerate import PartialState
from torch import distributed

from bench.core.environment import core_count
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
        alone = place_of_process()[1] == 1  # several processes cannot share it
        return torch.device("mps" if alone and torch.backends.mps.is_available() else "cpu")
    with suppress(RuntimeError, AssertionError):
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # for what asks for the current one, such as FAISS
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


@contextmanager
def deterministic_algorithms(device: torch.device) -> Iterator[None]:
    """Have torch compute the same bits each time on a GPU, or raise RuntimeError where it cannot.

    Attention, whose backward passes add in any order otherwise, is included. On a CPU all that
    bench trains is deterministic as it is.

    Examples
    --------
    >>> import torch
    >>> from bench.models.devices import deterministic_algorithms
    >>> with deterministic_algorithms(torch.device("cuda")):
    ...     print(torch.are_deterministic_algorithms_enabled())
    True
    >>> torch.are_deterministic_algorithms_enabled()
    False
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    memory = cast(Any, torch.utils.deterministic)
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        memory.fill_uninitialized_memory = filled


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device now; 0 where torch cannot tell.

    Examples
    --------
    >>> import torch
    >>> from bench.models.devices import free_memory
    >>> free_memory(torch.device("cpu")) > 2**20
    True
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    return 0


@contextmanager
def threads_of_the_machine() -> Iterator[None]:
    """Let torch use all processor cores, for what one of several processes computes alone.

    Launchers set OMP_NUM_THREADS to 1, so that processes do not get in each other's way.

    Examples
    --------
    >>> import torch
    >>> from bench.core.environment import core_count
    >>> from bench.models.devices import threads_of_the_machine
    >>> with threads_of_the_machine():
    ...     print(torch.get_num_threads() == core_count())
    True
    """
    before = torch.get_num_threads()
    torch.set_num_threads(core_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def place_of_process() -> tuple[int, int]:
    """Return the rank of this process and the number of processes that compute together.

    Examples
    --------
    >>> from bench.models.devices import place_of_process
    >>> place_of_process()
    (0, 1)
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()

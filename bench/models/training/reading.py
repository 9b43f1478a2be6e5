"""Batches of training images, decoded beside the steps."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bench.core.environment import end_with_parent
from bench.core.errors import InputError
from bench.models.features import ahead

AHEAD = 2
"""Batches that are ready before the step that needs them."""

PART = 16
"""Images that a worker process passes on at a time. Two parts of eight workers, in bytes of 224 x
224 pixels, fit into the 64 MB of shared memory that containers have by default."""


def decoded_batches(
    images: Any, batches: Iterable[Sequence[Any]], workers: int, pinned: bool = False
) -> Generator[tuple[Tensor, ...], None, None]:
    """Yield the items of each batch, stacked: a tuple of tensors [B, ...].

    A thread is `AHEAD` batches ahead of whoever uses them. It decodes by itself, or collects what
    `workers` processes decode. Nothing is drawn from the global random state, so that no bit
    depends on who decodes, or when.

    Parameters
    ----------
    images : a data set whose items are tuples of tensors and numbers.
    batches : the indices of each batch.
    workers : number of processes; 0 for none.
    pinned : whether batches lie in pinned memory, from which a GPU copies by itself.

    Raises InputError if the shared memory, through which processes pass images, ends.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.reading import decoded_batches
    >>> images = [(torch.full((2,), i), i % 3) for i in range(7)]
    >>> [labels for _, labels in decoded_batches(images, [[0, 1, 2], [6]], workers=0)]
    [tensor([0, 1, 2]), tensor([0])]
    """
    sizes: deque[int] = deque()

    def parts() -> Iterator[Sequence[Any]]:
        for batch in batches:
            sizes.append(len(batch))
            for start in range(0, len(batch), PART):
                yield batch[start : start + PART]

    loader = DataLoader(
        images,
        batch_sampler=cast(Any, parts()),
        num_workers=workers,
        generator=torch.Generator(),  # the global one is that of the steps
        worker_init_fn=end_with_parent,
    )
    # Here, since worker processes must not be forked by a thread.
    with shared_memory_named():
        decoded = iter(loader)
        with closing(ahead(_joined(decoded, sizes, pinned), AHEAD)) as whole:
            yield from whole


def _joined(
    parts: Iterator[Sequence[Tensor]], sizes: deque[int], pinned: bool
) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches of `sizes` samples, put together from parts."""
    for part in parts:
        size, filled = sizes.popleft(), 0
        whole = tuple(
            torch.empty((size, *t.shape[1:]), dtype=t.dtype, pin_memory=pinned) for t in part
        )
        while True:
            for tensor, own in zip(whole, part, strict=True):
                tensor[filled : filled + len(own)] = own
            filled += len(part[0])
            if filled == size:
                break
            part = next(parts)
        yield whole


@contextmanager
def shared_memory_named() -> Iterator[None]:
    """Raise InputError in place of torch's errors about shared memory.

    Examples
    --------
    >>> from bench.models.training.reading import shared_memory_named
    >>> with shared_memory_named():
    ...     raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. ...")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: worker processes ran out of shared memory ...
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("Bus error", "shared memory", "/torch_")):
            raise
        raise InputError(
            f"worker processes ran out of shared memory{_shared_memory()}: give the container more "
            "(docker run --shm-size=8g), or use --workers 0"
        ) from error


def _shared_memory() -> str:
    """Return the size of the shared memory in words, if it is known."""
    try:
        found = os.statvfs("/dev/shm")
    except (AttributeError, OSError):  # not a Linux
        return ""
    return f" (/dev/shm has {found.f_blocks * found.f_frsize / 2**20:.0f} MB)"

"""Features of one or more encoders on a split; each image is decoded once for all encoders."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bench.api.splits import Images
from bench.core.environment import end_with_parent
from bench.core.errors import CellError
from bench.core.store import BLOCK, Store, block_count
from bench.models.transforms import EvalImages

if TYPE_CHECKING:
    from bench.models.weights import State


T = TypeVar("T")

log = logging.getLogger("bench.progress")

DECODED = 128
"""Images per decoding task. It divides BLOCK, so that no task crosses a block boundary."""

LANES = 16
"""Batches are padded to a multiple of this number of images.

Matrix kernels may round differently for a small last batch. With padding, the features of an image
do not depend on the batch it was in (tested on the CPU).
"""


@dataclass(frozen=True)
class Forward:
    """Settings for the forward passes of an image tower.

    Attributes
    ----------
    device : the device to compute on.
    hardware : the device's name, which is stored with the features.
    precision : ``fp32`` or ``bf16``.
    batch_size : affects speed only, not results.
    workers : number of decoding processes; 0 decodes in this process.

    Examples
    --------
    >>> import torch
    >>> from bench.models.features import Forward
    >>> how = Forward(torch.device("cpu"), "cpu", "fp32", batch_size=256, workers=0)
    >>> how.precision
    'fp32'
    """

    device: torch.device
    hardware: str
    precision: str
    batch_size: int
    workers: int


def predict_split(
    images: Images,
    transform: Any,
    tower: nn.Module,
    encoders: Mapping[str, Callable[[], State]],
    store: Store,
    how: Forward,
    share: tuple[int, int] = (0, 1),
    progress: Callable[[int], None] = lambda count: None,
    made_of: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Compute and store the missing feature blocks of several encoders on a split.

    Each block is decoded once and then run through every encoder that lacks it. Results are stored
    separately for each encoder. Blocks that another process is computing are left to it.

    Parameters
    ----------
    images : the images of the split.
    transform : the evaluation transform.
    tower : the image tower into which the weights of each encoder are loaded in turn.
    encoders : {features key: function that returns the encoder's weights}.
    store : where blocks are stored.
    how : settings of the forward passes.
    share : (rank, number of processes); each process computes its own blocks.
    progress : called with the number of images after each block and encoder.
    made_of : {features key: keys of the stored weights that the encoder consists of}.

    Raises CellError if a feature is not finite.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from PIL import Image
    >>> from bench.core.store import Store
    >>> from bench.models.clip import identify_backbone, load_clip
    >>> from bench.models.features import Forward, predict_split
    >>> from bench.models.transforms import evaluation_transform
    >>> clip = load_clip(identify_backbone("tiny", "embedded", Path("cache")))
    >>> how, store = Forward(torch.device("cpu"), "cpu", "fp32", 4, workers=0), Store(Path("store"))
    >>> images, transform = [Image.new("RGB", (32, 32))] * 3, evaluation_transform(clip.preprocess)
    >>> tower = clip.model.visual
    >>> predict_split(images, transform, tower, {"1f0c": tower.state_dict}, store, how)
    >>> store.read_features("1f0c", size=3).shape
    (3, 96)
    """
    rank, ranks = share
    mine = _Mine(store, tuple(encoders), len(images), range(rank, block_count(len(images)), ranks))
    tower = tower.to(how.device).eval()
    with mine, closing(_decoded(images, transform, mine, how)) as blocks:
        for block, pixels in blocks:
            for key in mine.keys_of(block):
                tower.load_state_dict(encoders[key]())
                features, how = _forward(tower, pixels, how)
                if not np.isfinite(features).all():
                    raise CellError(
                        f"features {key} are not finite (block {block}); check the encoder's "
                        "weights, or use --precision fp32"
                    )
                store.write_block(key, block, features, how.hardware, made_of.get(key, ()))
                mine.done(block, key)
                progress(len(pixels))


def forward_rows(
    images: Images,
    transform: Any,
    tower: nn.Module,
    encoders: Sequence[Callable[[], State]],
    rows: Sequence[int],
    how: Forward,
) -> list[NDArray[np.float32]]:
    """Return the features of some images, float32 [rows, D], for each encoder's weights.

    The arguments are as in `predict_split`. Raises DataError for an image that cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from PIL import Image
    >>> from bench.models.clip import identify_backbone, load_clip
    >>> from bench.models.features import Forward, forward_rows
    >>> from bench.models.transforms import evaluation_transform
    >>> clip = load_clip(identify_backbone("tiny", "embedded", Path("cache")))
    >>> how, transform = Forward(torch.device("cpu"), "cpu", "fp32", 4, 0), clip.preprocess
    >>> images, tower = [Image.new("RGB", (32, 32))] * 3, clip.model.visual
    >>> weights, transform = [tower.state_dict], evaluation_transform(clip.preprocess)
    >>> [part.shape for part in forward_rows(images, transform, tower, weights, [0, 2], how)]
    [(2, 96)]
    """
    decoded, tower = EvalImages(images, transform), tower.to(how.device).eval()
    parts: list[list[NDArray[np.float32]]] = [[] for _ in encoders]
    for start in range(0, len(rows), DECODED):
        pixels = torch.stack([decoded[int(row)] for row in rows[start : start + DECODED]])
        for part, weights in zip(parts, encoders, strict=True):
            tower.load_state_dict(weights())
            features, how = _forward(tower, pixels, how)
            part.append(features)
    return [np.concatenate(part) for part in parts]


@dataclass
class _Mine:
    """The blocks of `within` that are missing and claimed by this process, one after the other.

    A block is claimed when it is about to be decoded, so that processes share the work evenly.
    """

    store: Store
    keys: tuple[str, ...]
    size: int
    within: range
    claimed: dict[int, list[str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[int]:
        missing = {key: set(self.store.blocks(key, self.size)) for key in self.keys}
        for block in sorted(set().union(*missing.values()) & set(self.within)):
            keys = [k for k in self.keys if block in missing[k]]
            taken = [k for k in keys if self.store.claims.take(_claim(k, block))]
            self.claimed[block] = taken
            with self.store.files.looking_again():
                ready = [key for key in taken if self.store.has_block(key, block)]
            for key in ready:  # another process was just done with it
                self.done(block, key)
            if taken:
                yield block

    def keys_of(self, block: int) -> tuple[str, ...]:
        return tuple(self.claimed[block])

    def done(self, block: int, key: str) -> None:
        self.claimed[block].remove(key)
        self.store.claims.release(_claim(key, block))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for block, keys in self.claimed.items():
            for key in tuple(keys):
                self.done(block, key)


def _claim(key: str, block: int) -> str:
    return f"features-{key}-{block}"


def _decoded(
    images: Images, transform: Any, blocks: Iterable[int], how: Forward
) -> Generator[tuple[int, Tensor], None, None]:
    """Yield (block, float32 [rows, 3, H, W]) for each block; the next one is decoded meanwhile.

    Decoding and forward passes so overlap: where both need the processor they share it, but neither
    waits for the other's disk, network or device (benchmarks/predict.py).
    """
    decoded = _parts(images, transform, blocks, how)
    # Worker processes must not be forked by a thread, and work ahead themselves.
    with closing(decoded if how.workers else ahead(decoded, BLOCK // DECODED)) as parts:
        for block, span, part in parts:
            # Allocated once: a block may take hundreds of megabytes.
            pixels = part.new_empty((len(span), *part.shape[1:]))
            pixels[: len(part)] = part
            for start in range(DECODED, len(span), DECODED):
                _, _, rest = next(parts)
                pixels[start : start + len(rest)] = rest
            yield block, pixels


def _parts(
    images: Images, transform: Any, blocks: Iterable[int], how: Forward
) -> Generator[tuple[int, range, Tensor], None, None]:
    """Yield (block, its rows, float32 [n, 3, H, W]) for each `DECODED` images of each block."""
    begun: deque[tuple[int, range]] = deque()

    def batches() -> Iterator[range]:
        for block in blocks:
            span = range(block * BLOCK, min((block + 1) * BLOCK, len(images)))
            for start in range(0, len(span), DECODED):
                begun.append((block, span))
                yield span[start : start + DECODED]

    loader = DataLoader(
        cast(Any, EvalImages(images, transform)),
        batch_sampler=cast(Any, batches()),
        num_workers=how.workers,
        prefetch_factor=max(2, BLOCK // DECODED // how.workers) if how.workers else None,
        worker_init_fn=end_with_parent,
    )
    for part in loader:
        yield (*begun.popleft(), part)


def ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
    """Yield items, up to `count` of which a thread computes ahead.

    Examples
    --------
    >>> from bench.models.features import ahead
    >>> list(ahead(iter("abc"), count=2))
    ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1, "decode") as thread:
        following = deque(thread.submit(next, items, None) for _ in range(count))
        try:
            while (item := following.popleft().result()) is not None:
                following.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


def _forward(tower: nn.Module, pixels: Tensor, how: Forward) -> tuple[NDArray[np.float32], Forward]:
    """Return the features of `pixels`, float32 [rows, D], and how to compute the next ones.

    If the memory of the device ends, batches are halved, which changes no result.
    """
    parts: list[Tensor] = []
    start = 0
    autocast = torch.autocast(how.device.type, torch.bfloat16, enabled=how.precision == "bf16")
    # In inference mode autocast converts the weights for every batch anew.
    with torch.no_grad(), autocast:
        while start < len(pixels):
            batch = pixels[start : start + -(-how.batch_size // LANES) * LANES]
            rest = -len(batch) % LANES
            padded = torch.cat([batch, batch.new_zeros(rest, *batch.shape[1:])])
            try:
                parts.append(tower(padded.to(how.device))[: len(batch)].float().cpu())
                start += len(batch)
            except torch.cuda.OutOfMemoryError as error:
                if len(padded) <= LANES:
                    raise CellError(
                        f"out of memory with {LANES} images: use --precision bf16-eval or a "
                        "larger device"
                    ) from error
                how = replace(how, batch_size=len(padded) // 2 // LANES * LANES)
                log.info("out of memory: %d images at a time from now on", how.batch_size)
                torch.cuda.empty_cache()
    return cast(NDArray[np.float32], torch.cat(parts).numpy()), how

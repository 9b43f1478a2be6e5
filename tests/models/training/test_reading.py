"""Batches are decoded ahead, in order, the same bits whoever decodes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg
from picture_training import Pictures, training
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, ToTensor

import bench.models.training.reading as reading
from bench.core.errors import DataError, InputError
from bench.models.training.accuracy import image_batches
from bench.models.training.batches import StepBatches
from bench.models.training.reading import decoded_batches, shared_memory_named
from bench.models.transforms import EvalImages, byte_tensor, normalisation


@dataclass
class Numbers:
    """Item i is (a row of i, i + 1); `threads` has who read it."""

    threads: set[str] = field(default_factory=set)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.threads.add(threading.current_thread().name)
        if index == 99:
            raise DataError("image 99 cannot be read")
        return torch.full((3,), index), index + 1


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 90), min_size=1, max_size=50), max_size=6))
def test_batches_are_put_together_from_parts_in_order(batches: list[list[int]]) -> None:
    before = torch.get_rng_state()
    found = list(decoded_batches(Numbers(), batches, workers=0))
    assert [labels.tolist() for _, labels in found] == [[i + 1 for i in b] for b in batches]
    assert [rows[:, 2].tolist() for rows, _ in found] == batches
    assert torch.equal(torch.get_rng_state(), before)


def test_worker_processes_give_the_same() -> None:
    batches = [list(range(40)), [7], list(range(20, 53))]
    alone, shared = (list(decoded_batches(Numbers(), batches, workers=w)) for w in (0, 2))
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_thread_decodes_ahead_of_the_step_but_not_far() -> None:
    images = Numbers()
    seen: list[int] = []

    class Watched(Numbers):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            seen.append(index)
            return images[index]

    batches = decoded_batches(Watched(), [[i] for i in range(20)], workers=0)
    next(batches)
    deadline = time.monotonic() + 10
    while len(seen) < 1 + reading.AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert seen == [0, 1, 2]
    assert threading.current_thread().name not in images.threads
    batches.close()
    assert not any(t.name.startswith("decode") for t in threading.enumerate())


def test_an_image_that_cannot_be_read_is_the_error_it_was() -> None:
    with pytest.raises(DataError, match="image 99 cannot be read"):
        list(decoded_batches(Numbers(), [[1, 2], [98, 99]], workers=0))


def test_parts_of_eight_workers_fit_into_a_containers_shared_memory() -> None:
    """DataLoader has two parts for each worker on their way."""
    assert 8 * 2 * reading.PART * 3 * 224 * 224 < 64 * 2**20


@pytest.mark.parametrize(
    "said",
    [
        "DataLoader worker (pid 4) is killed by signal: Bus error. It is possible that ...",
        "unable to allocate shared memory(shm) for file </torch_26_3_1>: No space left (28)",
    ],
)
def test_shared_memory_that_ends_is_named(said: str) -> None:
    lacking = r"ran out of shared memory .*--workers 0"
    with pytest.raises(InputError, match=lacking), shared_memory_named():
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="another"), shared_memory_named():
        raise RuntimeError("another")


@pytest.mark.parametrize("model", ["ViT-B-32", "tiny"])
def test_pixels_are_normalised_after_the_copy_to_the_same_bits(model: str) -> None:
    config = PreprocessCfg(size=16)
    if model == "tiny":
        config = PreprocessCfg(size=16, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([values, values.T, values[::-1]], axis=-1))
    whole = Compose([ToTensor(), Normalize(config.mean, config.std)])(image)
    found = normalisation(config)(byte_tensor(image)[None])[0]
    assert torch.equal(found, whole) and found.dtype == torch.float32
    assert byte_tensor(image).dtype == torch.uint8


def test_images_to_measure_accuracy_on_can_be_gone_through_again() -> None:
    images = EvalImages(Pictures(), byte_tensor)  # type: ignore[arg-type]
    batches = image_batches(images, size=50, batch_size=20, workers=0)
    first, second = (torch.cat(list(batches)) for _ in range(2))
    assert len(first) == 50 and torch.equal(first, second)


def test_what_a_training_reads_is_finished_on_its_device(tmp_path: Path) -> None:
    from dataclasses import replace

    inputs = training(tmp_path)
    draws = StepBatches(lambda e: np.array([[4, 0], [5, 0]]), 2, 2, 1, 0)
    ((size, plain),) = inputs.batches(draws)
    ((_, doubled),) = replace(inputs, finish=lambda pixels: 2 * pixels).batches(draws)
    assert size == 2
    assert torch.equal(2 * plain["inputs"], doubled["inputs"])
    assert torch.equal(plain["labels"], doubled["labels"])

"""Features: blocks are decoded once, only missing ones are computed, any batch size is equal."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import bench.core.store
import bench.models.features
from bench.core.errors import CellError, DataError
from bench.core.store import Store
from bench.models.features import Forward, predict_split

SIZE = 300


class Counted:
    """Images that count how often each is decoded."""

    def __init__(self) -> None:
        self.decoded: Counter[int] = Counter()
        self.pixels = np.random.default_rng(0).integers(0, 256, (SIZE, 32, 32, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Image.Image:
        self.decoded[index] += 1
        return Image.fromarray(self.pixels[index])


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, dtype=np.float32) / 255).permute(2, 0, 1)


def weights(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return nn.Linear(3 * 32 * 32, 6).state_dict()


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 3 * 32 * 32))
        self.bias = nn.Parameter(torch.zeros(6))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.linear(images.flatten(1), self.weight, self.bias)


def how(batch_size: int = 64) -> Forward:
    return Forward(torch.device("cpu"), "cpu", "fp32", batch_size, 0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.models.features, "BLOCK", 128)
    for module in (bench.core.store.store, bench.core.store.blocks):
        monkeypatch.setattr(module, "BLOCK", 128)


def run(images: Counted, store: Store, seeds: dict[str, int], batch_size: int = 64) -> None:
    encoders = {key: (lambda s=seed: weights(s)) for key, seed in seeds.items()}
    predict_split(images, to_tensor, Tower(), encoders, store, how(batch_size))


def test_a_block_is_decoded_once_for_all_encoders(tmp_path: Path) -> None:
    images, store = Counted(), Store(tmp_path)
    run(images, store, {"a": 0, "b": 1, "c": 2})
    assert set(images.decoded.values()) == {1} and len(images.decoded) == SIZE
    expected = torch.stack([to_tensor(images[i]) for i in range(SIZE)]).flatten(1)
    for key, seed in {"a": 0, "b": 1, "c": 2}.items():
        state = weights(seed)
        reference = expected @ state["weight"].T + state["bias"]
        found = store.read_features(key, SIZE)
        assert found is not None
        np.testing.assert_allclose(found, reference.numpy(), rtol=1e-4, atol=1e-4)
        assert store.device(key) == "cpu"


def test_only_missing_blocks_are_decoded_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(Counted(), store, {"a": 0, "b": 1})
    whole = store.read_features("b", SIZE)
    store._block("b", 1).unlink()
    images = Counted()
    run(images, store, {"a": 0, "b": 1})
    assert sorted(images.decoded) == list(range(128, 256))
    np.testing.assert_array_equal(store.read_features("b", SIZE), whole)


def test_processes_share_the_blocks(tmp_path: Path) -> None:
    store, seen = Store(tmp_path), []
    for rank in range(2):
        images = Counted()
        predict_split(
            images, to_tensor, Tower(), {"a": lambda: weights(0)}, store, how(), (rank, 2)
        )
        seen.append(set(images.decoded))
    assert seen[0] | seen[1] == set(range(SIZE))
    run(images := Counted(), store, {"a": 0})
    assert not images.decoded


def test_features_that_are_not_finite_fail(tmp_path: Path) -> None:
    broken = weights(0)
    broken["bias"][2] = float("nan")
    with pytest.raises(CellError, match="not finite"):
        predict_split(Counted(), to_tensor, Tower(), {"a": lambda: broken}, Store(tmp_path), how())


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64, 100, 1000])
def test_the_batch_size_does_not_change_a_bit(tmp_path: Path, batch_size: int) -> None:
    """With the shipped CLIP, whose convolutions and matrix products depend most on shapes."""
    from bench.data.mini.model import load_tiny

    images, tower = Counted(), load_tiny().visual
    state = {n: t.clone() for n, t in tower.state_dict().items()}
    for name, size in (("a", batch_size), ("b", 64)):
        predict_split(images, to_tensor, tower, {name: lambda: state}, Store(tmp_path), how(size))
    first, second = (Store(tmp_path).read_features(name, SIZE) for name in "ab")
    np.testing.assert_array_equal(first, second)


def test_images_are_decoded_while_the_model_waits(tmp_path: Path) -> None:
    """The first forward pass ends only once images of a later block have been decoded."""
    images, later = Counted(), threading.Event()

    class Patient(Tower):
        def forward(self, images: Tensor) -> Tensor:
            assert later.wait(timeout=60), "nothing was decoded meanwhile"
            return super().forward(images)

    class Watched(Counted):
        def __getitem__(self, index: int) -> Image.Image:
            if index >= bench.models.features.BLOCK:
                later.set()
            return images[index % SIZE]

        def __len__(self) -> int:
            return bench.models.features.BLOCK + 10

    state = weights(0)
    store = Store(tmp_path)
    predict_split(Watched(), to_tensor, Patient(), {"a": lambda: state}, store, how())
    assert store.blocks("a", len(Watched())) == []


def test_an_image_that_cannot_be_read_ends_the_thread_and_the_run(tmp_path: Path) -> None:
    class Broken(Counted):
        def __getitem__(self, index: int) -> Image.Image:
            raise DataError(f"image {index} is damaged")

    state = weights(0)
    with pytest.raises(DataError, match="image 0 is damaged"):
        predict_split(Broken(), to_tensor, Tower(), {"a": lambda: state}, Store(tmp_path), how())
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_worker_processes_end_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a thread had forked ended with an error, which torch raises anywhere later."""
    codes: list[int | None] = []
    real = _MultiProcessingDataLoaderIter._shutdown_workers

    def watched(self: _MultiProcessingDataLoaderIter) -> None:
        real(self)
        codes.extend(worker.exitcode for worker in self._workers)

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_shutdown_workers", watched)
    state, with_workers = weights(0), replace(how(), workers=2)
    store = Store(tmp_path)
    predict_split(Counted(), to_tensor, Tower(), {"a": lambda: state}, store, with_workers)
    predict_split(Counted(), to_tensor, Tower(), {"b": lambda: state}, store, how())
    assert set(codes) == {0}
    assert np.array_equal(store.read_features("a", SIZE), store.read_features("b", SIZE))


class Full(Tower):
    """A tower that runs out of memory with more than `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.tried = most, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        self.tried.append(len(images))
        if len(images) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().forward(images)


def test_batches_that_do_not_fit_into_the_memory_are_halved(tmp_path: Path) -> None:
    tower, plain = Full(40), Store(tmp_path / "plain")
    predict_split(Counted(), to_tensor, Tower(), {"k": lambda: weights(1)}, plain, how(64))
    store = Store(tmp_path / "store")
    predict_split(Counted(), to_tensor, tower, {"k": lambda: weights(1)}, store, how(128))
    assert tower.tried == [128, 64, *[32] * 9, 16]  # in the blocks that follow it is known
    found, expected = (s.read_features("k", SIZE) for s in (store, plain))
    assert found is not None and expected is not None
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(CellError, match="out of memory with 16 images: use --precision bf16-eval"):
        images, none = Counted(), Store(tmp_path / "none")
        predict_split(images, to_tensor, Full(8), {"k": lambda: weights(1)}, none, how(128))

"""The accuracy of a model in training, measured between two steps without a trace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.models.clip import prompt_head
from bench.models.training.networks import DualEncoder, ImageClassifier
from bench.models.training.reading import decoded_batches
from bench.models.transforms import EvalImages


def accuracy_in_training(
    model: ImageClassifier | DualEncoder, batches: Iterable[Tensor], labels: Tensor
) -> float:
    """Return the accuracy in [0, 1] of a model as it is now; NaN if a logit is not finite.

    `batches` are its inputs, images [B, 3, H, W] or features [B, D], N in all; `labels` [N, L] are
    the correct classes of each, padded with -1. Weights, modes and random state stay as they were,
    so that training goes on to the same bits.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from bench.models.training.accuracy import accuracy_in_training
    >>> from bench.models.training.networks import ImageClassifier
    >>> model = ImageClassifier(nn.Identity(), torch.eye(2), torch.zeros(2), True)
    >>> accuracy_in_training(model, [torch.eye(2)], torch.tensor([[0], [0]]))
    0.5
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    device, right, seen = next(model.parameters()).device, 0, 0
    is_finite = True
    try:
        with torch.no_grad():
            head = prompt_head(model.clip, model.prompts) if isinstance(model, DualEncoder) else {}
            for inputs in batches:
                logits = _logits(model, inputs.to(device), head)
                own = labels[seen : seen + len(inputs)].to(device)
                right += int((logits.argmax(dim=1, keepdim=True) == own).any(dim=1).sum())
                seen += len(inputs)
                is_finite = is_finite and bool(logits.isfinite().all())
    finally:
        for module, mode in modes.items():
            module.training = mode
    return right / seen if is_finite else math.nan


def image_batches(images: EvalImages, size: int, batch_size: int, workers: int) -> Iterable[Tensor]:
    """Return images as batches [B, 3, H, W], without drawing from the global random state.

    Examples
    --------
    >>> import torch
    >>> from PIL import Image
    >>> from bench.models.training.accuracy import image_batches
    >>> from bench.models.transforms import EvalImages
    >>> images = EvalImages([Image.new("RGB", (8, 8))] * 3, lambda image: torch.zeros(3, 8, 8))
    >>> [len(batch) for batch in image_batches(images, size=3, batch_size=2, workers=0)]
    [2, 1]
    """
    return _Batches(images, size, batch_size, workers)


@dataclass(frozen=True)
class _Batches:
    """Batches that can be gone through again and again."""

    images: EvalImages
    size: int
    batch_size: int
    workers: int

    def __iter__(self) -> Iterator[Tensor]:
        rows = range(self.size)
        batches = [rows[i : i + self.batch_size] for i in range(0, self.size, self.batch_size)]
        for (pixels,) in decoded_batches(_Alone(self.images), batches, self.workers):
            yield pixels


@dataclass(frozen=True)
class _Alone:
    """Images as tuples of one."""

    images: EvalImages

    def __getitem__(self, index: int) -> tuple[Tensor]:
        return (self.images[index],)


def _logits(
    model: ImageClassifier | DualEncoder, inputs: Tensor, head: dict[str, Tensor]
) -> Tensor:
    if isinstance(model, ImageClassifier):
        return model(inputs)  # type: ignore[no-any-return]
    embeddings = normalize(model.clip.visual(inputs).float(), dim=-1)
    return embeddings @ head["head.weight"].T + head["head.bias"]

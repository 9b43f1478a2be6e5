"""Fisher information of a classifier's weights, by single samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.api.splits import Images


def fisher_information(
    model: nn.Module,
    images: Images,
    transform: Any,
    samples: int,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of every weight of `model`, by name, each >= 0.

    Mean over `samples` random images, the same each time, of the squared gradient of
    -log p(y | x) with y drawn from p(. | x) (mlfoundations/wise-ft ``src/models/fisher.py``; there
    in training mode, which for CLIP is the same). One image at a time: squares of a batch's mean
    gradient are something else.
    """
    device = next(model.parameters()).device
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(images))[:samples]
    generator = torch.Generator().manual_seed(0)
    model.eval()
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for index in order.tolist():
        log_p = model(transform(images[index])[None].to(device)).float().log_softmax(dim=1)[0]
        label = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator).item()
        gradients = torch.autograd.grad(log_p[int(label)], list(model.parameters()))
        for sum_, gradient in zip(total.values(), gradients, strict=True):
            sum_ += gradient.square()
        progress(1)
    return {name: (sum_ / len(order)).cpu() for name, sum_ in total.items()}

"""The diagonal Fisher information of a classifier's weights."""

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
    """Return the diagonal Fisher information of all weights of `model`, by name, each >= 0.

    It is the mean, over random images, of the squared gradient of -log p(y | x) with y sampled from
    p(. | x), as in mlfoundations/wise-ft ``src/models/fisher.py`` (which uses training mode; for
    CLIP this makes no difference). Images are processed one at a time, because the square of a
    batch's mean gradient is a different quantity.

    Parameters
    ----------
    model : the classifier.
    images : the images of a split.
    transform : the evaluation transform.
    samples : number of images; the same random ones each time.
    progress : called with 1 after each image.

    Examples
    --------
    >>> import torch
    >>> from bench.models.training.fisher import fisher_information
    >>> model, images = torch.nn.Linear(2, 3), [torch.ones(2), torch.zeros(2)]
    >>> fisher = fisher_information(model, images, transform=lambda image: image, samples=2)
    >>> {name: tuple(values.shape) for name, values in fisher.items()}
    {'weight': (3, 2), 'bias': (3,)}
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

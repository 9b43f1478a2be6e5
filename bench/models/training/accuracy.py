"""The accuracy of a model in training, measured between two steps without a trace."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.models.clip import prompt_head
from bench.models.training.networks import DualEncoder, ImageClassifier


def accuracy_in_training(
    model: ImageClassifier | DualEncoder, batches: Iterable[Tensor], labels: Tensor
) -> float:
    """Return the accuracy in [0, 1] of a model as it is now.

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
    try:
        with torch.no_grad():
            head = prompt_head(model.clip, model.prompts) if isinstance(model, DualEncoder) else {}
            for inputs in batches:
                logits = _logits(model, inputs.to(device), head)
                own = labels[seen : seen + len(inputs)].to(device)
                right += int((logits.argmax(dim=1, keepdim=True) == own).any(dim=1).sum())
                seen += len(inputs)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return right / seen


def _logits(
    model: ImageClassifier | DualEncoder, inputs: Tensor, head: dict[str, Tensor]
) -> Tensor:
    if isinstance(model, ImageClassifier):
        return model(inputs)  # type: ignore[no-any-return]
    embeddings = normalize(model.clip.visual(inputs).float(), dim=-1)
    return embeddings @ head["head.weight"].T + head["head.bias"]

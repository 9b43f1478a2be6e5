"""The networks that trainers tune: an image tower with a linear head, or both towers of a CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench.core.errors import CellError
from bench.models.clip import Clip, encode_text, logit_bias, prompt_head


@dataclass(frozen=True)
class FrozenText:
    """The text tower of a pretrained CLIP, which trainers of an image tower may read.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.models.clip import identify_backbone, load_clip
    >>> from bench.models.training.networks import FrozenText
    >>> clip = load_clip(identify_backbone("tiny", "embedded", Path("cache")))
    >>> text = FrozenText(clip, torch.device("cpu"))
    >>> text.random(count=5, length=8, seed=0).shape
    torch.Size([5, 96])
    """

    clip: Clip
    device: torch.device

    @property
    def scale(self) -> float:
        """exp(logit_scale) of the pretrained model."""
        return self.clip.scale

    def random(self, count: int, length: int, seed: int) -> Tensor:
        """Return the normalised embeddings [count, D] of texts of random tokens.

        A text has the tokenizer's start, `length` tokens drawn evenly from those below all special
        ones, and its end. It depends on the seed alone. Raises CellError for a text tower without
        an end token, and if a text does not fit into its context.
        """
        model: Any = self.clip.model
        (frame,) = self.clip.tokenizer([""])
        end = int(frame.argmax())
        own = getattr(model, "text", None)  # of models whose text tower is a module of its own
        pooling = getattr(model, "text_pool_type", getattr(own, "pool_type", None))
        if pooling != "argmax" or end + length + 1 > len(frame):
            raise CellError(
                f"random texts of {length} tokens need a text tower that reads its end token, and "
                f"a context of {end + length + 1}: use another model or a smaller length"
            )
        tokens = torch.zeros(count, len(frame), dtype=frame.dtype)
        tokens[:, :end], tokens[:, end + length] = frame[:end], frame[end]
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(int(frame[: end + 1].min()), (count, length), generator=generator)
        tokens[:, end : end + length] = drawn
        with torch.no_grad():
            found = encode_text(model.to(self.device), tokens.to(self.device))
        return normalize(found.float(), dim=-1)


class ImageClassifier(nn.Module):
    """An image tower with a linear head: inputs -> logits [B, C].

    Inputs are images [B, 3, H, W], or features [B, D] if `encoder` is `nn.Identity`. `weight`
    [C, D] and `bias` [C] are the head's initial values; `normalize` is whether it takes
    L2-normalised features. `text` is there if the trainer `reads_text`; it is no part of the
    weights.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from bench.models.training.networks import ImageClassifier
    >>> model = ImageClassifier(nn.Identity(), torch.eye(2), torch.zeros(2), normalize=True)
    >>> model(torch.tensor([[3.0, 4.0]])).detach()
    tensor([[0.6000, 0.8000]])
    """

    def __init__(
        self,
        encoder: nn.Module,
        weight: Tensor,
        bias: Tensor,
        normalize: bool,
        text: FrozenText | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.text = text
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.normalize = normalize
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits [B, C], float32 from the features on, also under autocast."""
        features = self.encoder(inputs)
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.head.weight.dtype)
            logits: Tensor = self.head(normalize(features, dim=-1) if self.normalize else features)
        return logits

    def weights(self) -> dict[str, Tensor]:
        """Return the current weights, ``encoder.*`` and ``head.*``."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}


class DualEncoder(nn.Module):
    """Both towers of a CLIP, with the prompts of all classes to build its head.

    `clip` is an open_clip model. `prompts`, int64 [C, T, L], are the tokens of every class in every
    template.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import TextHead
    >>> from bench.models.clip import identify_backbone, load_clip, tokenized
    >>> from bench.models.training.networks import DualEncoder
    >>> backbone = identify_backbone("tiny", "embedded", Path("cache"))
    >>> clip, recipe = load_clip(backbone), TextHead(backbone, ("star", "heart"), ("a {}.",))
    >>> model = DualEncoder(clip.model, tokenized(clip, recipe))
    >>> model.weights()["head.weight"].shape
    torch.Size([2, 96])
    """

    prompts: Tensor

    def __init__(self, clip: Any, prompts: Tensor) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("prompts", prompts, persistent=False)

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embed images [B, 3, H, W] and texts [B, L].

        Returns the L2-normalised embeddings [B, D] of both, exp(logit_scale), and logit_bias, 0 for
        models without one.
        """
        image_embeddings = normalize(self.clip.visual(images).float(), dim=-1)
        text_embeddings = normalize(encode_text(self.clip, texts).float(), dim=-1)
        scale = self.clip.logit_scale.exp().reshape(())
        bias = logit_bias(self.clip)
        bias = torch.zeros_like(scale) if bias is None else bias.reshape(())
        return image_embeddings, text_embeddings, scale, bias

    def projections(self) -> tuple[Tensor, Tensor]:
        """Return the last linear maps [width, D] of the image tower and the text tower.

        A map without a projection after it, such as SigLIP's image tower, ends in the last layer of
        its pooling head. Raises CellError if a tower does not end in a linear map.
        """
        image = _last_map(self.clip.visual, _IMAGE_MAPS)
        text = _last_map(self.clip, _TEXT_MAPS)
        for tower, found in (("image", image), ("text", text)):
            if found is None:
                raise CellError(
                    f"the {tower} tower of this model does not end in a linear projection, which "
                    "the method needs: use another model"
                )
        return image, text  # type: ignore[return-value]

    def weights(self) -> dict[str, Tensor]:
        """Return the current weights: ``encoder.*``, ``text.*`` and a rebuilt ``head.*``.

        The head is built from the current text tower.
        """
        found = {}
        for name, tensor in self.clip.state_dict().items():
            is_visual = name.startswith("visual.")
            own = f"encoder.{name.removeprefix('visual.')}" if is_visual else f"text.{name}"
            found[own] = tensor.detach()
        was_training = self.training
        head = prompt_head(self.clip.eval(), self.prompts)
        self.clip.train(was_training)
        return found | head


_IMAGE_MAPS = (
    "proj",  # open_clip's vision transformers
    "attnpool.c_proj",  # its ResNets
    "head.proj",  # timm's towers with open_clip's linear head
    "head.mlp.fc2",  # and with its two-layer head
    "trunk.head",  # timm's own classifier
    "trunk.head.fc",
    "trunk.attn_pool.mlp.fc2",  # pooling by attention alone
)
_TEXT_MAPS = (
    "text_projection",
    "text.text_projection",
    "text.proj",  # transformers' towers
    "text.proj.2",  # and those with a two-layer head
)


def _last_map(tower: nn.Module, places: Sequence[str]) -> Tensor | None:
    """Return the first of `places` that is a linear map, as [width, D]; None if there is none."""
    for place in places:
        found: Any = tower
        for name in place.split("."):
            found = getattr(found, name, None)
        if isinstance(found, nn.Linear):
            return found.weight.T
        if isinstance(found, Tensor) and found.ndim == 2:
            return found
    return None

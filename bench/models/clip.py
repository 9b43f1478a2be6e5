"""CLIP backbones: identifying them (without torch), loading them, and building zero-shot heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.reading import Reading
from bench.api.recipes import Backbone, TextHead
from bench.core.errors import InputError
from bench.data.prompts import fill_template
from bench.models.distinct_classes import check_distinct, prompt_caveats
from bench.models.files.folder_head import DESCRIPTION, FolderHead
from bench.models.sources.table import source_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def identify_backbone(
    model: str, pretrained: str, cache_dir: Path, reading: Reading | None = None
) -> Backbone:
    """Return the backbone of a model's name and its weights.

    `model` is a name of open_clip's with a pretrained tag or checkpoint file as `pretrained`,
    ``tiny`` with ``embedded`` (the CLIP shipped with bench), ``local-dir:PATH``, a folder of
    open_clip's or transformers', or ``hf-hub:OWNER/NAME``; the part after the colon may also be
    `pretrained`. `reading` is what the user says of a checkpoint file. Raises InputError for names,
    files and folders that do not exist, if a package is missing that the model needs, and for a
    `reading` of anything but a file. Tags are checked when the model is loaded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.clip import identify_backbone
    >>> identify_backbone("ViT-B-32", "openai", Path("cache")).digest
    'tag:openai'
    >>> identify_backbone("ViT-B32", "openai", Path("cache"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown model 'ViT-B32': did you mean 'ViT-B-32'? ...
    """
    return source_of(model).identify(model, pretrained, cache_dir, reading)


def default_weights(model: str) -> str:
    """Return the weights of a model that is given alone: of ``tiny``, a folder, or of the hub.

    Raises InputError, which names the model's tags, for a name of open_clip's.

    Examples
    --------
    >>> from bench.models.clip import default_weights
    >>> default_weights("tiny")
    'embedded'
    >>> default_weights("ViT-B-16-SigLIP")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: --model ViT-B-16-SigLIP needs --pretrained as well: webli, or ...
    """
    return source_of(model).default_weights(model)


@dataclass(frozen=True)
class Clip:
    """A loaded backbone.

    Attributes
    ----------
    model : the open_clip model, in float32 and evaluation mode.
    tokenizer : its tokenizer.
    preprocess : its preprocessing configuration (open_clip's ``PreprocessCfg``).
    caveats : sentences on what was assumed of its file, and how to say otherwise.
    head : the classifier that its folder has beside it; often None.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.clip import identify_backbone, load_clip
    >>> clip = load_clip(identify_backbone("tiny", "embedded", Path("cache")))
    >>> clip.preprocess.size, clip.tokenizer(["a photo of a star."]).shape
    (32, torch.Size([1, 16]))
    """

    model: Any
    tokenizer: Any
    preprocess: Any
    caveats: tuple[str, ...] = ()
    head: FolderHead | None = None

    @property
    def scale(self) -> float:
        """exp(logit_scale): 100 for OpenAI's models."""
        return float(self.model.logit_scale.detach().exp())


def load_clip(identity: Backbone) -> Clip:
    """Load a backbone on the CPU.

    Raises InputError if the tag is unknown, the weights cannot be downloaded or a checkpoint does
    not fit the model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.clip import identify_backbone, load_clip
    >>> clip = load_clip(identify_backbone("tiny", "embedded", Path("cache")))
    >>> round(clip.scale, 1)
    18.0
    """
    return Clip(*source_of(identity.model).load(identity))


def text_head(
    clip: Clip,
    recipe: TextHead,
    device: torch.device,
    progress: Callable[[int], None] = lambda count: None,
    tokens: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return ``head.weight`` [C, D] and ``head.bias`` [C] of a zero-shot head.

    `progress` is called with 1 after each class; `tokens` are those of `tokenized`, if known. A
    head of the model's folder for these classes is returned as it is. Raises InputError if all
    classes get the same embedding.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.api.recipes import TextHead
    >>> from bench.models.clip import identify_backbone, load_clip, text_head
    >>> backbone = identify_backbone("tiny", "embedded", Path("cache"))
    >>> recipe = TextHead(backbone, ("star", "heart"), ("a photo of a {}.",))
    >>> head = text_head(load_clip(backbone), recipe, torch.device("cpu"))
    >>> head["head.weight"].shape, head["head.bias"]
    (torch.Size([2, 96]), tensor([0., 0.]))
    """
    import torch

    if clip.head is not None and clip.head.is_for(recipe.classnames):
        if clip.head.said.normalize != recipe.normalize:
            raise InputError(
                "the classifier in the model's folder takes raw features, but rows of bench begin "
                f"with normalised ones: remove {DESCRIPTION} from the folder to use prompts"
            )
        progress(len(recipe.classnames))
        return {"head.weight": clip.head.weight, "head.bias": clip.head.bias}
    prompts = tokenized(clip, recipe) if tokens is None else tokens
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    with bf16:
        head = prompt_head(clip.model.to(device), prompts.to(device), progress)
    check_distinct(head["head.weight"])
    return head


def head_caveats(clip: Clip, recipe: TextHead, tokens: Tensor) -> tuple[str, ...]:
    """Return what a reader should know of a zero-shot head, by its prompts or the model's folder.

    Raises InputError as `bench.models.distinct_classes.prompt_caveats` does.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import TextHead
    >>> from bench.models.clip import head_caveats, identify_backbone, load_clip, tokenized
    >>> backbone = identify_backbone("tiny", "embedded", Path("cache"))
    >>> clip, recipe = load_clip(backbone), TextHead(backbone, ("star", "heart"), ("a {}.",))
    >>> head_caveats(clip, recipe, tokenized(clip, recipe))
    ()
    """
    if clip.head is None:
        return prompt_caveats(clip.tokenizer, recipe, tokens)
    if clip.head.is_for(recipe.classnames):
        return (clip.head.caveat,)
    unused = "The classifier in the model's folder has other classes and was not used."
    return (*prompt_caveats(clip.tokenizer, recipe, tokens), unused)


def tokenized(clip: Clip, recipe: TextHead) -> Tensor:
    """Return the tokenised prompts of a head: int64 [C, T, L], every class in every template.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import TextHead
    >>> from bench.models.clip import identify_backbone, load_clip, tokenized
    >>> backbone = identify_backbone("tiny", "embedded", Path("cache"))
    >>> recipe = TextHead(backbone, ("star", "heart"), ("a photo of a {}.", "the {}."))
    >>> tokenized(load_clip(backbone), recipe).shape
    torch.Size([2, 2, 16])
    """
    import torch

    return torch.stack(
        [
            clip.tokenizer([fill_template(t, name) for t in recipe.templates])
            for name in recipe.classnames
        ]
    )


def prompt_head(
    model: Any, prompts: Tensor, progress: Callable[[int], None] = lambda count: None
) -> dict[str, Tensor]:
    """Return ``head.weight`` [C, D] and ``head.bias`` [C] from an open_clip model's text tower.

    For each class, the prompts are embedded, normalised, averaged, normalised again and multiplied
    by exp(logit_scale) (wise-ft ``src/models/zeroshot.py``). The bias is the model's logit_bias, or
    0 if it has none: it is the same for all classes.

    Parameters
    ----------
    model : the open_clip model.
    prompts : tokens, int64 [C, T, L].
    progress : called with 1 after each class.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.api.recipes import TextHead
    >>> from bench.models.clip import identify_backbone, load_clip, prompt_head, tokenized
    >>> backbone = identify_backbone("tiny", "embedded", Path("cache"))
    >>> clip, recipe = load_clip(backbone), TextHead(backbone, ("star", "heart"), ("a {}.",))
    >>> rows = prompt_head(clip.model, tokenized(clip, recipe))["head.weight"].norm(dim=1)
    >>> torch.allclose(rows, torch.tensor(clip.scale))
    True
    """
    import torch
    from torch.nn.functional import normalize

    rows = []
    with torch.no_grad():
        for tokens in prompts:
            embeddings = normalize(encode_text(model, tokens).float(), dim=-1)
            rows.append(normalize(embeddings.mean(dim=0), dim=-1))
            progress(1)
        weight = torch.stack(rows).float() * model.logit_scale.detach().exp().float()
        bias = torch.zeros(len(rows))
        if (own := logit_bias(model)) is not None:
            bias += own.detach().float().cpu()
    return {"head.weight": weight.cpu(), "head.bias": bias}


def logit_bias(model: Any) -> Tensor | None:
    """Return the logit_bias of an open_clip model, which SigLIP's have; None for others.

    Examples
    --------
    >>> from bench.data.mini.model import load_tiny
    >>> from bench.models.clip import logit_bias
    >>> logit_bias(load_tiny()) is None
    True
    """
    found: Tensor | None = getattr(model, "logit_bias", None)
    return found


def encode_text(model: Any, tokens: Tensor) -> Tensor:
    """Embed texts as open_clip's ``encode_text`` does, but skip padding: [n, context] -> [n, D].

    In a causal text tower, nothing after the end token (the highest id) affects the embedding.
    The context is therefore cut to the longest text, which is about five times faster for
    ImageNet's prompts and gives the same result up to rounding. Other towers use the full context.
    Gradients are those of the full model.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.models.clip import encode_text, identify_backbone, load_clip
    >>> clip = load_clip(identify_backbone("tiny", "embedded", Path("cache")))
    >>> tokens = clip.tokenizer(["a photo of a star."])
    >>> torch.allclose(encode_text(clip.model, tokens), clip.model.encode_text(tokens), atol=1e-5)
    True
    """
    mask = getattr(model, "attn_mask", None)
    if mask is None or getattr(model, "text_pool_type", None) != "argmax":
        embeddings: Tensor = model.encode_text(tokens)
        return embeddings
    from torch.func import functional_call

    length = int(tokens.argmax(dim=-1).max()) + 1
    cut = {
        "model.attn_mask": mask[:length, :length],
        "model.positional_embedding": model.positional_embedding[:length],
    }
    cropped: Tensor = functional_call(_text_tower(model), cut, (tokens[:, :length],))
    return cropped


def _text_tower(model: Any) -> Any:
    """Return a module whose ``forward`` is the model's ``encode_text``."""
    from torch import nn

    class TextTower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Tensor) -> Tensor:
            embeddings: Tensor = self.model.encode_text(tokens)
            return embeddings

    return TextTower()

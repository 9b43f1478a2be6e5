"""Classes that a zero-shot head cannot tell apart, and prompts that its text tower cuts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.api.recipes import TextHead
from bench.core.errors import InputError, shortened
from bench.data.prompts import fill_template

if TYPE_CHECKING:
    from torch import Tensor

EQUAL = 1e-5
"""The largest difference between rows of a head, relative to their norm, that is only rounding."""


def prompt_caveats(tokenizer: Any, recipe: TextHead, tokens: Tensor) -> tuple[str, ...]:
    """Return sentences on prompts that are cut and on classes whose prompts are the same.

    Parameters
    ----------
    tokenizer : the model's tokenizer, which cuts long texts in silence.
    recipe : the head.
    tokens : its tokenised prompts, int64 [C, T, L].

    Raises InputError if all classes have the same prompts.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import TextHead
    >>> from bench.models.clip import identify_backbone, load_clip, tokenized
    >>> from bench.models.distinct_classes import prompt_caveats
    >>> backbone = identify_backbone("tiny", "embedded", Path("cache"))
    >>> recipe, clip = TextHead(backbone, ("star", "Star", "cup"), ("a {}.",)), load_clip(backbone)
    >>> prompt_caveats(clip.tokenizer, recipe, tokenized(clip, recipe))
    ("2 of 3 classes cannot be told apart by their prompts, such as 'star' (0) and 'Star' (1): ...)
    """
    cut = cut_prompts(tokenizer, recipe, tokens)
    count, context = len(recipe.classnames), tokens.shape[-1]
    total = count * len(recipe.templates)
    groups = equal_classes(tokens)
    if count > 1 and len(groups) == 1 and len(groups[0]) == count:
        reason = (
            f"is longer than the model's context of {context} tokens and is cut before the name "
            "differs: shorten the templates"
            if cut
            else "is the same text for it: give classes names that differ"
        )
        shown = cut[0] if cut else fill_template(recipe.templates[0], recipe.classnames[0])
        raise InputError(
            f"all {count} classes have the same tokens, so zero-shot cannot tell them apart: "
            f"{_quoted(shown)} {reason}"
        )
    found = []
    if cut:
        found.append(
            f"{len(cut)} of {total} prompts are longer than the model's context of {context} "
            f"tokens, and their ends were cut, such as {_quoted(cut[0])}."
        )
    if groups:
        several = sum(len(group) for group in groups)
        ceiling = 100 * (count - several + len(groups)) / count
        first = [f"{_quoted(recipe.classnames[c])} ({c})" for c in groups[0][:2]]
        found.append(
            f"{several} of {count} classes cannot be told apart by their prompts, such as "
            f"{first[0]} and {first[1]}: with as many images of each class, zero-shot accuracy is "
            f"at most {_rounded_up(ceiling)}%."
        )
    return tuple(found)


def check_distinct(weight: Tensor) -> None:
    """Raise InputError if all rows of a head's ``head.weight`` [C, D] are the same or 0.

    Examples
    --------
    >>> import torch
    >>> from bench.models.distinct_classes import check_distinct
    >>> check_distinct(torch.eye(3))
    >>> check_distinct(torch.ones(3, 8))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: the model gives all 3 classes the same embedding: ...
    """
    norm = float(weight.norm(dim=1).max())
    if len(weight) > 1 and float((weight - weight[0]).abs().max()) <= EQUAL * norm:
        raise InputError(
            f"the model gives all {len(weight)} classes the same embedding: its text tower is not "
            "trained or was damaged, so zero-shot cannot tell them apart; give other weights with "
            "--pretrained"
        )


def equal_classes(tokens: Tensor) -> list[tuple[int, ...]]:
    """Return groups of two and more classes with equal tokens [C, T, L] in every template.

    Examples
    --------
    >>> import torch
    >>> from bench.models.distinct_classes import equal_classes
    >>> equal_classes(torch.tensor([[[1, 9]], [[2, 9]], [[1, 9]]]))
    [(0, 2)]
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, rows in enumerate(tokens.cpu().numpy()):
        groups[rows.tobytes()].append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def cut_prompts(tokenizer: Any, recipe: TextHead, tokens: Tensor) -> list[str]:
    """Return the prompts of a head that are longer than the context, in order.

    Only prompts that fill the context are tokenised again, with room for twice as many tokens.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.recipes import TextHead
    >>> from bench.models.clip import identify_backbone, load_clip, tokenized
    >>> from bench.models.distinct_classes import cut_prompts
    >>> backbone = identify_backbone("tiny", "embedded", Path("cache"))
    >>> recipe = TextHead(backbone, ("star",), ("a {}.", "a " * 20 + "{}"))
    >>> clip = load_clip(backbone)
    >>> [prompt[-6:] for prompt in cut_prompts(clip.tokenizer, recipe, tokenized(clip, recipe))]
    ['a star']
    """
    context = tokens.shape[-1]
    room = 2 * context
    pad = tokenizer([""], context_length=room)[0, -1]
    full = (tokens[..., -2] != pad).nonzero().tolist()
    prompts = [fill_template(recipe.templates[t], recipe.classnames[c]) for c, t in full]
    if not prompts:
        return []
    longer = _tokenized(tokenizer, prompts, room)[:, context] != pad
    return [prompt for prompt, is_longer in zip(prompts, longer.tolist(), strict=True) if is_longer]


def _tokenized(tokenizer: Any, prompts: Sequence[str], context: int) -> Tensor:
    tokens: Tensor = tokenizer(list(prompts), context_length=context)
    return tokens


def _quoted(text: str) -> str:
    return repr(shortened(text, 60))


def _rounded_up(percent: float) -> str:
    """Return a percentage with one digit that is not below it."""
    return f"{-(-percent * 10 // 1) / 10:.1f}"

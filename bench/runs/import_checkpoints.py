"""`bench import`: released classifiers, checked against a backbone and a suite, and stored."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.dataset import Suite, Task
from bench.api.recipes import Backbone, Imported, TextHead, weights_key
from bench.core.errors import InputError
from bench.core.paths import cache_dir, check_writable, data_dir
from bench.core.store import Store
from bench.models.clip import Clip, identify_backbone, load_clip, text_head
from bench.models.heads import load_head
from bench.models.wise_ft_checkpoints import ReleasedClassifier, check_fits, read_classifier
from bench.runs.engine import pick_device
from bench.runs.study.imported import ImportedFile, ImportedPair, check_import_name, write_import
from bench.runs.study.resolve import find_suites

ALIKE = 1e-3
"""Cosines that differ by less are equal where the order of classes is compared."""

log = logging.getLogger("bench")

Pair = tuple[ReleasedClassifier, ReleasedClassifier]
"""The zero-shot and the fine-tuned classifier."""


def import_wise_ft(
    zero_shot: Path,
    tuned: Path,
    *,
    name: str,
    suite: str,
    trained_on: str,
    selection_unseen: bool,
    model: str | None,
    pretrained: str | None,
    data: Path | None,
    device: str,
    cache: Path | None,
) -> ImportedPair:
    """Read, check and store a pair of classifiers that WiSE-FT's code saved.

    Raises InputError, one line, unless both fit the backbone, each other and the suite's task,
    the rows of the zero-shot head in the order of its classes.
    """
    store = Store(check_writable(cache_dir(cache), "cache folder"))
    found = find_suites(suite, data_dir(data), store.root)
    if len(found) != 1:
        raise InputError(f"--suite {suite}: expected one suite")
    where, task = pick_device(device), found[0].task
    pair = read_classifier(zero_shot), read_classifier(tuned)
    _check_pair(zero_shot, tuned, pair, task)
    backbone = _backbone(found[0], model, pretrained, store.root)
    clip = load_clip(backbone)
    tower = clip.model.visual.state_dict()
    for released in pair:
        check_fits(released, tower)
    _check_activation(backbone, clip)
    untouched = [_equal(released.encoder, tower) for released in pair]
    if untouched == [False, True]:
        raise InputError(f"{tuned} has the backbone's own image tower: are the files swapped?")
    made = _described(
        name=name,
        model=backbone.model,
        pretrained=backbone.pretrained,
        backbone_digest=backbone.digest,
        classes=task.classnames,
        normalize=pair[0].normalize,
        trained_on=trained_on,
        unseen=_unseen(task) if selection_unseen else (),
        shares_encoder=untouched[0],
        zero_shot=ImportedFile(file=zero_shot.name, digest=pair[0].digest),
        tuned=ImportedFile(file=tuned.name, digest=pair[1].digest),
    )
    check_import_name(store.root, made)
    own = _own_head(TextHead(backbone, task.classnames, task.templates), clip, where, store)
    _check_order(pair, own, task.classnames)
    _store(store, made.untouched(backbone), pair[0], head_only=untouched[0])
    _store(store, made.fine_tuned(backbone), pair[1])
    write_import(store.root, made)
    return made


def _described(**fields: object) -> ImportedPair:
    try:
        return ImportedPair.model_validate(fields)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise InputError(f"--{option}: {first['msg']}") from error


def _check_pair(zero_shot: Path, tuned: Path, pair: Pair, task: Task) -> None:
    """Raise InputError unless both files go together, with a head over the task's classes."""
    one, two = pair
    if one.digest == two.digest:
        raise InputError(f"{zero_shot} and {tuned} are the same file")
    if one.normalize != two.normalize:
        raise InputError(f"only one head of {zero_shot} and {tuned} takes normalised features")
    if odd := sorted(one.encoder.keys() ^ two.encoder.keys()):
        raise InputError(f"only one image tower of {zero_shot} and {tuned} has {odd[0]}")
    for path, released in ((zero_shot, one), (tuned, two)):
        if len(released.head_weight) != len(task.classnames):
            raise InputError(
                f"the head of {path} has {len(released.head_weight)} classes, "
                f"{task.name} has {len(task.classnames)}"
            )


def _backbone(suite: Suite, model: str | None, pretrained: str | None, cache: Path) -> Backbone:
    if model is not None and pretrained is None and model != suite.model:
        raise InputError(f"--model {model} needs --pretrained: a tag or a checkpoint file")
    return identify_backbone(model or suite.model, pretrained or suite.pretrained, cache)


def _check_activation(backbone: Backbone, clip: Clip) -> None:
    """Raise InputError unless the image tower computes with QuickGELU, as the released ones do."""
    from open_clip.transformer import QuickGELU

    if not any(isinstance(module, QuickGELU) for module in clip.model.visual.modules()):
        raise InputError(
            f"{backbone} computes with another activation than the released QuickGELU: give "
            f"--pretrained openai, or --model {backbone.model}-quickgelu for a checkpoint file"
        )


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name].cpu()) for name, tensor in one.items())


def _unseen(task: Task) -> tuple[str, ...]:
    if task.selection == task.train:
        raise InputError(
            f"--selection-unseen: {task.name} holds its selection split out of its training split"
        )
    return (task.selection.fingerprint,)


def _own_head(
    recipe: TextHead, clip: Clip, where: torch.device, store: Store
) -> NDArray[np.float32]:
    """[C, D]: the rows that the backbone's text tower gives the task's classes; kept for runs."""
    from safetensors.torch import save

    key = weights_key(recipe)
    if not store.has("weights", key):
        head = text_head(clip, recipe, where)
        store.write(store.path("weights", key), save(head, metadata={"device": where.type}))
    return load_head(recipe, store).weight


def _check_order(pair: Pair, own: NDArray[np.float32], names: tuple[str, ...]) -> None:
    """Raise InputError if a row of the zero-shot head is another class's; warn of tuned rows."""
    untouched, tuned = (misplaced_rows(released.head_weight.numpy(), own) for released in pair)
    if untouched:
        i, j = untouched[0]
        raise InputError(
            f"row {i} of the zero-shot head is nearest to class {j} ({names[j]}), expected class "
            f"{i} ({names[i]}), and so for {len(untouched)} of {len(names)} rows: the suite has "
            "other classes, or the same in another order"
        )
    if tuned:
        i, j = tuned[0]
        log.warning(
            "%d of %d rows of the tuned head are nearest to another class, such as %s to %s",
            len(tuned), len(names), names[i], names[j],
        )  # fmt: skip


def misplaced_rows(head: NDArray[np.float32], own: NDArray[np.float32]) -> list[tuple[int, int]]:
    """(i, j): row i of `head` [C, D] is nearer, by cosine, to row j of `own` than to row i.

    Classes that either head cannot tell apart (ImageNet has two maillots) may be taken for each
    other.
    """
    mine, theirs = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (head, own))
    cosines = mine @ theirs.T
    nearest = cosines.argmax(axis=1)
    rows = np.arange(len(head))
    is_worse = cosines[rows, rows] < cosines[rows, nearest] - ALIKE
    is_double = (mine * mine[nearest]).sum(axis=1) > 1 - ALIKE
    return [(int(i), int(nearest[i])) for i in np.flatnonzero(is_worse & ~is_double)]


def _store(
    store: Store, recipe: Imported, released: ReleasedClassifier, head_only: bool = False
) -> None:
    """Store weights in the layout of a training's; a shared image tower is left out."""
    from safetensors.torch import save

    encoder = {} if head_only else released.encoder
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.items()}
    tensors |= {"head.weight": released.head_weight, "head.bias": released.head_bias}
    store.write(
        store.path("weights", weights_key(recipe)), save(tensors, metadata={"device": "cpu"})
    )

"""`bench import`: check released classifiers against a backbone and a suite, and store them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.dataset import Task
from bench.api.recipe_parts import weights_key
from bench.api.recipes import Backbone, Imported, TextHead
from bench.core.errors import InputError
from bench.core.paths import data_dir
from bench.core.store import Store
from bench.core.store.opening import store_at
from bench.models.clip import Clip, head_caveats, load_clip, text_head, tokenized
from bench.models.devices import pick_device
from bench.models.facts import facts_of, write_model_note
from bench.models.heads import load_head
from bench.models.wise_ft_checkpoints import ReleasedClassifier, check_fits, read_classifier
from bench.runs.study.imported import ImportedFile, ImportedPair, check_import_name, write_import
from bench.runs.study.resolve import backbone_for, find_suites

EQUAL_WITHIN = 1e-3
"""Tolerance of the class-order check: cosines that differ by less than this count as equal."""

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
    """Read, check and store a pair of classifiers saved by WiSE-FT's code.

    Raises InputError unless both classifiers fit the backbone, each other and the suite's task.
    The rows of the zero-shot head must be in the order of the task's classes.
    """
    store = store_at(cache, writes=True)
    suites = find_suites(suite, data_dir(data), store.root)
    if len(suites) != 1:
        names = ", ".join(each.name for each in suites)
        raise InputError(f"--suite {suite}: expected one suite, but it names several: {names}")
    torch_device, task = pick_device(device), suites[0].task
    pair = read_classifier(zero_shot), read_classifier(tuned)
    _check_pair(zero_shot, tuned, pair, task)
    backbone = backbone_for(suites[0], model, pretrained, store.root)
    clip = load_clip(backbone)
    write_model_note(store, backbone, facts_of(clip), clip.caveats)
    for caveat in clip.caveats:
        log.warning("%s", caveat)
    tower = clip.model.visual.state_dict()
    for released in pair:
        check_fits(released, tower)
    _check_activation(backbone, clip)
    untouched = [_equal(released.encoder, tower) for released in pair]
    if untouched == [False, True]:
        raise InputError(
            f"{tuned} has the backbone's own image tower, so it is not fine-tuned: are the files "
            "swapped? Give the zero-shot classifier first and the fine-tuned one second"
        )
    imported = _validated_pair(
        name=name,
        model=backbone.model,
        pretrained=backbone.pretrained,
        backbone_digest=backbone.digest,
        classes=task.classnames,
        normalize=pair[0].normalize,
        trained_on=trained_on,
        unseen=_unseen_splits(task) if selection_unseen else (),
        shares_encoder=untouched[0],
        zero_shot=ImportedFile(file=zero_shot.name, digest=pair[0].digest),
        tuned=ImportedFile(file=tuned.name, digest=pair[1].digest),
    )
    check_import_name(store, imported)
    text_recipe = TextHead(backbone, task.classnames, task.templates)
    own = _backbone_head(text_recipe, clip, torch_device, store)
    _check_order(pair, own, task.classnames)
    _store(store, imported.untouched(backbone), pair[0], head_only=untouched[0])
    _store(store, imported.fine_tuned(backbone), pair[1])
    write_import(store, imported)
    return imported


def _validated_pair(**fields: object) -> ImportedPair:
    """Return the pair. Raises InputError that names the option of the first invalid field."""
    try:
        return ImportedPair.model_validate(fields)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise InputError(f"--{option}: {first['msg']}") from error


def _check_pair(zero_shot: Path, tuned: Path, pair: Pair, task: Task) -> None:
    """Raise InputError unless both files match and their heads have the task's classes."""
    one, two = pair
    if one.digest == two.digest:
        raise InputError(
            f"{zero_shot} and {tuned} are the same file: give the zero-shot classifier and the "
            "fine-tuned one"
        )
    if one.normalize != two.normalize:
        raise InputError(
            f"{zero_shot} and {tuned} do not match: only one head takes normalised features"
        )
    if unmatched := sorted(one.encoder.keys() ^ two.encoder.keys()):
        raise InputError(
            f"{zero_shot} and {tuned} do not match: only one image tower has the weights "
            f"{unmatched[0]}"
        )
    for path, released in ((zero_shot, one), (tuned, two)):
        _check_weights(path, released)
        if len(released.head_weight) != len(task.classnames):
            raise InputError(
                f"the head of {path} has {len(released.head_weight)} classes, but suite "
                f"{task.name} has {len(task.classnames)}: give the --suite it was trained for"
            )


def _check_weights(path: Path, released: ReleasedClassifier) -> None:
    """Raise InputError for weights that are whole numbers, and for a class without weights."""
    head = {"classification_head.weight": released.head_weight,
            "classification_head.bias": released.head_bias}  # fmt: skip
    for name, tensor in (*released.encoder.items(), *head.items()):
        if not tensor.is_floating_point():
            raise InputError(
                f"{path}: {name:.100} has whole numbers ({tensor.dtype}), expected floating-point "
                "numbers: download the file again, or save the weights as float32"
            )
    empty = (~released.head_weight.any(dim=1)).nonzero().flatten().tolist()
    if empty:  # its order among the classes could not be checked either
        raise InputError(
            f"{path}: {len(empty)} rows of the head are 0, such as row {empty[0]}: their classes "
            "cannot be told apart; give a file with a trained head"
        )


def _check_activation(backbone: Backbone, clip: Clip) -> None:
    """Raise InputError unless the image tower uses QuickGELU, as the released classifiers do."""
    from open_clip.transformer import QuickGELU

    if not any(isinstance(module, QuickGELU) for module in clip.model.visual.modules()):
        raise InputError(
            f"{backbone} does not use QuickGELU, the activation of the released classifiers: "
            f"give --pretrained openai, or --model {backbone.model}-quickgelu with a checkpoint"
        )


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name].cpu()) for name, tensor in one.items())


def _unseen_splits(task: Task) -> tuple[str, ...]:
    """Return the fingerprints of the splits that ``--selection-unseen`` declares unseen."""
    if task.selection == task.train:
        raise InputError(
            f"--selection-unseen: the selection split of {task.name} is held out of its training "
            "split, so the checkpoint may have seen it: leave the option out"
        )
    return (task.selection.fingerprint,)


def _backbone_head(
    recipe: TextHead, clip: Clip, device: torch.device, store: Store
) -> NDArray[np.float32]:
    """Return the zero-shot head [C, D] of the backbone's text tower; store it for later runs."""
    from safetensors.torch import save

    key = weights_key(recipe)
    if not store.has("weights", key):
        tokens = tokenized(clip, recipe)
        caveats = head_caveats(clip, recipe, tokens)
        head = text_head(clip, recipe, device, tokens=tokens)
        metadata = {"device": device.type, "caveats": json.dumps(list(caveats))}
        store.write("weights", key, save(head, metadata=metadata))
    return load_head(recipe, store).weight


def _check_order(pair: Pair, own: NDArray[np.float32], names: tuple[str, ...]) -> None:
    """Compare the order of both heads' rows with `names`, by the backbone's own head `own`.

    Raises InputError if a row of the zero-shot head belongs to another class. Only warns if a row
    of the fine-tuned head does, since training may move it.
    """
    untouched, tuned = (misplaced_rows(released.head_weight.numpy(), own) for released in pair)
    if untouched:
        i, j = untouched[0]
        raise InputError(
            f"row {i} of the zero-shot head is nearest to class {j} ({names[j]}), expected class "
            f"{i} ({names[i]}); {len(untouched)} of {len(names)} rows are misplaced: give a "
            "--suite with the same classes in the same order"
        )
    if tuned:
        i, j = tuned[0]
        log.warning(
            "%d of %d rows of the tuned head are nearest to another class (%s is nearest to %s): "
            "check the order of the classes",
            len(tuned), len(names), names[i], names[j],
        )  # fmt: skip


def misplaced_rows(head: NDArray[np.float32], own: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return pairs (i, j): row i of `head` [C, D] is nearest, by cosine, to row j of `own` [C, D].

    Classes that either head cannot tell apart do not count (ImageNet has two named maillot).
    """
    mine, theirs = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (head, own))
    cosines = mine @ theirs.T
    nearest = cosines.argmax(axis=1)
    rows = np.arange(len(head))
    is_worse = cosines[rows, rows] < cosines[rows, nearest] - EQUAL_WITHIN
    is_double = (mine * mine[nearest]).sum(axis=1) > 1 - EQUAL_WITHIN
    return [(int(i), int(nearest[i])) for i in np.flatnonzero(is_worse & ~is_double)]


def _store(
    store: Store, recipe: Imported, released: ReleasedClassifier, head_only: bool = False
) -> None:
    """Store weights in the layout of trained weights; `head_only` leaves the image tower out."""
    from safetensors.torch import save

    encoder = {} if head_only else released.encoder
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.items()}
    tensors |= {"head.weight": released.head_weight, "head.bias": released.head_bias}
    store.write("weights", weights_key(recipe), save(tensors, metadata={"device": "cpu"}))

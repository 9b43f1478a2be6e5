"""``--precision auto``: bfloat16 in evaluation where it is fast and changes next to nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bench.api.recipe_parts import encoder_of, head_of
from bench.api.recipes import TextHead
from bench.core.hashing import key_of
from bench.core.progress import SilentProgress
from bench.core.store import Store
from bench.models.heads import LinearHead, load_head
from bench.runs.study.config import RunConfig
from bench.runs.study.study import Study

if TYPE_CHECKING:
    from bench.runs.engine import Engine

log = logging.getLogger("bench")

SAMPLE = 1000
"""The most images of the selection split that are forwarded in both precisions."""

MOST_FLIPS = 0.002
"""The largest share of images whose class bfloat16 may change."""

AUTO = "auto"
"""What asks for a measurement."""

BF16 = "bf16-eval"
"""Evaluation in bfloat16, trainings as each method has it."""


def with_measured_precision(
    config: RunConfig, studies: tuple[Study, ...], store: Store
) -> tuple[RunConfig, tuple[Study, ...]]:
    """Return a configuration, and its studies, with what ``auto`` stands for on this machine.

    That is `BF16` if every suite allows it, else ``fp32``; what was found is logged as a warning.
    """
    from bench.runs.engine import Engine

    chosen = BF16
    for study in studies:
        make = partial(
            Engine, study.backbone, store, config.device, "fp32", config.eval_batch_size,
            config.workers, SilentProgress(), lambda split: split.load(),
        )  # fmt: skip
        precision, why = measured_precision(study, store, make)
        log.warning("%s: --precision auto is %s", study.suite.name, why)
        chosen = precision if precision != BF16 else chosen
    config = config.model_copy(update={"precision": chosen})
    evaluated = "bf16" if chosen == BF16 else "fp32"
    return config, tuple(replace(study, precision=evaluated) for study in studies)


def measured_precision(study: Study, store: Store, engine: Callable[[], Engine]) -> tuple[str, str]:
    """Return what ``auto`` stands for, `BF16` or ``fp32``, and why, in a sentence.

    Where the device multiplies bfloat16 in hardware, the zero-shot classifier predicts a sample of
    the selection split in both precisions. What was found is kept in the store: a run that is
    resumed is the same run.
    """
    selection = study.suite.task.selection
    if study.width is not None:
        return "fp32", "fp32, as there is no zero-shot classifier to compare bf16 with"
    if selection.absent:
        return "fp32", "fp32, as there is no selection split to compare bf16 on"
    made = engine()
    if not has_bf16(made.where.type):
        return "fp32", f"fp32, as {made.hardware} does not multiply bfloat16 by itself"
    key = key_of("precision", study.zero_shot, selection.fingerprint, made.hardware, SAMPLE)
    found = store.read_json("precision", key)
    if found is None:
        found = _flips(study, store, made)
        store.write_json("precision", key, found)
    flips, size = found
    share = f"{flips} of {size} images have another class in bf16 than in fp32"
    if flips <= MOST_FLIPS * size:
        return BF16, f"bf16 in evaluation: {share}"
    return "fp32", f"fp32: {share}, which is more than {100 * MOST_FLIPS:g}%"


def has_bf16(kind: str) -> bool:
    """Whether a device of a kind, such as ``cpu``, multiplies bfloat16 in hardware.

    Examples
    --------
    >>> from bench.runs.study.precision import has_bf16
    >>> has_bf16("mps")
    False
    """
    if kind == "cuda":
        import torch

        return torch.cuda.get_device_capability()[0] >= 8
    if kind == "cpu":
        from bench.posthoc.neighbors.bounds import has_fast_bf16

        return has_fast_bf16()
    return False


def _flips(study: Study, store: Store, engine: Engine) -> tuple[int, int]:
    """Return how many of how many images get another class in bf16."""
    from bench.models.clip import text_head
    from bench.runs.results.forwarded import forward_again

    selection, classifier = study.suite.task.selection, study.zero_shot
    rows = np.random.default_rng(0).permutation(selection.size)[:SAMPLE]
    classes, head = [], head_of(classifier)
    for precision in ("fp32", "bf16"):
        engine.precision = precision
        if isinstance(head, TextHead):
            built = text_head(engine.clip, replace(head, precision=precision), engine.where)
            linear = LinearHead(built["head.weight"].numpy(), built["head.bias"].numpy(), True)
        else:
            linear = load_head(head, store)
        (features,) = forward_again(engine, selection, np.sort(rows), [encoder_of(classifier)])
        classes.append(linear.logits(features).argmax(axis=1))
    return int((classes[0] != classes[1]).sum()), len(rows)

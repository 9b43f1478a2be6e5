"""How fast this machine was in earlier runs: the last samples of each kind of work.

Samples are no result: they may be missing, broken or not to be written.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from bench.api.recipes import Backbone
from bench.core.environment import processor
from bench.core.foreign.files import read_bounded
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.core.store import Store
from bench.models.sources.named import EMBEDDED
from bench.models.sources.table import source_of
from bench.runs.costs.counts import TUNING, TUNING_BOTH
from bench.runs.study.study import Study

KEPT = 9
"""How many samples of each kind of work are kept."""
ENOUGH = 500
"""Images from which on what happens once, such as a first batch, no longer shows in a sample."""
GUESSED = 10.0
"""Images of 224 x 224 that a processor core of 2020 takes through a ViT-B/32 in a second."""

log = logging.getLogger("bench")


class Sample(NamedTuple):
    """Some work of one kind: how many images, in how many seconds of an idle machine."""

    images: int
    seconds: float


Samples = Mapping[str, Sequence[Sample]]
"""Samples of ``forward``, ``train`` and ``train both``, the latest last."""


def samples_here(store: Store, study: Study, device: str) -> Samples:
    """Return the samples of this machine; none if they cannot be read."""
    return _known(store, study, device).get(_machine(), {})


def samples_elsewhere(store: Store, study: Study, device: str) -> Samples:
    """Return the samples of another machine that shares the cache, or made the embedded model."""
    here = _machine()
    others = [s for name, s in _known(store, study, device).items() if name != here]
    return {**_shipped(study, device), **(others[-1] if others else {})}


def guessed(device: str, backbone: Backbone) -> Samples:
    """Return rates for a machine and a model that were not timed, by what they are."""
    has_gpu = device.startswith("cuda") or (device == "auto" and shutil.which("nvidia-smi"))
    rate = GUESSED * (os.cpu_count() or 1) * (20 if has_gpu else 1) / _slower(backbone)
    costs = {"forward": 1.0, "train": TUNING, "train both": TUNING_BOTH}
    return {kind: [Sample(ENOUGH, ENOUGH * cost / rate)] for kind, cost in costs.items()}


def _slower(backbone: Backbone) -> float:
    """How many times longer a plain vision transformer takes than a ViT-B/32; 1 for all others.

    Small models count as a ViT-B/32: there decoding an image takes longest.
    """
    vision = source_of(backbone.model).configuration(backbone).get("vision_cfg", {})
    try:
        patches = (vision["image_size"] // vision["patch_size"]) ** 2
        work = float(vision["layers"] * vision["width"] ** 2 * patches)
        return max(1.0, work / (12 * 768**2 * 7**2))
    except (KeyError, TypeError, ZeroDivisionError):  # a ResNet, or a tower of timm
        return 1.0


def remember_samples(store: Store, study: Study, device: str, new: Samples) -> None:
    """Store samples for later estimates, if they can be written."""
    if not new:
        return
    known = dict(_known(store, study, device))
    mine = known.pop(_machine(), {})
    kinds = {kind: _last([*mine.get(kind, ()), *new.get(kind, ())]) for kind in {**mine, **new}}
    data = json.dumps({**known, _machine(): kinds}).encode()
    try:
        write_atomic(_path(store, study, device), data, durable=False)
    except OSError as error:
        log.debug("rates are not stored: %s", error)


def _last(samples: Sequence[Sample]) -> list[Sample]:
    """The last samples; those of few images only as long as there are not enough others."""
    large = [sample for sample in samples if sample.images >= ENOUGH][-KEPT:]
    small = [sample for sample in samples if sample.images < ENOUGH]
    return [*small[max(0, len(small) - KEPT + len(large)) :], *large]


def _shipped(study: Study, device: str) -> Samples:
    """Return the rates measured when the embedded model was made, on a CPU in fp32."""
    is_comparable = device in ("auto", "cpu") and study.precision == "fp32"
    if not is_comparable or study.backbone.pretrained != EMBEDDED:
        return {}
    measured = json.loads((files("bench.data.mini") / "tiny.json").read_text())
    rates = {name: measured[f"{name}_images_per_second"] for name in ("forward", "train")}
    rates["train both"] = rates["train"]
    return {kind: [Sample(ENOUGH, ENOUGH / rate)] for kind, rate in rates.items()}


def _known(store: Store, study: Study, device: str) -> dict[str, Samples]:
    """Return the samples by machine."""
    try:
        stored = json.loads(read_bounded(_path(store, study, device)))
        return {
            str(machine): {str(kind): list(_valid(found)) for kind, found in kinds.items()}
            for machine, kinds in stored.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


def _valid(samples: Any) -> Iterator[Sample]:
    for images, seconds in samples:
        sample = Sample(int(images), float(seconds))
        if sample.images > 0 and 0 < sample.seconds < math.inf:
            yield sample


def _machine() -> str:
    """What tells a machine, as far as its speed is concerned, from another on the same cache."""
    return key_of(processor(), os.environ.get("OMP_NUM_THREADS", ""))


def _path(store: Store, study: Study, device: str) -> Path:
    return store.root / "rates" / f"{key_of(study.backbone, device, study.precision)}.json"

"""What suites of real data have in common: their cards, prompts, backbones, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bench.api.dataset import Card, Shift, Suite, Task
from bench.api.splits import Split, absent_split
from bench.core.errors import InputError
from bench.data import prompts
from bench.data.cards import SetCard, cards
from bench.data.folder import DataFolder, NotFound

_STEPS = {"lr": 1e-3, "epochs": 1, "batch_size": 64, "warmup": 0.1}
_PROBE = {"lr": 3e-2, "epochs": 5, "batch_size": 64, "warmup": 0.1}
_PROBED = _STEPS | {f"probe.{name}": value for name, value in _PROBE.items()}
SMOKE: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("e2e-ft", "ema", "l2-sp", "flyp"), _STEPS),
    **dict.fromkeys(("carot", "carot-slides"), _STEPS | {"period": 2}),
    **dict.fromkeys(("lp-ft", "lp-ft-raw", "lp-ft-sgd"), _PROBED),
    "linear": _PROBE,
    "linear-lbfgs": {"max_iter": 20},
}
"""Hyper-parameters for synthetic copies of data: just to see that everything runs."""

TEMPLATES = "en_zeroshot_classification_templates.json"
"""CLIP_benchmark's file of templates by data set: those of OpenAI's CLIP."""
PROMPTS = "bench-prompts"
"""Where in the data folder official prompt files lie that no package ships: by set."""


def suite_card(name: str, shifts: Mapping[str, str] = MappingProxyType({})) -> Card:
    """A suite's card, made of those of its ID set `name` and of its shifts: {shift: set}."""
    own = cards()[name]
    described = {shift: _described(cards()[of]) for shift, of in shifts.items()}
    return Card(own.title, own.source, own.terms.licence, described, own.citation)


def _described(card: SetCard) -> str:
    return f"{card.title}: {card.labels}"


def official_templates(folder: DataFolder, name: str, key: str) -> tuple[tuple[str, ...], str]:
    """(templates, where they are from): CLIP_benchmark's list `key` if it is there, else our own.

    It is looked for beside the data, in ``bench-prompts/<set>/``. Raises InputError if it cannot
    be read.
    """
    place = None if folder.root is None else folder.root / PROMPTS / name / TEMPLATES
    if place is not None and place.is_file():
        found = prompts.read_templates(place, key)
        return found, f"the {len(found)} templates {key} of CLIP_benchmark"
    plain = prompts.PLAIN[0]
    return prompts.PLAIN, (
        f"{plain!r}, which is not the official prompt: 'bench data prepare {name}' gets that, "
        f"{TEMPLATES} of CLIP_benchmark, to {PROMPTS}/{name}/"
    )


def split_or_absent(name: str, make: Callable[[], Split]) -> Split:
    """The split of `make`; one that is absent, with the reason, where its data is not found."""
    try:
        return make()
    except NotFound as error:
        return absent_split(name, str(error))


def available_shifts(
    suite: str, shifts: Mapping[str, Callable[[], Shift]]
) -> tuple[tuple[Shift, ...], dict[str, str]]:
    """The shifts of a suite that are there; of the others {shift: why its data is not found}.

    One whose data cannot be opened is there with that as its fault, so that a run on it is refused
    and one on the others is not.
    """
    found, lacking = [], {}
    for name, make in shifts.items():
        try:
            found.append(make())
        except NotFound as error:
            lacking[name] = str(error)
        except InputError as error:
            nothing = absent_split(f"{suite}/{name}", str(error))
            found.append(Shift(name, replace(nothing, fault=str(error))))
    return tuple(found), lacking


def real_suite(
    folder: DataFolder,
    task: Task,
    test: Split,
    shifts: Mapping[str, Callable[[], Shift]] = MappingProxyType({}),
    *,
    prompts: str,
    defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    official: Mapping[str, Any] = MappingProxyType({}),
    metrics: Sequence[str] = (),
    outside_mean: Sequence[str] = (),
) -> Suite:
    """The suite of a task, named like it.

    Its shifts are those of `available_shifts`. From synthetic copies it has the tiny backbone and
    `SMOKE` in place of `defaults`, and their watermark.
    """
    found, lacking = available_shifts(task.name, shifts)
    synthetic = folder.synthetic is not None
    return Suite(
        name=task.name,
        task=task,
        test=test,
        shifts=found,
        model="tiny" if synthetic else "ViT-B-32",
        pretrained="embedded" if synthetic else "openai",
        defaults=SMOKE if synthetic else dict(defaults),
        notes=folder.notes,
        all_shifts=tuple(shifts),
        metrics=tuple(metrics),
        official=dict(official),
        lacking=lacking,
        outside_mean=tuple(outside_mean),
        prompts=prompts,
    )

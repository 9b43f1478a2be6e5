"""Shared code of suites of real data: cards, prompts, default backbones and missing shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bench.api.dataset import Card, Shift, Suite, Task
from bench.api.registry import methods
from bench.api.splits import Split, absent_split
from bench.core.errors import InputError
from bench.core.parameters import smoke_settings
from bench.data import prompts
from bench.data.cards import SetCard, cards
from bench.data.folder import DataFolder, NotFound

TEMPLATES = "en_zeroshot_classification_templates.json"
"""CLIP_benchmark's file of OpenAI's CLIP templates for each data set."""
PROMPTS = "bench-prompts"
"""Folder in the data folder with one sub-folder of official prompt files per data set."""


def suite_card(name: str, shifts: Mapping[str, str] = MappingProxyType({})) -> Card:
    """Return a suite's card, made from those of its ID set and of its `shifts`: {shift: set}.

    Examples
    --------
    >>> from bench.data.suites.common import suite_card
    >>> suite_card("dtd").title
    'Describable Textures'
    """
    own = cards()[name]
    described = {shift: _description(cards()[of]) for shift, of in shifts.items()}
    return Card(own.title, own.source, own.terms.licence, described, own.citation)


def _description(card: SetCard) -> str:
    return f"{card.title}: {card.labels}"


def official_templates(folder: DataFolder, name: str, key: str) -> tuple[tuple[str, ...], str]:
    """Return (templates, their origin): CLIP_benchmark's list `key`, or bench's own if missing.

    CLIP_benchmark's file is looked up in ``bench-prompts/<set>/`` of the data folder. Raises
    InputError if it cannot be read. The origin is stored in records and compared when runs are
    merged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.folder import DataFolder
    >>> from bench.data.suites.common import official_templates
    >>> folder = DataFolder(None, Path("cache"))
    >>> official_templates(folder, "dtd", "dtd")[0]
    ('a photo of a {}.',)
    """
    path = None if folder.root is None else folder.root / PROMPTS / name / TEMPLATES
    if path is not None and path.is_file():
        found = prompts.read_templates(path, key)
        return found, f"the {len(found)} templates {key} of CLIP_benchmark"
    plain = prompts.PLAIN[0]
    return prompts.PLAIN, (
        f"{plain!r}, which is not the official prompt: 'bench data prepare {name}' gets that, "
        f"{TEMPLATES} of CLIP_benchmark, to {PROMPTS}/{name}/"
    )


def split_or_absent(name: str, make: Callable[[], Split]) -> Split:
    """Return the split that `make` opens; if its data is missing, an absent one with the reason.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.folder import DataFolder
    >>> from bench.data.suites.common import split_or_absent
    >>> folder = DataFolder(None, Path("cache"))
    >>> split_or_absent("dtd/train", lambda: folder.place("dtd", "all")).absent
    True
    """
    try:
        return make()
    except NotFound as error:
        return absent_split(name, str(error))


def smoke_defaults() -> dict[str, dict[str, Any]]:
    """Return the hyper-parameters for synthetic copies of data, which only show that all runs.

    They are {method: {parameter: value}}, from the attribute `smoke` of each method's trainers.

    Examples
    --------
    >>> from bench.data.suites.common import smoke_defaults
    >>> smoke_defaults()["linear"]["epochs"]
    5
    """
    return {name: found for name, cls in methods().items() if (found := smoke_settings(cls()))}


def available_shifts(
    suite: str, shifts: Mapping[str, Callable[[], Shift]]
) -> tuple[tuple[Shift, ...], dict[str, str]]:
    """Return (available shifts, {missing shift: why its data was not found}).

    A shift whose data cannot be opened counts as available, with the error as its fault: only runs
    on this shift are refused.

    Examples
    --------
    >>> from bench.data.folder import NotFound
    >>> from bench.data.suites.common import available_shifts
    >>> def sketch():
    ...     raise NotFound("sketch: not found")
    ...
    >>> available_shifts("pets", {"sketch": sketch})
    ((), {'sketch': 'sketch: not found'})
    """
    found, missing = [], {}
    for name, make in shifts.items():
        try:
            found.append(make())
        except NotFound as error:
            missing[name] = str(error)
        except InputError as error:
            absent = absent_split(f"{suite}/{name}", str(error))
            found.append(Shift(name, replace(absent, fault=str(error))))
    return tuple(found), missing


def real_suite(
    folder: DataFolder,
    task: Task,
    test: Split,
    shifts: Mapping[str, Callable[[], Shift]] = MappingProxyType({}),
    *,
    prompts: str,
    defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    metrics: Sequence[str] = (),
    outside_mean: Sequence[str] = (),
) -> Suite:
    """Return the suite of a task, with the task's name and the `available_shifts`.

    On synthetic copies of the data, the suite has the tiny backbone, `smoke_defaults` in place of
    `defaults`, and a watermark.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.dataset import Task
    >>> from bench.api.splits import absent_split
    >>> from bench.data.folder import DataFolder
    >>> from bench.data.suites.common import real_suite
    >>> train = absent_split("pets/train", "no images in this example")
    >>> task = Task("pets", ("cat", "dog"), ("a photo of a {}.",), train, train)
    >>> suite = real_suite(DataFolder(None, Path("cache")), task, train, prompts="an example")
    >>> suite.name, suite.model
    ('pets', 'ViT-B-32')
    """
    found, missing = available_shifts(task.name, shifts)
    synthetic = folder.synthetic is not None
    return Suite(
        name=task.name,
        task=task,
        test=test,
        shifts=found,
        model="tiny" if synthetic else "ViT-B-32",
        pretrained="embedded" if synthetic else "openai",
        defaults=smoke_defaults() if synthetic else dict(defaults),
        notes=folder.notes,
        all_shifts=tuple(shifts),
        metrics=tuple(metrics),
        lacking=missing,
        outside_mean=tuple(outside_mean),
        prompts=prompts,
    )

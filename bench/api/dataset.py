"""What the harness knows of data: splits, label maps, tasks, shifts, suites and their cards.

A task is what a model is trained for and knows no shifts; a suite is a task with its ID test set
and named shifts. Nothing here opens an image: a `Split` carries a loader that is called late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.api.splits import Split
from bench.core.errors import InputError, unknown_name


@dataclass(frozen=True)
class LabelMap:
    """From the task's C classes to a shift's own C' classes.

    `columns[j]` lists the task classes that count as shift class j; the shift's score is their
    maximum (docs/methods.md section 1, "OOD logit projection"). One form covers identity (None),
    subset, reordering and many-to-one.
    """

    kind: ClassVar[str] = "LabelMap"

    columns: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.columns is not None and not all(self.columns):
            raise InputError("label map: every shift class needs at least one task class")

    def project(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, C] -> [N, C']. Raises InputError if a column is out of range."""
        if self.columns is None:
            return scores
        highest = max(max(group) for group in self.columns)
        if highest >= scores.shape[1]:
            raise InputError(f"label map names class {highest} of {scores.shape[1]}")
        return np.stack([scores[:, list(g)].max(axis=1) for g in self.columns], axis=1)

    @property
    def relation(self) -> str:
        """``identity``, ``subset`` (also a reordering) or ``many-to-one``, for reports."""
        if self.columns is None:
            return "identity"
        return "many-to-one" if any(len(g) > 1 for g in self.columns) else "subset"


IDENTITY = LabelMap()
"""The label map of a shift with the task's own classes."""


@dataclass(frozen=True)
class Task:
    """Class names, prompts and ID data for training (`train`) and for choosing (`selection`).

    Where the data has no selection split of its own, `selection` is `train` itself, until
    `Suite.under` holds a part of it out.
    """

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    train: Split
    selection: Split


@dataclass(frozen=True)
class Shift:
    """A named evaluation set with its label map.

    `border` says that its images have a border which is no part of the picture (ObjectNet's); the
    protocol says how much of it is cut. `metrics` names metrics (`bench.api.metrics.OWN`) that are
    measured here beside the common ones; the first is its primary metric, or else accuracy.
    `test_only`: its terms forbid to choose anything on it, also in hindsight.
    """

    name: str
    split: Split
    labels: LabelMap = IDENTITY
    border: bool = False
    metrics: tuple[str, ...] = ()
    test_only: bool = False

    @property
    def primary_metric(self) -> str:
        """The name of the metric that leaderboards show of it."""
        return self.metrics[0] if self.metrics else "top1"


@dataclass(frozen=True)
class Suite:
    """A task, its ID test set and named shifts.

    `defaults` holds hyper-parameters that suit this suite's size ({method: {parameter: value}});
    `all_shifts` names the shifts of the whole suite, of which `shifts` may be a part; `model`,
    `pretrained` name its default backbone; `curves` says whether every alpha is evaluated on the
    shifts by default; `notes` are watermarks that every output of it carries. `metrics` are those
    of the ID test set and of shifts that name none (see `Shift`); whatever is chosen on the
    selection split is chosen by the first. `official` holds what fields of the protocol `official`
    are on this suite, where that differs ({field: value}, such as VRF's a and b). `lacking` says of
    each shift that was not found what was looked for; such a one is in `all_shifts`, not in
    `shifts`. `outside_mean` names shifts that are shown, but no part of the OOD mean (the papers'
    mean over ImageNet's has no video sets). `prompts` says where the templates and class names come
    from.
    """

    name: str
    task: Task
    test: Split
    shifts: tuple[Shift, ...]
    model: str
    pretrained: str
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: bool = False
    notes: tuple[str, ...] = ()
    all_shifts: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    official: Mapping[str, Any] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    outside_mean: tuple[str, ...] = ()
    prompts: str = ""

    def __post_init__(self) -> None:
        if not self.all_shifts:
            object.__setattr__(self, "all_shifts", tuple(shift.name for shift in self.shifts))

    @property
    def faults(self) -> tuple[str, ...]:
        """What its splits lack of the data sets they should be, in words; none if nothing."""
        task = self.task
        splits = (task.train, task.selection, self.test, *(s.split for s in self.shifts))
        return tuple(dict.fromkeys(split.fault for split in splits if split.fault))

    def only(self, names: Sequence[str]) -> Suite:
        """The suite with the shifts `names`, in the suite's order; InputError for unknown ones."""
        valid = [shift.name for shift in self.shifts]
        for name in names:
            if name in self.lacking:
                raise InputError(f"shift {name} of {self.name}: {self.lacking[name]}")
            if name not in valid:
                raise unknown_name(f"shift of {self.name}", name, [*valid, "all"])
        kept = tuple(s for s in self.shifts if s.name in names)
        return replace(self, shifts=kept, lacking={})

    @property
    def averaged(self) -> int:
        """How many shifts of the whole suite the OOD mean is over."""
        return len([name for name in self.all_shifts if name not in self.outside_mean])

    def position(self, shift: str) -> int:
        """Where an evaluation set stands in the whole suite: 0 for ``id``, then its shifts."""
        return 1 + self.all_shifts.index(shift) if shift in self.all_shifts else 0

    def evaluations(self) -> tuple[Shift, ...]:
        """The ID test set (named ``id``) followed by the shifts, all with their metrics."""
        test = Shift("id", self.test, metrics=self.metrics)
        return (test, *(replace(s, metrics=s.metrics or self.metrics) for s in self.shifts))

    def under(self, *, selects: str, share: float, border: int) -> Suite:
        """The suite as a protocol has it.

        `selects` is ``selection`` or ``test``: where things are chosen. `share` is the part of
        the training split that is held out where there is no selection split; `border` the
        pixels cut from each side of images with a border.
        """
        train, selection = self.task.train, self.task.selection
        if selects == "test":
            selection = self.test
        elif selection == train and not train.absent:
            train, selection = train.held_out(share)
        shifts = tuple(
            replace(s, split=s.split.cut(border)) if s.border else s for s in self.shifts
        )
        return replace(
            self, task=replace(self.task, train=train, selection=selection), shifts=shifts
        )

    def limited(self, count: int | None) -> Suite:
        """Every split with at most `count` samples (see `Split.limited`)."""
        task = replace(
            self.task,
            train=self.task.train.limited(count),
            selection=self.task.selection.limited(count),
        )
        shifts = tuple(replace(s, split=s.split.limited(count)) for s in self.shifts)
        return replace(self, task=task, test=self.test.limited(count), shifts=shifts)


@dataclass(frozen=True)
class Card:
    """What a reader must know of a suite before trusting a number on it. No field may be blank."""

    title: str
    source: str
    licence: str
    shifts: Mapping[str, str]
    citation: str


class Dataset(Protocol):
    """A registered provider of one suite."""

    name: ClassVar[str]
    card: ClassVar[Card]

    def found(self, data: Path | None) -> bool:
        """Whether `suite` would succeed, without opening images."""
        ...

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """The suite, its data looked for under `data`. `cache` may keep indexes and renders.

        Raises InputError that says what was looked for if the data is not there.
        """
        ...

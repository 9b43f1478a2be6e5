"""Data sets as the harness sees them: label maps, tasks, shifts, suites and their cards.

A task is what a model is trained for; it has no shifts. A suite is a task with its ID test set and
named shifts. Nothing here opens an image: each `Split` has a loader that is called only when
needed.
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
    """A map from the task's C classes to a shift's own C' classes.

    Attributes
    ----------
    columns : `columns[j]` lists the task classes that count as shift class j. The score of class j
        is the maximum of their scores (docs/methods.md section 1, "OOD logit projection"). This
        covers subsets, reorderings and many-to-one maps. None is the identity.

    Raises InputError if a shift class has no task class.

    Examples
    --------
    A shift with the classes dog and cat, for a task with the classes cat, poodle and pug:

    >>> import numpy as np
    >>> from bench.api.dataset import LabelMap
    >>> labels = LabelMap(((1, 2), (0,)))
    >>> labels.project(np.array([[1.0, 5.0, 2.0]], dtype=np.float32)), labels.relation
    (array([[5., 1.]], dtype=float32), 'many-to-one')
    """

    kind: ClassVar[str] = "LabelMap"

    columns: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.columns is not None and not all(self.columns):
            raise InputError("label map: every shift class needs at least one task class")

    def project(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project scores [N, C] on the shift's classes: [N, C'].

        Raises InputError if the map names a class >= C.
        """
        if self.columns is None:
            return scores
        highest = max(max(group) for group in self.columns)
        if highest >= scores.shape[1]:
            raise InputError(
                f"label map names class {highest}, but the scores have {scores.shape[1]} classes"
            )
        return np.stack([scores[:, list(g)].max(axis=1) for g in self.columns], axis=1)

    @property
    def relation(self) -> str:
        """The kind of map in reports: ``identity``, ``subset`` (or reordering), ``many-to-one``."""
        if self.columns is None:
            return "identity"
        return "many-to-one" if any(len(g) > 1 for g in self.columns) else "subset"


IDENTITY = LabelMap()
"""The label map of a shift that has the task's own classes."""


@dataclass(frozen=True)
class Task:
    """Class names, prompt templates, and the ID training and selection splits.

    If the data has no selection split of its own, `selection` is `train` itself until
    `Suite.under` holds out a part of it.

    Examples
    --------
    >>> from bench.api.dataset import Task
    >>> from bench.api.splits import absent_split
    >>> train = absent_split("pets/train", "no images in this example")
    >>> task = Task("pets", ("cat", "dog"), ("a photo of a {}.",), train, selection=train)
    >>> [task.templates[0].format(name) for name in task.classnames]
    ['a photo of a cat.', 'a photo of a dog.']
    """

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    train: Split
    selection: Split


@dataclass(frozen=True)
class Shift:
    """A named evaluation set with its label map.

    Attributes
    ----------
    name : the shift's name.
    split : its samples.
    labels : the map from the task's classes to the shift's.
    border : whether its images have a border that is not part of the picture, as ObjectNet's do.
        The protocol defines how many pixels of it are cut.
    metrics : names of additional metrics (`bench.api.metrics.OWN`) that are measured on this shift.
        The first is its primary metric; without any, accuracy is.
    test_only : whether its terms forbid choosing anything on it, for oracle rows too.

    Examples
    --------
    >>> from bench.api.dataset import IDENTITY, Shift
    >>> from bench.api.splits import absent_split
    >>> sketch = Shift("sketch", absent_split("pets/sketch", "no images in this example"))
    >>> sketch.primary_metric, sketch.labels == IDENTITY
    ('top1', True)
    """

    name: str
    split: Split
    labels: LabelMap = IDENTITY
    border: bool = False
    metrics: tuple[str, ...] = ()
    test_only: bool = False

    @property
    def primary_metric(self) -> str:
        """The name of the metric that leaderboards show for this shift."""
        return self.metrics[0] if self.metrics else "top1"


@dataclass(frozen=True)
class Suite:
    """A task, its ID test set and named shifts.

    Attributes
    ----------
    name : the suite's name.
    task, test : the task and its ID test set.
    shifts : the shifts to evaluate; possibly only some of the suite's.
    model, pretrained : the default backbone.
    defaults : hyper-parameters that suit the size of this suite: {method: {parameter: value}}.
    curves : whether every alpha is evaluated on the shifts by default.
    notes : watermarks that every output of the suite carries.
    all_shifts : names of all shifts of the suite, in order; by default those of `shifts`.
    metrics : names of additional metrics of the ID test set and of shifts without own metrics (see
        `Shift`). The first is the primary metric, by which choices on the selection split are made.
    lacking : for each shift that was not found, what was looked for: {shift: description}. Such a
        shift is in `all_shifts`, but not in `shifts`.
    outside_mean : names of shifts that are shown, but are not part of the OOD mean. For example,
        the papers' mean over ImageNet's shifts does not include the video sets.
    prompts : the source of the templates and class names.
    fits_recipes : whether training recipes follow from the size of the training split, for suites
        that no paper has settings for; `defaults` come before them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.registry import find_dataset
    >>> suite = find_dataset("mini")().suite(None, Path("cache"))
    >>> suite.task.classnames[:3], suite.test.size, suite.averaged
    (('star', 'heart', 'arrow'), 2000, 5)
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
    lacking: Mapping[str, str] = field(default_factory=dict)
    outside_mean: tuple[str, ...] = ()
    prompts: str = ""
    fits_recipes: bool = False

    def __post_init__(self) -> None:
        if not self.all_shifts:
            object.__setattr__(self, "all_shifts", tuple(shift.name for shift in self.shifts))

    @property
    def faults(self) -> tuple[str, ...]:
        """Descriptions of how splits differ from the data sets they should be; empty if none do."""
        return tuple(dict.fromkeys(split.fault for split in self.splits if split.fault))

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits of the task, the ID test set and the splits of the shifts."""
        shifts = (shift.split for shift in self.shifts)
        return self.task.train, self.task.selection, self.test, *shifts

    def only(self, names: Sequence[str]) -> Suite:
        """Return the suite with only the shifts `names`, in the suite's order.

        Raises InputError for shifts that are unknown or were not found.

        Examples
        --------
        >>> from pathlib import Path
        >>> from bench.api.registry import find_dataset
        >>> suite = find_dataset("mini")().suite(None, Path("cache"))
        >>> [shift.name for shift in suite.only(["sketch", "v2"]).shifts]
        ['v2', 'sketch']
        """
        valid = [shift.name for shift in self.shifts]
        for name in names:
            if name in self.lacking:
                raise InputError(f"shift {name} of {self.name}: {self.lacking[name]}")
            if name not in valid:
                raise unknown_name(f"shift of {self.name}", name, [*valid, "all"])
        shifts = tuple(s for s in self.shifts if s.name in names)
        return replace(self, shifts=shifts, lacking={})

    @property
    def averaged(self) -> int:
        """The number of shifts in the OOD mean of the full suite."""
        return len([name for name in self.all_shifts if name not in self.outside_mean])

    def position(self, shift: str) -> int:
        """Return the position of an evaluation set in the full suite: 0 for ``id``, then shifts."""
        return 1 + self.all_shifts.index(shift) if shift in self.all_shifts else 0

    def evaluations(self) -> tuple[Shift, ...]:
        """Return the ID test set, named ``id``, and the shifts, each with its metrics.

        Examples
        --------
        >>> from pathlib import Path
        >>> from bench.api.registry import find_dataset
        >>> suite = find_dataset("mini")().suite(None, Path("cache"))
        >>> [shift.name for shift in suite.evaluations()]
        ['id', 'v2', 'sketch', 'rendition', 'adversarial', 'objectnet']
        """
        test = Shift("id", self.test, metrics=self.metrics)
        return (test, *(replace(s, metrics=s.metrics or self.metrics) for s in self.shifts))

    def under(self, *, selects: str, share: float, border: int) -> Suite:
        """Return the suite under the settings of a protocol.

        Parameters
        ----------
        selects : ``selection`` or ``test``, the split on which everything is chosen.
        share : the fraction of the training split, in (0, 1), that is held out if the data has no
            selection split.
        border : pixels to cut from each side of images with a border.

        Examples
        --------
        >>> from pathlib import Path
        >>> from bench.api.registry import find_dataset
        >>> suite = find_dataset("mini")().suite(None, Path("cache"))
        >>> suite.under(selects="test", share=0.1, border=0).task.selection == suite.test
        True
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
        """Return the suite with at most `count` samples per split (see `Split.limited`).

        Examples
        --------
        >>> from pathlib import Path
        >>> from bench.api.registry import find_dataset
        >>> suite = find_dataset("mini")().suite(None, Path("cache")).limited(20)
        >>> suite.test.size, [shift.split.size for shift in suite.shifts[:2]]
        (20, [20, 20])
        """
        task = replace(
            self.task,
            train=self.task.train.limited(count),
            selection=self.task.selection.limited(count),
        )
        shifts = tuple(replace(s, split=s.split.limited(count)) for s in self.shifts)
        return replace(self, task=task, test=self.test.limited(count), shifts=shifts)


@dataclass(frozen=True)
class Card:
    """Description of a suite: what a reader must know to interpret its numbers.

    No field may be blank. `shifts` maps each shift to its description.

    Examples
    --------
    >>> from bench.api.registry import find_dataset
    >>> find_dataset("mini").card.licence
    'Apache-2.0'
    """

    title: str
    source: str
    licence: str
    shifts: Mapping[str, str]
    citation: str


class Dataset(Protocol):
    """A registered provider of one suite.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.api.registry import find_dataset
    >>> mini = find_dataset("mini")()
    >>> mini.found(None), mini.suite(None, Path("cache")).name
    (True, 'mini')
    """

    name: ClassVar[str]
    card: ClassVar[Card]

    def found(self, data: Path | None) -> bool:
        """Whether `suite` would find its data, without opening images."""
        ...

    def suite(self, data: Path | None, cache: Path) -> Suite:
        """Return the suite with data from the folder `data`.

        `cache` is a folder for indexes and rendered images. Raises InputError if the data is not
        there; the message names what was looked for.
        """
        ...

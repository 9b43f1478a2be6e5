"""Suites of the user's own data, described by a YAML file (reference: docs/suite-file.md).

The whole file is checked before any image is looked up. Every error is one line that names the
file, the field and what was expected.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.api.dataset import Card, LabelMap, Shift, Suite, Task
from bench.api.metrics import check_metrics
from bench.api.parts import divided
from bench.api.splits import LocatedImages, Split
from bench.core.errors import InputError
from bench.core.paths import matching_files
from bench.data.class_files import class_pairs, read_class_file, text_name
from bench.data.classes import Classes
from bench.data.missing_classes import naming_missing
from bench.data.prompts import check_templates, read_templates
from bench.data.readers.arrays import array_split, images_of_file
from bench.data.readers.folders import folder_split, locate_file
from bench.data.readers.huggingface import hub_split
from bench.data.readers.image_lists import list_split
from bench.data.readers.webdataset import shards_split
from bench.data.suites import corruptions
from bench.data.suites.imagenet import imagenet_classes, openai_templates
from bench.data.suites.yaml_schema import (
    ROLES,
    ImageSource,
    PartsForm,
    ShiftForm,
    SuiteFile,
    read_suite_file,
)

Places = Mapping[str, Collection[Hashable]]

ALL = "all"
"""The role of images that are divided into the others; no shift has this name."""

OPENAI_TEMPLATES = "openai-imagenet"
IMAGENET_CLASSES = "imagenet"


# Loading


def load_suite_file(
    path: Path, data: Path | None, cache: Path, origin: Path | None = None
) -> Suite:
    r"""Return the suite that the file `path` describes.

    Relative paths are looked up in `data`, if it is not None, then in the folder of the file and,
    for a copy, in `origin`, the folder that it comes from. Image files are listed and
    fingerprinted, but not decoded (see `bench.data.readers.folders`); `cache` stores the result.
    Raises InputError, one line, for any mistake in the file or in the layout of the data.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.suites.from_yaml import load_suite_file
    >>> for side, folder in enumerate(("train/cat", "train/dog", "test/cat", "test/dog"), start=8):
    ...     Path(folder).mkdir(parents=True)
    ...     Image.new("RGB", (side, side)).save(f"{folder}/1.png")
    ...
    >>> text = "name: pets\nclasses: [cat, dog]\ntemplates: a {}."
    >>> _ = Path("pets.yaml").write_text(text + "\ntrain: {folder: train}\ntest: {folder: test}")
    >>> suite = load_suite_file(Path("pets.yaml"), None, Path("cache"))
    >>> suite.name, suite.test.size
    ('pets', 2)
    """
    form = read_suite_file(path)
    bases = tuple(base for base in (data, path.parent, origin) if base)
    opener = _Opener(form.name, bases, cache)
    beside = bases if origin is None else (path.parent, *bases)  # copies of names, too
    with naming_field(path, "classes"):
        classes = class_names(form.classes, beside)
    with naming_field(path, "templates"):
        templates, prompts = _templates(form.templates, beside, form.name)
    overlap = _OverlapCheck()
    if form.split is not None:
        with naming_field(path, "split"):
            train, selection, test = _parts(form.split, opener, classes, overlap)
    else:
        train, selection, test = _own_splits(path, form, opener, classes, overlap)
    train, selection, test = (naming_missing(s, classes.shown) for s in (train, selection, test))
    with naming_field(path, "metrics"):
        for split, metrics in ((test, form.metrics), (selection, form.metrics[:1])):
            _check_metrics(split, metrics, len(classes))
    shifts = []
    for name, shift in form.shifts.items():
        with naming_field(path, f"shifts.{name}"):
            shifts.append(_shift(name, shift, opener, classes, test))
            own = len(shifts[-1].labels.columns or classes)
            _check_metrics(shifts[-1].split, shift.metrics or form.metrics, own)
            if shift.corrupt is None:
                overlap.check(name, shifts[-1].split)
    task = Task(form.name, classes.prompts, templates, train, selection)
    return Suite(
        name=form.name,
        task=task,
        test=test,
        shifts=tuple(shifts),
        model=form.model,
        pretrained=form.weights,
        defaults=form.defaults,
        metrics=form.metrics,
        prompts=prompts,
        fits_recipes=True,
    )


def _check_metrics(split: Split, metrics: Sequence[str], classes: int) -> None:
    """Raise InputError if a metric cannot be computed on a split, e.g. if a group is missing."""
    if metrics:
        check_metrics(metrics, split.load().manifest, classes)


def suite_file_card(path: Path) -> Card:
    r"""Return the card of a suite without opening its data; errors as in `load_suite_file`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.from_yaml import suite_file_card
    >>> _ = Path("card.yaml").write_text(
    ...     "name: pets\nclasses: [cat, dog]\ntemplates: a {}.\n"
    ...     "train: {folder: train}\ntest: {folder: test}"
    ... )
    >>> suite_file_card(Path("card.yaml")).licence
    'not stated'
    """
    form = read_suite_file(path)
    return Card(
        title=form.title or form.name,
        source=form.source,
        licence=form.licence,
        shifts={name: _describe(shift) for name, shift in form.shifts.items()},
        citation=form.citation,
    )


def suite_file_defaults(path: Path) -> Mapping[str, Mapping[str, Any]]:
    r"""Return {method: {parameter: value}} of a suite file; errors as in `load_suite_file`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.from_yaml import suite_file_defaults
    >>> _ = Path("fast.yaml").write_text(
    ...     "name: pets\nclasses: [cat, dog]\ntemplates: a {}.\n"
    ...     "train: {folder: train}\ntest: {folder: test}\ndefaults: {e2e-ft: {epochs: 1}}"
    ... )
    >>> suite_file_defaults(Path("fast.yaml"))
    {'e2e-ft': {'epochs': 1}}
    """
    return read_suite_file(path).defaults


def _describe(shift: ShiftForm) -> str:
    if shift.corrupt is not None:
        return f"{shift.corrupt} of the test images, severity {shift.severity}, seed {shift.seed}"
    return f"images from {shift.place}"


@contextmanager
def naming_field(path: Path, where: str) -> Iterator[None]:
    """Prefix the text of an InputError with the suite file and the field.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.errors import InputError
    >>> from bench.data.suites.from_yaml import naming_field
    >>> with naming_field(Path("pets.yaml"), "test"):
    ...     raise InputError("folder images not found")
    ...
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: pets.yaml: test: folder images not found
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {where}: {error}") from error


@dataclass(frozen=True)
class _Opener:
    """Opens the splits of one suite file."""

    suite: str
    bases: Sequence[Path]
    cache: Path

    def split(self, role: str, source: ImageSource, classes: Classes) -> Split:
        """Return the split of a source; other roles than `ROLES` and `ALL` are names of shifts."""
        name, cache = f"{self.suite}/{role}", self.cache
        prefix = role if role in (*ROLES, ALL) else "shift"
        if source.shards is not None:
            paths = matching_files(source.shards, self.bases)
            return shards_split(name, paths or [self._locate(source.shards)], classes, cache)
        if source.hub is not None:
            columns: Any = {"split": source.split, "image": source.image, "label": source.label}
            place = source.hub
            return hub_split(name, place, self.bases, classes, cache, prefix=prefix, **columns)
        found = self._locate(source.place)
        if source.arrays is not None:
            labels = None if source.labels is None else self._locate(source.labels)
            how: Any = {"layout": source.layout, "members": source.keys}
            return array_split(name, images_of_file(found, labels, classes, **how), cache, prefix)
        if source.folder is not None:
            return folder_split(name, found, classes, cache)
        return list_split(name, found, classes, cache, source.groups)

    def _locate(self, place: str) -> Path:
        return locate_file(place, self.bases)


# Classes and templates


def class_names(raw: Any, bases: Sequence[Path]) -> Classes:
    """Return the classes under the key ``classes``; a file of names is looked up in `bases`.

    Examples
    --------
    >>> from bench.data.suites.from_yaml import class_names
    >>> class_names({"n02123045": "tabby cat", "n02110958": "pug"}, bases=[]).prompts
    ('tabby cat', 'pug')
    """
    if raw == IMAGENET_CLASSES:
        return imagenet_classes()
    if isinstance(raw, dict) and set(raw) == {"file"}:
        raw = read_class_file(locate_file(text_name(raw["file"]), bases))
    elif isinstance(raw, list | dict):
        raw = class_pairs(raw)
    else:
        raise InputError(
            f"expected a list of names, a mapping from folder names to prompt names, "
            f"{{file: names.txt}} or {IMAGENET_CLASSES}; got {raw!r:.80}"
        )
    if len(raw) < 2:
        raise InputError(f"expected at least two classes, got {len(raw)}")
    return Classes(tuple(key for key, _ in raw), tuple(prompt for _, prompt in raw))


def _templates(raw: Any, bases: Sequence[Path], suite: str) -> tuple[tuple[str, ...], str]:
    """Return the templates, and their origin if the suite file names a file of templates."""
    if raw == OPENAI_TEMPLATES:
        return openai_templates(), ""
    if isinstance(raw, dict) and set(raw) == {"file"}:
        path = locate_file(text_name(raw["file"]), bases)
        found = read_templates(path, suite)
        return found, f"{len(found)} templates of {path.name}"
    templates = [raw] if isinstance(raw, str) and "{" in raw else raw
    if not isinstance(templates, list) or not templates:
        raise InputError(
            "expected a list of templates such as 'a photo of a {}.', {file: prompts.txt} or "
            f"{OPENAI_TEMPLATES}; got {raw!r:.80}"
        )
    return check_templates(templates), ""


# Splits


def _own_splits(
    path: Path, form: SuiteFile, opener: _Opener, classes: Classes, overlap: _OverlapCheck
) -> tuple[Split, Split, Split]:
    """Return the training, selection and test splits, each from the source that the file names."""
    with naming_field(path, "train"):
        labelled = opener.split("train", form.sources["train"], classes)
    with naming_field(path, "selection"):
        train, selection = _selection(form, opener, classes, labelled)
        overlap.add("train", labelled)
        if form.selection is not None and form.selection.holdout is None:
            overlap.add("selection", selection)
    with naming_field(path, "test"):
        test = opener.split("test", form.sources["test"], classes)
        overlap.add("test", test)
    return train, selection, test


def _parts(
    form: PartsForm, opener: _Opener, classes: Classes, overlap: _OverlapCheck
) -> tuple[Split, Split, Split]:
    """Return the training, selection and test splits, all from one source, by its shares."""
    if form.group is not None and form.group not in form.groups:
        form = form.model_copy(update={"groups": (*form.groups, form.group)})
    every = opener.split(ALL, form, classes)
    overlap.add(ALL, every)
    manifest = every.load().manifest
    rows = divided(manifest, form.shares, form.seed, form.group, classes.shown)
    parts = {
        role: replace(every.take(own, f"{role} of {ALL}"), name=f"{opener.suite}/{role}")
        for role, own in rows.items()
    }
    return parts["train"], parts.get("selection", parts["train"]), parts["test"]


def _selection(
    form: SuiteFile, opener: _Opener, classes: Classes, train: Split
) -> tuple[Split, Split]:
    """Return (training split, selection split): both `train` if the file has no selection."""
    chosen = form.selection
    if chosen is None:
        return train, train  # the protocol decides how much is held out
    if chosen.holdout is None:
        return train, opener.split("selection", chosen, classes)
    return train.held_out(chosen.holdout, chosen.seed)


def _shift(name: str, form: ShiftForm, opener: _Opener, classes: Classes, test: Split) -> Shift:
    if form.corrupt is not None:
        title = f"{opener.suite}/{name}"
        split = corruptions.corrupted_split(test, form.corrupt, form.severity, form.seed, title)
        return Shift(name, split, metrics=form.metrics)
    own, labels = label_map(form.classes, classes)
    split = naming_missing(opener.split(name, form, own), own.shown)
    return Shift(name, split, labels, metrics=form.metrics)


def label_map(raw: Any, classes: Classes) -> tuple[Classes, LabelMap]:
    """Return (classes of a shift, map from the task's classes); `raw` is the key ``classes``.

    Examples
    --------
    >>> from bench.data.suites.from_yaml import class_names, label_map
    >>> classes = class_names(["cat", "poodle", "pug"], bases=[])
    >>> label_map({"dog": ["poodle", "pug"], "cat": "cat"}, classes)[1].columns
    ((1, 2), (0,))
    """
    if raw is None:
        return classes, LabelMap()
    spellings = classes.spellings()

    def group(value: Any) -> tuple[int, ...]:
        names = value if isinstance(value, list) else [value]
        return tuple(classes.index(text_name(name), spellings) for name in names)

    if isinstance(raw, list) and raw:
        columns = tuple(group(text_name(name)) for name in raw)
        own = Classes(
            tuple(classes.keys[i] for (i,) in columns),
            tuple(classes.prompts[i] for (i,) in columns),
        )
    elif isinstance(raw, dict) and raw:
        columns = tuple(group(value) for value in raw.values())
        own = Classes(*(2 * [tuple(text_name(key) for key in raw)]))
    else:
        raise InputError(f"classes: expected a list or a mapping of class names, got {raw!r:.80}")
    members = [index for column in columns for index in column]
    for index in members:
        if members.count(index) > 1:
            raise InputError(
                f"classes: {classes.keys[index]!r} is listed more than once: list it once"
            )
    return own, LabelMap(columns)


class _OverlapCheck:
    """Checks that training, selection and evaluation splits have no image in common."""

    def __init__(self) -> None:
        self._fingerprints: dict[str, str] = {}
        self._places: dict[str, Places] = {}

    def add(self, role: str, split: Split) -> None:
        """Check a split against those added before, and add it."""
        self._places[role] = self.check(role, split)
        self._fingerprints[role] = split.fingerprint

    def check(self, role: str, split: Split) -> Places:
        """Check a split against those added before, and return the places of its images.

        Raises InputError if an earlier split has the same content or shares a file. Only files in
        folders that both splits use are compared one by one.
        """
        for other, mark in self._fingerprints.items():
            if mark == split.fingerprint:
                raise InputError(f"the same images as {other}: expected different images")
        images = split.load().images
        places = images.places() if isinstance(images, LocatedImages) else {}
        for other, known in self._places.items():
            both = {place: {*places[place]} & {*known[place]} for place in known.keys() & places}
            if any(both.values()):
                place = min(place for place, shared in both.items() if shared)
                raise InputError(
                    f"{place}{min(both[place], key=str)} is in both {other} and {role}: expected "
                    f"no common images, found {sum(map(len, both.values())):,}; remove them from "
                    "one of the two"
                )
        return places

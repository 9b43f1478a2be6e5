"""A folder of external outputs with one safetensors file per split (docs/outputs.md).

Each file is checked completely when it is first read, and its digest is stored in the cache with
what a reader should know of its arrays. No torch, image or model is involved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from safetensors import SafetensorError, safe_open

from bench.api.dataset import Shift, Suite, Task
from bench.api.method import ZERO_SHOT
from bench.api.splits import Split
from bench.core.errors import CellError, InputError, unknown_name
from bench.core.foreign.files import open_regular, read_bounded
from bench.core.foreign.tensors import refuse_repeated_names
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.core.store.container import DamagedError, opened_json, sealed_json
from bench.data.classes import Classes
from bench.data.missing_classes import missing_classes
from bench.data.suites.from_yaml import class_names, label_map, naming_field
from bench.data.suites.yaml_schema import Name, StrictForm, invalid, parse_form
from bench.runs.study.outputs_file import OutputsOfSplit, check_given_labels, check_given_values

FILE = "outputs.yaml"
FLOATS = ("F16", "F32", "F64")
INTEGERS = ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
KINDS = {
    "logits": (*FLOATS, *INTEGERS),
    "probabilities": FLOATS,
    "features": FLOATS,
    "correct": ("BOOL",),
}
"""The kinds of arrays of a model on a split, with their valid types."""

PREDICTED = ("logits", "probabilities", "correct")
"""The kinds of which a model has one on each split; the last only on the training split."""

MOST_CLASSES = 1_000_000
"""The largest number of classes that may be given without their names."""

READ = 2
"""Version of how files are read; raised when the same files would be checked or give otherwise."""


@dataclass(frozen=True)
class OutputsFolder:
    """A checked folder: its `outputs.yaml` as `form`, and the suite of its files."""

    form: OutputsFile
    suite: Suite

    @property
    def bases(self) -> Mapping[str, str]:
        """The fine-tuned models, {row name: model name in the files}."""
        return {row: model for row, model in self.form.models.items() if row != ZERO_SHOT}


def load_outputs_folder(folder: Path, cache: Path) -> OutputsFolder:
    """Load and check the outputs in `folder`. Raises InputError for whatever is wrong with them."""
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"--outputs {folder}: the folder has no {FILE} (see docs/outputs.md)")
    form = parse_form(path, OutputsFile)
    with naming_field(path, "classes"):
        classes = _classes(form.classes, folder)
    models = tuple(form.models.values())
    opener = _Opener(form.name, folder, models, len(classes), cache)
    with naming_field(path, "train"):
        train = opener.split("train", form.train, classes.shown)
    with naming_field(path, "selection"):
        selection = opener.split("selection", form.selection, classes.shown)
    with naming_field(path, "test"):
        test = opener.split("test", form.test, classes.shown)
    shifts = []
    for name, shift in form.shifts.items():
        with naming_field(path, f"shifts.{name}"):
            own, labels = label_map(shift.classes, classes)
            shifts.append(Shift(name, opener.split(name, shift, own.shown), labels))
    _check_distinct(path, [train, selection, test, *(shift.split for shift in shifts)])
    task = Task(form.name, classes.prompts, (), train, selection)
    suite = Suite(form.name, task, test, tuple(shifts), model=form.model, pretrained="")
    return OutputsFolder(form, suite)


def _classes(raw: Any, folder: Path) -> Classes:
    """Return the classes; a number C means classes named 0 to C - 1."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        if not 1 <= raw <= MOST_CLASSES:
            raise InputError(f"{raw} classes, expected 1 to {MOST_CLASSES:,}, or their names")
        raw = [str(index) for index in range(raw)]
    return class_names(raw, (folder,))


def _check_distinct(path: Path, splits: Sequence[Split]) -> None:
    """Raise InputError if two splits have the same content."""
    known: dict[str, str] = {}
    for split in splits:
        if split.fingerprint in known:
            other = known[split.fingerprint]
            raise InputError(
                f"{path}: {other} and {split.name} have the same content: name another file"
            )
        known[split.fingerprint] = split.name


@dataclass
class _Opener:
    """Checks and opens the files of one folder; `widths` maps models to feature dimensions."""

    suite: str
    folder: Path
    models: tuple[str, ...]
    classes: int
    cache: Path

    def __post_init__(self) -> None:
        self.widths: dict[str, int] = {}

    def split(self, role: str, form: ArraysForm | None, classes: Sequence[str]) -> Split:
        """Return the split of a file with labels of `classes`; an absent one without `form`."""
        title = f"{self.suite}/{role}"
        if form is None:
            return _absent(title, f"not computable: {FILE} names no {role} file")
        path = self.folder / form.file
        if not path.is_file():
            raise InputError(f"no file {path}: correct the name, or put the file there")
        try:
            with safe_open(path, framework="numpy") as file:
                refuse_repeated_names(path)
                arrays = {n: file.get_slice(n) for n in sorted(file.keys())}
                kinds = {n: (tuple(a.get_shape()), a.get_dtype()) for n, a in arrays.items()}
                size = self._check_names(path, kinds, is_evaluation=role != "train")
                for name, (shape, dtype) in kinds.items():
                    self._check_array(f"{path}: {name}", name, shape, dtype, size)
                labels = arrays["labels"][:]
                check_given_labels(path, labels, len(classes))
                digest, caveats = self._checked_content(path, arrays)
        except SafetensorError as error:
            raise InputError(f"{path} is not a valid safetensors file: {error}") from error
        lacking = missing_classes(title, labels, classes, "sample")
        opened = OutputsOfSplit(path, frozenset(kinds), size)
        fingerprint = key_of("outputs", READ, digest)
        said = (*(f"{title}: {text}" for text in caveats), *lacking)
        return Split(title, fingerprint, size, opened.load, opened.given, caveats=said)

    def _check_names(self, path: Path, kinds: Mapping[str, Any], is_evaluation: bool) -> int:
        """Return the number of samples. Raises InputError for unknown and for missing arrays."""
        valid = ["labels", *(f"{m}.{kind}" for m in self.models for kind in KINDS)]
        for name in kinds:
            if name not in valid and not name.startswith("groups."):
                raise unknown_name(f"array in {path}", name, [*valid, "groups.NAME"])
        if "labels" not in kinds:
            raise InputError(f"{path} has no labels: add an integer array labels [N]")
        for model in self.models:
            present = [kind for kind in PREDICTED if f"{model}.{kind}" in kinds]
            if not present or (is_evaluation and present == ["correct"]):
                alternative = "" if is_evaluation else f" and no {model}.correct"
                raise InputError(f"{path} has no {model}.logits{alternative}: add the array")
            if present[:2] == ["logits", "probabilities"]:
                raise InputError(
                    f"{path} has {model}.logits and {model}.probabilities: remove one of them"
                )
            if "correct" in present and (is_evaluation or len(present) > 1):
                raise InputError(
                    f"{path}: {model}.correct is only for the train file, instead of logits there: "
                    "remove the array"
                )
        shape = kinds["labels"][0]
        if len(shape) != 1 or not shape[0]:
            hint = ""
            if len(shape) == 2 and shape[1] == self.classes:
                hint = "; for one-hot labels save labels.argmax(axis=1)"
            raise InputError(f"{path}: labels has shape {shape}, expected [N] with N >= 1{hint}")
        return int(shape[0])

    def _check_array(
        self, where: str, name: str, shape: tuple[int, ...], dtype: str, size: int
    ) -> None:
        """Raise InputError unless an array has the type and shape that its name requires."""
        model, _, kind = name.rpartition(".")
        is_output = not name.startswith("groups.") and name != "labels"
        types = KINDS[kind] if is_output else INTEGERS
        if dtype not in types:
            hint = "; if they are class indices, save labels.astype(int)"
            hint = hint if name == "labels" and dtype in FLOATS else ""
            raise InputError(f"{where} is {dtype}, expected {', '.join(types)}{hint}")
        expected: tuple[int, ...] = (size,)
        if is_output and kind in ("logits", "probabilities"):
            expected = (size, self.classes)
            if shape == (size,) and dtype in INTEGERS:
                raise InputError(
                    f"{where} has shape {list(shape)}, expected {list(expected)}: one integer per "
                    "sample is a predicted class, not the scores of all classes"
                )
        elif is_output and kind == "features":
            width = shape[1] if len(shape) == 2 and shape[1] else 1
            expected = (size, self.widths.setdefault(model, width))
        if shape != expected:
            raise InputError(f"{where} has shape {list(shape)}, expected {list(expected)}")

    def _checked_content(self, path: Path, arrays: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
        """Return the SHA-256 of a file and what a reader should know of its arrays.

        Both are cached by the file's path, size and times. Raises InputError if an array has NaN or
        infinite values, or another kind of scores than its name says.
        """
        stat = path.stat()
        stamp = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        mark = key_of("outputs", READ, str(path.resolve()), stamp)
        cached = self.cache / "index" / f"{mark}.json"
        with suppress(OSError, DamagedError, KeyError, TypeError):  # absent or damaged: read again
            known = opened_json(f"index/{mark}", read_bounded(cached))
            return str(known["digest"]), tuple(known["caveats"])
        caveats: list[str] = []
        for name, array in arrays.items():
            caveats += check_given_values(path, name, array)
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with suppress(OSError):  # without a writable cache, the file is checked each time
            known = {"digest": digest, "caveats": caveats}
            write_atomic(cached, sealed_json(f"index/{mark}", known))
        return digest, tuple(caveats)


def _absent(title: str, reason: str) -> Split:
    """Return an empty split; reading it raises CellError with `reason`."""

    def fail(*_: object) -> Any:
        raise CellError(reason)

    return Split(title, key_of("absent", title), 0, fail, fail)


class ArraysForm(StrictForm):
    """A split: the name of the safetensors file with its labels and outputs."""

    file: str


class ShiftArraysForm(ArraysForm):
    """A shift; `classes`, as in suite files, if its label space differs from the task's."""

    classes: Any = None


class OutputsFile(StrictForm):
    """The content of ``outputs.yaml``; `models` maps row names to model names in the files."""

    name: Name
    model: str = "outputs"
    classes: Any
    models: dict[str, str]
    train: ArraysForm | None = None
    selection: ArraysForm | None = None
    test: ArraysForm
    shifts: dict[Name, ShiftArraysForm] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("models")
    @classmethod
    def _two_endpoints(cls, models: dict[str, str]) -> dict[str, str]:
        if ZERO_SHOT not in models or len(models) < 2:
            raise invalid(f"expected {ZERO_SHOT} and at least one fine-tuned model")
        if len(set(models.values())) < len(models):
            raise invalid("expected another model for each row: a model is named twice")
        return models

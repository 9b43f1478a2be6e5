"""A suite of the user's own data, described by a YAML file (reference: docs/suite-file.md).

The file is checked as a whole before an image is looked for; every error is one line that names
the file, the field and what was expected.
"""

from __future__ import annotations

import importlib.util
import re
import reprlib
import runpy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic
import yaml
from pydantic_core import PydanticCustomError

from bench import corruptions
from bench.dataset import Card, LabelMap, Shift, Split, Suite, Task
from bench.errors import InputError, unknown
from bench.readers import Classes, folder_split, holdout, list_split, locate

RESERVED = ("all", "available", "id", "ood")
"""Words of the command line and of reports, which name no suite and no shift."""

OPENAI_TEMPLATES = "openai-imagenet"
IMAGENET_CLASSES = "imagenet"


# The form of the file


def _safe(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        message = f"name {name!r} must be letters, digits, '.', '_' and '-', the first no sign"
        raise _invalid(message)
    if name in RESERVED:
        raise _invalid(f"name {name!r} is reserved: choose another one")
    return name


def _invalid(message: str) -> PydanticCustomError:
    return PydanticCustomError("suite_file", "{message}", {"message": message})


Name = Annotated[str, pydantic.AfterValidator(_safe)]


class _Strict(pydantic.BaseModel):
    """A mapping whose unknown keys are refused, the nearest valid ones first."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys(cls, raw: Any) -> Any:
        valid = [f.alias or name for name, f in cls.model_fields.items()]
        if not isinstance(raw, Mapping):
            raise _invalid(f"expected a mapping with keys of: {', '.join(valid)}; got {raw!r}")
        for key in raw:
            if key not in valid:
                raise _invalid(str(unknown("key", str(key), valid)))
        return cls._checked(raw)

    @classmethod
    def _checked(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        return raw


class _Source(_Strict):
    """Where images come from: just one of the keys in `kinds`, with the options it takes."""

    kinds: ClassVar[Mapping[str, frozenset[str]]] = {"folder": frozenset(), "list": frozenset()}

    folder: str | None = None
    listing: str | None = pydantic.Field(default=None, alias="list")

    @classmethod
    def _checked(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        given = [kind for kind in cls.kinds if raw.get(kind) is not None]
        if len(given) != 1:
            got = f"got {' and '.join(given)}" if given else "got none"
            raise _invalid(f"expected just one of {', '.join(cls.kinds)}; {got}")
        for key in raw:
            if key != given[0] and key not in cls.kinds[given[0]]:
                raise _invalid(f"{key!r} does not go with {given[0]!r}")
        return raw


class _Selection(_Source):
    kinds: ClassVar[Mapping[str, frozenset[str]]] = {
        "holdout": frozenset({"seed"}),
        **_Source.kinds,
    }

    holdout: float | None = pydantic.Field(default=None, gt=0, lt=1)
    seed: int = 0


class _Shift(_Source):
    kinds: ClassVar[Mapping[str, frozenset[str]]] = {
        "folder": frozenset({"classes"}),
        "list": frozenset({"classes"}),
        "corrupt": frozenset({"severity", "seed"}),
    }

    corrupt: str | None = None
    severity: int = pydantic.Field(default=3, ge=1, le=5)
    seed: int = 0
    classes: Any = None


class _SuiteFile(_Strict):
    name: Name
    title: str | None = None
    source: str = "not stated"
    licence: str = "not stated"
    citation: str = "not stated"
    classes: Any
    templates: Any
    model: str = "ViT-B-32"
    pretrained: str = "openai"
    train: _Source
    selection: _Selection = _Selection(holdout=0.1)
    test: _Source
    shifts: dict[Name, _Shift] = {}
    defaults: dict[str, dict[str, Any]] = {}


# Reading it


def load(path: Path, data: Path | None, cache: Path) -> Suite:
    """The suite that the file `path` describes.

    Relative paths are looked for under `data`, if given, then beside the file. Image files are
    listed and fingerprinted (see `bench.readers`; `cache` keeps the result), none is opened.
    Raises InputError, one line, for whatever is wrong with the file or with the data's layout.
    """
    form = _read(path)
    bases = (path.parent,) if data is None else (data, path.parent)
    opener = _Opener(form.name, bases, cache)
    with _naming(path, "classes"):
        classes = _classes(form.classes, opener)
    with _naming(path, "templates"):
        templates = _templates(form.templates)
    with _naming(path, "train"):
        labelled = opener.split("train", form.train, classes)
    with _naming(path, "selection"):
        train, selection = _selection(form, opener, classes, labelled)
    with _naming(path, "test"):
        test = opener.split("test", form.test, classes)
        _check_apart(test, {"train": labelled, "selection": selection})
    shifts = []
    for name, shift in form.shifts.items():
        with _naming(path, f"shifts.{name}"):
            shifts.append(_shift(name, shift, opener, classes, test))
            _check_apart(shifts[-1].split, {"train": labelled, "selection": selection})
    task = Task(form.name, classes.prompts, templates, train, selection)
    return Suite(
        name=form.name,
        task=task,
        test=test,
        shifts=tuple(shifts),
        model=form.model,
        pretrained=form.pretrained,
        defaults=form.defaults,
    )


def card(path: Path) -> Card:
    """The suite's card, from the file alone. Raises InputError as `load` does for the file."""
    form = _read(path)
    return Card(
        title=form.title or form.name,
        source=form.source,
        licence=form.licence,
        shifts={name: _describe(shift) for name, shift in form.shifts.items()},
        citation=form.citation,
    )


def _describe(shift: _Shift) -> str:
    if shift.corrupt is not None:
        return f"{shift.corrupt} of the test images, severity {shift.severity}, seed {shift.seed}"
    return f"images of {shift.folder or shift.listing}"


def _read(path: Path) -> _SuiteFile:
    try:
        raw = yaml.load(_text_of(path), Loader=_Loader)
        return _SuiteFile.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        reason = f"{first['msg']}, got {reprlib.repr(first['input'])}"
        if first["type"] in ("suite_file", "missing"):
            reason = first["msg"]
        raise InputError(f"{path}: {where + ': ' if where else ''}{reason}") from error
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise InputError(f"{path}{line}: no valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: no valid YAML: {reason}") from error


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently keep the last."""

    def mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"key {key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(str(key.value))
        return self.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)


@contextmanager
def _naming(path: Path, where: str) -> Iterator[None]:
    """Put the suite file and the field before the text of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {where}: {error}") from error


@dataclass(frozen=True)
class _Opener:
    """Finds and opens the splits of one suite file."""

    suite: str
    bases: Sequence[Path]
    cache: Path

    def split(self, role: str, source: _Source, classes: Classes) -> Split:
        reader = folder_split if source.folder is not None else list_split
        found = locate(source.folder or source.listing or "", self.bases)
        return reader(f"{self.suite}/{role}", found, classes, self.cache)


# Classes and templates


def _classes(raw: Any, opener: _Opener) -> Classes:
    if raw == IMAGENET_CLASSES:
        return imagenet_classes()
    if isinstance(raw, dict) and set(raw) == {"file"}:
        lines = _text_of(locate(_text(raw["file"]), opener.bases)).splitlines()
        raw = [line.strip() for line in lines if line.strip()]
    if isinstance(raw, list):
        raw = _pairs((name, name) for name in raw)
    elif isinstance(raw, dict):
        raw = _pairs(raw.items())
    else:
        raise InputError(
            f"expected a list of names, a mapping of folder names to prompt names, "
            f"{{file: names.txt}} or {IMAGENET_CLASSES}; got {raw!r}"
        )
    if len(raw) < 2:
        raise InputError(f"expected at least two classes, got {len(raw)}")
    return Classes(tuple(key for key, _ in raw), tuple(prompt for _, prompt in raw))


def _pairs(pairs: Any) -> list[tuple[str, str]]:
    return [(_text(key), _text(prompt)) for key, prompt in pairs]


def _text(value: Any) -> str:
    """`value` as text. YAML reads some words as booleans or nothing: InputError says to quote."""
    if isinstance(value, bool) or value is None:
        raise InputError(f"{value!r} is no name: put words such as yes, no, on, off in quotes")
    if not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f"{value!r} is no name: expected text")
    return str(value).strip()


def _templates(raw: Any) -> tuple[str, ...]:
    if raw == OPENAI_TEMPLATES:
        return openai_templates()
    templates = [raw] if isinstance(raw, str) and "{" in raw else raw
    if not isinstance(templates, list) or not templates:
        valid = f"a list of templates such as 'a photo of a {{}}.', or {OPENAI_TEMPLATES}"
        raise InputError(f"expected {valid}; got {raw!r}")
    for template in templates:
        if not isinstance(template, str) or re.findall(r"[{}]+", template) != ["{}"]:
            raise InputError(f"template {template!r} must contain {{}} once, for the class name")
    return tuple(templates)


def imagenet_classes() -> Classes:
    """ImageNet's 1,000 classes: WordNet ids as keys (timm), open_clip's curated names as prompts.

    Raises InputError if either package is not installed.
    """
    ids = _package_file("timm", "data/_info/imagenet_synsets.txt")
    return Classes(tuple(_text_of(ids).split()), tuple(_zero_shot("IMAGENET_CLASSNAMES")))


def openai_templates() -> tuple[str, ...]:
    """OpenAI's 80 templates for ImageNet, from open_clip. InputError if it is not installed."""
    return tuple(function("{}") for function in _zero_shot("OPENAI_IMAGENET_TEMPLATES"))


def _zero_shot(name: str) -> Any:
    """A constant of open_clip's file of names and templates, run alone: open_clip imports torch."""
    return runpy.run_path(str(_package_file("open_clip", "zero_shot_metadata.py")))[name]


def _package_file(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    for place in places or ():
        if (Path(place) / name).is_file():
            return Path(place) / name
    raise InputError(f"{package} with its {name} is not installed: pip install {package}")


# Splits


def _selection(
    form: _SuiteFile, opener: _Opener, classes: Classes, train: Split
) -> tuple[Split, Split]:
    """(what is left for training, selection split)."""
    chosen = form.selection
    if chosen.holdout is None:
        return train, opener.split("selection", chosen, classes)
    kept, held = holdout(train.load().manifest, chosen.holdout, chosen.seed)
    if not len(held):
        raise InputError("nothing to hold out: expected a class with two or more training images")
    how = f"holdout {chosen.holdout:g} seed {chosen.seed}"
    selection = train.take(held, f"selection: {how}")
    return train.take(kept, f"train: {how}"), replace(selection, name=f"{form.name}/selection")


def _shift(name: str, form: _Shift, opener: _Opener, classes: Classes, test: Split) -> Shift:
    if form.corrupt is not None:
        title = f"{opener.suite}/{name}"
        return Shift(
            name, corruptions.corrupted(test, form.corrupt, form.severity, form.seed, title)
        )
    own, labels = _label_map(form.classes, classes)
    return Shift(name, opener.split(name, form, own), labels)


def _label_map(raw: Any, classes: Classes) -> tuple[Classes, LabelMap]:
    """(the shift's own classes, map from the task's); `raw` as under ``classes`` of a shift."""
    if raw is None:
        return classes, LabelMap()
    spellings = classes.spellings()

    def group(value: Any) -> tuple[int, ...]:
        names = value if isinstance(value, list) else [value]
        return tuple(classes.index(_text(name), spellings) for name in names)

    if isinstance(raw, list) and raw:
        columns = tuple(group(_text(name)) for name in raw)
        own = Classes(
            tuple(classes.keys[i] for (i,) in columns),
            tuple(classes.prompts[i] for (i,) in columns),
        )
    elif isinstance(raw, dict) and raw:
        columns = tuple(group(value) for value in raw.values())
        own = Classes(*(2 * [tuple(_text(key) for key in raw)]))
    else:
        raise InputError(f"classes: expected a list or a mapping of class names, got {raw!r}")
    members = [index for column in columns for index in column]
    for index in members:
        if members.count(index) > 1:
            raise InputError(f"classes: {classes.keys[index]!r} is named more than once")
    return own, LabelMap(columns)


def _check_apart(measured: Split, seen: Mapping[str, Split]) -> None:
    """InputError if models are measured on the images that they are trained or chosen on."""
    for role, split in seen.items():
        if split.fingerprint == measured.fingerprint:
            raise InputError(f"the same images as {role}: models must be measured on others")

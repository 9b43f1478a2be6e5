"""Schema of suite files: their keys and types (reference: docs/suite-file.md).

The whole file is checked without looking up any images. Every error is one line that names the
file, the field and what was expected.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import pydantic
from pydantic_core import PydanticCustomError

from bench.api.metrics import extra_metrics
from bench.core.errors import InputError, shortened, unknown_name
from bench.core.foreign.documents import DocumentError, parse_yaml
from bench.core.foreign.files import text_of

ROLES = ("train", "selection", "test")
"""Roles of the splits that are not shifts; ids of unnamed images start with the role."""

RESERVED = ("all", "available", "id", "ood", "selection")
"""Words of the command line, of reports and of exports, which no suite or shift has as a name."""


def _safe(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        allowed = "letters, digits, '.', '_' and '-', starting with a letter or a digit"
        raise invalid(f"name {name!r:.80}: expected {allowed}")
    if name in RESERVED:
        raise invalid(f"name {name!r} is reserved: choose another one")
    return name


def invalid(message: str) -> PydanticCustomError:
    """Return a validation error whose text is `message`.

    Examples
    --------
    >>> from bench.data.suites.yaml_schema import invalid
    >>> str(invalid("expected exactly one of folder, list"))
    'expected exactly one of folder, list'
    """
    return PydanticCustomError("suite_file", "{message}", {"message": message})


def _metric(name: str) -> str:
    try:
        extra_metrics([name])
    except InputError as error:
        raise invalid(str(error)) from error
    return name


Name = Annotated[str, pydantic.AfterValidator(_safe)]
MetricName = Annotated[str, pydantic.AfterValidator(_metric)]


class StrictForm(pydantic.BaseModel):
    """A mapping that rejects unknown keys; its errors list the nearest valid keys first.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.yaml_schema import StrictForm, parse_form
    >>> class Form(StrictForm):
    ...     holdout: float
    ...
    >>> _ = Path("form.yaml").write_text("hold: 0.1")
    >>> parse_form(Path("form.yaml"), Form)
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: form.yaml: unknown key 'hold': did you mean ...
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys(cls, raw: Any) -> Any:
        valid = [f.alias or name for name, f in cls.model_fields.items()]
        if not isinstance(raw, Mapping):
            raise invalid(
                f"expected a mapping with keys among {', '.join(valid)}; got {reprlib.repr(raw)}"
            )
        for key in raw:
            if key not in valid:
                raise invalid(str(unknown_name("key", str(key), valid)))
        return cls._checked(raw)

    @classmethod
    def _checked(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        return raw


class ImageSource(StrictForm):
    """Source of images: exactly one of the keys in `kinds`, with its options.

    Examples
    --------
    >>> from bench.data.suites.yaml_schema import ImageSource
    >>> ImageSource(folder="images/train").place
    'images/train'
    """

    kinds: ClassVar[Mapping[str, frozenset[str]]] = {
        "folder": frozenset(),
        "list": frozenset({"groups"}),
        "arrays": frozenset({"labels", "keys", "layout"}),
        "shards": frozenset(),
        "hub": frozenset({"split", "image", "label"}),
    }

    folder: str | None = None
    listing: str | None = pydantic.Field(default=None, alias="list")
    groups: tuple[str, ...] = ()
    arrays: str | None = None
    labels: str | None = None
    keys: tuple[str, str] = ("images", "labels")
    layout: str | None = None
    shards: str | None = None
    hub: str | None = None
    split: str | None = None
    image: str = "image"
    label: str = "label"

    @classmethod
    def _checked(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        given = [kind for kind in cls.kinds if raw.get(kind) is not None]
        if len(given) != 1:
            got = f"got {' and '.join(given)}" if given else "got none"
            raise invalid(f"expected exactly one of {', '.join(cls.kinds)}; {got}")
        for key in raw:
            if key != given[0] and key not in cls.kinds[given[0]]:
                raise invalid(f"{key!r} cannot be combined with {given[0]!r}: remove one of them")
        return raw

    @property
    def place(self) -> str:
        """The folder, file, pattern or name that the images come from."""
        fields = {field.alias or name: name for name, field in type(self).model_fields.items()}
        given = (getattr(self, fields[kind]) for kind in ImageSource.kinds)
        place: str = next(place for place in given if place is not None)
        return place


class SelectionForm(ImageSource):
    """Source of the selection split: a held-out part of `train`, or separate images.

    Examples
    --------
    >>> from bench.data.suites.yaml_schema import SelectionForm
    >>> SelectionForm(holdout=0.1).seed
    0
    """

    kinds: ClassVar[Mapping[str, frozenset[str]]] = {
        "holdout": frozenset({"seed"}),
        **ImageSource.kinds,
    }

    holdout: float | None = pydantic.Field(default=None, gt=0, lt=1)
    seed: int = 0


class PartsForm(ImageSource):
    """Source of images that are divided into training, selection and test images.

    Examples
    --------
    >>> from bench.data.suites.yaml_schema import PartsForm
    >>> PartsForm(folder="photos", shares={"train": 0.8, "test": 0.2}).seed
    0
    """

    kinds: ClassVar[Mapping[str, frozenset[str]]] = {
        kind: options | {"shares", "seed"} | ({"group"} if kind == "list" else set())
        for kind, options in ImageSource.kinds.items()
    }

    shares: dict[str, Annotated[float, pydantic.Field(gt=0, lt=1)]]
    seed: int = 0
    group: str | None = None

    @pydantic.field_validator("shares")
    @classmethod
    def _whole(cls, shares: dict[str, float]) -> dict[str, float]:
        for role in shares:
            if role not in ROLES:
                raise invalid(str(unknown_name("part", role, ROLES)))
        for role in ("train", "test"):
            if role not in shares:
                raise invalid(f"no share of {role}: expected train, test and perhaps selection")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise invalid(f"the shares add up to {sum(shares.values()):g}: expected 1")
        return {role: shares[role] for role in ROLES if role in shares}


class ShiftForm(ImageSource):
    """Source of a shift: separate images, or corrupted test images.

    Examples
    --------
    >>> from bench.data.suites.yaml_schema import ShiftForm
    >>> ShiftForm(corrupt="fog").severity
    3
    """

    kinds: ClassVar[Mapping[str, frozenset[str]]] = {
        **{kind: options | {"classes", "metrics"} for kind, options in ImageSource.kinds.items()},
        "corrupt": frozenset({"severity", "seed", "metrics"}),
    }

    corrupt: str | None = None
    severity: int = pydantic.Field(default=3, ge=1, le=5)
    seed: int = 0
    classes: Any = None
    metrics: tuple[MetricName, ...] = ()


class SuiteFile(StrictForm):
    """Schema of a whole suite file.

    Examples
    --------
    >>> from bench.data.suites.yaml_schema import SuiteFile
    >>> images = {"train": {"folder": "train"}, "test": {"folder": "test"}}
    >>> SuiteFile(name="pets", classes=["cat", "dog"], templates=["a {}."], **images).model
    'ViT-B-32'
    """

    name: Name
    title: str | None = None
    source: str = "not stated"
    licence: str = "not stated"
    citation: str = "not stated"
    classes: Any
    templates: Any
    model: str = "ViT-B-32"
    pretrained: str = "openai"
    split: PartsForm | None = None
    train: ImageSource | None = None
    selection: SelectionForm | None = None
    test: ImageSource | None = None
    shifts: dict[Name, ShiftForm] = {}
    metrics: tuple[MetricName, ...] = ()
    defaults: dict[str, dict[str, Any]] = {}

    @classmethod
    def _checked(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        given = [role for role in ROLES if raw.get(role) is not None]
        if raw.get("split") is not None and given:
            raise invalid(f"{given[0]!r} cannot be combined with 'split': remove one of them")
        for role in ("train", "test") if raw.get("split") is None else ():
            if raw.get(role) is None:
                raise invalid(f"{role}: Field required, or 'split' in place of train and test")
        return raw

    @property
    def weights(self) -> str:
        """The weights of the default backbone: those of a model ``PREFIX:NAME`` are its name."""
        _, colon, name = self.model.partition(":")
        return name if colon and "pretrained" not in self.model_fields_set else self.pretrained

    @property
    def sources(self) -> Mapping[str, ImageSource]:
        """{train or test: source of its images}; empty with `split`."""
        both = {"train": self.train, "test": self.test}
        return {role: source for role, source in both.items() if source is not None}


F = TypeVar("F", bound=StrictForm)


def is_suite_file(name: str) -> bool:
    """Return whether `name` is the path of a suite file.

    Examples
    --------
    >>> from bench.data.suites.yaml_schema import is_suite_file
    >>> is_suite_file("pets.yaml"), is_suite_file("imagenet")
    (True, False)
    """
    return name.endswith((".yaml", ".yml"))


def read_suite_file(path: Path) -> SuiteFile:
    r"""Return the checked content of the suite file `path`. InputError if it is not valid.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.yaml_schema import read_suite_file
    >>> _ = Path("pets.yaml").write_text(
    ...     "name: pets\nclasses: [cat, dog]\ntemplates: a {}.\n"
    ...     "train: {folder: train}\ntest: {folder: test}"
    ... )
    >>> read_suite_file(Path("pets.yaml")).pretrained
    'openai'
    """
    return parse_form(path, SuiteFile)


def parse_form(path: Path, form: type[F]) -> F:
    """Return the content of the YAML file `path`, checked against `form`. Raises InputError.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.suites.yaml_schema import ImageSource, parse_form
    >>> _ = Path("source.yaml").write_text("folder: images/train")
    >>> parse_form(Path("source.yaml"), ImageSource).folder
    'images/train'
    """
    try:
        raw = parse_yaml(text_of(path))
        return form.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        reason = f"{first['msg']}, got {reprlib.repr(first['input'])}"
        if first["type"] in ("suite_file", "missing"):
            reason = first["msg"]
        named = f"{where:.80}: " if where else ""
        raise InputError(f"{path}: {named}{shortened(reason, 400)}") from error
    except DocumentError as error:
        raise InputError(f"{path}{f':{error.line}' * bool(error.line)}: {error}") from error

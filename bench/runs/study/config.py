"""The configuration of a run: the command line's options, or a YAML file of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic_core import PydanticCustomError

from bench.core.errors import InputError, unknown_name
from bench.data.prompts import templates_digest
from bench.leaderboard.published.layouts import find_preset
from bench.posthoc.selection import RULES


def _invalid(message: str) -> PydanticCustomError:
    return PydanticCustomError("config", "{message}", {"message": message})


def _listed(value: Any) -> Any:
    """A comma separated text as a list of its parts; one number as a list."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if value == []:
        raise _invalid("expected at least one, comma separated")
    return [value] if isinstance(value, int) else value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise _invalid("expected a number")
    return value


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds in ascending order: their order means nothing."""
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise _invalid(f"seed {seed} is listed twice")
    return tuple(sorted(seeds))


Names = Annotated[tuple[str, ...], pydantic.BeforeValidator(_listed)]
Number = Annotated[int, pydantic.BeforeValidator(_no_bool)]
Seeds = Annotated[
    tuple[Annotated[Number, pydantic.Field(ge=0, lt=2**31)], ...],
    pydantic.BeforeValidator(_listed),
    pydantic.AfterValidator(_distinct),
]
Positive = Annotated[Number, pydantic.Field(ge=1)]
Name = Annotated[str, pydantic.Field(min_length=1)]
Device = Annotated[Name, pydantic.Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class RunConfig(pydantic.BaseModel):
    """Every option of ``bench run``; see ``bench run --help`` for what they mean."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    suite: Names = ("mini",)
    table: Name | None = None
    methods: Names = ("wise-ft", "ose", "vrf")
    shifts: Names = ("all",)
    model: Name | None = None
    pretrained: Name | None = None
    imported: Name | None = None
    seeds: Seeds = (0,)
    data: Path | None = None
    device: Device = "auto"
    precision: Literal["fp32", "bf16"] | None = None
    train_batch_size: Positive | None = None
    eval_batch_size: Positive = 256
    workers: Annotated[Number, pydantic.Field(ge=0)] | None = None
    allow_incomplete: bool = False
    limit: Positive | None = None
    shots: Positive | None = None
    templates: Path | None = None
    protocol: Name = "clean"
    select: str | None = None
    controls: bool = False
    curves: bool | None = None
    set: Mapping[str, Mapping[str, Any]] = {}
    out: Path | None = None
    cache_dir: Path | None = None

    def results(self) -> dict[str, Any]:
        """The options that can change a number (not where and how fast it is computed)."""
        how = {"data", "device", "eval_batch_size", "workers", "out", "cache_dir", "templates"}
        found = self.model_dump(mode="json", exclude=how)
        if self.templates is not None:
            found["templates"] = str(self.templates)
            found["templates_sha256"] = templates_digest(self.templates)
        return found


def load_config(path: Path | None, options: Mapping[str, Any]) -> RunConfig:
    """The configuration of a run file (if any) with `options` on top of it.

    `options` are named as the fields; None is not given, ``set`` is a tuple of assignments.
    Raises InputError, one line that names the option, for unknown keys and bad values.
    """
    values = {} if path is None else _yaml(path)
    given = {name: value for name, value in options.items() if value is not None}
    assigned = parse_assignments(given.pop("set", ()))
    for name in values:
        if name not in RunConfig.model_fields:
            raise unknown_name(f"option in {path}", name, RunConfig.model_fields)
    try:
        config = RunConfig.model_validate(values | given)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, *inner = (str(part) for part in first["loc"] if isinstance(part, str))
        place = f"--{name.replace('_', '-')}" if name in given else f"{path}: {name}"
        where = ".".join([place, *inner])
        raise InputError(f"{where} {first['input']}: {first['msg']}") from error
    if config.select is not None and config.select not in RULES:
        raise unknown_name("selection rule", config.select, RULES)
    return _tabled(config).model_copy(update={"set": _merged(config.set, assigned)})


def _tabled(config: RunConfig) -> RunConfig:
    """The configuration with the methods of its table, if it names one.

    Raises InputError for an unknown table, and for methods or shifts beside one.
    """
    if config.table is None:
        return config
    preset = find_preset(config.table)
    for name in ("methods", "shifts"):
        if name in config.model_fields_set:
            raise InputError(f"--table {config.table} fixes the {name}: leave --{name} out")
    return config.model_copy(update={"methods": preset.methods})


def parse_assignments(texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """``METHOD.PARAM=VALUE`` texts as {method: {param: value text}}."""
    parsed: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        method, dot, parameter = name.partition(".")
        if not (equals and dot and method and parameter):
            raise InputError(f"--set {text}: expected METHOD.PARAM=VALUE, such as e2e-ft.lr=1e-5")
        parsed.setdefault(method, {})[parameter] = value
    return parsed


def _merged(
    base: Mapping[str, Mapping[str, Any]], top: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    return {m: {**base.get(m, {}), **top.get(m, {})} for m in [*base, *top]}


def _yaml(path: Path) -> dict[str, Any]:
    """The options in a run file; dashes in their names are as good as underscores."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--config {path} is not a text file") from error
    except yaml.YAMLError as error:
        raise InputError(f"--config {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"--config {path}: expected options such as 'seeds: 0', got {loaded!r}")
    return {str(name).replace("-", "_"): value for name, value in loaded.items()}

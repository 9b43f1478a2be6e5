"""The configuration of a run, from the command line's options or a YAML file with their names."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError

from bench.api.registry import load_plugin, loaded_plugins
from bench.core.errors import InputError, shortened, unknown_name
from bench.core.foreign.documents import DocumentError, parse_yaml
from bench.core.foreign.files import text_of
from bench.core.paths import cache_path, local_path, store_address
from bench.data.prompts import templates_digest
from bench.leaderboard.published.layouts import find_preset
from bench.posthoc.selection import RULES


def _invalid(message: str) -> PydanticCustomError:
    return PydanticCustomError("config", "{message}", {"message": message})


def _listed(value: Any) -> Any:
    """Return comma-separated text, or a single number, as a list."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if value == []:
        raise _invalid("expected at least one value, separated by commas")
    return [value] if isinstance(value, int) else value


def _several(value: Any) -> Any:
    """Return one path as a list; file names may contain commas."""
    return [value] if isinstance(value, str | Path) else value


def _not_empty(value: Any) -> Any:
    """Refuse an empty path, as of a variable that is not set: it would be the current folder."""
    if value == "":
        raise _invalid("the path is empty: give one, or leave the option out")
    return value


def _imported(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Import plugin files, so that whoever has the configuration knows their methods."""
    for path in paths:
        load_plugin(local_path(path, "--plugin"))
    return paths


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise _invalid("expected a number, not true or false")
    return value


def _seed(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9]+", value):
        raise _invalid("expected numbers separated by commas, such as 0,1,2,3")
    return value


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds in ascending order, since their order has no meaning."""
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise _invalid(f"seed {seed} is listed twice: list each seed once")
    return tuple(sorted(seeds))


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise _invalid("expected auto, cpu, mps, cuda or cuda:N")
    return name


Names = Annotated[tuple[str, ...], pydantic.BeforeValidator(_listed)]
Number = Annotated[int, pydantic.BeforeValidator(_no_bool)]
Seeds = Annotated[
    tuple[Annotated[Number, pydantic.Field(ge=0, lt=2**31), pydantic.BeforeValidator(_seed)], ...],
    pydantic.BeforeValidator(_listed),
    pydantic.AfterValidator(_distinct),
]
Positive = Annotated[Number, pydantic.Field(ge=1, lt=2**31)]
Name = Annotated[str, pydantic.Field(min_length=1)]
TrackerNames = Annotated[
    tuple[Literal["tensorboard", "wandb", "mlflow"], ...], pydantic.BeforeValidator(_listed)
]
Place = Annotated[Path, pydantic.BeforeValidator(_not_empty)]
PluginFiles = Annotated[
    tuple[Place, ...], pydantic.BeforeValidator(_several), pydantic.AfterValidator(_imported)
]
Device = Annotated[Name, pydantic.AfterValidator(_device)]


class RunConfig(pydantic.BaseModel):
    """All options of ``bench run``; ``bench run --help`` explains them."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    suite: Names = ("mini",)
    table: Name | None = None
    methods: Names = ("wise-ft", "ose", "vrf")
    shifts: Names = ("all",)
    model: Name | None = None
    pretrained: Name | None = None
    imported: Name | None = None
    seeds: Seeds = (0,)
    data: Place | None = None
    device: Device = "auto"
    executor: Name | None = None
    precision: Literal["fp32", "bf16", "bf16-eval", "auto"] | None = None
    train_batch_size: Positive | None = None
    eval_batch_size: Positive = 256
    micro_batch: Positive | None = None
    workers: Annotated[Number, pydantic.Field(ge=0, le=1024)] | None = None
    epoch_accuracy: bool = False
    allow_incomplete: bool = False
    limit: Positive | None = None
    shots: Positive | None = None
    templates: Place | None = None
    protocol: Name = "clean"
    select: str | None = None
    tune: Names = ()
    trials: Positive | None = None
    controls: bool = False
    curves: bool | None = None
    metrics: Names = ()
    set: Mapping[str, Mapping[str, Any]] = {}
    out: Place | None = None
    overwrite: bool = False
    cache_dir: Place | None = None
    plugin: PluginFiles = ()
    tracker: TrackerNames = ()

    def results(self) -> dict[str, Any]:
        """Return the options that can change a number, not those on where or how it is computed."""
        how = {
            "data",
            "device",
            "executor",
            "eval_batch_size",
            "micro_batch",
            "workers",
            "out",
            "overwrite",
            "cache_dir",
        }
        how |= {"tracker"}
        how |= {"epoch_accuracy", "templates", "plugin"}
        how |= set() if self.tune else {"tune", "trials"}
        how |= set() if self.metrics else {"metrics"}
        options = self.model_dump(mode="json", exclude=how)
        if self.templates is not None:
            options["templates"] = str(self.templates)
            options["templates_sha256"] = templates_digest(self.templates)
        if self.plugin:
            options["plugin"] = [str(path) for path in self.plugin]
            # As they were imported: a file may have been edited since, while the run went on.
            loaded = loaded_plugins()
            options["plugin_sha256"] = [loaded[path.resolve()].digest for path in self.plugin]
        return options


PATHS = ("data", "templates", "out", "cache_dir", "plugin")
"""The options that are always paths."""


def load_config(path: Path | None, options: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a run file, if any, overridden by `options`.

    The names of `options` are the fields of `RunConfig`. The value None means that an option is not
    set; ``set`` is a list of ``METHOD.PARAM=VALUE`` texts or {method: {parameter: value}}, here as
    in the file. Relative paths in the file start at its folder. Raises InputError that names the
    option for unknown options and invalid values.
    """
    values = {} if path is None else _yaml(local_path(path, "--config"))
    overrides = {name: value for name, value in options.items() if value is not None}
    assigned = _assigned(overrides.pop("set", ()))
    for name in values:
        if name not in RunConfig.model_fields:
            raise unknown_name(f"option in {path}", name, RunConfig.model_fields)
    if path is not None:
        values = {name: _from_folder(path, name, value) for name, value in values.items()}
        if isinstance(values.get("set"), str | list):
            values["set"] = _assigned_in(path, values["set"])
    try:
        config = RunConfig.model_validate(values | overrides)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, *inner = (str(part) for part in first["loc"] if isinstance(part, str))
        place = f"--{name.replace('_', '-')}" if name in overrides else f"{path}: {name}"
        where = ".".join([place, *inner])
        given = first["input"]
        shown = shortened(given if isinstance(given, str) else reprlib.repr(given), 100)
        is_empty = first["type"] == "string_too_short"
        said = "is empty: give a value or leave it out" if is_empty else f"{shown}: {first['msg']}"
        raise InputError(f"{where} {said}") from error
    for name in (*PATHS, "pretrained", "suite"):
        given = getattr(config, name)
        checked = cache_path if name == "cache_dir" else local_path
        for one in given if isinstance(given, tuple) else (given,):
            checked("" if one is None else str(one), f"--{name.replace('_', '-')}")
    if config.select is not None and config.select not in RULES:
        raise unknown_name("selection rule", config.select, RULES)
    return _with_table(config).model_copy(update={"set": _merged(config.set, assigned)})


def _with_table(config: RunConfig) -> RunConfig:
    """Return the configuration with the methods of its table, if it names one.

    Raises InputError for an unknown table, and if methods or shifts are set in addition to a table.
    """
    if config.table is None:
        return config
    preset = find_preset(config.table)
    for name in ("methods", "shifts"):
        if name in config.model_fields_set:
            raise InputError(f"--table {config.table} determines the {name}: leave --{name} out")
    return config.model_copy(update={"methods": preset.methods})


def _from_folder(path: Path, name: str, value: Any) -> Any:
    """Return the value of a run file's option with relative paths starting at its folder.

    Suites are paths if they are suite files; a `pretrained` is one if there is such a file.
    An object store that is the cache is kept. Raises InputError for other addresses, which joining
    would hide.
    """
    if isinstance(value, list):
        return [_from_folder(path, name, one) for one in value]
    if not isinstance(value, str):
        return value
    folder, what = path.parent, f"{path}: {name}"
    if name == "cache_dir" and store_address(value):
        return cache_path(value, what)
    if name in PATHS and value:
        return str(folder / local_path(value, what))
    if name == "pretrained" and (folder / value).is_file():
        return str(folder / value)
    if name == "suite":
        parts = [part.strip() for part in value.split(",")]
        is_file = re.compile(r".*\.ya?ml(\+.*)?")
        return ",".join(
            str(folder / local_path(p, what)) if is_file.fullmatch(p) else p for p in parts
        )
    return value


def _assigned_in(path: Path, value: str | list[Any]) -> dict[str, dict[str, Any]]:
    """Return the settings of a run file that lists them as on the command line."""
    try:
        return parse_assignments([value] if isinstance(value, str) else list(map(str, value)))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _assigned(value: Any) -> Mapping[str, Mapping[str, Any]]:
    return value if isinstance(value, Mapping) else parse_assignments(value)


def parse_assignments(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse ``METHOD.PARAM=VALUE`` texts to {method: {param: value text}}. Raises InputError."""
    parsed: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        method, dot, parameter = name.partition(".")
        if not (equals and dot and method and parameter):
            raise InputError(
                f"--set {text}: expected METHOD.PARAM=VALUE, such as "
                "e2e-ft.lr=1e-5, protocol.FIELD=VALUE, such as protocol.ece_bins=20, or "
                "model.FIELD=VALUE, such as model.quick_gelu=true"
            )
        parsed.setdefault(method, {})[parameter] = value
    return parsed


def _merged(
    base: Mapping[str, Mapping[str, Any]], top: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return both settings; where both have a value, that of `top` wins."""
    return {m: {**base.get(m, {}), **top.get(m, {})} for m in [*base, *top]}


def _yaml(path: Path) -> dict[str, Any]:
    """Read the options of a run file; their names may have dashes or underscores."""
    try:
        loaded = parse_yaml(text_of(path))
    except InputError as error:
        reason = str(error).removeprefix(f"cannot read {path}: ")
        raise InputError(f"--config {path}: cannot be read: {reason}") from error
    except DocumentError as error:
        line = f":{error.line}" * bool(error.line)
        raise InputError(f"--config {path}{line}: {error}") from error
    if not isinstance(loaded, dict):
        raise InputError(
            f"--config {path}: expected options, one per line, such as 'seeds: 0'; "
            f"got {reprlib.repr(loaded)}"
        )
    return {str(name).replace("-", "_"): value for name, value in loaded.items()}

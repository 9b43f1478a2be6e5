"""The configuration of a run: the command line's options, or a YAML file of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from bench.errors import InputError, unknown
from bench.selection import RULES


def _listed(value: Any) -> Any:
    """A comma separated text as a list of its parts; one number as a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


Names = Annotated[tuple[str, ...], pydantic.BeforeValidator(_listed), pydantic.Field(min_length=1)]
Seeds = Annotated[
    tuple[Annotated[int, pydantic.Field(ge=0, lt=2**31)], ...],
    pydantic.BeforeValidator(_listed),
    pydantic.Field(min_length=1),
]
Positive = Annotated[int, pydantic.Field(ge=1)]


class RunConfig(pydantic.BaseModel):
    """Every option of ``bench run``; see ``bench run --help`` for what they mean."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    suite: Names = ("mini",)
    methods: Names = ("all",)
    shifts: Names = ("all",)
    model: str | None = None
    pretrained: str | None = None
    seeds: Seeds = (0,)
    data: Path | None = None
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    train_batch_size: Positive | None = None
    eval_batch_size: Positive = 256
    workers: Annotated[int, pydantic.Field(ge=0)] | None = None
    limit: Positive | None = None
    select: str = "within-1pt"
    curves: bool | None = None
    set: Mapping[str, Mapping[str, Any]] = {}
    out: Path | None = None
    cache_dir: Path | None = None

    @pydantic.field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds

    def results(self) -> dict[str, Any]:
        """The options that can change a number (not where and how fast it is computed)."""
        how = {"data", "device", "eval_batch_size", "workers", "out", "cache_dir"}
        return self.model_dump(mode="json", exclude=how)


def load(path: Path | None, options: Mapping[str, Any]) -> RunConfig:
    """The configuration of a run file (if any) with `options` on top of it.

    Raises InputError, one line that names the option, for unknown keys and bad values.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = {str(k).replace("-", "_"): v for k, v in _yaml(path).items()}
    given = {name: value for name, value in options.items() if value is not None}
    where = f"{path}: " if path else ""
    for name in values:
        if name not in RunConfig.model_fields:
            raise unknown(f"option in {path}", name, RunConfig.model_fields)
    assignments = given.pop("set", ())
    try:
        merged = _merged(values.get("set") or {}, parse_assignments(assignments))
        config = RunConfig.model_validate(values | given | {"set": merged})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        shown = first["input"] if not isinstance(first["input"], dict) else ""
        raise InputError(f"{where}{option} {shown!s}: {first['msg']}") from error
    if config.select not in RULES:
        raise unknown("selection rule", config.select, RULES)
    return config


def parse_assignments(texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """``METHOD.PARAM=VALUE`` texts as {method: {param: value text}}."""
    parsed: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        method, dot, parameter = name.rpartition(".")
        if not (equals and dot and method and parameter):
            raise InputError(f"--set {text}: expected METHOD.PARAM=VALUE, such as e2e-ft.lr=1e-5")
        parsed.setdefault(method, {})[parameter] = value
    return parsed


def _merged(
    base: Mapping[str, Mapping[str, Any]], top: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    return {m: {**base.get(m, {}), **top.get(m, {})} for m in [*base, *top]}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise InputError(f"--config {path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"--config {path}: expected a mapping of options")
    return loaded

"""Hyper-parameters: types that define their ranges, and changes by ``--set METHOD.PARAM=VALUE``."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml
from annotated_types import Ge, Gt, Interval

from bench.core.errors import InputError, unknown_name

Positive = Annotated[float, Gt(0), pydantic.AllowInfNan(False)]
NonNegative = Annotated[float, Ge(0), pydantic.AllowInfNan(False)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Area = Annotated[float, Interval(gt=0, le=1)]
Count = Annotated[int, Ge(1)]
Precision = Literal["fp32", "bf16"]

D = TypeVar("D")


def parameters(value: Any) -> dict[str, Any]:
    """Return all hyper-parameters of a method or trainer as {name: value}.

    Those of a nested dataclass are named ``FIELD.NAME``. The field ``trainer`` is an exception:
    its hyper-parameters go by ``NAME`` alone.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.core.parameters import parameters
    >>> parameters(find_method("vrf")())["b_grid"], parameters(find_method("lp-ft")())["probe.lr"]
    ((0.05, 0.1, 0.2, 0.4), 0.001)
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            prefix = _prefix(field.name)
            found |= {f"{prefix}{name}": one for name, one in parameters(inner).items()}
        else:
            found[field.name] = inner
    return found


def _prefix(field: str) -> str:
    return "" if field == "trainer" else f"{field}."


def with_parameters(value: D, changes: Mapping[str, Any], owner: str) -> D:
    """Return a copy of `value` with hyper-parameters changed.

    Values in `changes` may be text from the command line, which is parsed as YAML. Raises
    InputError for an unknown name (the message lists the valid ones) or a value outside the
    parameter's type or range. The message names `owner`.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.core.parameters import with_parameters
    >>> with_parameters(find_method("ose")(), {"alphas": "[0.2, 0.8]"}, "ose").alphas
    (0.2, 0.8)
    >>> with_parameters(find_method("ose")(), {"alphas": "[1.2]"}, "ose")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: ose.alphas=[1.2]: Input should be less than or equal to 1
    """
    valid = parameters(value)
    for name in changes:
        if name not in valid:
            raise unknown_name(f"hyper-parameter of {owner}", name, valid)
    return _changed(value, changes, owner)


def _changed(value: D, changes: Mapping[str, Any], owner: str) -> D:
    hints = typing.get_type_hints(type(value), include_extras=True)
    new: dict[str, Any] = {}
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            prefix = _prefix(field.name)
            own = {n[len(prefix) :]: v for n, v in changes.items() if n.startswith(prefix)}
            new[field.name] = _changed(inner, own, f"{owner}.{prefix}".rstrip("."))
        elif field.name in changes:
            new[field.name] = _checked(
                hints[field.name], changes[field.name], f"{owner}.{field.name}"
            )
    return dataclasses.replace(value, **new)  # type: ignore[type-var]


def _checked(hint: Any, raw: Any, what: str) -> Any:
    try:
        loaded = yaml.safe_load(raw) if isinstance(raw, str) else raw
        return pydantic.TypeAdapter(hint).validate_python(loaded)
    except (pydantic.ValidationError, yaml.YAMLError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else error
        if "valid tuple" in str(reason):
            reason = "expected a list, such as [0.1, 0.2]"
        raise InputError(f"{what}={raw}: {reason}") from error

"""Hyper-parameters: types that define their ranges, their sources, and changes of their values."""

from __future__ import annotations

import dataclasses
import functools
import math
import reprlib
import typing
from collections.abc import Hashable, Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

import pydantic
from annotated_types import Interval

from bench.core.errors import InputError, shortened, unknown_name
from bench.core.foreign.documents import parse_yaml
from bench.core.hashing import KEYED_IF_SET

LARGEST = 3.4e38
"""Parameters enter tensors of float32, which hold no larger number."""
Positive = Annotated[float, Interval(gt=0, le=LARGEST), pydantic.AllowInfNan(False)]
NonNegative = Annotated[float, Interval(ge=0, le=LARGEST), pydantic.AllowInfNan(False)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Area = Annotated[float, Interval(gt=0, le=1)]
Count = Annotated[int, Interval(ge=1, lt=2**31)]
Precision = Literal["fp32", "bf16"]

D = TypeVar("D")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known of a hyper-parameter: its values under both protocols, and their source.

    Attributes
    ----------
    clean, official : its value by default, and in the published code.
    source : paper section or official file of the values; empty if the method does not state it.

    Examples
    --------
    >>> from bench.core.parameters import Setting
    >>> Setting(clean=15, official=10, source="CaRot's evaluator").official
    10
    """

    clean: Any
    official: Any
    source: str = ""


_SAME = object()


def setting(
    clean: Any,
    source: str,
    *,
    official: Any = _SAME,
    on: Mapping[str, Any] | None = None,
    span: float | None = None,
    grid_of: str = "",
    keyed_if_set: bool = False,
    also: tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field for a hyper-parameter with its default `clean` and their `source`.

    Parameters
    ----------
    clean : the default.
    source : paper section or official file of the values.
    official : the value in the published code, for ``--protocol official``, if it is another one;
        for a trainer, one with all of its published values.
    on : official values that differ on single tasks, {task: value}.
    span : for ``--tune``: the value is searched between value / span and value x span.
    grid_of : for a field that lists candidates: the name in a choice of the parameter they are
        values of. If the first or last of them is chosen, it is said in the records
        (`bench.api.declarations.chosen_edges`).
    keyed_if_set : for a field that came later: None, which means what was done before, enters no
        key, so that older keys stay valid (`bench.core.hashing.KEYED_IF_SET`).
    also : for a trainer: parameters that have its class's own values, but this `source`.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from bench.core.parameters import Count, setting, settings
    >>> @dataclass(frozen=True)
    ... class Scaled:
    ...     bins: Count = setting(15, "bench's choice; 10 in the code", official=10)
    ...
    >>> settings(Scaled())["bins"]
    Setting(clean=15, official=10, source="bench's choice; 10 in the code")
    """
    facts: dict[str, Any] = {"source": source, "official_on": dict(on or {}), "also": also}
    facts |= {"span": span, "grid_of": grid_of}
    if official is not _SAME:
        facts["official"] = official
    if keyed_if_set:
        facts |= KEYED_IF_SET
    return dataclasses.field(default=clean, metadata=facts)


def settings(value: Any, task: str = "") -> dict[str, Setting]:
    """Return all hyper-parameters of a method or trainer, as in `parameters`, with their sources.

    `clean` is the value in `value`. Official values are those on `task`. Where a method gives its
    trainer another value than the trainer's own default, or another official one, the source is
    that of the method's field.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.core.parameters import settings
    >>> settings(find_method("vrf")())["squared"].official
    True
    """
    found: dict[str, Setting] = {}
    for field in dataclasses.fields(value):
        inner, facts = getattr(value, field.name), field.metadata
        official = facts.get("official_on", {}).get(task, facts.get("official", _SAME))
        if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
            cls: type[Any] = type(inner)
            defaults = parameters(cls()) if "source" in facts else {}
            published = {} if official is _SAME else parameters(official)
            for name, own in settings(inner, task).items():
                known = published.get(name, own.official)
                changed = name in defaults and (
                    own.clean != defaults[name] or known != own.official or name in facts["also"]
                )
                source = facts["source"] if changed else own.source
                found[f"{_prefix(field.name)}{name}"] = Setting(own.clean, known, source)
        else:
            known = inner if official is _SAME else official
            found[field.name] = Setting(inner, known, facts.get("source", ""))
    return found


def smoke_settings(value: Any) -> dict[str, Any]:
    """Return the `smoke` values of all trainers in a method, {name: value} as in `parameters`.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.core.parameters import smoke_settings
    >>> smoke_settings(find_method("linear-lbfgs")())
    {'max_iter': 20}
    """
    found = dict(getattr(type(value), "smoke", {}))
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            own = smoke_settings(inner)
            found |= {f"{_prefix(field.name)}{name}": one for name, one in own.items()}
    return found


def search_spans(value: Any) -> dict[str, float]:
    """Return the spans of a method's hyper-parameters, and of its ``trainer``'s, by name.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.core.parameters import search_spans
    >>> search_spans(find_method("e2e-ft")())
    {'lr': 10, 'weight_decay': 10, 'epochs': 2}
    """
    found: dict[str, float] = {}
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if field.name == "trainer" and dataclasses.is_dataclass(inner):
            found |= search_spans(inner)
        elif field.metadata.get("span") is not None:
            found[field.name] = field.metadata["span"]
    return found


def suited_settings(value: Any, images: int, *, small: bool) -> dict[str, Any]:
    """Return what follows from the size of the training split for all trainers in a method.

    {name: value} as in `parameters`; the values are those of the trainers' own ``suited_to``.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.core.parameters import suited_settings
    >>> found = suited_settings(find_method("lp-ft")(), 10_000, small=False)
    >>> found["lr"], found["epochs"], found["probe.epochs"]
    (1e-05, 10, 50)
    """
    return _following(value, "suited_to", images, small=small)


def pretraining_settings(value: Any, loss: str) -> dict[str, Any]:
    """Return what follows from the loss of a model's pretraining for all trainers in a method.

    {name: value} as in `parameters`; the values are those of the trainers' own ``pretrained_with``.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.core.parameters import pretraining_settings
    >>> [pretraining_settings(find_method(name)(), "sigmoid") for name in ("flyp", "lp-ft")]
    [{'contrast': 'sigmoid'}, {}]
    """
    return _following(value, "pretrained_with", loss)


def _following(value: Any, rule: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return what the method `rule` of a method and of the trainers in it gives, by name."""
    own = getattr(value, rule, None)
    found = {} if own is None else dict(own(*args, **kwargs))
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            theirs = _following(inner, rule, *args, **kwargs)
            found |= {f"{_prefix(field.name)}{name}": one for name, one in theirs.items()}
    return found


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
    if not changes:
        return value
    valid = parameters(value)
    for name in changes:
        if name not in valid:
            raise unknown_name(f"hyper-parameter of {owner}", name, valid)
    return _changed(value, changes, owner)


def _changed(value: D, changes: Mapping[str, Any], owner: str) -> D:
    hints = _hints(cast(Hashable, type(value)))
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


def open_grids(value: Any) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return {parameter: (candidates, natural bounds among them)} of the grids of a dataclass.

    These are the fields with a `grid_of`, also those of nested dataclasses. At a natural bound, the
    type of the field allows no value beyond: 0 for numbers that are not negative.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.core.parameters import open_grids
    >>> open_grids(find_method("ose")(alphas=(0.0, 0.5, 0.9)))
    {'alpha': ((0.0, 0.5, 0.9), (0.0,))}
    """
    found: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    for field in dataclasses.fields(value):
        inner, name = getattr(value, field.name), field.metadata.get("grid_of")
        if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
            found |= open_grids(inner)
        elif name and inner is not None:
            hint = _hints(cast(Hashable, type(value)))[field.name]
            bounds = [
                edge
                for edge, beyond in ((min(inner), -math.inf), (max(inner), math.inf))
                if not _allows(hint, math.nextafter(edge, beyond))
            ]
            found[name] = tuple(inner), tuple(bounds)
    return found


def _allows(grid: Any, value: float) -> bool:
    """Whether a field of the type `grid` may list `value`."""
    try:
        pydantic.TypeAdapter(grid).validate_python((value,))
    except pydantic.ValidationError:
        return False
    return True


@functools.cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _checked(hint: Any, raw: Any, what: str) -> Any:
    shown = shortened(raw if isinstance(raw, str) else reprlib.repr(raw), 100)
    try:
        loaded = parse_yaml(raw) if isinstance(raw, str) else raw
        found = pydantic.TypeAdapter(hint).validate_python(loaded)
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else error
        if "valid tuple" in str(reason):
            reason = "expected a list, such as [0.1, 0.2]"
        raise InputError(f"{what}={shown}: {reason}") from error
    given, kept = (
        value if isinstance(value, list | tuple) else [value] for value in (loaded, found)
    )
    if [type(value) is bool for value in given] != [type(value) is bool for value in kept]:
        raise InputError(f"{what}={shown}: expected numbers, not true or false")
    return found

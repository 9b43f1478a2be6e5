"""Checks of what a method declares on its class, before anything is computed with it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from bench.api.method import Method
from bench.core.errors import InputError, unknown_name
from bench.core.parameters import open_grids, parameters, settings, with_parameters
from bench.posthoc.selection import edge_sentence

SHAPES = (
    "circle", "square", "cross", "diamond", "triangle-up", "triangle-down", "triangle-right",
    "triangle-left",
)  # fmt: skip


def check_declarations(cls: type[Method], known: Collection[str] | None = None) -> None:
    """Raise InputError for a class attribute or hyper-parameter that cannot be meant.

    `known` are the names of all methods, if those that the class names should exist.

    Examples
    --------
    >>> from bench.api.declarations import check_declarations
    >>> from bench.api.registry import methods
    >>> check_declarations(methods()["vrf"], known=methods())
    """
    if not dataclasses.is_dataclass(cls) or "__dataclass_fields__" not in vars(cls):
        raise InputError(f"{cls.__name__}: write @dataclass(frozen=True) above the class")
    for attribute in ("compared_with", "controls"):
        names = getattr(cls, attribute)
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise _expected(cls, attribute, 'a tuple of names, such as ("ose",)')
        if cls.name in names:
            raise _expected(cls, attribute, "names of other methods")
        for name in () if known is None else sorted(set(names).difference(known)):
            unknown = unknown_name("method", name, known or ())
            raise InputError(f"{cls.__name__}.{attribute}: {unknown}")
    if cls.colour is not None and not re.fullmatch("#[0-9a-f]{6}", str(cls.colour)):
        raise _expected(cls, "colour", "#rrggbb in lower case, or None")
    if cls.shape is not None and cls.shape not in SHAPES:
        raise _expected(cls, "shape", f"one of {', '.join(SHAPES)}, or None")
    if type(cls.position) is not int:
        raise _expected(cls, "position", "a whole number")
    try:
        method = cls()
    except TypeError as error:
        raise InputError(
            f"{cls.__name__}: every hyper-parameter needs a default: {error}"
        ) from error
    owner = f"{cls.__name__}, defaults"
    with_parameters(method, parameters(method), owner)
    with_parameters(
        method, {n: s.official for n, s in settings(method).items()}, f"{cls.__name__}, official"
    )
    for suite, changes in cls.defaults_on.items():
        with_parameters(method, changes, f"{cls.__name__}.defaults_on[{suite!r}]")


def _expected(cls: type[Method], attribute: str, what: str) -> InputError:
    return InputError(f"{cls.__name__}.{attribute} = {getattr(cls, attribute)!r}: expected {what}")


def chosen_edges(value: Any, choice: Mapping[str, float]) -> list[str]:
    """Return a sentence for each parameter that `choice` has at an edge of its candidates.

    `value` is a method or a trainer; its fields say which parameter they list candidates of, with
    ``setting(..., grid_of=NAME)``.

    Examples
    --------
    >>> from bench.api.declarations import chosen_edges
    >>> from bench.api.registry import find_method
    >>> chosen_edges(find_method("vrf")(), {"a": 0.5, "b": 0.4})
    ['b = 0.4 is the largest of its candidates (0.05 to 0.4): a better one may lie beyond.']
    """
    found = [
        edge_sentence(name, choice[name], *grid)
        for name, grid in open_grids(value).items()
        if name in choice
    ]
    return [sentence for sentence in found if sentence]

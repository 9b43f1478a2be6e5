"""Checks of what a method declares on its class and of what it answers when a run is planned."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_args

from bench.api.method import GROUPS, Method
from bench.api.recipes import Recipe
from bench.core.errors import BenchError, InputError, one_line, shortened, unknown_name
from bench.core.parameters import open_grids, parameters, settings, with_parameters
from bench.posthoc.selection import edge_sentence

SHAPES = (
    "circle", "square", "cross", "diamond", "triangle-up", "triangle-down", "triangle-right",
    "triangle-left",
)  # fmt: skip

RESERVED = ("all", "available", *GROUPS)
"""Words that stand for several methods or suites."""

ASKED = ("candidates", "closer", "curve", "needs", "train_needs")
"""What a method is asked when a run is planned. All of them answer with tuples."""

_CHECKED: set[Callable[..., Any]] = set()
"""Those whose answers are checked: a class inherits them from one that was registered before."""


def check_declarations(cls: type[Method], known: Collection[str] | None = None) -> None:
    """Raise InputError for a class attribute or hyper-parameter that cannot be meant.

    `known` are the names of all methods, if those that the class names should exist.

    Examples
    --------
    >>> from bench.api.declarations import check_declarations
    >>> from bench.api.registry import methods
    >>> check_declarations(methods()["vrf"], known=methods())
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,39}", str(cls.name)) or cls.name in RESERVED:
        raise _expected(cls, "name", "up to 40 of a-z, 0-9, '.', '_' and '-', such as wise-ft")
    for attribute in ("title", "summary", "equation", "source"):
        text = getattr(cls, attribute)
        if not isinstance(text, str) or not text or not text.isprintable():
            raise _expected(cls, attribute, "a line of text")
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
    if cls.year is not None and type(cls.year) is not int:
        raise _expected(cls, "year", "a year such as 2024, or None")
    if not isinstance(cls.venue, str) or (cls.venue and not cls.venue.isprintable()):
        raise _expected(cls, "venue", "a text such as NeurIPS, or an empty one")
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
    found = shortened(repr(getattr(cls, attribute)), 100)
    return InputError(f"{cls.__name__}.{attribute} = {found}: expected {what}")


def check_answers(cls: type[Any]) -> None:
    """Have each answer of a method class that plans are made of checked when it is given.

    An answer that cannot be meant, and whatever is raised instead of one, is an InputError then.

    Examples
    --------
    >>> from bench.api.declarations import check_answers
    >>> from bench.api.method import GROUPS, Method
    >>> class Odd(Method):
    ...     def candidates(self):
    ...         return 3
    ...
    >>> check_answers(Odd)
    >>> Odd().candidates()
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: Odd.candidates: 3, expected a tuple of settings, ...
    """
    for name in ASKED:
        ask = getattr(cls, name)
        if ask is not getattr(Method, name) and ask not in _CHECKED:
            setattr(cls, name, _checked(cls, name, ask))


def _checked(cls: type[Any], name: str, ask: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    what, is_meant = (
        ("classifiers, such as (models.zero_shot, models.base)", _is_recipe)
        if name.endswith("needs")
        else ('settings, such as ({"alpha": 0.5},)', _is_setting)
    )

    @functools.wraps(ask)
    def asked(*arguments: Any, **named: Any) -> tuple[Any, ...]:
        try:
            found = ask(*arguments, **named)
        except BenchError:
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            told = shortened(one_line(error), 200)
            raise InputError(f"{cls.__name__}.{name} failed: {told}") from error
        is_empty = name == "candidates" and not found
        if is_empty or not isinstance(found, tuple | list) or not all(map(is_meant, found)):
            told = shortened(repr(found), 100)
            raise InputError(f"{cls.__name__}.{name}: {told}, expected a tuple of {what}")
        return tuple(found)

    _CHECKED.add(asked)
    return asked


def _is_recipe(value: Any) -> bool:
    return isinstance(value, get_args(Recipe))


def _is_setting(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str)
        and isinstance(found, int | float)
        and abs(found) <= sys.float_info.max
        for name, found in value.items()
    )


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

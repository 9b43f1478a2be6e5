"""What the files of each kind of output must contain: a right checksum does not say that.

A file that was written by another version, by a program of somebody else or by hand may have a name
and a checksum that fit, and still no content that a run can use. Values are not looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any

import pydantic
from annotated_types import MinLen

SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4,
         "F32": 4, "I64": 8, "U64": 8, "F64": 8}  # fmt: skip
"""Bytes per value of the types that safetensors has and bench writes."""

Caveats = tuple[str, ...]
Choice = dict[str, pydantic.FiniteFloat]
History = tuple[Annotated[Choice, MinLen(1)], ...]
"""One entry per epoch of a training."""


class _Form(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class _Fit(_Form):
    """What a method chose."""

    choice: Choice
    chosen_on: dict[str, Any]
    caveats: Caveats
    redrawn: Annotated[tuple[Choice, ...], MinLen(1)] | None = None

    @pydantic.model_validator(mode="after")
    def _same_names(self) -> _Fit:
        if any(drawn.keys() != self.choice.keys() for drawn in self.redrawn or ()):
            raise ValueError("choices have other names")
        return self


class _Temperature(_Form):
    """What temperature scaling found."""

    temperature: Annotated[pydantic.FiniteFloat, pydantic.Field(gt=0)]
    criterion: str
    split: str
    caveats: Caveats


class _Calibration(_Form):
    """What a calibration with parameters per class was fitted on; its parameters are arrays."""

    criterion: str
    split: str
    caveats: Caveats


class _Facts(_Form):
    activation: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize: str


class _Model(_Form):
    """How a backbone reads images."""

    facts: _Facts
    caveats: Caveats


class _Weights(_Form):
    history: History = ()


class _Samples(_Form):
    n: pydantic.PositiveInt
    set: str


class _Set(_Form):
    ids: str
    labels: str
    n: pydantic.PositiveInt
    names: dict[str, tuple[str, ...]]


class _Cell(_Form):
    value: pydantic.FiniteFloat
    data: dict[str, Any] | None
    temperature: pydantic.FiniteFloat | None
    trained: Choice
    weight: pydantic.FiniteFloat
    n: pydantic.PositiveInt
    environment: dict[str, Any]
    devices: tuple[str, ...]
    caveats: Caveats = ()


NOTES: Mapping[str, pydantic.TypeAdapter[Any]] = {
    "fits": pydantic.TypeAdapter(_Fit | _Temperature | _Calibration),
    "models": pydantic.TypeAdapter(_Model),
    "weights": pydantic.TypeAdapter(_Weights),
    "samples": pydantic.TypeAdapter(_Samples),
    "sets": pydantic.TypeAdapter(_Set),
}
VALUES: Mapping[str, pydantic.TypeAdapter[Any]] = {
    "cells": pydantic.TypeAdapter(dict[str, _Cell]),
    "trainings": pydantic.TypeAdapter(Annotated[History, MinLen(1)]),
    "precision": pydantic.TypeAdapter(tuple[pydantic.NonNegativeInt, pydantic.PositiveInt]),
}
ARRAYS: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "features": {"features": ("F32", 2)},
    "distances": {"distance": ("F32", 1)},
    "renders": {"pixels": ("U8", 4), "labels": ("I64", 1)},
    "samples": {"right": ("U8", 1), "confidence": ("U16", 1), "predicted": ("U", 1)},
    "sets": {"labels": ("I32", 2)},
}
"""Arrays that outputs of a kind must have: the beginning of their type, and their dimensions."""


def check_arrays(kind: str, header: Mapping[str, Any], size: int) -> None:
    """Raise ValueError unless a safetensors header fits `size` bytes of arrays and its kind.

    Examples
    --------
    >>> from bench.core.store.forms import check_arrays
    >>> check_arrays("other", {"b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 8)
    >>> check_arrays("features", {}, 0)
    Traceback (most recent call last):
    ...
    ValueError: it has no array features of 2 dimensions of type F32
    """
    facts = header.get("__metadata__", {})
    arrays = {name: found for name, found in header.items() if name != "__metadata__"}
    end = 0
    try:
        for found in sorted(arrays.values(), key=lambda one: one["data_offsets"]):
            start, after = found["data_offsets"]
            bytes_ = prod(found["shape"]) * SIZES[found["dtype"]]
            if start != end or after - start != bytes_ or min(found["shape"], default=0) < 0:
                raise ValueError
            end = after
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError("its arrays do not fit their places") from error
    if end != size:
        raise ValueError("its arrays do not fit its size")
    for name, (dtype, dimensions) in ARRAYS.get(kind, {}).items():
        found = arrays.get(name, {"dtype": "", "shape": []})
        if not found["dtype"].startswith(dtype) or len(found["shape"]) != dimensions:
            raise ValueError(f"it has no array {name} of {dimensions} dimensions of type {dtype}")
    if kind in NOTES:
        note = _check(NOTES[kind], facts.get("note", "{}"), "its note")
        if isinstance(note, _Samples | _Set):
            _check_lengths(arrays, note.n)
    if kind == "weights":
        _check(pydantic.TypeAdapter(Caveats), facts.get("caveats", "[]"), "its caveats")


def check_value(kind: str, text: str | bytes) -> None:
    """Raise ValueError unless a JSON text has the form of its kind.

    Examples
    --------
    >>> from bench.core.store.forms import check_value
    >>> check_value("trainings", '[{"epoch": 1, "loss": 0.7}]')
    >>> check_value("trainings", '[{"epoch": 1, "loss": "small"}]')
    Traceback (most recent call last):
    ...
    ValueError: its content has another form
    """
    if kind in VALUES:
        _check(VALUES[kind], text, "its content")


def _check_lengths(arrays: Mapping[str, Any], n: int) -> None:
    """Raise ValueError unless arrays are of `n` samples; choices of resamples are of any number."""
    for name, found in arrays.items():
        expected = -(-n // 8) if name == "right" else n
        if name != "redrawn" and found["shape"][:1] != [expected]:
            raise ValueError(f"its array {name} is not of {n} samples")


def _check(form: pydantic.TypeAdapter[Any], text: str | bytes, what: str) -> Any:
    try:
        return form.validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        raise ValueError(f"{what} has another form") from error

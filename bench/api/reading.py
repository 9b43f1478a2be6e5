"""How a checkpoint file is read: what a user says of what such a file does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from bench.core.errors import InputError, unknown_name
from bench.core.parameters import Count, Positive, with_parameters

Level = Annotated[float, pydantic.AllowInfNan(False)]


@dataclass(frozen=True)
class Reading:
    """What ``--set model.FIELD=VALUE`` says of a checkpoint file; None where it says nothing.

    `version` enters keys: it grows when bench reads the same files differently.

    Attributes
    ----------
    like : a released tag of the model, or MODEL/TAG of another: the file has its preprocessing and
        activation.
    quick_gelu : whether the weights were trained with QuickGELU, as OpenAI's were.
    image_size : side of the images in pixels that the weights were trained on.
    weights : which weights to take from a file with several, such as ``state_dict_ema``.
    mean, std, interpolation, resize : the preprocessing of images.

    Examples
    --------
    >>> from bench.api.reading import Reading
    >>> str(Reading(like="openai", image_size=336))
    'like openai, image_size 336'
    """

    kind: ClassVar[str] = "Reading"
    version: ClassVar[int] = 1

    like: str | None = None
    quick_gelu: bool | None = None
    image_size: Count | None = None
    weights: str | None = None
    mean: tuple[Level, Level, Level] | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize: Literal["shortest", "longest", "squash"] | None = None

    def said(self) -> dict[str, Any]:
        """Return the fields that are not None."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        """The fields that are not None, for names of models in reports."""
        return ", ".join(f"{name} {_text(value)}" for name, value in self.said().items())


def parse_reading(changes: Mapping[str, Any]) -> Reading:
    """Return the reading of ``--set model.FIELD=VALUE``, whose values may be texts.

    Raises InputError for an unknown field or an invalid value.

    Examples
    --------
    >>> from bench.api.reading import parse_reading
    >>> parse_reading({"mean": "[0.5, 0.5, 0.5]", "quick_gelu": "true"}).quick_gelu
    True
    >>> parse_reading({"image_size": "big"})
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: --set model.image_size=big: Input should be a valid integer ...
    """
    known = [f.name for f in fields(Reading)]
    for name in changes:
        if name not in known:
            raise unknown_name("field of --set model", name, known)
    try:
        return with_parameters(Reading(), changes, "model")
    except InputError as error:
        raise InputError(f"--set {error}") from error


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

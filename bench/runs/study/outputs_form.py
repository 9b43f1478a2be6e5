"""The form of an ``outputs.yaml``: its keys and their types (docs/outputs.md)."""

from __future__ import annotations

from typing import Any

import pydantic

from bench.data.suites.yaml_schema import Name, Strict, invalid

ZERO_SHOT = "zero-shot"


class ArraysForm(Strict):
    """A split: the safetensors file with its labels and outputs."""

    file: str


class ShiftArraysForm(ArraysForm):
    """A shift; `classes` as in suite files, if it has a label space of its own."""

    classes: Any = None


class OutputsFile(Strict):
    """The whole file; `models` maps the names of rows to those of models in the files."""

    name: Name
    model: str = "outputs"
    classes: Any
    models: dict[str, str]
    train: ArraysForm | None = None
    selection: ArraysForm | None = None
    test: ArraysForm
    shifts: dict[Name, ShiftArraysForm] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("models")
    @classmethod
    def _two_ends(cls, models: dict[str, str]) -> dict[str, str]:
        if ZERO_SHOT not in models or len(models) < 2:
            raise invalid(f"expected {ZERO_SHOT} and at least one fine-tuned model")
        if len(set(models.values())) < len(models):
            raise invalid("expected another model for each row")
        return models

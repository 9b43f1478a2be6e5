#!/usr/bin/env python
"""Write bench/core/record_lines/*.schema.json, the JSON schemas of files, from their models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.checks.golden import Golden
from bench.core.paths import write_atomic
from bench.core.record_lines.kinds import records_schema
from bench.core.records import MissingCell
from bench.core.trainings import TrainingRecord

FOLDER = Path(__file__).resolve().parents[2] / "bench" / "core" / "record_lines"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of one line of ``NAME.jsonl``, or of a golden run's file, by NAME."""
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
        for name, schema in {
            "records": records_schema(),
            "missing": MissingCell.model_json_schema(),
            "trainings": TrainingRecord.model_json_schema(),
            "golden": Golden.model_json_schema(),
        }.items()
    }


def schema_text(schema: dict[str, Any]) -> str:
    """Return the content of a schema's file."""
    return json.dumps(_described(schema), indent=1, sort_keys=True) + "\n"


def _described(schema: Any) -> Any:
    """Return the schema with descriptions that end before their examples in Python."""
    if isinstance(schema, list):
        return [_described(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: inner.partition("\n\nExamples\n---")[0]
        if name == "description" and isinstance(inner, str)
        else _described(inner)
        for name, inner in schema.items()
    }


if __name__ == "__main__":
    for name, schema in schemas().items():
        write_atomic(FOLDER / f"{name}.schema.json", schema_text(schema).encode())

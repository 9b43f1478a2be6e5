"""Records as the rows of a table: its columns and their types, from the JSON schema of a record.

Data frames, CSV and Arrow have the same columns. What has parts, such as provenance, is one column
of kind ``json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import InputError

Kind = Literal["text", "integer", "number", "boolean", "json"]
_KINDS: Mapping[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "json",
    "object": "json",
}
LARGEST = 2**63 - 1
"""The largest whole number of a column; the smallest is -LARGEST - 1."""


@dataclass(frozen=True)
class Column:
    """A column: its name, the kind of its values, and whether a value may be missing (None).

    Examples
    --------
    >>> from bench.core.record_lines.columns import Column
    >>> Column("seed", "integer", nullable=True).checked(2**53 + 1)
    9007199254740993
    """

    name: str
    kind: Kind
    nullable: bool = False

    def checked(self, value: Any) -> Any:
        """Return a value. Raises InputError if no table can hold it: NaN, too large a number."""
        is_whole = self.kind == "integer" and value is not None
        if is_whole and not -LARGEST - 1 <= value <= LARGEST:
            raise InputError(
                f"column {self.name}: a whole number beyond 64 bits: use records.jsonl itself"
            )
        if self.kind == "json" and value is not None:
            self.text(value)
        return value

    def text(self, value: Any) -> str:
        """Return a value of kind ``json`` as text. Raises InputError for NaN and infinity in it."""
        try:
            found = json.dumps(value, ensure_ascii=False, allow_nan=False)
            return found.encode("utf-8", "backslashreplace").decode()
        except ValueError as error:
            raise InputError(
                f"column {self.name}: holds NaN or infinity, which JSON lacks: run the suite again"
            ) from error


def columns_of(schema: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the columns for the JSON schema of an object, in its order.

    Raises TypeError for a field of a type that has no column.

    Examples
    --------
    >>> from bench.core.record_lines.columns import columns_of
    >>> from bench.core.records import Record
    >>> {c.name: c.kind for c in columns_of(Record.model_json_schema())}["choice"]
    'json'
    """
    return tuple(_column(name, field) for name, field in schema["properties"].items())


def _column(name: str, field: Mapping[str, Any]) -> Column:
    types = [one.get("type") for one in field.get("anyOf", [field])]
    kinds = {_KINDS.get(one) for one in types if one != "null"}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        raise TypeError(f"{name} of the schema has no column: its types are {types}")
    return Column(name, kind, "null" in types)


def table_of(columns: Iterable[Column], rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the checked values of each column. Raises InputError as `Column.checked` does.

    Examples
    --------
    >>> from bench.core.record_lines.columns import Column, table_of
    >>> table_of([Column("n", "integer")], [{"n": 200}, {"n": 100}])
    {'n': [200, 100]}
    """
    listed = list(rows)
    return {c.name: [c.checked(row[c.name]) for row in listed] for c in columns}

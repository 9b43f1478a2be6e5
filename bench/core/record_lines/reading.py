"""Read the lines of ``records.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import pydantic

from bench.core.foreign.documents import without_repeats
from bench.core.record_lines.kinds import (
    FORMAT,
    KINDS,
    VERSION,
    CellLine,
    DefinedChoice,
    DefinedComputation,
    DefinedEnvironment,
    DefinedMetric,
    DefinedRow,
    DefinedRun,
    DefinedSet,
    DefinitionLine,
    Facts,
    Header,
    Line,
)

R = TypeVar("R", bound=pydantic.BaseModel)
L = TypeVar("L", bound=Line)
D = TypeVar("D", bound=DefinitionLine)
_CELL = pydantic.TypeAdapter[Any](CellLine)
COPY = "copy it again or run the suite again"


class LineError(ValueError):
    """A line that does not belong in a file of records: its number and what is wrong with it.

    Examples
    --------
    >>> from bench.core.record_lines.reading import LineError
    >>> error = LineError(3, "no JSON object")
    >>> error.number, str(error)
    (3, 'no JSON object')
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


def is_versioned(first: str) -> bool:
    """Return whether a file's first line belongs to a form with a header, of any version.

    Examples
    --------
    >>> from bench.core.record_lines.reading import is_versioned
    >>> first = '{"format": "bench-records", "version": 2, "records": 0}'
    >>> is_versioned(first), is_versioned('{"define": "run", "id": "mini"}'), is_versioned("{}")
    (True, True, False)
    """
    try:
        return not {"format", "define", "row"}.isdisjoint(_parsed(1, first))
    except LineError:
        return False


def read_lines(lines: Iterable[str], record: type[R]) -> Iterator[R]:
    """Yield the records, of class `record`, of a file with a header.

    Equal parts of provenance are the same objects. Raises LineError for another version, for the
    first line that is damaged, that defines something twice or that refers to what no earlier line
    defines, and if the number of records is not that of the header.

    Examples
    --------
    >>> from bench.core.record_lines.reading import read_lines
    >>> from bench.core.records import Record, records_text
    >>> from bench.testing.fakes import fake_records
    >>> lines = records_text(fake_records()).splitlines()
    >>> [record.value for record in read_lines(lines, Record)][:2]
    [0.8, 0.5]
    """
    numbered = enumerate(lines, start=1)
    header = _header(next(numbered, (1, ""))[1])
    definitions, number, count = _Definitions(record), 1, 0
    for number, line in numbered:
        try:
            cell: Facts = _CELL.validate_json(line)
        except pydantic.ValidationError as error:  # not a cell, as most lines are
            fields = _parsed(number, line)
            if "format" in fields:
                reason = "a second header: give a command several files instead of joining them"
                raise LineError(number, reason) from error
            if "define" not in fields:
                raise _line_error(number, error) from error
            definitions.add(number, fields)
            continue
        count += 1
        yield definitions.record(number, cell)
    if count != header.records:
        ends = f"the file ends after {count} records, its header says {header.records}"
        raise LineError(number, f"{ends}: it was cut or edited; {COPY}")


def _header(line: str) -> Header:
    fields = _parsed(1, line)
    if "format" not in fields:
        raise LineError(1, f"the header is missing: the file was cut or edited; {COPY}")
    version = fields.get("version")
    if fields.get("format") == FORMAT and isinstance(version, int) and version > VERSION:
        raise LineError(
            1,
            f"records of version {version}, written by a newer bench: this one reads versions up "
            f"to {VERSION}; upgrade bench",
        )
    return _checked(Header, 1, fields)


def _parsed(number: int, line: str) -> Facts:
    try:
        fields = json.loads(line, object_pairs_hook=without_repeats)
    except (ValueError, RecursionError) as error:
        raise LineError(number, f"not JSON ({error}): damaged or cut; {COPY}") from error
    if not isinstance(fields, dict):
        raise LineError(number, f"not a JSON object: damaged; {COPY}")
    return fields


def _checked(kind: type[L], number: int, fields: Facts) -> L:
    try:
        return kind.model_validate(fields)
    except pydantic.ValidationError as error:
        raise _line_error(number, error) from error


def _line_error(number: int, error: pydantic.ValidationError) -> LineError:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return LineError(number, f"{place[:80]}: {first['msg'][:200]}")


class _Definitions(Generic[R]):
    """The definitions read so far, and what cells share, by their references."""

    def __init__(self, kind: type[R]) -> None:
        self.kind = kind
        self.known: dict[tuple[type[Line], str], DefinitionLine] = {}
        self.records: dict[tuple[str, str], R] = {}
        self.shared: dict[tuple[str, ...], Facts] = {}
        self.fields = set(kind.model_fields)

    def add(self, number: int, fields: Facts) -> None:
        """Add a definition, whose own references must be known."""
        kind = KINDS.get(str(fields["define"]))
        if kind is None:
            known = ", ".join(KINDS)
            raise LineError(number, f"defines {_short(fields['define'])}: expected one of {known}")
        line: DefinitionLine = _checked(kind, number, fields)
        if (kind, line.id) in self.known:
            raise LineError(number, f"defines the {line.define} {_short(line.id)} a second time")
        if isinstance(line, DefinedRow):
            self.get(number, DefinedRun, "run", line.run)
        elif isinstance(line, DefinedComputation) and line.environment is not None:
            self.get(number, DefinedEnvironment, "environment", line.environment)
        self.known[kind, line.id] = line

    def get(self, number: int, kind: type[D], name: str, id: str) -> D:
        """Return a definition that a line refers to."""
        line = self.known.get((kind, id))
        if not isinstance(line, kind):
            raise LineError(
                number,
                f"refers to the {name} {_short(id)}, which no earlier line defines: the file is "
                f"incomplete; {COPY}",
            )
        return line

    def record(self, number: int, cell: Facts) -> R:
        """Return the record of a cell, whose fields are used up."""
        row, on, computation = cell.pop("row"), cell.pop("set"), cell.pop("computation", None)
        if (row, on) not in self.records:
            self.records[row, on] = self._empty(number, row, on)
        metric = self.get(number, DefinedMetric, "metric", cell["metric"])
        cell["metric"] = metric.name
        provenance = cell.setdefault("provenance", {})
        if "key" in cell:
            provenance["key"] = cell.pop("key")
        if computation is not None:
            place = (row, on, metric.id, computation)
            if place not in self.shared:
                self.shared[place] = self._provenance(number, *place)
            cell["provenance"] = _merged(number, self.shared[place], provenance)
        if "chosen_on" in cell:
            chosen = self.get(number, DefinedChoice, "chosen_on", cell["chosen_on"])
            cell["chosen_on"] = chosen.facts
        return self._changed(self.records[row, on], cell)

    def _changed(self, record: R, changes: Facts) -> R:
        """Return a copy of a record with changes, as its `model_copy` does in five times the time.

        The set of the fields that were set, which takes more memory than the record, is shared.
        """
        made = self.kind.__new__(self.kind)
        object.__setattr__(made, "__dict__", record.__dict__ | changes)
        object.__setattr__(made, "__pydantic_fields_set__", self.fields)
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made

    def _empty(self, number: int, row: str, on: str) -> R:
        """Return what all records of a row on a set have, as a record without a number."""
        of_row = self.get(number, DefinedRow, "row", row)
        run = self.get(number, DefinedRun, "run", of_row.run)
        parts = (run, of_row, self.get(number, DefinedSet, "set", on))
        other = {"define", "id", "run", "provenance"}
        fields = {n: v for part in parts for n, v in part if n not in other}
        return self.kind.model_validate(fields | {"seed": None, "metric": "", "value": 0})

    def _provenance(self, number: int, row: str, on: str, metric: str, computation: str) -> Facts:
        """Return the provenance that cells with the same references share."""
        of_row = self.get(number, DefinedRow, "row", row)
        made = self.get(number, DefinedComputation, "computation", computation)
        of_run = self.get(number, DefinedRun, "run", of_row.run).provenance
        of_set = self.get(number, DefinedSet, "set", on).provenance
        of_metric = self.get(number, DefinedMetric, "metric", metric).provenance
        parts = [of_run, of_row.provenance, of_set, of_metric, made.provenance]
        if made.environment is not None:
            place = self.get(number, DefinedEnvironment, "environment", made.environment)
            parts.append(place.provenance)
        merged: Facts = {}
        for part in parts:
            merged = _merged(number, merged, part)
        return merged


def _merged(number: int, one: Facts, other: Facts) -> Facts:
    """Return two parts of a provenance, by name; dictionaries that both have, such as data, too."""
    both = one | other
    for name in one.keys() & other.keys():
        if not isinstance(one[name], dict) or not isinstance(other[name], dict):
            raise LineError(number, f"its provenance has two values of {_short(name)}")
        both[name] = _merged(number, one[name], other[name])
    return {name: both[name] for name in sorted(both)}


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

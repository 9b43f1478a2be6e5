"""Write records as the lines of ``records.jsonl``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from bench.core.record_lines.kinds import FORMAT, HOMES, KINDS, VERSION, Facts

_HOME = {name: kind for kind, names in HOMES.items() for name in names}
_DIVIDED = {name.partition(".")[0] for name in _HOME if "." in name}
_RUN = ("suite", "model", "protocol", "notes", "shifts_in_suite")
_ROW = ("method", "base", "title", "role")
_SET = ("shift", "order", "n", "primary_metric", "outside_mean", "test_only")
_OWN = ("seed", "kind", "choice", "value", "weight", "temperature", "data")
_LEFT_OUT: Facts = {"kind": "cell", "choice": {}, "provenance": {}}
"""The values of a cell's fields that are left out, besides None."""


def write_lines(records: Iterable[Facts]) -> Iterator[str]:
    """Yield the lines of a file of records, given with all their fields, in order.

    Examples
    --------
    >>> from bench.core.record_lines.writing import write_lines
    >>> from bench.testing.fakes import fake_records
    >>> lines = list(write_lines(record.model_dump(mode="json") for record in fake_records()[:1]))
    >>> lines[0].strip()
    '{"format": "bench-records", "version": 2, "records": 1}'
    """
    flat = list(records)
    book = _Definitions(len({record["suite"] for record in flat}) > 1)
    # Curves and scaled cells have no provenance of their own: they refer to what cells defined.
    whole_first = sorted(range(len(flat)), key=lambda i: "inputs" not in flat[i]["provenance"])
    cells = {i: book.cell(flat[i]) for i in whole_first}
    yield _dumps({"format": FORMAT, "version": VERSION, "records": len(flat)})
    for kind in KINDS:
        yield from map(_dumps, book.lines[kind])
    yield from (_dumps(cells[i]) for i in range(len(flat)))


class _Definitions:
    """The definitions of a file that is written, in the order of their first use.

    With `has_suites`, for several suites, the ids of rows and sets begin with their suite's name.
    """

    def __init__(self, has_suites: bool) -> None:
        self.has_suites = has_suites
        self.lines: dict[str, list[Facts]] = defaultdict(list)
        self.known: dict[tuple[str, str, str | None], str] = {}
        self.names: set[tuple[str, str]] = set()

    def cell(self, record: Facts) -> Facts:
        """Return a record's own line, after adding the definitions that it refers to."""
        is_whole = "inputs" in record["provenance"]
        parts = _divided(record["provenance"]) if is_whole else {"cell": record["provenance"]}
        own = dict(parts.get("cell", {}))

        def refer(kind: str, name: str, content: Facts) -> str:
            return self.refer(kind, name, content, parts.get(kind, {}) if is_whole else None)

        prefix = f"{record['suite']}/" if self.has_suites else ""
        method, base = record["method"], record["base"]
        row_name = f"{prefix}{method}" if base is None else f"{prefix}{method}:{base}"
        run = refer("run", record["suite"], {name: record[name] for name in _RUN})
        row = refer("row", row_name, {"run": run} | {name: record[name] for name in _ROW})
        on = refer("set", prefix + record["shift"], {name: record[name] for name in _SET})
        seed = "" if record["seed"] is None else f" {record['seed']}"
        line = {
            "row": row,
            "seed": None,
            "set": on,
            "metric": refer("metric", record["metric"], {"name": record["metric"]}),
            **{name: record[name] for name in _OWN},
        }
        if (facts := record["chosen_on"]) is not None:
            line["chosen_on"] = self.refer("chosen_on", f"{row}{seed}", {"facts": facts}, {})
        if is_whole:
            place = parts.get("environment")
            environment = place and self.refer("environment", "environment", {}, place)
            name = f"{row}{seed} {record['shift']}"
            line["computation"] = refer("computation", name, {"environment": environment or None})
        if isinstance(own.get("key"), str):
            line["key"] = own.pop("key")
        line["provenance"] = own
        return {name: value for name, value in line.items() if value != _LEFT_OUT.get(name)}

    def refer(self, kind: str, name: str, content: Facts, provenance: Facts | None) -> str:
        """Return the id of a definition, after adding it if it is new.

        If `provenance` is None, any definition with this content will do.
        """
        address = json.dumps(content, sort_keys=True)
        exact = None if provenance is None else json.dumps(provenance, sort_keys=True)
        if (kind, address, exact) in self.known:
            return self.known[kind, address, exact]
        found, number = name, 1
        while (kind, found) in self.names:
            number += 1
            found = f"{name}#{number}"
        self.names.add((kind, found))
        self.lines[kind].append({"define": kind, "id": found, **content})
        if provenance:
            self.lines[kind][-1]["provenance"] = provenance
        self.known.setdefault((kind, address, None), found)
        self.known[kind, address, "{}" if exact is None else exact] = found
        return found


def _divided(provenance: Facts) -> dict[str, Facts]:
    """Return the parts of a provenance by the kind of definition; ``cell`` for the others."""
    parts: dict[str, Facts] = defaultdict(dict)
    for name, value in provenance.items():
        if name in _DIVIDED and isinstance(value, dict) and value:
            for entry, content in value.items():
                part = parts[_HOME.get(f"{name}.{entry}", "cell")]
                part.setdefault(name, {})[entry] = content
        else:
            parts[_HOME.get(name, "cell")][name] = value
    return parts


def _dumps(line: Facts) -> str:
    """Return a line with its fields in the order of its class, and those inside them sorted."""
    fields = {name: _sorted(value) for name, value in line.items()}
    return json.dumps(fields, allow_nan=False) + "\n"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value

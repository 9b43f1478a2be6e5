"""The kinds of lines in ``records.jsonl``.

The first line is a `Header`. Definitions follow: runs, environments, rows, sets, metrics, choices
and computations. Then comes one `CellLine` per record. A field that is named like a kind of
definition holds the `id` of one on an earlier line.

Provenance is divided among the definitions by `HOMES`. Its other fields, which a later version or a
plugin may add, stay with their cell, so nothing here depends on what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

import pydantic
from typing_extensions import TypedDict

FORMAT, VERSION = "bench-records", 2
"""The name of the form and its version. A file of version 1 has no header: every line is a complete
record."""
HOMES: Mapping[str, tuple[str, ...]] = {
    "run": (
        *("backbone", "preprocessing", "precision", "protocol", "prompts"),
        *("data.train", "data.selection"),
        *("caveats.run", "caveats.model", "caveats.prompts"),
        *("caveats.train", "caveats.selection"),
    ),
    "environment": ("environment", "devices"),
    "row": ("method", "base", "cost", "calibrated"),
    "set": ("label_map", "data.evaluation", "caveats.evaluation"),
    "metric": ("metric",),
    "computation": ("inputs", "caveats.row"),
}
"""The fields of provenance that each kind of definition holds, if a record has ``inputs``. A dot
divides the name of a mapping and of an entry in it."""

Facts = dict[str, Any]


class Line(pydantic.BaseModel):
    """One line of the file; unknown fields are refused."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Header(Line):
    """The first line: the form's name and version, and the number of records in the file."""

    format: Literal["bench-records"]
    version: Literal[2]
    records: int = pydantic.Field(ge=0)


class DefinedRun(Line):
    """A suite and model under one protocol, with the provenance that all its cells share."""

    define: Literal["run"]
    id: str
    suite: str
    model: str
    protocol: str
    notes: tuple[str, ...]
    shifts_in_suite: int
    provenance: Facts = {}


class DefinedEnvironment(Line):
    """Versions, commit and hardware of a computation, and the devices of its inputs."""

    define: Literal["environment"]
    id: str
    provenance: Facts


class DefinedRow(Line):
    """A row of a run's leaderboard, over all seeds; `base` is null if it is not an ensemble."""

    define: Literal["row"]
    id: str
    run: str
    method: str
    base: str | None
    title: str
    role: Literal["method", "transductive", "control", "oracle"]
    provenance: Facts = {}


class DefinedSet(Line):
    """An evaluation set: ``id`` or a shift, its position and its number of samples."""

    define: Literal["set"]
    id: str
    shift: str
    order: int
    n: int
    primary_metric: str
    outside_mean: bool
    test_only: bool
    provenance: Facts = {}


class DefinedMetric(Line):
    """A metric or figure by name; its parameters are in the provenance."""

    define: Literal["metric"]
    id: str
    name: str
    provenance: Facts = {}


class DefinedChoice(Line):
    """The evidence for parameters that a row and seed chose: split, rule, score, candidates."""

    define: Literal["chosen_on"]
    id: str
    facts: Facts


class DefinedComputation(Line):
    """What a row's outputs on a set were computed from, and in which environment."""

    define: Literal["computation"]
    id: str
    environment: str | None
    provenance: Facts


class CellLine(TypedDict):
    """One record: a number with its place, and references to what it shares with others.

    The fields are those of `bench.core.records.Record`; empty ones are left out. With a
    `computation`, the record has the provenance of all that it refers to; without one, only its own
    `key` and `provenance`. It is a dictionary, because most lines are cells and that reads fastest.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")  # type: ignore[misc]

    row: str
    seed: NotRequired[int]
    set: str
    metric: str
    kind: NotRequired[Literal["scaled", "curve", "figure"]]
    choice: NotRequired[dict[str, float]]
    value: pydantic.FiniteFloat
    weight: NotRequired[float]
    temperature: NotRequired[float]
    data: NotRequired[Facts]
    chosen_on: NotRequired[str]
    computation: NotRequired[str]
    key: NotRequired[str]
    provenance: NotRequired[Facts]


DefinitionLine = (
    DefinedRun
    | DefinedEnvironment
    | DefinedRow
    | DefinedSet
    | DefinedMetric
    | DefinedChoice
    | DefinedComputation
)
RecordLine = Header | Annotated[DefinitionLine, pydantic.Field(discriminator="define")] | CellLine
KINDS: Mapping[str, type[DefinitionLine]] = {
    "run": DefinedRun,
    "environment": DefinedEnvironment,
    "row": DefinedRow,
    "set": DefinedSet,
    "metric": DefinedMetric,
    "chosen_on": DefinedChoice,
    "computation": DefinedComputation,
}
"""All definitions, in their order in files: none refers to a later one."""


def records_schema() -> dict[str, Any]:
    """Return the JSON schema of one line of ``records.jsonl``.

    Examples
    --------
    >>> from bench.core.record_lines.kinds import records_schema
    >>> records_schema()["title"]
    'A line of records.jsonl, bench-records version 2'
    """
    schema = pydantic.TypeAdapter[Any](RecordLine).json_schema()
    return {"title": f"A line of records.jsonl, {FORMAT} version {VERSION}"} | schema

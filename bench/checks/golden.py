"""Golden numbers: recorded runs of the embedded suite that every machine must be able to repeat.

One JSON file per run in results/golden/, `bench.checks.goldens` once installed. It holds the cells
of leaderboards (plain and after temperature scaling) with their values, and how far runs of the
same command differed between instruction sets and numbers of threads: tolerances are computed from
that (`Golden.tolerance`), apart for rows into which no training went.
scripts/assets/record_golden.py writes the files; docs/ci.md says when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import pydantic

from bench.api.metrics import ACCURACIES
from bench.checks.junit import Verdict
from bench.core.errors import InputError, unknown_name
from bench.core.records import Record
from bench.leaderboard.board import KINDS, Kind

FOLDER = "bench.checks.goldens"
FACTOR, COUNTED_FACTOR = 10, 2
"""Tolerances are this many times the largest deviation that was measured: the second for `COUNTED`
metrics, which move seldom and then by a step; others always move a little."""
SAMPLES: Mapping[str, int] = {"untrained": 1, "trained": 2}
"""But `COUNTED` metrics may differ by this many samples: a near tie can fall either way, and on a
new machine it may be the first."""
COUNTED = ACCURACIES | {"ece", "macro-f1"}
"""Metrics that move in steps of whole samples."""

Group = Literal["untrained", "trained"]


class GoldenCell(pydantic.BaseModel):
    """One recorded number: where it stands, its value (fraction or nats), and of how many samples.

    The fields are those of `bench.core.records.Record`.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    method: str
    base: str | None
    seed: int | None
    shift: str
    metric: str
    value: float
    n: int

    @property
    def group(self) -> Group:
        """Whether a training went into it."""
        return "untrained" if self.seed is None else "trained"

    @property
    def row(self) -> str:
        """``METHOD`` or ``METHOD:BASE``, as on the command line."""
        return f"{self.method}:{self.base}" if self.base else self.method

    @property
    def place(self) -> tuple[object, ...]:
        """All but the value and n."""
        return (self.kind, self.method, self.base, self.seed, self.shift, self.metric)


class Golden(pydantic.BaseModel):
    """A golden run.

    Attributes
    ----------
    name : the suite's; command : what to run; bench : the version that recorded it.
    model, digest : the model and the digest of its weights; protocol, notes : as in records.
    deviations : by group and metric, the largest difference between any two of the `runs`.
    runs : under which conditions the same command was run; the first gave the values.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str
    command: str
    bench: str
    model: str
    digest: str
    protocol: str
    notes: tuple[str, ...]
    runs: tuple[str, ...]
    deviations: Mapping[Group, Mapping[str, float]]
    cells: tuple[GoldenCell, ...]

    def tolerance(self, cell: GoldenCell) -> float:
        """How far a value may be from a recorded one: see `FACTOR` and `SAMPLES`."""
        largest = self.deviations[cell.group][cell.metric]
        if cell.metric in COUNTED:
            return max(COUNTED_FACTOR * largest, SAMPLES[cell.group] / cell.n)
        return FACTOR * largest


@dataclass(frozen=True)
class GoldenComparison:
    """A recorded cell and what the run has there; `value` is None where it has nothing."""

    cell: GoldenCell
    value: float | None
    n: int
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the run has the cell, of as many samples, within the tolerance."""
        if self.value is None or self.n != self.cell.n:
            return False
        # Not stricter than the arithmetic: one sample of 2000 is 1/2000 only up to rounding.
        return abs(self.value - self.cell.value) <= self.tolerance + 1e-12

    @property
    def verdict(self) -> Verdict:
        """In words."""
        cell = self.cell
        seed = "" if cell.seed is None else f", seed {cell.seed}"
        scaled = ", temperature scaled" if cell.kind == "scaled" else ""
        name = f"{cell.metric} on {cell.shift}{seed}{scaled}"
        if self.value is None:
            return Verdict(cell.row, name, "failed", "the run lacks it")
        said = f"{self.value:.7g}, golden {cell.value:.7g} ± {self.tolerance:.2g}"
        if self.n != cell.n:
            said = f"of {self.n} samples, golden of {cell.n}"
        return Verdict(cell.row, name, "passed" if self.holds else "failed", said)


def golden_names() -> list[str]:
    """The names of all golden runs."""
    found = (file.name for file in files(FOLDER).iterdir())
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))


def find_golden(name: str) -> Golden:
    """The golden run `name`. Raises InputError, which lists the valid names, if there is none."""
    if name not in golden_names():
        raise unknown_name("golden run", name, golden_names())
    text = (files(FOLDER) / f"{name}.json").read_text(encoding="utf-8")
    try:
        return Golden.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise InputError(f"golden run {name}: {error.errors()[0]['msg']}") from error


def compare_with_golden(golden: Golden, records: Sequence[Record]) -> tuple[GoldenComparison, ...]:
    """Each recorded cell beside the run's, in the recorded order; what else the run has is let be.

    Raises InputError if the records are of another suite, model, protocol or part of the data, or
    have two values for a cell.
    """
    for record in records:
        facts = (record.suite, record.model, record.protocol, record.notes)
        if facts != (golden.name, golden.model, golden.protocol, golden.notes):
            raise InputError(
                f"golden:{golden.name} is {_in_words(golden.name, golden)}, the run is "
                f"{_in_words(record.suite, record)}: compare a run of '{golden.command}'"
            )
    if other := model_digests(records) - {golden.digest}:
        raise InputError(
            f"golden:{golden.name} is of the model {golden.digest[:12]}, the run of "
            f"{', '.join(sorted(d[:12] for d in other))}: other weights give other numbers"
        )
    found: dict[tuple[object, ...], GoldenCell] = {}
    for cell in golden_cells(records):
        if found.setdefault(cell.place, cell) != cell:
            raise InputError(f"two values of {cell.metric} for {cell.row} on {cell.shift}")
    pairs = [(cell, found.get(cell.place)) for cell in golden.cells]
    return tuple(
        GoldenComparison(
            cell, have.value if have else None, have.n if have else 0, golden.tolerance(cell)
        )
        for cell, have in pairs
    )


def _in_words(suite: str, of: Golden | Record) -> str:
    marks = f" ({', '.join(of.notes)})" if of.notes else ""
    return f"{suite} with {of.model}, protocol {of.protocol}{marks}"


def model_digests(records: Iterable[Record]) -> set[str]:
    """Digests of the weights of the models that records were made with."""
    backbones = (record.provenance.get("backbone") for record in records)
    return {str(b["digest"]) for b in backbones if isinstance(b, Mapping) and "digest" in b}


def golden_cells(records: Iterable[Record]) -> tuple[GoldenCell, ...]:
    """The leaderboard cells of records that are no controls and no hindsight, in their order."""
    fields = GoldenCell.model_fields
    return tuple(
        GoldenCell.model_validate({name: getattr(record, name) for name in fields})
        for record in records
        if record.kind in KINDS and record.role == "method"
    )


def deviations(runs: Sequence[Sequence[GoldenCell]]) -> dict[Group, dict[str, float]]:
    """By group and metric the largest difference of a cell between any two runs.

    Raises InputError unless all have the same cells.
    """
    first = {cell.place: cell for cell in runs[0]}
    values = [{cell.place: cell.value for cell in run} for run in runs]
    if any(found.keys() != first.keys() for found in values):
        raise InputError("these are no runs of the same command: they have different cells")
    largest: dict[Group, dict[str, float]] = {"untrained": {}, "trained": {}}
    for place, cell in first.items():
        at = [found[place] for found in values]
        of_group = largest[cell.group]
        of_group[cell.metric] = max(of_group.get(cell.metric, 0.0), max(at) - min(at))
    return largest

"""Golden runs: recorded runs of the embedded suite that every machine must reproduce.

There is one JSON file per run in results/golden/ (`bench.checks.goldens` once installed). It holds
the leaderboard cells (without and with temperature scaling), and how much runs of the same command
differed between instruction sets and numbers of threads. `Golden.tolerance` is computed from these
differences, separately for rows with and without training.

scripts/assets/record_golden.py writes the files; docs/ci.md explains when to record them.
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
"""A tolerance is this many times the largest measured deviation. The second factor is for `COUNTED`
metrics, which rarely change and then by a whole step; other metrics always change a little."""
SAMPLES: Mapping[str, int] = {"untrained": 1, "trained": 2}
"""`COUNTED` metrics may always differ by this many samples: a near tie can go either way, and on a
new machine one may do so for the first time."""
COUNTED = ACCURACIES | {"ece", "macro-f1"}
"""Metrics that change in steps of whole samples."""

GoldenGroup = Literal["untrained", "trained"]


class GoldenCell(pydantic.BaseModel):
    """One recorded number, in a fraction or nats, with its place and its number of samples.

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
    def group(self) -> GoldenGroup:
        """Whether the row of the cell needs training."""
        return "untrained" if self.seed is None else "trained"

    @property
    def row(self) -> str:
        """``METHOD`` or ``METHOD:BASE``, as on the command line."""
        return f"{self.method}:{self.base}" if self.base else self.method

    @property
    def place(self) -> tuple[object, ...]:
        """All fields but the value and n."""
        return (self.kind, self.method, self.base, self.seed, self.shift, self.metric)


class Golden(pydantic.BaseModel):
    """A golden run.

    Attributes
    ----------
    name : the name of the suite.
    command : the command to run.
    bench : the version of bench that recorded it.
    model, digest : the model and the digest of its weights.
    protocol, notes : as in records.
    runs : the conditions under which the command was run; the values are those of the first.
    deviations : by group and metric, the largest difference between any two of the `runs`.
    cells : the recorded cells.
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
    deviations: Mapping[GoldenGroup, Mapping[str, float]]
    cells: tuple[GoldenCell, ...]

    def tolerance(self, cell: GoldenCell) -> float:
        """Return the largest allowed difference from a recorded value; see `FACTOR`, `SAMPLES`."""
        largest = self.deviations[cell.group][cell.metric]
        if cell.metric in COUNTED:
            return max(COUNTED_FACTOR * largest, SAMPLES[cell.group] / cell.n)
        return FACTOR * largest


@dataclass(frozen=True)
class GoldenComparison:
    """A recorded cell and the value of a run, None if the run lacks the cell."""

    cell: GoldenCell
    value: float | None
    n: int
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the run has the cell, on as many samples and within the tolerance."""
        if self.value is None or self.n != self.cell.n:
            return False
        # Allow for rounding: a difference of one sample in 2000 is not exactly 1/2000.
        return abs(self.value - self.cell.value) <= self.tolerance + 1e-12

    @property
    def verdict(self) -> Verdict:
        """The result in words."""
        cell = self.cell
        seed = "" if cell.seed is None else f", seed {cell.seed}"
        scaled = ", temperature scaled" if cell.kind == "scaled" else ""
        name = f"{cell.metric} on {cell.shift}{seed}{scaled}"
        if self.value is None:
            return Verdict(cell.row, name, "failed", "the run does not have this cell")
        text = f"{self.value:.7g}, golden {cell.value:.7g} ± {self.tolerance:.2g}"
        if self.n != cell.n:
            text = f"measured on {self.n} samples, golden on {cell.n}"
        return Verdict(cell.row, name, "passed" if self.holds else "failed", text)


def golden_names() -> list[str]:
    """Return the names of all golden runs."""
    found = (file.name for file in files(FOLDER).iterdir())
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))


def find_golden(name: str) -> Golden:
    """Return the golden run `name`. Raises InputError, listing the valid names, if unknown."""
    if name not in golden_names():
        raise unknown_name("golden run", name, golden_names())
    text = (files(FOLDER) / f"{name}.json").read_text(encoding="utf-8")
    try:
        return Golden.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise InputError(f"golden run {name}: {error.errors()[0]['msg']}") from error


def compare_with_golden(golden: Golden, records: Sequence[Record]) -> tuple[GoldenComparison, ...]:
    """Compare each recorded cell with the run's, in the recorded order; ignore the run's others.

    Raises InputError if the records have another suite, model, protocol or watermark, other weights
    of the model, or two values for a cell.
    """
    for record in records:
        facts = (record.suite, record.model, record.protocol, record.notes)
        if facts != (golden.name, golden.model, golden.protocol, golden.notes):
            raise InputError(
                f"golden:{golden.name} is {_in_words(golden.name, golden)}, but the run is "
                f"{_in_words(record.suite, record)}: compare a run of '{golden.command}'"
            )
    if other := model_digests(records) - {golden.digest}:
        raise InputError(
            f"golden:{golden.name} has the model weights {golden.digest[:12]}, but the run has "
            f"{', '.join(sorted(d[:12] for d in other))}: other weights give other numbers"
        )
    found: dict[tuple[object, ...], GoldenCell] = {}
    for cell in golden_cells(records):
        if found.setdefault(cell.place, cell) != cell:
            raise InputError(
                f"two values of {cell.metric} for {cell.row} on {cell.shift}: compare one run"
            )
    pairs = [(cell, found.get(cell.place)) for cell in golden.cells]
    return tuple(
        GoldenComparison(
            cell, other.value if other else None, other.n if other else 0, golden.tolerance(cell)
        )
        for cell, other in pairs
    )


def _in_words(suite: str, of: Golden | Record) -> str:
    marks = f" ({', '.join(of.notes)})" if of.notes else ""
    return f"{suite} with {of.model}, protocol {of.protocol}{marks}"


def model_digests(records: Iterable[Record]) -> set[str]:
    """Return the digests of the weights of the models in the records' provenance."""
    backbones = (record.provenance.get("backbone") for record in records)
    return {str(b["digest"]) for b in backbones if isinstance(b, Mapping) and "digest" in b}


def golden_cells(records: Iterable[Record]) -> tuple[GoldenCell, ...]:
    """Return the leaderboard cells of methods, without controls and oracles, in their order."""
    fields = GoldenCell.model_fields
    return tuple(
        GoldenCell.model_validate({name: getattr(record, name) for name in fields})
        for record in records
        if record.kind in KINDS and record.role == "method"
    )


def deviations(runs: Sequence[Sequence[GoldenCell]]) -> dict[GoldenGroup, dict[str, float]]:
    """Return, by group and metric, the largest difference of a cell between any two runs.

    Raises InputError unless all runs have the same cells.
    """
    first = {cell.place: cell for cell in runs[0]}
    values = [{cell.place: cell.value for cell in run} for run in runs]
    if any(found.keys() != first.keys() for found in values):
        raise InputError("these are not runs of the same command: they have different cells")
    largest: dict[GoldenGroup, dict[str, float]] = {"untrained": {}, "trained": {}}
    for place, cell in first.items():
        by_run = [found[place] for found in values]
        of_group = largest[cell.group]
        of_group[cell.metric] = max(of_group.get(cell.metric, 0.0), max(by_run) - min(by_run))
    return largest

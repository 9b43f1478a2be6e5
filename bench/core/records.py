"""Records: one per (suite, model, method, base, seed, shift, metric), with provenance.

Reports are made from ``records.jsonl`` alone. Its lines are sorted and hold no dates or durations,
so the same work gives the same bytes. `bench.core.record_lines` has their form.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import pydantic

from bench.core.errors import InputError
from bench.core.foreign.files import TABLE, text_of
from bench.core.paths import write_atomic
from bench.core.record_lines.reading import LineError, is_versioned, read_lines
from bench.core.record_lines.writing import write_lines

OLD_NAMES = {"judged_by": "primary_metric", "beside": "outside_mean"}
"""Names of fields in files of version 1, which have no header, and their names now."""
_SORTED = json.JSONEncoder(sort_keys=True)
Role = Literal["method", "transductive", "control", "oracle"]


class CellAddress(pydantic.BaseModel):
    """The position of a cell in a leaderboard: the fields that measured and missing cells share.

    Attributes
    ----------
    suite, model : names; `model` is ``NAME/PRETRAINED``.
    method : the method's name.
    base : the name of an ensemble's base; None for rows that are not ensembles.
    title : the row's title in reports, without its base.
    seed : the training seed; None for rows without any training (zero-shot).
    shift : ``id`` or the shift's name.
    order : the position of `shift` in the suite; 0 is ``id``.
    shifts_in_suite : the number of shifts in the suite's OOD mean. The mean of a run on fewer
        shifts is partial.
    notes : watermarks (``limit=200``). A cell with notes is not reportable.
    protocol : the name of the protocol, followed by the fields that were changed.
    primary_metric : the metric that leaderboards show for the evaluation set.
    outside_mean : whether the shift is shown, but is not part of the OOD mean.
    test_only : whether the shift's terms forbid choosing anything on it, for oracle rows too.
    role : ``method``; ``transductive`` for rows whose prediction for a sample depends on the other
        samples of the evaluation set; ``control`` for ablations, which test a claim about a method;
        ``oracle`` for rows whose parameters were chosen on the test sets. Only methods are ranked.

    Examples
    --------
    >>> from bench.core.records import CellAddress
    >>> from bench.testing.fakes import fake_records
    >>> record = fake_records()[0]
    >>> isinstance(record, CellAddress), record.shift, record.primary_metric
    (True, 'id', 'top1')
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    suite: str
    model: str
    method: str
    base: str | None
    title: str
    seed: int | None
    shift: str
    order: int
    shifts_in_suite: int
    notes: tuple[str, ...] = ()
    protocol: str = "clean"
    role: Role = "method"
    primary_metric: str = "top1"
    outside_mean: bool = False
    test_only: bool = False


class Record(CellAddress):
    """One measured cell.

    Attributes
    ----------
    metric : ``top1``, ``ece``, ``nll``, ``brier``, a metric of this evaluation set only, or the
        name of a figure.
    value : the metric's value, as a fraction (not percent), or in nats for ``nll``.
    n : number of samples.
    kind : ``cell`` for leaderboard cells; ``scaled`` for the same cell after temperature scaling
        with `temperature`; ``curve`` for one candidate of a row, with its parameters in `choice`,
        whether or not it was chosen; ``figure`` for a figure, with its content in `data`.
    temperature : the temperature of a ``scaled`` record; None for other kinds and calibrations.
    data : the content of a ``figure`` record; None for other kinds.
    choice : the chosen parameters (alpha, a, b); empty if there was nothing to choose.
    chosen_on : for chosen parameters, the split, its number of samples, the selection rule, and
        the accuracy (or the primary metric of the ID set) on that split.
    weight : mean weight on the fine-tuned model on this split; None for rows without two endpoints.
    provenance : everything else that determines the number: resolved hyper-parameters, keys,
        fingerprints, versions, commit, hardware. Only the key if `kind` is not ``cell``.

    Examples
    --------
    >>> from bench.testing.fakes import fake_records
    >>> record = fake_records({"vrf:e2e-ft": (0.78, 0.57, 0.45)})[0]
    >>> record.method, record.base, record.value
    ('vrf', 'e2e-ft', 0.78)
    """

    metric: str
    value: pydantic.FiniteFloat
    n: int
    kind: Literal["cell", "scaled", "curve", "figure"] = "cell"
    temperature: pydantic.FiniteFloat | None = None
    data: dict[str, Any] | None = None
    choice: dict[str, float] = {}
    chosen_on: dict[str, Any] | None = None
    weight: pydantic.FiniteFloat | None = None
    provenance: dict[str, Any] = {}

    @property
    def environment(self) -> dict[str, Any]:
        """What the provenance says of versions, commit and hardware; empty if it says nothing."""
        found = self.provenance.get("environment")
        return found if isinstance(found, dict) else {}


class MissingCell(CellAddress):
    """What could not be computed of a row on an evaluation set, with the reason.

    Attributes
    ----------
    reason : why.
    lacking : what is missing: a metric (``top1``), a metric after temperature scaling
        (``scaled ece``), a point of a curve (``curve {"alpha":0.3} top1``), a figure
        (``figure weight``). Empty in files of earlier versions, and for all that was planned.

    Examples
    --------
    >>> from bench.core.records import MissingCell
    >>> address = {"suite": "mini", "model": "tiny/embedded", "method": "vrf", "base": "e2e-ft"}
    >>> place = {"title": "VRF", "seed": 0, "shift": "v2", "order": 1, "shifts_in_suite": 5}
    >>> MissingCell(**address, **place, reason="training diverged").reason
    'training diverged'
    """

    reason: str
    lacking: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of records that are missing."""
        return max(1, len(self.lacking))


A = TypeVar("A", bound=CellAddress)


def sort_key(record: Record) -> tuple[Any, ...]:
    """Return the key that sorts records into their canonical order in files.

    Examples
    --------
    >>> from bench.core.records import sort_key
    >>> from bench.testing.fakes import fake_records
    >>> [record.method for record in sorted(fake_records(), key=sort_key)][::3]
    ['e2e-ft', 'zero-shot', 'vrf']
    """
    seed = -1 if record.seed is None else record.seed
    choice = _SORTED.encode(record.choice)
    row = (record.suite, record.model, record.kind, record.base or "", record.method, seed)
    return (*row, choice, record.order, record.metric)


def distinct_records(records: Iterable[Record]) -> list[Record]:
    """Return the records without repetitions, in the order of the first ones.

    Examples
    --------
    >>> from bench.core.records import distinct_records
    >>> from bench.testing.fakes import fake_records
    >>> distinct_records([*fake_records(), *fake_records()]) == fake_records()
    True
    """
    found: list[Record] = []
    at_place: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        same = at_place[_place(record)]
        if record not in same:
            same.append(record)
            found.append(record)
    return found


def _place(record: Record) -> tuple[Any, ...]:
    """What tells a record from most others, as far as it costs little."""
    row = (record.suite, record.model, record.protocol, record.method, record.base, record.seed)
    cell = (record.kind, record.shift, record.metric, record.value)
    return (*row, *cell, *record.choice.items())


def records_text(records: Iterable[Record]) -> str:
    """Return the text of a ``records.jsonl`` with these records in their canonical order.

    Examples
    --------
    >>> from bench.core.records import records_text
    >>> from bench.testing.fakes import fake_records
    >>> len(records_text(fake_records()).splitlines())
    18
    """
    ordered = sorted(records, key=sort_key)
    return "".join(write_lines(record.model_dump(mode="json") for record in ordered))


def read_records(path: Path) -> list[Record]:
    """Return the records of a file, with or without a schema version.

    Raises InputError if there is no file, or if a line does not belong there; the message names the
    file and the first such line.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import read_records, records_text, sort_key
    >>> from bench.testing.fakes import fake_records
    >>> _ = Path("records.jsonl").write_text(records_text(fake_records()))
    >>> read_records(Path("records.jsonl")) == sorted(fake_records(), key=sort_key)
    True
    """
    if not path.is_file():
        raise InputError(f"no records at {path}: expected the records.jsonl of a finished run")
    try:
        lines = text_of(path, TABLE).splitlines()
        if not lines:
            raise InputError(f"{path} is empty, expected records: run the same command again")
        if is_versioned(lines[0]):
            return list(read_lines(lines, Record))
        return [_complete(Record, number, line) for number, line in enumerate(lines, start=1)]
    except LineError as error:
        raise InputError(f"{path}:{error.number}: {error}") from error


def read_missing(path: Path) -> list[MissingCell]:
    """Return the missing cells of a run's ``missing.jsonl``; there are none if there is no file.

    Raises InputError if a line is not a missing cell.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import read_missing
    >>> read_missing(Path("missing.jsonl"))
    []
    """
    try:
        lines = text_of(path, TABLE).splitlines() if path.is_file() else []
        return [_complete(MissingCell, number, line) for number, line in enumerate(lines, start=1)]
    except ValueError as error:
        raise InputError(f"{path} is not a list of missing cells: run the suite again") from error


def write_missing(path: Path, missing: Iterable[MissingCell]) -> None:
    """Write a run's ``missing.jsonl``; no file if nothing is missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import write_missing
    >>> write_missing(Path("missing.jsonl"), [])
    >>> Path("missing.jsonl").exists()
    False
    """
    lines = [json.dumps(m.model_dump(mode="json"), sort_keys=True) + "\n" for m in missing]
    if lines:
        write_atomic(path, "".join(sorted(lines)).encode())


def _complete(kind: type[A], number: int, line: str) -> A:
    """Return a cell from a line with all its fields, under the names of now or of version 1."""
    try:
        if not any(f'"{name}"' in line for name in OLD_NAMES):
            return kind.model_validate_json(line)
        fields = json.loads(line)
        if isinstance(fields, dict):
            fields = {OLD_NAMES.get(name, name): value for name, value in fields.items()}
        return kind.model_validate(fields)
    except pydantic.ValidationError as error:
        raise LineError(number, f"not a record: {error.errors()[0]['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise LineError(number, f"not a record: Invalid JSON: {error}") from error

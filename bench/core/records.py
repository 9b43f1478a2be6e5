"""Records: one line of JSON per (suite, model, method, base, seed, shift, metric), with provenance.

``records.jsonl`` is all that reports are made from. Its lines are sorted and hold no dates and no
durations, so that the same work gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pydantic

from bench.core.errors import InputError

Role = Literal["method", "control", "oracle"]


class CellAddress(pydantic.BaseModel):
    """Where a cell stands: what a measured cell and a missing one share.

    Attributes
    ----------
    suite, model : names; `model` is ``NAME/PRETRAINED``.
    method : the method's name; base : its base's name, None for rows that are no ensemble.
    title : how the row is printed, without its base.
    seed : None for rows into which no training went (zero-shot): they have no seed.
    shift : ``id`` or the shift's name; order : its position in the suite (0 is ``id``).
    shifts_in_suite : over how many shifts the suite's mean is; a run on fewer has partial means.
    notes : watermarks (``limit=200``); a cell with notes is not reportable.
    protocol : name of the protocol, with what was changed of it.
    primary_metric : the metric that leaderboards show of the evaluation set, in files
        ``judged_by``; left out there where it is ``top1``.
    outside_mean : whether the shift is shown, but no part of the OOD mean, in files ``beside``;
        test_only : whether its terms forbid to choose anything on it, in hindsight too. Files leave
        them out where they are not.
    role : ``method``, ``control`` for rows that check a claim, ``oracle`` for what was chosen in
        hindsight on the test sets themselves. Only methods are ranked.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

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
    primary_metric: str = pydantic.Field("top1", alias="judged_by")
    outside_mean: bool = pydantic.Field(False, alias="beside")
    test_only: bool = False

    @pydantic.model_serializer(mode="wrap")
    def _without_defaults(self, whole: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = whole(self)
        usual = {"primary_metric": "top1", "outside_mean": False, "test_only": False}
        shown = {k: v for k, v in data.items() if k not in usual or v != usual[k]}
        in_files = {"primary_metric": "judged_by", "outside_mean": "beside"}
        return {in_files.get(k, k): v for k, v in shown.items()}


class Record(CellAddress):
    """One measured cell.

    Attributes
    ----------
    metric : ``top1``, ``ece``, ``nll``, ``brier``, a metric of the set's own or a figure's name;
        value : fractions (not percent), nats for nll.
    n : number of samples.
    kind : ``cell`` for leaderboard cells; ``scaled`` for the same after temperature scaling, by
        `temperature`; ``curve`` for one candidate of a row that was not necessarily chosen (its
        parameters are in `choice`); ``figure`` for a figure, which is in `data`.
    choice : the parameters chosen (alpha, a, b), empty if there was nothing to choose.
    chosen_on : split, number of samples, rule and accuracy there (or what the ID set is judged
        by), for chosen parameters.
    weight : mean weight on the fine-tuned model on this split; None for rows without two ends.
    provenance : everything else that made the number: resolved hyper-parameters, keys,
        fingerprints, versions, commit, hardware. Where `kind` is not ``cell`` only the key.
    """

    metric: str
    value: float
    n: int
    kind: Literal["cell", "scaled", "curve", "figure"] = "cell"
    temperature: float | None = None
    data: dict[str, Any] | None = None
    choice: dict[str, float] = {}
    chosen_on: dict[str, Any] | None = None
    weight: float | None = None
    provenance: dict[str, Any] = {}


class MissingCell(CellAddress):
    """A cell that was asked for and could not be computed, with the reason."""

    reason: str


def sort_key(record: Record) -> tuple[Any, ...]:
    """The canonical order of records in a file."""
    seed = -1 if record.seed is None else record.seed
    choice = json.dumps(record.choice, sort_keys=True)
    row = (record.suite, record.model, record.kind, record.base or "", record.method, seed)
    return (*row, choice, record.order, record.metric)


def records_text(records: Iterable[Record]) -> str:
    """The text of a ``records.jsonl``: sorted, one JSON object per line."""
    ordered = sorted(records, key=sort_key)
    return "".join(
        json.dumps(r.model_dump(mode="json"), sort_keys=True, allow_nan=False) + "\n"
        for r in ordered
    )


def read_records(path: Path) -> list[Record]:
    """The records of a file. Raises InputError that names the file and the first bad line."""
    if not path.is_file():
        raise InputError(f"no records at {path}: expected the records.jsonl of a finished run")
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            records.append(Record.model_validate_json(line))
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InputError(f"{path}:{number} is not a record: {reason}") from error
    return records

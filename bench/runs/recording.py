"""From measured cells of a plan to records: where a cell stands and everything that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.hashing import canonical
from bench.core.records import Record
from bench.runs.expense import expense
from bench.runs.figure_data import Figure
from bench.runs.plan import CellItem
from bench.runs.study.study import Study

Measured = Mapping[str, Any]
"""What the store holds of a cell: its value and what was found with it."""


def record(study: Study, cell: CellItem, value: Measured, fitted: Measured | None) -> Record:
    """The record of a measured cell; `fitted` is the note of its fit, if there is one."""
    kind = _kind(cell)
    provenance: dict[str, object] = {"key": cell.key}
    if kind == "cell":  # what is made of the same outputs has the same
        provenance |= _provenance(study, cell, value)
    return Record.model_validate(
        place(study, cell)
        | {
            "metric": cell.metric.name,
            "value": value["value"],
            "n": value["n"],
            "kind": kind,
            "temperature": value["temperature"],
            "data": value["data"],
            "choice": dict(cell.choice) | value["trained"],
            "chosen_on": fitted["chosen_on"] if fitted and cell.chosen else None,
            "weight": None if cell.row.base is None else value["weight"],
            "provenance": provenance,
        }
    )


def place(study: Study, cell: CellItem) -> dict[str, object]:
    """Where a cell stands: the fields that records and missing cells share."""
    row = cell.row
    return {
        "suite": study.suite.name,
        "model": study.model,
        "method": row.label,
        "base": None if row.base is None else row.base.name,
        "title": row.title,
        "seed": cell.fit.seed,
        "shift": cell.shift.name,
        "order": study.suite.position(cell.shift.name),
        "shifts_in_suite": study.suite.averaged,
        "notes": study.notes,
        "protocol": study.protocol.name,
        "role": "control" if row.method.is_control else "method",
        "judged_by": cell.shift.judged_by,
        "beside": cell.shift.name in study.suite.beside,
        "test_only": cell.shift.test_only,
    }


def _provenance(study: Study, cell: CellItem, value: Measured) -> dict[str, object]:
    """Everything that made a cell: resolved arguments, keys, fingerprints, versions."""
    task = study.suite.task
    prompts = {"prompts": study.suite.prompts} if study.suite.prompts else {}
    return {
        "inputs": list(cell.inputs),
        "method": canonical(cell.row.method),
        "base": None if cell.row.base is None else canonical(cell.row.base.method),
        "backbone": canonical(study.backbone),
        "cost": expense(cell.row.method, cell.fit.models, cell.choice, task.train.size),
        "precision": study.precision,
        "protocol": canonical(study.protocol.facts()),
        "metric": canonical(cell.metric),
        "label_map": cell.shift.labels.relation,
        "data": {
            "train": task.train.fingerprint,
            "selection": task.selection.fingerprint,
            "evaluation": cell.shift.split.fingerprint,
        },
        "environment": value["environment"],
        "devices": value["devices"],
        **prompts,
    }


def _kind(cell: CellItem) -> str:
    if isinstance(cell.metric, Figure):
        return "figure"
    if not cell.chosen:
        return "curve"
    return "cell" if cell.scale is None else "scaled"

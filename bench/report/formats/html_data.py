"""What a page's script reads: values by seed, records, intervals, bits and confidences, as JSON.

Bits are always there, as far as `LIMIT` goes; confidences where they fit beside the rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.core.records import Record
from bench.leaderboard.board import ID, Board, BoardRow, Name, Scale
from bench.leaderboard.stats.significance import LEVELS, ZERO_SHOT, BoardStatistics, RowSamples
from bench.leaderboard.suite_results import SuiteResults
from bench.report.formats.rerun_command import rerun_command
from bench.report.tables.choices import chosen_on
from bench.report.tables.leaderboard import full_name, id_and_mean, row_key
from bench.report.tables.table import format_value

ALPHABET = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", dtype=np.uint8
)
"""Of base64: six bits a character."""
COARSE = 60
"""Steps of confidences that take one character; whole bins of 15, 20 and 30, too."""
LIMIT = 10_000_000
"""Bytes that a page may have."""


@dataclass
class SharedValues:
    """Values that many records share, each once, found by their number."""

    values: list[Any] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, value: Any) -> int:
        """The number of a value."""
        text = json.dumps(value, sort_keys=True)
        if text not in self._places:
            self._places[text] = len(self.values)
            self.values.append(value)
        return self._places[text]


def chapter_data(numbers: SuiteResults) -> dict[str, Any]:
    """All of a chapter but its samples. Rows and columns are those of the leaderboard."""
    board, found = numbers.board, numbers.comparison
    places = (ID, *board.shifts)
    return {
        "suite": board.suite,
        "model": board.model,
        "title": board.title,
        "protocol": board.protocol,
        "notes": board.notes,
        "places": places,
        "labels": board.columns[: len(places)],
        "over": [places.index(shift) for shift in board.over] if board.averaged else [],
        "mean": board.columns[-1] if board.averaged else None,
        "scale": _scale(board.scale),
        "ranked": board.ranked,
        "reason": found.reason if found else "",
        "rows": [_row(board, row) for row in board.rows],
        "pairs": _pairs(board, found),
        "minus_zero_shot": _minus_zero_shot(board, found) if found else {},
        "cell": _measured(numbers, dict(zip(places, board.metrics, strict=True)), "cell"),
        "calibration": {
            name: {
                "scale": _scale(plain.scale),
                "cell": _measured(numbers, dict.fromkeys(places, name), "cell"),
                "scaled": _measured(numbers, dict.fromkeys(places, name), "scaled"),
                "intervals": _ends_of_ece(board, found) if found and name == "ece" else {},
                "over": [places.index(shift) for shift in plain.over] if plain.averaged else [],
                "mean": plain.columns[-1] if plain.averaged else None,
            }
            for name, plain in numbers.common.items()
            if name != "top1"
        },
        "temperatures": _temperatures(numbers),
        "intervals": _intervals(board, found) if found else {},
        "records": _records(numbers),
    }


def _scale(scale: Scale) -> dict[str, Any]:
    names = ("metric", "title", "unit", "factor", "decimals", "higher_is_better")
    return {name: getattr(scale, name) for name in names}


def _row(board: Board, row: BoardRow) -> dict[str, Any]:
    return {
        "key": row_key(row),
        "name": full_name(board, row),
        "method": row.method,
        "base": row.base,
        "role": row.role,
        "seeds": row.seeds,
        "complete": row.complete,
        "ranked": board.ranked and row.complete and row.role == "method",
    }


def _pairs(board: Board, found: BoardStatistics | None) -> list[dict[str, Any]]:
    """The difference rows: of which rows, and McNemar's p-values [column][seed], as far as known.

    Columns without any have an empty list.
    """
    pairs = []
    for group in board.groups:
        for row in group.differences:
            one, other = ((method, row.base) for method in row.method.split(" - "))
            columns = found.columns if found else ()
            p_values = [c.mcnemar.get((one, other), ()) if c else () for c in columns]
            p = [[float(f"{value:.3g}") for value in of_column] for of_column in p_values]
            pairs.append({"key": row_key(row), "of": [_key(*one), _key(*other)], "p": p})
    return pairs


def _minus_zero_shot(board: Board, found: BoardStatistics) -> dict[str, list[float] | None]:
    """By row: the interval of the last column's difference to zero-shot."""
    between = found.last.differences if found.last else {}
    names = ((row_key(row), ((row.method, row.base), ZERO_SHOT)) for row in board.rows)
    return {key: _bounds(between[pair][1]) for key, pair in names if pair in between}


def _measured(numbers: SuiteResults, metrics: Mapping[str, str], kind: str) -> dict[str, list[Any]]:
    """Values and their records' keys, [row][place][seed], None where there is none."""
    found = {
        (r.method, r.base, r.shift, r.seed): r
        for r in numbers.records
        if r.kind == kind and r.metric == metrics.get(r.shift)
    }

    def each(what: Callable[[Record], Any]) -> list[Any]:
        return [
            [
                [
                    None if (one := found.get((row.method, row.base, place, seed))) is None
                    else what(one)
                    for seed in row.seeds
                ]
                for place in metrics
            ]
            for row in numbers.board.rows
        ]  # fmt: skip

    return {
        "values": each(lambda record: record.value),
        "keys": each(lambda record: record.provenance.get("key")),
    }


def _temperatures(numbers: SuiteResults) -> list[list[float | None]]:
    """[row][seed]."""
    found = {
        (r.method, r.base, r.seed): r.temperature
        for r in numbers.records
        if r.temperature is not None
    }
    return [[found.get((row.method, row.base, s)) for s in row.seeds] for row in numbers.board.rows]


def _intervals(board: Board, found: BoardStatistics) -> dict[str, list[Any]]:
    """By row (or difference row): [low, high] for each column of the leaderboard, or None."""
    rows: dict[str, list[Any]] = {}
    for row in board.rows:
        name: Name = (row.method, row.base)
        rows[row_key(row)] = [c and _bounds(c.intervals.get(name)) for c in found.columns]
    for group in board.groups:
        for row in group.differences:
            one, other = row.method.split(" - ")
            pair = ((one, row.base), (other, row.base))
            between = [c and c.differences.get(pair) for c in found.columns]
            rows[row_key(row)] = [b and _bounds(b[1]) for b in between]
    return rows


def _ends_of_ece(board: Board, found: BoardStatistics) -> dict[str, list[Any]]:
    """By row: [low, high] of the ECE on ID and of its mean over the shifts, or None."""
    rows = ((row_key(row), found.ece.get((row.method, row.base), ())) for row in board.rows)
    return {key: [_bounds(i) for i in id_and_mean(of_row)] for key, of_row in rows if any(of_row)}


def _bounds(interval: Any) -> list[float] | None:
    return None if interval is None else [round(float(bound), 7) for bound in interval]


def _records(numbers: SuiteResults) -> dict[str, Any]:
    """What is known of each cell of the leaderboard, by row and place; shared parts once."""
    pool = SharedValues()
    cells: dict[str, dict[str, list[Any]]] = {}
    for record in numbers.records:
        if record.kind != "cell" or record.metric != record.primary_metric:
            continue
        row = cells.setdefault(_key(record.method, record.base), {})
        row.setdefault(record.shift, []).append(_record(record, pool))
    return {"pool": pool.values, "cells": cells}


def _key(method: str, base: str | None) -> str:
    return method if base is None else f"{method}:{base}"


def _record(record: Record, pool: SharedValues) -> dict[str, Any]:
    """A record's own numbers, and the numbers in the pool of what it shares.

    The command is that of all seeds; whoever shows it says of which.
    """
    seedless = record.model_copy(update={"seed": None})
    told = {
        "chosen": format_value(record.choice),
        "chosen on": chosen_on(record.chosen_on or {}),
        "command": rerun_command(seedless),
        **{name: v for name, v in record.provenance.items() if name not in ("key", "inputs")},
    }
    shared = {n: pool.add(v) for n, v in sorted(told.items()) if v not in (None, {}, [], "")}
    return {"seed": record.seed, "n": record.n, "weight": record.weight, "shared": shared}


def samples_data(numbers: SuiteResults) -> dict[str, Any] | None:
    """Who is right on what in a chapter; None if the runs kept no samples.

    ``columns`` lists for each column of the leaderboard its evaluation sets, ``sets`` those;
    ``bits`` [row][set][seed] are base64 of packed bits, the first sample the highest bit.
    """
    found = numbers.comparison
    if found is None:
        return None
    names = list(dict.fromkeys(name for sets in found.sets for name in sets))
    sets = [_set(numbers, name) for name in names]
    return {
        "columns": [[names.index(name) for name in of] for of in found.sets],
        "sets": sets,
        "bits": _each(numbers, names, lambda one: base64.b64encode(one.bits).decode()),
    }


def confidences_data(numbers: SuiteResults, steps: int) -> dict[str, Any] | None:
    """Quantised confidences c of a chapter's samples, as ceil(steps c); None if there are none.

    ``levels`` [row][set][seed] are texts as in `samples_data`: base64 of one byte for each sample
    for 240 steps, one character of base64's alphabet for each for 60.
    """
    found = numbers.comparison
    if found is None:
        return None
    names = list(dict.fromkeys(name for sets in found.sets for name in sets))

    def text(one: RowSamples) -> str:
        if steps == LEVELS:
            return base64.b64encode(one.levels.tobytes()).decode()
        coarse = -(-one.levels.astype(np.int64) // (LEVELS // steps))
        return ALPHABET[coarse].tobytes().decode()

    return {"steps": steps, "levels": _each(numbers, names, text)}


def _set(numbers: SuiteResults, name: str) -> dict[str, Any]:
    one = next(s for row in numbers.samples.values() if name in row for s in row[name].values())
    return {"name": name, "n": one.n, "ids": one.ids}


def _each(numbers: SuiteResults, names: Sequence[str], what: Any) -> list[Any]:
    """[row][set][seed] -> text; None for a set on which the row lacks any seed."""

    def of(row: BoardRow, name: str) -> list[str] | None:
        found = numbers.samples.get((row.method, row.base), {}).get(name, {})
        if not found.keys() >= set(row.seeds):
            return None
        return [what(found[seed]) for seed in row.seeds]

    return [[of(row, name) for name in names] for row in numbers.board.rows]


def script_json(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end that, or begin another."""
    text = json.dumps(
        data, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    for character, escaped in (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(character, escaped)
    return text

"""JSON data for a page's script: values by seed, records, intervals, bits and confidences.

Bits tell which samples are classified correctly. A page has them unless it would exceed `LIMIT`,
and confidences if they fit, too.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.api.protocol import scaling_label
from bench.core.records import Record
from bench.leaderboard.board import ID, Board, BoardRow, Name, Scale
from bench.leaderboard.stats.chance import zero_shot_guesses
from bench.leaderboard.stats.row_samples import LEVELS, RowSamples
from bench.leaderboard.stats.significance import ZERO_SHOT, BoardStatistics
from bench.leaderboard.suite_results import SuiteResults
from bench.report.formats.rerun_command import rerun_command
from bench.report.headline import guessing_sentence
from bench.report.tables.choices import chosen_on
from bench.report.tables.leaderboard import full_name, id_and_mean, row_key
from bench.report.tables.standings import ONE_SEED
from bench.report.tables.table import format_value, printable_json

ALPHABET = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", dtype=np.uint8
)
"""Characters of base64, six bits each."""
COARSE = 60
"""Steps of confidences in one character; a multiple of 15, 20 and 30 bins."""
LIMIT = 10_000_000
"""Largest size of a page in bytes."""


@dataclass
class SharedValues:
    """Pool of values that records share; each value is stored once and has a number.

    Examples
    --------
    >>> from bench.report.formats.html_data import SharedValues
    >>> pool = SharedValues()
    >>> [pool.add(value) for value in ("clean", "fp32", "clean")], pool.values
    ([0, 1, 0], ['clean', 'fp32'])
    """

    values: list[Any] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, value: Any) -> int:
        """Return the number of a value; add it to the pool if it is new."""
        text = json.dumps(value, sort_keys=True)
        if text not in self._places:
            self._places[text] = len(self.values)
            self.values.append(value)
        return self._places[text]


def chapter_data(numbers: SuiteResults) -> dict[str, Any]:
    """Return the data of a chapter without samples; rows and columns are the leaderboard's.

    Examples
    --------
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.formats.html_data import chapter_data
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> chapter_data(results)["labels"]
    ('ID', 'v2', 'sketch')
    """
    board, found = numbers.board, numbers.comparison
    places, guessing = (ID, *board.shifts), zero_shot_guesses(board, numbers.samples)
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
        "guessing": guessing_sentence(guessing) if guessing else "",
        "one_seed": ONE_SEED if found and found.trained_once else "",
        "rows": [_row(board, row) for row in board.rows],
        "pairs": _pairs(board, found),
        "minus_zero_shot": _minus_zero_shot(board, found) if found else {},
        "cell": _measured(numbers, dict(zip(places, board.metrics, strict=True)), "cell"),
        "calibration": {
            name: {
                "scale": _scale(plain.scale),
                "cell": _measured(numbers, dict.fromkeys(places, name), "cell"),
                "scaled": _measured(numbers, dict.fromkeys(places, name), "scaled"),
                "intervals": _intervals_in(name, board, found) if found else {},
                "over": [places.index(shift) for shift in plain.over] if plain.averaged else [],
                "mean": plain.columns[-1] if plain.averaged else None,
            }
            for name, plain in numbers.common.items()
            if name != "top1" or scaling_label(board.protocol) != "TS"
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
    """Difference rows: the rows they compare, and McNemar's p-values [column][seed].

    A column without p-values has an empty list.
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
    """Interval of the difference to zero-shot in the last column, by row."""
    between = found.last.differences if found.last else {}
    names = ((row_key(row), ((row.method, row.base), ZERO_SHOT)) for row in board.rows)
    return {key: _bounds(between[pair][1]) for key, pair in names if pair in between}


def _measured(numbers: SuiteResults, metrics: Mapping[str, str], kind: str) -> dict[str, list[Any]]:
    """Values and keys of records as [row][place][seed]; None where there is no record."""
    found = {
        (r.method, r.base, r.shift, r.seed): r
        for r in reversed(numbers.records)  # the first of several runs
        if r.kind == kind and r.metric == metrics.get(r.shift)
    }

    def each(field_of: Callable[[Record], Any]) -> list[Any]:
        return [
            [
                [
                    None if (one := found.get((row.method, row.base, place, seed))) is None
                    else field_of(one)
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
    """Temperatures as [row][seed]; None where there is none."""
    found = {
        (r.method, r.base, r.seed): r.temperature
        for r in reversed(numbers.records)  # the first of several runs
        if r.temperature is not None
    }
    return [[found.get((row.method, row.base, s)) for s in row.seeds] for row in numbers.board.rows]


def _intervals(board: Board, found: BoardStatistics) -> dict[str, list[Any]]:
    """[low, high] or None for each column of the leaderboard, by row or difference row."""
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


def _intervals_in(metric: str, board: Board, found: BoardStatistics) -> dict[str, list[Any]]:
    """[low, high] or None for a metric on ID and its mean over the shifts, by row, where known."""
    known = found.ece if metric == "ece" else found.further.get(metric, {})
    rows = ((row_key(row), known.get((row.method, row.base), ())) for row in board.rows)
    return {key: [_bounds(i) for i in id_and_mean(of_row)] for key, of_row in rows if any(of_row)}


def _bounds(interval: Any) -> list[float] | None:
    return None if interval is None else [round(float(bound), 7) for bound in interval]


def _records(numbers: SuiteResults) -> dict[str, Any]:
    """Records of each cell of the leaderboard, by row and place; shared values are pooled."""
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
    """A record's own numbers, and the pool numbers of its shared values.

    The command has no seeds; the page adds those of the records it shows.
    """
    seedless = record.model_copy(update={"seed": None})
    values = {
        "chosen": format_value(record.choice),
        "chosen on": chosen_on(record.chosen_on or {}),
        "command": rerun_command(seedless),
        **{name: v for name, v in record.provenance.items() if name not in ("key", "inputs")},
    }
    shared = {n: pool.add(v) for n, v in sorted(values.items()) if v not in (None, {}, [], "")}
    return {"seed": record.seed, "n": record.n, "weight": record.weight, "shared": shared}


def samples_data(numbers: SuiteResults) -> dict[str, Any] | None:
    """Return which samples each row classifies correctly; None if the runs stored no samples.

    ``columns`` lists the evaluation sets of each column of the leaderboard, ``sets`` all sets.
    ``bits`` [row][set][seed] are packed bits in base64; the first sample is the highest bit.

    Examples
    --------
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.formats.html_data import samples_data
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> samples_data(results)  # None: the records have no stored samples
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
        "redrawn": [[_redrawn(numbers, row, name) for name in names] for row in numbers.board.rows],
    }


def _redrawn(numbers: SuiteResults, row: BoardRow, name: str) -> str | None:
    """The mean over seeds of `RowSamples.redrawn` as float32 in base64; None if it is not known."""
    of_set = numbers.samples.get((row.method, row.base), {}).get(name, {})
    drawn = [one.redrawn for one in of_set.values() if one.redrawn is not None]
    if not drawn or len(drawn) < len(of_set):
        return None
    return base64.b64encode(np.mean(drawn, axis=0).astype("<f4").tobytes()).decode()


def confidences_data(numbers: SuiteResults, steps: int) -> dict[str, Any] | None:
    """Return the quantized confidences c of a chapter's samples, ceil(steps c); None without any.

    ``levels`` [row][set][seed] are texts. With 240 steps they are base64 of one byte per sample,
    with 60 steps one character of base64's alphabet per sample.

    Examples
    --------
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.formats.html_data import confidences_data
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> confidences_data(results, steps=60)
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
    r"""Return JSON for a script element: nothing in it can end the element or begin another.

    Examples
    --------
    >>> from bench.report.formats.html_data import script_json
    >>> script_json({"title": "a <script>"})
    '{"title":"a \\u003cscript>"}'
    """
    text = json.dumps(
        data, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return printable_json(text).replace("<", "\\u003c")

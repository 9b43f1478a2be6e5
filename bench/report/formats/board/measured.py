"""The measured boards of the page: one per chapter of a report, in all of its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.api.metrics import ACCURACY, BY_CLASS
from bench.api.protocol import scaling_label
from bench.core.records import Record
from bench.leaderboard.board import ID, MARKS, Board, BoardRow, Name, Scale
from bench.leaderboard.hyper_parameters import own_parameters
from bench.leaderboard.stats.significance import ColumnStatistics
from bench.report.document import Chapter
from bench.report.formats.board.cells import Data, cell_data
from bench.report.formats.board.methods import method_id
from bench.report.formats.rerun_command import rerun_command
from bench.report.tables.choices import chosen_on
from bench.report.tables.leaderboard import (
    CAVEAT,
    CAVEATS_ABOVE,
    board_table_cell,
    full_name,
    marked,
    prompts_sentence,
    row_key,
    unlike_note,
)
from bench.report.tables.standings import ONE_SEED, interval_text
from bench.report.tables.table import DASH, TableLine, format_value, seeds_text

ALONE = "Single models without a fine-tuned one"
"""The group of rows that have no base and are no base."""
MEAN_KEY = "mean"
"""The key of the column of the mean over the shifts; others have the name of their set."""
PRIMARY = "primary"
"""The name of the view in each set's primary metric, where these differ."""


def measured_board(chapter: Chapter) -> Data:
    """Return one leaderboard as the page's data: what it is, its rows, and its views by metric.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.formats.board.measured import measured_board
    >>> from bench.testing.fakes import fake_records
    >>> (chapter,) = document(fake_records()).chapters
    >>> board = measured_board(chapter)
    >>> [row["name"] for row in board["rows"]], [view["name"] for view in board["views"]]
    (['Zero-shot', 'E2E-FT', 'VRF on E2E-FT'], ['top1'])
    """
    board = chapter.numbers.board
    return {
        "suite": board.suite,
        "model": board.model,
        "protocol": ", ".join((board.protocol, *board.notes)),
        "measured": True,
        "summary": chapter.summary,
        "warnings": chapter.warnings,
        "marks": chapter.marks,
        "caveats": chapter.caveats,
        "facts": [list(fact) for fact in chapter.facts],
        "rows": _rows(chapter),
        "views": list(_views(chapter)),
    }


def _rows(chapter: Chapter) -> list[Data]:
    numbers = chapter.numbers
    board = numbers.board
    titles = {row.method: row.title for row in board.rows if row.base is None}
    cells: dict[Name, list[Record]] = {(row.method, row.base): [] for row in board.rows}
    for record in numbers.records:
        if record.kind == "cell" and record.metric == record.primary_metric:
            cells[record.method, record.base].append(record)
    found = []
    for number, group in enumerate(board.groups):
        for row in group.rows:
            base = group.base
            about = {
                "key": row_key(row),
                "name": full_name(board, row).removesuffix(MARKS[row.role]).rstrip(),
                "label": ("" if row.base is None else "+ ") + row.title,
                "method": method_id(row.method),
                "base": row.base and titles.get(row.base, row.base),
                "group": ALONE if base is None else titles.get(base, base),
                "section": str(number),
                "role": row.role,
                "mark": f"{MARKS[row.role]} {CAVEAT * row.has_caveats}".strip(),
                "ranked": board.ranked and row.complete and row.role == "method",
                "seeds": seeds_text(row.seeds),
            }
            found.append(about | _made_by(cells[row.method, row.base]))
    return found


def _made_by(records: Sequence[Record]) -> Data:
    """Cost, parameters and the command of a row, from the records of its cells."""
    first = {record.seed: record for record in reversed(records)}
    ordered = [first[seed] for seed in sorted(first, key=lambda seed: -1 if seed is None else seed)]
    facts = [record.provenance for record in ordered]
    choices = {
        "no seed" if record.seed is None else f"seed {record.seed}": format_value(record.choice)
        + (f" ({on})" if (on := chosen_on(record.chosen_on or {})) else "")
        for record in ordered
        if record.choice
    }
    settings = {
        label: format_value(values)
        for label, values in (own_parameters(ordered[0]) if ordered else {}).items()
        if values
    }
    cost = next((f["cost"] for f in facts if isinstance(f.get("cost"), Mapping)), None)
    caveats = (text for f in facts for text in f.get("caveats", {}).get("row", ()))
    found: Data = {
        "chosen": _range([record.choice for record in ordered if record.choice]),
        "choices": choices,
        "settings": settings,
        "command": rerun_command(ordered[0]) if ordered else None,
        "caveats": list(dict.fromkeys(caveats)),
    }
    if cost is not None:
        found["cost"] = {"images": cost["training_images"], "encoders": cost["encoders"]}
    return {name: value for name, value in found.items() if value}


def _range(choices: Sequence[Mapping[str, float]]) -> str:
    """Chosen parameters over the seeds: ``a 0.5 to 0.63, b 0.1``."""
    texts = []
    for name in dict.fromkeys(name for choice in choices for name in choice):
        values = sorted({choice[name] for choice in choices if name in choice})
        ends = dict.fromkeys(f"{value:.3g}" for value in (values[0], values[-1]))
        texts.append(f"{name} {' to '.join(ends)}")
    return ", ".join(texts)


def _views(chapter: Chapter) -> Iterator[Data]:
    """Yield the board in each metric in which it has values, the primary one first."""
    numbers = chapter.numbers
    board, known = numbers.board, numbers.comparison
    how = scaling_label(board.protocol)
    is_uniform = len(set(board.metrics)) == 1
    name = board.metrics[0] if is_uniform else PRIMARY
    once = [ONE_SEED] if known is not None and known.trained_once else []
    columns = known.columns if known else ()
    reason = known.reason if known else "not ranked: no per-sample outcomes were stored"
    yield _view(name, board.title, board, columns=columns, reason=reason, notes=once)
    if not is_uniform and _has_values(accuracy := numbers.common[ACCURACY.name]):
        yield _view(ACCURACY.name, accuracy.title, accuracy)
    for metric, plain in numbers.common.items():
        changes = metric != ACCURACY.name or how != "TS"
        own = (known.ece if metric == "ece" else known.further.get(metric, {})) if known else {}
        scaled = numbers.scaled[metric]
        with_scaled = changes and _has_values(scaled)
        if metric not in (name, ACCURACY.name) and _has_values(plain):
            title = f"{plain.scale.title} w/o {how}" if with_scaled else plain.scale.title
            signed = metric not in BY_CLASS
            yield _view(metric, title, plain, own, signed=signed, with_scaled=with_scaled)
        if with_scaled:
            yield _view(f"{metric} w/ {how}", f"{scaled.scale.title} w/ {how}", scaled)
    for other in numbers.extra_boards:
        if other.scale.metric not in board.metrics and _has_values(other):
            yield _view(other.scale.metric, other.scale.title, other)
    for derived in chapter.derived:
        if not derived.reason:
            title, about = derived.metric.title, [derived.about]
            yield _view(derived.metric.name, title, derived.board, derived.intervals, notes=about)


def _has_values(board: Board) -> bool:
    return any(cell.mean is not None for row in board.rows for cell in row.cells)


def _view(
    name: str,
    title: str,
    board: Board,
    intervals: Mapping[Name, Sequence[Any]] | None = None,
    *,
    columns: Sequence[ColumnStatistics | None] = (),
    reason: str = "",
    notes: Sequence[str] = (),
    signed: bool = False,
    with_scaled: bool = False,
) -> Data:
    """Return a board in one metric.

    `columns` are the statistics of the primary metric, `intervals` those of other metrics. With
    `signed`, numbers of rows that are calibrated by themselves are marked.
    """
    keys = [ID, *board.shifts, *((MEAN_KEY,) if board.averaged else ())]
    lines, marks = [], []
    for row in board.rows:
        cells = []
        for at, cell in enumerate(row.cells):
            stats = columns[at] if columns else None
            interval, rank, tied = _known(board.scale, row, stats)
            if intervals and (of_row := intervals.get((row.method, row.base), ())):
                interval = interval_text(board.scale, of_row[at])
            item = replace(board_table_cell(board, row, cell), tied=tied)
            item = marked(item, row) if signed else item
            marks.append(item)
            value = None if cell.mean is None else cell.mean * board.scale.factor
            cells.append(cell_data(item, value, interval.replace(DASH, ""), rank))
        lines.append(cells)
    more = (
        prompts_sentence(board),
        unlike_note([[TableLine(tuple(marks))]], with_scaled=with_scaled),
        CAVEATS_ABOVE if any(row.has_caveats for row in board.rows) else "",
    )
    return {
        "name": name,
        "title": title,
        "unit": board.scale.unit,
        "higher": board.scale.higher_is_better,
        "columns": [
            {"key": key, "label": label} for key, label in zip(keys, board.columns, strict=True)
        ],
        "reason": reason or ("" if columns else "Ranks are of the primary metric only."),
        "notes": [*notes, *filter(None, more)],
        "cells": lines,
    }


def _known(
    scale: Scale, row: BoardRow, stats: ColumnStatistics | None
) -> tuple[str, tuple[int, int] | None, bool]:
    """The interval of a row in a column, its ranks, and whether none is surely better."""
    if stats is None:
        return "", None, False
    name = (row.method, row.base)
    return (
        interval_text(scale, stats.intervals.get(name)),
        stats.ranks.get(name),
        name in stats.tied,
    )

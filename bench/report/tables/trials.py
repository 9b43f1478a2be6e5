"""Tables of the trials of a tuned row: the settings that were tried and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.records import Record
from bench.leaderboard.board import OWN_SCALES, SCALES, Board, BoardRow, Seed
from bench.report.tables.leaderboard import full_name, row_key
from bench.report.tables.table import (
    DASH,
    Table,
    TableCell,
    TableLine,
    _align,
    _one_group,
    _seed_text,
    _value_or_dash,
)

NOTE = (
    "Trials are scored on the selection split only. Training images are counted once per epoch. A "
    "trial without a score diverged."
)


def trials_tables(board: Board, records: Sequence[Record]) -> tuple[Table, ...]:
    """Return a table for each tuned row (``--tune``): its trials for each seed, in their order.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.trials import trials_tables
    >>> from bench.testing.fakes import fake_records
    >>> trials = [{"lr": 1e-3, "score": 0.75, "training_images": 480}, {"lr": 5e-3}]
    >>> facts = {"choice": {"lr": 1e-3}, "chosen_on": {"top1": 0.75, "trials": trials}}
    >>> first = next(record for record in fake_records() if record.method == "e2e-ft")
    >>> (board,) = build_boards(fake_records())
    >>> (table,) = trials_tables(board, [first.model_copy(update=facts)])
    >>> table.columns
    ('Seed', 'lr', 'Score (%)', 'Training images', 'Chosen')
    >>> [[cell.text for cell in line.items] for line in table.groups[0]]
    [['0', '0.001', '75.0', '480', 'chosen'], ['0', '0.005', '–', '–', '']]
    """
    found: dict[tuple[str, str | None, Seed], Record] = {}
    for record in records:
        if record.kind == "cell" and _trials(record):
            found.setdefault((record.method, record.base, record.seed), record)
    tables = []
    for row in board.rows:
        places = [(row.method, row.base, seed) for seed in row.seeds]
        if tried := [found[place] for place in places if place in found]:
            tables.append(_table(board, row, tried))
    return tuple(tables)


def _table(board: Board, row: BoardRow, records: Sequence[Record]) -> Table:
    """Return the trials of a row's seeds, one record of each."""
    names = list(dict.fromkeys(name for record in records for name in record.choice))
    lines = []
    for record in records:
        trials = _trials(record)
        own = [{name: trial.get(name) for name in record.choice} for trial in trials]
        best = own.index(dict(record.choice)) if dict(record.choice) in own else None
        for number, trial in enumerate(trials):
            score, images = trial.get("score"), trial.get("training_images")
            texts = (
                _seed_text(record.seed),
                *(_value_or_dash(trial.get(name)) for name in names),
                SCALES["top1"].text(score) if isinstance(score, int | float) else DASH,
                _value_or_dash(images),
                "chosen" if number == best else "",
            )
            lines.append(TableLine(tuple(map(TableCell, texts))))
    columns = ("Seed", *names, "Score (%)", "Training images", "Chosen")
    caption = f"Trials of {full_name(board, row)}: {_metric(records[0])} on the selection split"
    align = _align(columns[:-1], texts=1) + "l"
    return Table(caption, columns, align, _one_group(lines), NOTE, f"trials {row_key(row)}")


def _trials(record: Record) -> list[Mapping[str, Any]]:
    """Return the trials that a record lists; none for a row that was not tuned."""
    trials = (record.chosen_on or {}).get("trials")
    if not isinstance(trials, list | tuple):
        return []
    return [trial for trial in trials if isinstance(trial, Mapping)]


def _metric(record: Record) -> str:
    """Return the metric that the trials were scored by."""
    facts = record.chosen_on or {}
    return next((scale.title for name, scale in OWN_SCALES.items() if name in facts), "accuracy")

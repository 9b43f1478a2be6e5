"""The table of training runs: their data and settings, and loss and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from bench.core.trainings import Entry, TrainingRecord
from bench.leaderboard.board import Board
from bench.report.tables.leaderboard import full_name
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

MOST_EPOCHS = 10
"""Of a longer training, this many epochs are shown, evenly spaced from the first to the last."""
UNKNOWN = "not kept, as by older versions"
SETTINGS = {
    "batch_size": "Batch size",
    "lr": "Peak rate",
    "warmup": "Warm-up",
    "weight_decay": "Weight decay",
}
"""The hyper-parameters that the table shows, by name, and their columns."""


def trainings_table(board: Board, trainings: Sequence[TrainingRecord]) -> Table:
    """Return one line per training run of a leaderboard's rows; empty if none is known.

    Examples
    --------
    >>> from bench.core.trainings import TrainingRecord
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.trainings import trainings_table
    >>> from bench.testing.fakes import fake_records
    >>> run = TrainingRecord(
    ...     suite="mini", model="tiny/embedded", protocol="clean", notes=(), rows=("e2e-ft",),
    ...     trainer="end to end", seed=0, key="1f0c",
    ...     history=({"epoch": 1, "loss": 0.7, "lr": 1e-3},),
    ... )
    >>> (board,) = build_boards(fake_records())
    >>> [cell.text for cell in trainings_table(board, [run]).groups[0][0].items[:5]]
    ['E2E-FT', 'end to end', '0', '1', '0.7']
    """
    names = {
        f"{r.method}:{r.base}" if r.base else r.method: full_name(board, r) for r in board.rows
    }
    ordered = sorted(trainings, key=lambda t: (t.rows, t.trainer, t.seed, t.key))
    # Files of older versions do not have them.
    added = {n: f for n, f in ADDED_COLUMNS.items() if any(f(t) != DASH for t in ordered)}
    lines = []
    for training in ordered:
        rows = ", ".join(dict.fromkeys(names.get(row, row) for row in training.rows))
        place = rows or DASH, training.trainer, _seed_text(training.seed)
        texts = (*place, *_texts(training), *(text(training) for text in added.values()))
        lines.append(TableLine(tuple(map(TableCell, texts))))
    shown = ("Row", "Training", "Seed", "Epochs", "Loss", "Learning rate", "Selection accuracy")
    columns = (*shown, *added)
    caption = "Training runs: mean loss, last learning rate and selection accuracy by epoch"
    note = f"All epochs{' and all settings' if added else ''} are in trainings.jsonl."
    note = note if lines else ""
    align = _align(columns, texts=len(shown))
    return Table(caption, columns, align, _one_group(lines), note, "trainings")


def _texts(training: TrainingRecord) -> tuple[str, str, str, str]:
    """Return the epochs, losses, rates and accuracies (percent) as texts."""
    if training.history is None:
        return _value_or_dash(training.settings.get("epochs")), UNKNOWN, DASH, DASH
    shown = _some(training.history)
    epochs = [entry["epoch"] for entry in shown if "epoch" in entry]
    is_partial = len(shown) < len(training.history)
    numbers = ", ".join(f"{epoch:g}" for epoch in epochs) if is_partial else str(len(epochs))
    losses = _joined(shown, "loss", lambda value: f"{value:.3g}")
    rates = _joined(shown, "lr", lambda value: f"{value:.2g}")
    cs = [f"C {entry['C']:g} " if "C" in entry else "" for entry in shown]
    accuracies = [
        f"{c}{100 * entry['selection']:.1f}%" if "selection" in entry else ""
        for c, entry in zip(cs, shown, strict=True)
    ]
    return (numbers if epochs else DASH, losses, rates, ", ".join(filter(None, accuracies)) or DASH)


def _joined(entries: Sequence[Entry], name: str, text: Callable[[float], str]) -> str:
    return ", ".join(text(entry[name]) for entry in entries if name in entry) or DASH


def _some(history: Sequence[Entry]) -> Sequence[Entry]:
    """Return all entries, or `MOST_EPOCHS` of them."""
    last = len(history) - 1
    if last < MOST_EPOCHS:
        return history
    return [history[round(i * last / (MOST_EPOCHS - 1))] for i in range(MOST_EPOCHS)]


def _setting(training: TrainingRecord, name: str) -> str:
    """Return a hyper-parameter as text; a warm-up is a number of steps, or a part of all steps."""
    value = training.settings.get(name)
    if name != "warmup" or not isinstance(value, int | float):
        return _value_or_dash(value)
    return f"{value:g} steps" if value >= 1 or not value else f"{100 * value:g}% of steps"


ADDED_COLUMNS: dict[str, Callable[[TrainingRecord], str]] = {
    **{column: partial(_setting, name=name) for name, column in SETTINGS.items()},
    "Training images": lambda training: _value_or_dash(training.images),
    "Selection images": lambda training: _value_or_dash(training.selection),
}
"""Columns that are left out where no training has them, and what they show of a training."""

"""Figures as values: Vega-Lite specifications, each with a table of the numbers it shows.

A specification is plain data without text and background colours. The renderer adds those:
`bench.report.figures.rasterize` for files, the page's script for light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.leaderboard.board import Board, BoardRow
from bench.report.tables.table import Table, TableCell, TableLine

Spec = dict[str, Any]
"""A Vega-Lite specification, or the fields of one value that a figure shows."""
HEADS = {"row": "Row", "on": "Set", "probabilities": "Probabilities", "samples": "Samples"}
"""Column headers of fields, other than their names."""
NO_SAMPLES = "these records have no per-sample outcomes, which a run stores in samples/"


@dataclass(frozen=True)
class Chart:
    """A figure: its title, caption and specification, and the same numbers as a table.

    `spec` is None if the figure cannot be made; `reason` then states why. `caption` explains how
    to read the figure.
    """

    name: str
    title: str
    caption: str
    spec: Spec | None
    table: Table | None = None
    reason: str = ""


def shown_rows(board: Board) -> list[BoardRow]:
    """Return the complete rows with a mean over the shifts."""
    return [r for r in board.rows if r.complete and r.cells[-1].mean is not None]


def numbers_table(caption: str, values: Sequence[Spec], names: Sequence[str], texts: int) -> Table:
    """Return a table of the fields `names` of `values`; the first `texts` are left-aligned."""
    lines = tuple(TableLine(tuple(TableCell(value[name]) for name in names)) for value in values)
    columns = tuple(HEADS.get(name, name) for name in names)
    align = "l" * texts + "r" * (len(columns) - texts)
    return Table(caption, columns, align, (lines,) if lines else ())

"""Leaderboards in the layout of papers' tables (`bench.leaderboard.published.layouts`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bench.api.protocol import scaling_label
from bench.core.records import MissingCell, Record
from bench.leaderboard.board import SCALES, Board, BoardKey, BoardRow
from bench.leaderboard.build import build_boards
from bench.leaderboard.comparability import row_name
from bench.leaderboard.published.layouts import Preset
from bench.leaderboard.published.layouts import PresetRow as Wanted
from bench.report.tables.leaderboard import (
    CAVEAT,
    CAVEATS_ABOVE,
    board_table_cell,
    id_and_mean,
    marked,
    unlike_note,
)
from bench.report.tables.table import DASH, Kind, Table, TableCell, TableLine

ACCURACY, ECE = (
    replace(SCALES[name], unit="fraction", factor=1, decimals=4) for name in ("top1", "ece")
)
"""Scales as CaRot's slides print them."""
NOT_RUN = "not run"
"""Reason for the dashes of a line that has no row."""


def paper_table(
    preset: Preset, records: Iterable[Record], missing: Iterable[MissingCell] = ()
) -> Mapping[BoardKey, Table]:
    """Return the preset's table for each leaderboard with any of its rows, by leaderboard key.

    A line whose row was not run has dashes. The best values are marked among the table's own rows.

    Examples
    --------
    >>> from bench.leaderboard.published.layouts import find_preset
    >>> from bench.report.tables.paper_layout import paper_table
    >>> from bench.testing.fakes import fake_records
    >>> (table,) = paper_table(find_preset("vrf-table1"), fake_records()).values()
    >>> [line.items[0].text for line in table.groups[1]]
    ['E2E-FT', '+ Weight-space ensemble', '+ Output-space ensemble', '+ VRF', 'Δ']
    """
    names = set(preset.methods)
    own = [record for record in records if row_name(record) in names]
    absent = [place for place in missing if row_name(place) in names]
    if preset.form == "shifts":
        return {board.key: _by_shift(preset, board) for board in build_boards(own, absent)}
    accuracy, plain = build_boards(own, absent, ACCURACY), build_boards(own, absent, ECE)
    scaled = build_boards(own, absent, ECE, "scaled")
    same = zip(accuracy, plain, scaled, strict=True)
    return {found[0].key: _calibration(preset, found) for found in same}


def _by_shift(preset: Preset, board: Board) -> Table:
    """Accuracy on ID, on each shift, and their average."""
    columns = board.columns
    if board.averaged and not board.partial:
        columns = (*columns[:-1], "Avg shifts")
    groups = tuple(
        tuple(_line(board, wanted, _cells(board, wanted)) for wanted in group)
        for group in preset.groups
    )
    return _table(preset, board, f"{board.title} ({board.scale.unit})", columns, groups)


def _calibration(preset: Preset, found: Sequence[Board]) -> Table:
    """ID and OOD accuracy, and ID and OOD ECE without and with temperature scaling."""
    how = scaling_label(found[0].protocol)
    columns = [
        f"{place} {metric}"
        for metric in ("Acc.", f"ECE w/o {how}", f"ECE w/ {how}")
        for place in id_and_mean(("ID", *(("OOD",) if found[0].over else ())))
    ]
    groups = tuple(
        tuple(
            _line(
                found[0],
                wanted,
                [
                    cell
                    for board, unlike in zip(found, (False, True, False), strict=True)
                    for cell in id_and_mean(_cells(board, wanted, unlike=unlike))
                ],
            )
            for wanted in group
        )
        for group in preset.groups
    )
    table = _table(preset, found[0], "Accuracy and ECE (fraction)", columns, groups)
    with_scaled = any(cell.mean is not None for row in found[-1].rows for cell in row.cells)
    note = f"{table.note} {unlike_note(groups, with_scaled=with_scaled, how=how)}".strip()
    return replace(table, note=note)


def _table(
    preset: Preset,
    board: Board,
    content: str,
    columns: Sequence[str],
    groups: tuple[tuple[TableLine, ...], ...],
) -> Table:
    caption = f"In the layout of {preset.title}: {content}"
    lines = [(wanted, _row(board, wanted)) for group in preset.groups for wanted in group]
    shown = {wanted: row for wanted, row in lines if row is not None}
    minus = {f"{w.title} is {row.title}." for w, row in shown.items() if w.minus is not None}
    doubted = {CAVEATS_ABOVE} if any(row.has_caveats for row in shown.values()) else set()
    note = " ".join((*sorted(minus), *doubted))
    return Table(caption, ("Method", *columns), "l" + "r" * len(columns), groups, note)


def _line(board: Board, wanted: Wanted, cells: Sequence[TableCell]) -> TableLine:
    kind: Kind = "member" if wanted.title.startswith("+ ") else "row"
    row = _row(board, wanted)
    title = TableCell(wanted.title, CAVEAT if row is not None and row.has_caveats else "")
    return TableLine((title, *cells), "difference" if wanted.minus else kind)


def _cells(board: Board, wanted: Wanted, *, unlike: bool = False) -> list[TableCell]:
    """Cells of a line for all columns of a leaderboard; `unlike` marks those of calibrated rows."""
    row = _row(board, wanted)
    if row is None:
        return [TableCell(DASH, reasons=(NOT_RUN,))] * len(board.columns)
    signed = wanted.minus is not None
    cells = [board_table_cell(board, row, cell, signed=signed) for cell in row.cells]
    return [marked(cell, row) for cell in cells] if unlike else cells


def _row(board: Board, wanted: Wanted) -> BoardRow | None:
    """The row or difference row that a line shows."""
    method, _, base = wanted.name.partition(":")
    if wanted.minus is not None:
        method = f"{method} - {wanted.minus.partition(':')[0]}"
    differences = (row for group in board.groups for row in group.differences)
    rows = {(row.method, row.base): row for row in (*board.rows, *differences)}
    return rows.get((method, base or None))

"""Tables of the metrics derived from a row's accuracies on ID and on the shifts."""

from __future__ import annotations

from bench.leaderboard.board import Board, BoardRow, Cell
from bench.leaderboard.robustness import DerivedBoard
from bench.leaderboard.stats.estimates import Interval
from bench.report.tables.leaderboard import full_name
from bench.report.tables.standings import interval_text
from bench.report.tables.table import DASH, Table, TableCell, TableLine, _align


def derived_table(found: DerivedBoard) -> Table:
    """Return a derived metric of every row, by shift and for their mean, with intervals.

    Rows are in the order of the leaderboard, and are not ranked. Without values, the table has one
    line with the reason.

    Examples
    --------
    >>> from bench.leaderboard.robustness import derived_board
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.tables.robustness import derived_table
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> table = derived_table(derived_board("id-ood-gap", results))
    >>> table.columns, [cell.text for cell in table.groups[0][0].items]
    (('Row', 'v2', 'sketch', 'OOD mean'), ['Zero-shot', '+10.0', '+20.0', '+15.0'])
    """
    board, metric = found.board, found.metric
    caption = f"{metric.title} ({metric.scale.unit})"
    if found.reason:
        why = TableLine((TableCell(f"No values: {found.reason}."),))
        return Table(caption, ("Row",), "l", ((why,),))
    columns = ("Row", *board.columns[1:])
    groups = tuple(
        tuple(TableLine(_items(board, row, found)) for row in group.rows) for group in board.groups
    )
    note = f"{found.about} {metric.better.capitalize()} is better; rows are not ranked by it."
    if any(bounds for row in found.intervals.values() for bounds in row):
        note += " In parentheses: 95% intervals."
    return Table(caption, columns, _align(columns, 1), groups, note)


def _items(board: Board, row: BoardRow, found: DerivedBoard) -> tuple[TableCell, ...]:
    bounds = found.intervals[row.method, row.base]
    pairs = zip(row.cells[1:], bounds[1:], strict=True)
    return (TableCell(full_name(board, row)), *(_item(board, *pair) for pair in pairs))


def _item(board: Board, cell: Cell, bounds: Interval | None) -> TableCell:
    if cell.mean is None:
        return TableCell(DASH, reasons=tuple(dict.fromkeys(reason for _, reason in cell.absent)))
    small = "" if bounds is None else f"({interval_text(board.scale, bounds, signed=True)})"
    return TableCell(board.scale.text(cell.mean, signed=True), small)

"""The table of standings: means with intervals, differences to zero-shot, and ranks.

It shows whether the lead of the best row exceeds noise.
"""

from __future__ import annotations

from dataclasses import replace

from bench.leaderboard.board import Board, BoardRow, Scale
from bench.leaderboard.stats.estimates import Interval
from bench.leaderboard.stats.significance import ZERO_SHOT, BoardStatistics, ColumnStatistics
from bench.report.tables.leaderboard import CAVEAT, CAVEATS_ABOVE, full_name, row_key
from bench.report.tables.table import DASH, Table, TableCell, TableLine

ONE_SEED = (
    "Each row was trained once, so no trained row is called better or worse than another: only the "
    "sample of test images was counted. Several training seeds would tell."
)
SELECTION = (
    "The interval of {} lacks the noise of choosing on the selection split, and so do differences "
    "and ranks with it: what another choice would have given is not stored (docs/statistics.md)."
)


def standings_table(board: Board, found: BoardStatistics) -> Table | None:
    """Return the rows by their mean over the shifts, best first; unranked rows come last.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.row_samples import samples_by_board
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.tables.standings import standings_table
    >>> from bench.testing.fakes import fake_records
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.zeros((1000, 1), int), {}, {})
    >>> sure, zeros, order = np.full(1000, 0.9), np.zeros(1000, int), np.arange(1000)
    >>> found = [SampleOutputs(r, on, order < 1000 * r.value, sure, zeros) for r in fake_records()]
    >>> (results,) = measured(fake_records(), (), samples_by_board(found))
    >>> table = standings_table(results.board, results.comparison)
    >>> [line.items[0].text for line in table.groups[0]]
    ['VRF on E2E-FT', 'Zero-shot', 'E2E-FT']
    """
    column = found.last
    if column is None:
        return None
    ranked = [row for row in board.rows if (row.method, row.base) in column.ranks]
    others = [row for row in board.rows if row not in ranked and row.cells[-1].mean is not None]
    sign = -1 if board.scale.higher_is_better else 1
    groups: list[tuple[TableLine, ...]] = []
    for rows in (ranked, others):
        ordered = sorted(rows, key=lambda row: sign * (row.cells[-1].mean or 0))
        if rows is others and rows:
            groups.append((TableLine((TableCell(found.reason or "not ranked"),), "head"),))
        groups.append(tuple(_line(board, row, column) for row in ordered))
    subtracted = tuple(
        _between(board, row, column) for group in board.groups for row in group.differences
    )
    label = board.columns[-1]
    columns = ("Row", label, "95% interval", "Minus zero-shot", "95% interval", "Rank")
    filled = tuple(group for group in (*groups, subtracted) if group)
    title = f"Standings by {label} ({board.scale.unit})"
    lacking = [row for row in board.rows if (row.method, row.base) in found.without_selection]
    names = ", ".join(full_name(board, row) for row in lacking)
    sentences = (
        ONE_SEED if found.trained_once else "",
        SELECTION.format(names) if names else "",
        CAVEATS_ABOVE if any(row.has_caveats for row in (*ranked, *others)) else "",
    )
    note = " ".join(filter(None, sentences))
    return Table(title, columns, "lrrrrr", filled, note, name="standings")


def _line(board: Board, row: BoardRow, column: ColumnStatistics) -> TableLine:
    name, scale = (row.method, row.base), board.scale
    mean, rank = row.cells[-1].mean, column.ranks.get(name)
    value = DASH if mean is None else scale.text(mean)
    ranks = DASH if rank is None else ranks_text(*rank)
    between = _difference(scale, column.differences.get((name, ZERO_SHOT)))
    items = (value, interval_text(scale, column.intervals.get(name)), *between, ranks)
    title = TableCell(full_name(board, row), CAVEAT if row.has_caveats else "")
    cells = (title, *map(TableCell, items))
    is_best = rank is not None and rank[0] == 1
    return TableLine((*cells[:-1], replace(cells[-1], strong=is_best)), "row", row_key(row))


def _between(board: Board, row: BoardRow, column: ColumnStatistics) -> TableLine:
    """A difference row: the paired difference of two rows on the same base."""
    one, other = row.method.split(" - ")
    pair = column.differences.get(((one, row.base), (other, row.base)))
    title = f"Δ {full_name(board, row)}"
    items = (title, DASH, DASH, *_difference(board.scale, pair), DASH)
    value = (items[0], items[3], items[4], DASH, DASH, DASH)
    return TableLine(tuple(map(TableCell, value)), "difference", row_key(row))


def _difference(scale: Scale, found: tuple[float, Interval] | None) -> tuple[str, str]:
    if found is None:
        return DASH, DASH
    value, interval = found
    return scale.text(value, signed=True), interval_text(scale, interval, signed=True)


def interval_text(scale: Scale, interval: Interval | None, *, signed: bool = False) -> str:
    """Return ``54.1 to 55.6``; a dash if there is no interval.

    Examples
    --------
    >>> from bench.leaderboard.board import scale_of
    >>> from bench.leaderboard.stats.estimates import Interval
    >>> from bench.report.tables.standings import interval_text
    >>> interval_text(scale_of("top1"), Interval(0.541, 0.556))
    '54.1 to 55.6'
    """
    if interval is None:
        return DASH
    return " to ".join(scale.text(bound, signed=signed) for bound in interval)


def ranks_text(first: int, last: int) -> str:
    """Return ``2``, or ``1 to 3`` if the data do not separate the rows.

    Examples
    --------
    >>> from bench.report.tables.standings import ranks_text
    >>> ranks_text(2, 2), ranks_text(1, 3)
    ('2', '1 to 3')
    """
    return str(first) if first == last else f"{first} to {last}"


def mark_ties(table: Table, board: Board, found: BoardStatistics) -> Table:
    """Return the leaderboard with the values tied for the best marked in each column.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.row_samples import samples_by_board
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.tables.leaderboard import leaderboard_table
    >>> from bench.report.tables.standings import mark_ties
    >>> from bench.testing.fakes import fake_records
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, np.zeros((1000, 1), int), {}, {})
    >>> sure, zeros, order = np.full(1000, 0.9), np.zeros(1000, int), np.arange(1000)
    >>> found = [SampleOutputs(r, on, order < 1000 * r.value, sure, zeros) for r in fake_records()]
    >>> (results,) = measured(fake_records(), (), samples_by_board(found))
    >>> table = mark_ties(leaderboard_table(results.board), results.board, results.comparison)
    >>> [cell.tied for cell in table.groups[1][1].items]  # VRF; one seed separates no trained rows
    [False, True, True, True, True]
    """
    rows = {row_key(row): (row.method, row.base) for row in board.rows}

    def line(one: TableLine) -> TableLine:
        items = list(one.items)
        for at, column in enumerate(found.columns, start=1):
            if column is not None and rows.get(one.row) in column.tied:
                items[at] = replace(items[at], tied=True)
        return replace(one, items=tuple(items))

    groups = tuple(tuple(line(one) for one in group) for group in table.groups)
    return replace(table, groups=groups)

"""The table of standings: means with intervals, differences to zero-shot, and ranks.

It answers whether what is best in the leaderboard is better by more than noise.
"""

from __future__ import annotations

from dataclasses import replace

from bench.leaderboard.board import Board, BoardRow, Scale
from bench.leaderboard.stats.estimates import Interval
from bench.leaderboard.stats.significance import ZERO_SHOT, BoardStatistics, ColumnStatistics
from bench.report.tables.leaderboard import full_name, row_key
from bench.report.tables.table import DASH, Table, TableCell, TableLine

LEVEL = "5%, all pairs at once"
"""What "significantly" means here: the probability of any false win is at most this."""


def standings_summary(board: Board, found: BoardStatistics | None) -> str:
    """In a sentence or two: what was compared, what is best, and of which others."""
    rows = [row for row in board.rows if row.role == "method" and row.complete]
    label, places = board.columns[-1], f"{len(board.over)} shifts" if board.over else "ID alone"
    said = f"{len(rows)} complete rows on {places}, protocol {board.protocol.partition(',')[0]}."
    if not board.ranked or not rows:
        return f"{said} Nothing is ranked."
    choose = max if board.scale.higher_is_better else min
    top = choose(rows, key=lambda row: row.cells[-1].mean or 0)
    best = [row for row in rows if row.cells[-1].best] or [top]
    names = ", ".join(full_name(board, row) for row in best)
    said += f" Best {label}: {names}, {board.scale.text(top.cells[-1].mean or 0)}."
    column = None if found is None else found.last
    if column is None or not column.ranks:
        why = found.reason if found and found.reason else "no per-sample outcomes were kept"
        return f"{said} Whether that is more than noise is not known: {why}."
    others = len(column.ranks) - len(best)
    worse = len(column.ranks) - column.ranks[top.method, top.base][1]
    if not others:
        return said
    if not worse:
        return f"{said} None of the others is significantly worse ({LEVEL})."
    verb = "is" if worse == 1 else "are"
    return f"{said} Of the {others} others {worse} {verb} significantly worse ({LEVEL})."


def standings_table(board: Board, found: BoardStatistics) -> Table | None:
    """The rows by their mean over the shifts, the best first; unranked ones after the others."""
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
    whole = tuple(group for group in (*groups, subtracted) if group)
    return Table(
        f"Standings by {label} ({board.scale.unit})", columns, "lrrrrr", whole, name="standings"
    )


def _line(board: Board, row: BoardRow, column: ColumnStatistics) -> TableLine:
    name, scale = (row.method, row.base), board.scale
    mean, rank = row.cells[-1].mean, column.ranks.get(name)
    value = DASH if mean is None else scale.text(mean)
    ranks = DASH if rank is None else ranks_text(*rank)
    between = _difference(scale, column.differences.get((name, ZERO_SHOT)))
    items = (value, interval_text(scale, column.intervals.get(name)), *between, ranks)
    found = tuple(map(TableCell, (full_name(board, row), *items)))
    is_best = rank is not None and rank[0] == 1
    return TableLine((*found[:-1], replace(found[-1], strong=is_best)), "row", row_key(row))


def _between(board: Board, row: BoardRow, column: ColumnStatistics) -> TableLine:
    """A difference row: the paired difference of two rows of one base."""
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
    """``54.1 to 55.6``; a dash if there is none."""
    if interval is None:
        return DASH
    return " to ".join(scale.text(bound, signed=signed) for bound in interval)


def ranks_text(first: int, last: int) -> str:
    """``2``, or ``1 to 3`` where the data cannot tell."""
    return str(first) if first == last else f"{first} to {last}"


def mark_ties(table: Table, board: Board, found: BoardStatistics) -> Table:
    """The leaderboard with what is tied for the best marked in each column."""
    rows = {row_key(row): (row.method, row.base) for row in board.rows}

    def line(one: TableLine) -> TableLine:
        items = list(one.items)
        for at, column in enumerate(found.columns, start=1):
            if column is not None and rows.get(one.row) in column.tied:
                items[at] = replace(items[at], tied=True)
        return replace(one, items=tuple(items))

    groups = tuple(tuple(line(one) for one in group) for group in table.groups)
    return replace(table, groups=groups)

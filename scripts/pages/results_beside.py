"""Tables of published and measured numbers side by side, for corresponding rows and sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.api.metrics import ACCURACY
from bench.leaderboard.board import ID, MEAN, Board, BoardRow
from bench.leaderboard.published.places import MODELS, PLACES
from bench.leaderboard.published.tables import PublishedColumn, PublishedTable
from bench.leaderboard.published.tables import PublishedRow as PublishedRow
from bench.report.document import Chapter
from bench.report.tables.leaderboard import marked, unlike_note
from bench.report.tables.table import DASH, Kind, Table, TableCell, TableLine

ALIKE: Mapping[str, str] = {"imagenet": ID, "avg5": MEAN}
"""Columns of a paper's table that are compared with a run on another suite, in the table's form."""


def side_by_side(table: PublishedTable, chapter: Chapter, *, other_data: bool) -> Table | None:
    """Return published and measured cells of the same rows, or None if there are none.

    The sets are the same, too, unless `other_data`: then `ALIKE` matches them. If a table has
    several backbones, only the run's own is shown, if the table has it. Measured cells have the
    unit and number of digits of the published ones.
    """
    board = chapter.numbers.board
    columns = [
        (index, column, place)
        for index, column in enumerate(table.columns)
        if (place := _place(column, board, other_data)) and _board(chapter, column) is not None
    ]
    groups = []
    same = [group for group in table.groups if MODELS[group.backbone] == board.model]
    for group in same or table.groups:
        lines = [
            _beside_line(row, columns, chapter)
            for row in group.rows
            if not row.given and not row.in_hindsight and _ours(board, row) is not None
        ]
        head = (
            (TableLine((TableCell(group.backbone),), "head"),) if len(table.backbones) > 1 else ()
        )
        groups += [(*head, *lines)] if lines else []
    if not columns or not groups:
        return None
    labels = [
        label
        for _, column, place in columns
        for label in (
            f"{column.label}, published",
            f"{'ID' if place == ID else place}, measured",
        )
    ]
    published = ", ".join((*table.suites, *table.backbones))
    caption = f"{table.title} ({published}) and {board.suite} ({board.model})"
    minus = {
        f"{row.label} is {found.title}."
        for group in same or table.groups
        for row in group.rows
        if row.minus and (found := _ours(board, row)) is not None
    }
    scaled = any(column.scaled for _, column, _ in columns)
    note = " ".join((*sorted(minus), unlike_note(groups, with_scaled=scaled))).strip()
    return Table(caption, ("Row", *labels), "l" + "r" * len(labels), tuple(groups), note)


def _place(column: PublishedColumn, board: Board, other_data: bool) -> str:
    """Return ID, the shift or the OOD mean that matches a published column; empty if none."""
    if other_data:
        place = ALIKE.get(column.dataset, "")
    elif column.dataset == "avg5" and board.suite == column.suite:
        place = MEAN
    else:
        known = PLACES.get(column.dataset)
        place = known.shift if known and known.suite == board.suite else ""
    there = (ID, *board.shifts, *((MEAN,) if board.averaged and not board.partial else ()))
    return place if place in there else ""


def _board(chapter: Chapter, column: PublishedColumn) -> Board | None:
    numbers = chapter.numbers
    return (numbers.scaled if column.scaled else numbers.common).get(column.metric)


def _ours(board: Board, row: PublishedRow) -> BoardRow | None:
    """Return our row, or difference row, that corresponds to a published one."""
    rows = (r for group in board.groups for r in (*group.rows, *group.differences))
    found = {(r.method, r.base): r for r in rows}
    if row.minus:
        return found.get((f"{row.method} - {row.minus}", row.base))
    method, _, base = (row.ours or "").partition(":")
    return found.get((method, base or None))


def _beside_line(
    row: PublishedRow, columns: Sequence[tuple[int, PublishedColumn, str]], chapter: Chapter
) -> TableLine:
    items = [TableCell(row.label.replace(" (ours)", ""))]  # it is the paper's
    for index, column, place in columns:
        text = row.cells[index]
        board = _board(chapter, column)
        found = board and _ours(board, row)
        items.append(TableCell(text or DASH))
        if board is None or not found:
            items.append(TableCell(DASH))
            continue
        cell = dict(zip((ID, *board.shifts, MEAN), found.cells, strict=False))[place]
        factor = 100 if column.unit == "percent" else 1
        digits = len((text or "0.0").partition(".")[2])
        scale = replace(board.scale, factor=factor, decimals=digits)
        value = DASH if cell.mean is None else scale.text(cell.mean, signed=bool(row.minus))
        shown = TableCell(value, "" if cell.std is None else f"± {scale.text(cell.std)}")
        unlike = column.metric != ACCURACY.name and not column.scaled
        items.append(marked(shown, found) if unlike else shown)
    kind: Kind = "difference" if row.minus else "member" if row.base else "row"
    return TableLine(tuple(items), kind)

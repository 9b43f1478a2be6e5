"""The leaderboard in the terminal, during a run and at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from rich import box
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from bench.leaderboard.board import PENDING, UNRECORDED, Board
from bench.leaderboard.comparability import rankable_rows, trained_once
from bench.report.tables.leaderboard import CAVEAT, CAVEATS_ABOVE, id_and_mean, leaderboard_table
from bench.report.tables.table import DASH, Table, TableCell, printable

T = TypeVar("T")
LISTED = f"{CAVEAT} report.md lists a caveat"
TRAINED_ONCE = "One training seed: no trained row is called better or worse than another"
DOT = "·"
"""Text of a cell that is not computed yet; a failed cell has a dash."""
NARROW = 80
LONGEST_NAME = 24
SHORTEST_HEADER = 4
WIDEST_ANYWHERE = 12
"""Tables with up to this many columns keep all their columns in any terminal."""


def terminal_table(board: Board, width: int = NARROW) -> Group:
    """Return the leaderboard for a terminal `width` columns wide.

    If it does not fit, deviations are dropped first and long headers are cut next. If that is not
    enough, the columns of the shifts are dropped.

    Examples
    --------
    >>> from rich.console import Console
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.terminal import terminal_table
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records({"zero-shot": (0.6, 0.4)}, shifts=["sketch"]))
    >>> Console(width=60, force_terminal=False).print(terminal_table(board, 60))
    fake, fake/none, clean
    Method      ID sketch OOD mean
    ──────────────────────────────
    Zero-shot 60.0   40.0     40.0
    Accuracy in percent; best in bold
    """
    content = leaderboard_table(board)
    return _render(content, board_title(board), lambda small: _caption(board, small), width)


def terminal_paper_table(content: Table, width: int = NARROW) -> Group:
    """Return a table in the layout of a paper, fitted like `terminal_table`.

    Examples
    --------
    >>> from rich.console import Console
    >>> from bench.report.tables.table import Table, TableCell, TableLine
    >>> from bench.report.tables.terminal import terminal_paper_table
    >>> line = TableLine((TableCell("Zero-shot"), TableCell("60.0")))
    >>> table = Table("Accuracy (percent)", ("Method", "ID"), "lr", ((line,),))
    >>> Console(width=60, force_terminal=False).print(terminal_paper_table(table, 60))
    Accuracy (percent)
    Method      ID
    ──────────────
    Zero-shot 60.0
    """
    note = content.note.replace(CAVEATS_ABOVE, f"{LISTED}.")
    return _render(content, Text(printable(content.caption)), lambda _: note, width)


def _render(content: Table, title: Text, caption: Callable[[bool], str], width: int) -> Group:
    """Title, table and caption as separate lines, as rich cuts a table's title to its width."""
    full, content = content, _fit(content, width)
    left_out = len(full.columns) - len(content.columns)
    lines = [line for group in content.groups for line in group]
    width -= len(content.columns) - 1  # one space between columns
    small = sum(_body(content, small=True)) <= width
    hidden = f"{left_out} columns do not fit; the report shows them" if left_out else ""
    parts = (caption(small), hidden)
    table = RichTable(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for name, side, space in zip(
        content.columns, content.align, _widths(content, small, width), strict=True
    ):
        header = Text(printable(name), overflow="ellipsis")
        justify: Literal["left", "right"] = "left" if side == "l" else "right"
        table.add_column(header, justify=justify, width=space, overflow="ellipsis")
    for line in lines:
        last = any(line is group[-1] for group in content.groups)
        texts = [_text(item, small and index > 0) for index, item in enumerate(line.items)]
        table.add_row(*texts, style=_STYLES[line.kind], end_section=last)
    title.stylize("bold")
    return Group(title, table, Text("\n".join(filter(None, parts)), style="dim italic"))


def _fit(content: Table, width: int) -> Table:
    """The table, or only its names, first and last numbers if headers would be cut too short."""
    heads = [min(Text(name).cell_len, SHORTEST_HEADER) for name in content.columns]
    body = _body(content, small=False)
    needed = sum(map(max, zip(body, heads, strict=True))) + len(body) - 1
    if needed <= width or len(body) <= WIDEST_ANYWHERE:
        return content

    def cut(items: Sequence[T]) -> tuple[T, ...]:
        return (items[0], *id_and_mean(items[1:])) if len(items) > 1 else tuple(items)

    groups = tuple(
        tuple(replace(line, items=cut(line.items)) for line in group) for group in content.groups
    )
    return replace(
        content, columns=cut(content.columns), align="".join(cut(content.align)), groups=groups
    )


_STYLES = {"difference": "italic cyan", "head": "italic dim", "row": "", "member": ""}


def _text(item: TableCell, small: bool) -> Text:
    """A cell (never parsed for markup) and its deviation without a space: ``44.6±0.3``.

    Names have no small print here, as the header above them states which rows are not methods. Only
    the mark of caveats stays.
    """
    is_pending = bool(item.reasons) and set(item.reasons) <= {PENDING, UNRECORDED}
    value = DOT if is_pending and item.text == DASH else printable(item.text)
    text = Text(overflow="ellipsis", no_wrap=True).append(
        value, "bold green" if item.strong else ""
    )
    text.append(item.sign)
    if small and item.small:
        text.append(printable(item.small).replace("± ", "±"), "dim")
    elif item.small.endswith(CAVEAT):
        text.append(f" {CAVEAT}", "dim")
    return text


def _body(content: Table, small: bool) -> list[int]:
    """Widths of the columns without their headers."""
    columns: list[list[int]] = [[1] for _ in content.columns]
    for line in (line for group in content.groups for line in group):
        for index, item in enumerate(line.items):
            columns[index].append(_text(item, small and index > 0).cell_len)
    first, *others = map(max, columns)
    return [min(first, LONGEST_NAME), *others]


def _widths(content: Table, small: bool, width: int) -> list[int]:
    """Widths of the columns: headers as far as they fit, then room for long names."""
    body = _body(content, small)
    lines = [line for group in content.groups for line in group]
    names = max([body[0], *(_text(line.items[0], small=False).cell_len for line in lines)])
    headers = [Text(printable(name)).cell_len for name in content.columns]
    for longest in range(max(headers), 0, -1):
        found = [max(b, min(h, longest)) for b, h in zip(body, headers, strict=True)]
        if sum(found) <= width:
            room = width - sum(found)
            return [min(names, found[0] + room), *found[1:]]
    return body


def board_title(board: Board) -> Text:
    """Return what a board is of, and whether it is watermarked or partial, in up to three lines.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.terminal import board_title
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> str(board_title(board))
    'fake, fake/none, clean'
    """
    title = Text(printable(f"{board.suite}, {board.model}, {board.protocol}"))
    if board.notes:
        title.append(f"\nnot reportable: {printable(', '.join(board.notes))}", "red")
    if board.partial:
        ran = f"{len(board.over)} of {board.shifts_in_suite} shifts"
        title.append(f"\npartial: {ran}, not ranked", "yellow")
    return title


def _caption(board: Board, small: bool) -> str:
    """Metric, unit and aggregation of the numbers, and what they do not tell."""
    parts = [f"{board.title} in {board.scale.unit}"]
    if board.has_deviations:
        parts.append("mean ± standard deviation over seeds" if small else "mean over seeds")
    if board.ranked:
        parts.append("best in bold")
    rows, lines = rankable_rows(board), ["; ".join(parts)]
    if any(row.has_caveats for row in board.rows):
        lines.append(LISTED)
    if len(rows) > 2 and trained_once(rows):
        lines.append(TRAINED_ONCE)
    return "\n".join(lines)

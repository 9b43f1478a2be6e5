"""Tables of leaderboards, as texts and printed numbers before formatting.

Their texts are plain; the output formats escape them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from bench.api.metrics import BY_CLASS
from bench.api.protocol import scaling_label
from bench.core.records import Role
from bench.leaderboard.board import (
    MARKS,
    UNRECORDED,
    Board,
    BoardRow,
    Cell,
    Group,
    Seed,
)
from bench.report.tables.table import (
    DASH,
    Kind,
    Table,
    TableCell,
    TableLine,
    _align,
    _one_group,
    seeds_text,
)

T = TypeVar("T")
UNRANKED: Mapping[Role, str] = {
    "transductive": "not ranked: transductive",
    "control": "not ranked: ablations",
    "oracle": "not ranked: oracles",
}
"""Header above the rows of a group that are not methods, by role."""
CAVEAT = "†"
"""Follows the title of a row that a caveat concerns."""
CAVEATS_ABOVE = f"{CAVEAT} A caveat listed with this suite concerns the row."
CALIBRATED = "‡"
"""Follows a number whose row was calibrated before it was measured, where other rows were not."""
UNLIKE = (
    f"{CALIBRATED} The row's method fits a temperature for each of its two endpoints on the "
    "selection split before it is measured. Other rows have none there, and bold is the best of "
    "them alone."
)
UNSCALED = "This run has no columns with temperature scaling."
ALIKE = (
    "In the columns w/ TS every row but oracles has a temperature, such a row in addition to its "
    "endpoints' two."
)

ALIKE_OTHERWISE = (
    "In the columns w/ {} every row but oracles is calibrated, such a row in addition to its "
    "endpoints' temperatures."
)


def leaderboard_table(board: Board) -> Table:
    """Return methods x (ID, shifts, OOD mean), grouped by base, with difference rows.

    Ablations and oracles come last in their group, each under a header of their own.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.leaderboard import leaderboard_table
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> table = leaderboard_table(board)
    >>> table.columns, [line.row for group in table.groups for line in group]
    (('Method', 'ID', 'v2', 'sketch', 'OOD mean'), ['zero-shot', 'e2e-ft', 'vrf:e2e-ft'])
    """

    def line(row: BoardRow, kind: Kind) -> TableLine:
        items = [
            board_table_cell(board, row, cell, signed=kind == "difference") for cell in row.cells
        ]
        seeds = (TableCell(seeds_text(row.seeds)),) if board.seeds_differ else ()
        return TableLine((_name(row, kind), *items, *seeds), kind, row_key(row))

    groups = []
    for group in board.groups:
        lines = list(_head(group))
        for role in MARKS:
            lines += _role_head(group, role)
            lines += [line(row, _kind(row)) for row in group.of(role)]
            lines += [line(row, "difference") for row in group.differences if role == "method"]
        groups.append(tuple(lines))
    columns = ("Method", *board.columns, *(("Seeds",) if board.seeds_differ else ()))
    caption = f"{board.title} ({board.scale.unit})"
    align = _align(columns, texts=1)
    doubted = CAVEATS_ABOVE if any(row.has_caveats for row in board.rows) else ""
    note = ". ".join(filter(None, (prompts_sentence(board), doubted)))
    return Table(caption, columns, align, tuple(groups), note, name="leaderboard")


def row_key(row: BoardRow) -> str:
    """Key of a row: ``METHOD`` or ``METHOD:BASE``; ``METHOD - METHOD:BASE`` for differences.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.leaderboard import row_key
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> [row_key(row) for row in board.rows]
    ['zero-shot', 'e2e-ft', 'vrf:e2e-ft']
    """
    return row.method if row.base is None else f"{row.method}:{row.base}"


def prompts_sentence(board: Board) -> str:
    """The source of class names and templates as a sentence; empty if it is unknown.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.leaderboard import prompts_sentence
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> prompts_sentence(replace(board, prompts="80 templates of OpenAI"))
    'Prompts: 80 templates of OpenAI'
    """
    return f"Prompts: {board.prompts}" if board.prompts else ""


def calibration_table(
    plain: Board, scaled: Board, temperatures: Mapping[tuple[str, str | None], float]
) -> Table:
    """Return ID and OOD mean in a metric, with (if any row has it) and without temperature scaling.

    Where the protocol has another calibration, that takes its place. The columns with it come
    first: there all rows are calibrated. In the others, the cells of rows whose method is
    calibrated by itself are marked, and the line below the table says so.
    `plain` and `scaled` are the same leaderboard without and with temperature scaling.
    `temperatures`, by method and base, fill a last column, which is left out if they are empty.

    Examples
    --------
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.tables.leaderboard import calibration_table
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> calibration_table(results.common["ece"], results.scaled["ece"], {}).columns
    ('Method', 'ID', 'OOD mean')
    """
    with_scaled = any(cell.mean is not None for row in scaled.rows for cell in row.cells)
    shown = (scaled, plain) if with_scaled else (plain,)
    is_changed = plain.scale.metric not in BY_CLASS

    def line(rows: tuple[BoardRow, ...]) -> TableLine:
        pairs, kind = zip(shown, rows, strict=True), _kind(rows[0])
        items = [
            marked(found, row) if board is plain and is_changed else found
            for board, row in pairs
            for found in (board_table_cell(board, row, cell) for cell in id_and_mean(row.cells))
        ]
        if temperatures:
            t = temperatures.get((rows[0].method, rows[0].base))
            items.append(TableCell(DASH if t is None else f"{t:.2f}"))
        return TableLine((_name(rows[0], kind), *items), kind, row_key(rows[0]))

    labels = id_and_mean(plain.columns)
    if with_scaled:
        how = scaling_label(plain.protocol)
        labels = [f"{label} {which} {how}" for which in ("w/", "w/o") for label in labels]
    columns = ("Method", *labels, *(("T",) if temperatures else ()))
    caption, name = f"{plain.scale.title} ({plain.scale.unit})", f"calibration {plain.scale.metric}"
    groups = _side_by_side(shown, line)
    note = unlike_note(groups, with_scaled=with_scaled, how=scaling_label(plain.protocol))
    return Table(caption, columns, _align(columns, texts=1), groups, note, name)


def marked(cell: TableCell, row: BoardRow) -> TableCell:
    """Return the cell with the sign of rows that were calibrated before they were measured.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.leaderboard import marked
    >>> from bench.report.tables.table import TableCell
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> row = replace(board.rows[-1], calibrated=True)
    >>> marked(TableCell("10.8"), row).sign, marked(TableCell("16.7"), board.rows[0]).sign
    ('‡', '')
    """
    is_number = row.calibrated and cell.text != DASH
    return replace(cell, sign=CALIBRATED) if is_number else cell


def unlike_note(
    groups: Iterable[Iterable[TableLine]], *, with_scaled: bool, how: str = "TS"
) -> str:
    """Return the line below a table that explains its marked cells; empty if there are none.

    Examples
    --------
    >>> from bench.report.tables.leaderboard import unlike_note
    >>> from bench.report.tables.table import TableCell, TableLine
    >>> unlike_note([[TableLine((TableCell("VRF"), TableCell("10.8")))]], with_scaled=True)
    ''
    """
    items = (item for group in groups for line in group for item in line.items)
    if not any(item.sign == CALIBRATED for item in items):
        return ""
    if not with_scaled:
        return f"{UNLIKE} {UNSCALED}"
    return f"{UNLIKE} {ALIKE if how == 'TS' else ALIKE_OTHERWISE.format(how)}"


def extra_metrics_table(board: Board, others: Sequence[Board]) -> Table:
    """Return further metrics of evaluation sets, with one column per set and metric.

    `others` are the leaderboards in such metrics, `board` the one in each set's primary metric.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.leaderboard import extra_metrics_table
    >>> from bench.testing.fakes import fake_records
    >>> own = [record.model_copy(update={"metric": "pm-0"}) for record in fake_records()]
    >>> (board,), others = build_boards(fake_records()), build_boards(own, metric="pm-0")
    >>> extra_metrics_table(board, others).columns
    ('Method', 'ID (pm-0)', 'v2 (pm-0)', 'sketch (pm-0)')
    """
    picked = [
        (number, index)
        for number, other in enumerate(others)
        for index, primary in enumerate(board.metrics)
        if primary != other.scale.metric and any(r.cells[index].seeds for r in other.rows)
    ]

    def line(rows: tuple[BoardRow, ...]) -> TableLine:
        items = [board_table_cell(others[n], rows[n], rows[n].cells[i]) for n, i in picked]
        return TableLine((_name(rows[0], _kind(rows[0])), *items), _kind(rows[0]))

    labels = [f"{('ID', *board.shifts)[i]} ({others[n].scale.title})" for n, i in picked]
    caption = f"Further metrics ({board.scale.unit})"
    groups = _side_by_side(others, line) if picked else ()
    return Table(caption, ("Method", *labels), _align(("Method", *labels), texts=1), groups)


def _side_by_side(
    boards: Sequence[Board], line: Callable[[tuple[BoardRow, ...]], TableLine]
) -> tuple[tuple[TableLine, ...], ...]:
    """Groups of lines; each line combines the same row of several leaderboards."""
    groups = []
    for same in zip(*(board.groups for board in boards), strict=True):
        lines = list(_head(same[0]))
        for role in MARKS:
            lines += _role_head(same[0], role)
            lines += map(line, zip(*(group.of(role) for group in same), strict=True))
        groups.append(tuple(lines))
    return tuple(groups)


def missing_cells_table(board: Board, further: Sequence[Board] = ()) -> Table:
    """Return the cells without a value, by row and reason.

    `further` are the same leaderboard in other metrics: of these, where the value is missing alone.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.leaderboard import missing_cells_table
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records()[1:])  # without zero-shot on ID
    >>> [cell.text for cell in missing_cells_table(board).groups[0][0].items]
    ['Zero-shot', 'ID', '–', 'no record']
    """
    found: dict[tuple[str, str], dict[str, set[Seed]]] = defaultdict(lambda: defaultdict(set))
    for row in board.rows:
        for label, cell in zip(("ID", *board.shifts), row.cells, strict=False):
            for seed, reason in cell.absent:
                found[full_name(board, row), reason][label].add(seed)
    for other in further:
        for one, row in zip(board.rows, other.rows, strict=True):
            pairs = zip(one.cells, row.cells, strict=False)
            for label, (plain, cell) in zip(("ID", *board.shifts), pairs, strict=False):
                for seed, reason in set(cell.absent) - set(plain.absent):
                    if reason != UNRECORDED:
                        place = f"{label} ({other.scale.title})"
                        found[full_name(board, row), reason][place].add(seed)
    lines = []
    for (name, reason), places in found.items():
        seeds = seeds_text(set[Seed]().union(*places.values()))
        lines.append(
            TableLine(
                (TableCell(name), TableCell(", ".join(places)), TableCell(seeds), TableCell(reason))
            )
        )
    columns = ("Row", "Missing on", "Seeds", "Reason")
    return Table("Missing cells", columns, _align(columns, texts=4), _one_group(lines))


def board_table_cell(board: Board, row: BoardRow, cell: Cell, *, signed: bool = False) -> TableCell:
    """Return a printed cell: value, deviation, and the number of seeds if some are missing.

    A seed-free row has a dash for the deviation where other rows have a deviation.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.leaderboard import board_table_cell
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> row = board.rows[-1]
    >>> board_table_cell(board, row, row.cells[0])
    TableCell(text='78.0', small='', strong=False, reasons=(), tied=False, sign='')
    """
    if cell.mean is None:
        return TableCell(DASH, reasons=_reasons(board, row, cell))
    deviation = ""
    if cell.std is not None:
        deviation = f"± {board.scale.text(cell.std)}"
    elif board.has_deviations and row.seed_free:
        deviation = f"± {DASH}"
    count = f"({cell.seeds}/{len(row.seeds)})" if cell.absent else ""
    value = board.scale.text(cell.mean, signed=signed)
    small = " ".join(filter(None, (deviation, count)))
    return TableCell(value, small, cell.best, _reasons(board, row, cell))


def _reasons(board: Board, row: BoardRow, cell: Cell) -> tuple[str, ...]:
    """Reasons for missing seeds of a cell; the OOD mean has the reasons of all cells of its row."""
    is_mean = board.averaged and cell is row.cells[-1]
    cells = row.cells if is_mean and cell.absent else (cell,)
    found = {reason for c in cells for _, reason in c.absent}
    return tuple(sorted(found - {UNRECORDED} or found))


def _head(group: Group) -> tuple[TableLine, ...]:
    """Header of a group whose base was not run."""
    return (TableLine((TableCell(f"{group.base} (not run)"),), "head"),) if group.lacks_base else ()


def _role_head(group: Group, role: Role) -> tuple[TableLine, ...]:
    """Header above the rows of a role that is not ranked."""
    return (
        (TableLine((TableCell(UNRANKED[role]),), "head"),)
        if role in UNRANKED and group.of(role)
        else ()
    )


def _kind(row: BoardRow) -> Kind:
    return "row" if row.base is None else "member"


def _name(row: BoardRow, kind: Kind) -> TableCell:
    sign = {"member": "+ ", "difference": "Δ "}.get(kind, "")
    marks = (MARKS[row.role], CAVEAT if row.has_caveats else "")
    return TableCell(sign + row.title, " ".join(filter(None, marks)))


def full_name(board: Board, row: BoardRow) -> str:
    """Name of a row outside of its group: ``VRF on LP-FT``.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.tables.leaderboard import full_name
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> full_name(board, board.rows[-1])
    'VRF on E2E-FT'
    """
    titles = {r.method: r.title for r in board.rows if r.base is None}
    on = "" if row.base is None else f" on {titles.get(row.base, row.base)}"
    return f"{row.title}{on} {MARKS[row.role]}".rstrip()


def id_and_mean(values: Sequence[T]) -> Sequence[T]:
    """Return the first and the last value: ID and OOD mean, or ID alone without shifts.

    Examples
    --------
    >>> from bench.report.tables.leaderboard import id_and_mean
    >>> id_and_mean(["ID", "v2", "sketch", "OOD mean"])
    ('ID', 'OOD mean')
    """
    return values if len(values) < 2 else (values[0], values[-1])

"""Changes between two runs (`bench.checks.compare`), shown in words, tables and verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.checks.compare import Change, ComparedRun, change_scale, finer_scale
from bench.checks.compare import State as ChangeState
from bench.checks.junit import State, Verdict
from bench.leaderboard.board import BoardKey, Seed
from bench.report.tables.table import DASH, Table, TableCell, TableLine

ORDER: tuple[ChangeState, ...] = ("regression", "vanished", "worse", "better", "new", "same")
"""How states follow on each other where the worst comes first."""


def worst_first(changes: Iterable[Change]) -> list[Change]:
    """What gates before what does not, by state, and by how much worse it is."""
    return sorted(changes, key=lambda c: (not c.gates, ORDER.index(c.state), not c.lost, -c.loss))


def describe_change(change: Change) -> str:
    """A change in a few words: ``vrf:e2e-ft on v2: accuracy 60.4 -> 57.1 (-3.3, p = 0.001)``."""
    title, old, new, delta = _numbers(change)
    where = f"{change.row} on {change.place}: {title}"
    if change.lost:
        where = f"{where} without {_seeds(change.lost)}"
    if change.difference is None:
        return f"{where} {change.state}, {new if change.old is None else old}"
    how = [change.how] if change.how else []
    said = "not tested" if change.p_value is None else f"p = {change.p_value:.2g}"
    return f"{where} {old} -> {new} ({delta}; {', '.join((*how, said))})"


def missing_cells(changes: Sequence[Change]) -> str:
    """Which cells have vanished, row by row: ``ose (all 28), vrf:e2e-ft (4 of 28: v2)``."""
    rows: dict[tuple[BoardKey, str], list[Change]] = defaultdict(list)
    for change in changes:
        if change.old is not None:
            rows[change.board, change.row].append(change)
    boards = {board for board, _ in rows}
    said = []
    for (board, row), cells in rows.items():
        places = [_place(change) for change in cells if change.state == "vanished"]
        if places:
            where = f" of {board_name(board)}" if len(boards) > 1 else ""
            some = f"{len(places)} of {len(cells)}: {', '.join(dict.fromkeys(places))}"
            whole = len(places) == len(cells)
            said.append(f"{row}{where} ({f'all {len(cells)}' if whole else some})")
    return ", ".join(said)


def missing_seeds(changes: Sequence[Change]) -> str:
    """Which seeds are gone of cells that are there: ``ose (seeds 1, 2), vrf (seed 0 on v2)``."""
    rows: dict[tuple[BoardKey, str], list[Change]] = defaultdict(list)
    for change in changes:
        if change.difference is not None:
            rows[change.board, change.row].append(change)
    boards = {board for board, _ in rows}
    said = []
    for (board, row), cells in rows.items():
        where = f" of {board_name(board)}" if len(boards) > 1 else ""
        for lost in dict.fromkeys(cell.lost for cell in cells if cell.lost):
            places = [_place(cell) for cell in cells if cell.lost == lost]
            on = f" on {', '.join(dict.fromkeys(places))}" if len(places) < len(cells) else ""
            said.append(f"{row}{where} ({_seeds(lost)}{on})")
    return ", ".join(said)


def changes_table(changes: Iterable[Change], title: str) -> Table:
    """The changes as a table, by leaderboard, in the given order."""
    by_board: dict[BoardKey, list[TableLine]] = defaultdict(list)
    for change in changes:
        tested = DASH if change.p_value is None else f"{change.p_value:.2g}"
        metric, *numbers = _numbers(change)
        items = (
            change.row,
            change.place,
            metric,
            *numbers,
            tested,
            change.how or DASH,
            _label(change),
        )
        is_bold = change.state == "regression"
        by_board[change.board].append(
            TableLine(tuple(TableCell(text, strong=is_bold) for text in items))
        )
    groups = tuple(
        (TableLine((TableCell(board_name(board)),), "head"), *lines)
        for board, lines in by_board.items()
    )
    columns = ("Row", "On", "Metric", "Old", "New", "Difference", "p", "Test", "State")
    return Table(title, columns, "lllrrrrll", groups)


def verdicts(changes: Iterable[Change], *, may_vanish: bool = False) -> list[Verdict]:
    """The changes for JUnit and summaries, the worst first.

    Regressions fail, and cells and seeds that are gone unless they `may_vanish`; what does not gate
    or is new is skipped. What is the same is counted in summaries, and not listed.
    """
    found = []
    for change in worst_first(changes):
        is_gone = change.state == "vanished" or bool(change.lost)
        fails = change.state == "regression" or (is_gone and not may_vanish)
        is_left_out = not change.gates or change.difference is None
        state: State = "skipped" if is_left_out else "passed"
        if change.gates and fails:
            state = "failed"
        name = f"{change.row} on {change.place}: {_title(change)}"
        listed = change.state != "same" or bool(change.lost)
        where = board_name(change.board)
        found.append(Verdict(where, name, state, describe_change(change), _label(change), listed))
    return found


def board_name(key: BoardKey) -> str:
    """A leaderboard in words: ``mini, tiny/embedded, clean``."""
    suite, model, protocol, notes = key
    return ", ".join((suite, model, protocol, *notes))


def board_names(run: ComparedRun) -> str:
    """The leaderboards of a run in words."""
    keys = dict.fromkeys(
        (record.suite, record.model, record.protocol, record.notes)
        for record in run.records
        if record.kind == "cell"
    )
    return "; ".join(map(board_name, keys)) or "nothing"


def _label(change: Change) -> str:
    """The state, whether seeds are gone, and whether that counts."""
    seeds = ", seeds gone" if change.lost else ""
    return f"{change.state}{seeds}{'' if change.gates else ', no gate'}"


def _seeds(seeds: Sequence[Seed]) -> str:
    numbers = ", ".join("none" if seed is None else str(seed) for seed in seeds)
    return f"seed{'s' if len(seeds) > 1 else ''} {numbers}"


def _numbers(change: Change) -> tuple[str, str, str, str]:
    """Title of the metric, old, new and difference as printed, with one digit more."""
    printed = finer_scale(change.metric)
    old, new = (DASH if v is None else printed.text(v) for v in (change.old, change.new))
    delta = DASH if change.difference is None else printed.text(change.difference, signed=True)
    return _title(change), old, new, delta


def _title(change: Change) -> str:
    return f"{change_scale(change.metric).title}{_ts(change)}"


def _place(change: Change) -> str:
    return f"{change.place}{_ts(change)}"


def _ts(change: Change) -> str:
    """What follows a name if temperatures were scaled, as in leaderboards."""
    return " w/ TS" if change.scaled else ""

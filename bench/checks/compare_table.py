"""Changes between two runs (`bench.checks.compare`) as text, tables and verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.api.protocol import scaling_label
from bench.checks.compare import Change, ComparedRun, change_scale, finer_scale
from bench.checks.compare import State as ChangeState
from bench.checks.junit import State, Verdict
from bench.leaderboard.board import BoardKey, Seed
from bench.report.tables.table import DASH, Table, TableCell, TableLine

ORDER: tuple[ChangeState, ...] = ("regression", "vanished", "worse", "better", "new", "same")
"""The order of states, worst first."""


def worst_first(changes: Iterable[Change]) -> list[Change]:
    """Sort changes: gating cells first, then by state, then by how much worse they are."""
    return sorted(changes, key=lambda c: (not c.gates, ORDER.index(c.state), not c.lost, -c.loss))


def describe_change(change: Change) -> str:
    """Describe a change: ``vrf:e2e-ft on v2: Accuracy 60.4 -> 57.1 (-3.3; paired, p = 0.001)``."""
    title, old, new, delta = _numbers(change)
    where = f"{change.row} on {change.place}: {title}"
    if change.lost:
        where = f"{where} without {_seeds(change.lost)}"
    if change.difference is None:
        return f"{where} {change.state}, {new if change.old is None else old}"
    how = [change.how] if change.how else []
    result = "not tested" if change.p_value is None else f"p = {change.p_value:.2g}"
    return f"{where} {old} -> {new} ({delta}; {', '.join((*how, result))})"


FEW = 2
"""The most places that an error names of a row."""


def missing_cells(changes: Sequence[Change]) -> str:
    """List vanished cells, row by row: ``ose (all 28), vrf:e2e-ft (4 of 28: v2)``."""
    rows: dict[tuple[BoardKey, str], list[Change]] = defaultdict(list)
    for change in changes:
        if change.old is not None:
            rows[change.board, change.row].append(change)
    boards = {board for board, _ in rows}
    texts = []
    for (board, row), cells in rows.items():
        places = [_place(change) for change in cells if change.state == "vanished"]
        if places:
            where = f" of {board_name(board)}" if len(boards) > 1 else ""
            some = f"{len(places)} of {len(cells)}: {_few(places)}"
            are_all = len(places) == len(cells)
            texts.append(f"{row}{where} ({f'all {len(cells)}' if are_all else some})")
    return ", ".join(texts)


def missing_seeds(changes: Sequence[Change]) -> str:
    """List missing seeds of cells in both runs: ``ose (seeds 1, 2), vrf (seed 0 on v2)``."""
    rows: dict[tuple[BoardKey, str], list[Change]] = defaultdict(list)
    for change in changes:
        if change.difference is not None:
            rows[change.board, change.row].append(change)
    boards = {board for board, _ in rows}
    texts = []
    for (board, row), cells in rows.items():
        where = f" of {board_name(board)}" if len(boards) > 1 else ""
        for lost in dict.fromkeys(cell.lost for cell in cells if cell.lost):
            places = [_place(cell) for cell in cells if cell.lost == lost]
            on = f" on {_few(places)}" if len(places) < len(cells) else ""
            texts.append(f"{row}{where} ({_seeds(lost)}{on})")
    return ", ".join(texts)


def _few(places: Sequence[str]) -> str:
    """The first places and how many more there are: an error is one line for all rows."""
    names = list(dict.fromkeys(places))
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return f"{', '.join(names[:FEW])}{more}"


def changes_table(changes: Iterable[Change], title: str) -> Table:
    """Return the changes as a table, grouped by leaderboard, in the given order."""
    by_board: dict[BoardKey, list[TableLine]] = defaultdict(list)
    for change in changes:
        p_value = DASH if change.p_value is None else f"{change.p_value:.2g}"
        metric, *numbers = _numbers(change)
        items = (
            change.row,
            change.place,
            metric,
            *numbers,
            p_value,
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
    """Return the changes as verdicts for JUnit and summaries, worst first.

    Regressions fail. Missing cells and seeds fail too, unless `may_vanish`. Cells that do not gate
    and new cells are skipped. Unchanged cells are counted in summaries, but not listed.
    """
    found = []
    for change in worst_first(changes):
        is_missing = change.state == "vanished" or bool(change.lost)
        fails = change.state == "regression" or (is_missing and not may_vanish)
        is_skipped = not change.gates or change.difference is None
        state: State = "skipped" if is_skipped else "passed"
        if change.gates and fails:
            state = "failed"
        name = f"{change.row} on {change.place}: {_title(change)}"
        listed = change.state != "same" or bool(change.lost)
        where = board_name(change.board)
        found.append(Verdict(where, name, state, describe_change(change), _label(change), listed))
    return found


def board_name(key: BoardKey) -> str:
    """Name a leaderboard: ``mini, tiny/embedded, clean``."""
    suite, model, protocol, notes = key
    return ", ".join((suite, model, protocol, *notes))


def board_names(run: ComparedRun) -> str:
    """Name the leaderboards of a run."""
    keys = dict.fromkeys(
        (record.suite, record.model, record.protocol, record.notes)
        for record in run.records
        if record.kind == "cell"
    )
    return "; ".join(map(board_name, keys)) or "nothing"


def _label(change: Change) -> str:
    """Return the state, whether seeds are missing, and whether the cell gates."""
    seeds = ", seeds missing" if change.lost else ""
    return f"{change.state}{seeds}{'' if change.gates else ', does not gate'}"


def _seeds(seeds: Sequence[Seed]) -> str:
    numbers = ", ".join("none" if seed is None else str(seed) for seed in seeds)
    return f"seed{'s' if len(seeds) > 1 else ''} {numbers}"


def _numbers(change: Change) -> tuple[str, str, str, str]:
    """Return the metric's title and the old value, new value and difference as printed."""
    printed = finer_scale(change.metric)
    old, new = (DASH if v is None else printed.text(v) for v in (change.old, change.new))
    delta = DASH if change.difference is None else printed.text(change.difference, signed=True)
    return _title(change), old, new, delta


def _title(change: Change) -> str:
    return f"{change_scale(change.metric).title}{_scaling_suffix(change)}"


def _place(change: Change) -> str:
    return f"{change.place}{_scaling_suffix(change)}"


def _scaling_suffix(change: Change) -> str:
    """Return the suffix of a name with temperature scaling, as in leaderboards."""
    _, _, protocol, _ = change.board
    return f" w/ {scaling_label(protocol)}" if change.scaled else ""

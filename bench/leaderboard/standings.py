"""Which rows of a leaderboard may be ranked together."""

from __future__ import annotations

from bench.api.metrics import ACCURACY
from bench.leaderboard.board import Board, Row


def comparable(board: Board) -> tuple[Row, ...]:
    """The rows of a board that may be ranked together, in its order; often none.

    They share suite, model and protocol, as all of a board do. A partial or limited board ranks
    nothing, nor does one with a set that is judged by something else than accuracy; rows that lack
    a cell, controls and what was chosen in hindsight are left out.
    """
    if not board.ranked or set(board.metrics) != {ACCURACY.name}:
        return ()
    return tuple(row for row in board.rows if row.complete and row.role == "method")

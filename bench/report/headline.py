"""The headline of a leaderboard: who is ahead, and what the data say about it, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.leaderboard.board import Board, BoardRow
from bench.leaderboard.stats.chance import Guessing
from bench.leaderboard.stats.significance import BoardStatistics
from bench.report.tables.leaderboard import full_name
from bench.report.tables.standings import ONE_SEED

CHANCE = "more than chance explains"
"""What follows a difference that is significant; the glossary gives the error rate."""


@dataclass(frozen=True)
class Headline:
    """The sentences, and the rows that they name as the best; none if nothing is claimed.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.headline import headline
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> [row.method for row in headline(board, None).best]
    ['vrf']
    """

    text: str
    best: tuple[BoardRow, ...] = ()


def headline(
    board: Board, found: BoardStatistics | None, guessing: Guessing | None = None
) -> Headline:
    """Return the headline of a leaderboard, with its statistics if samples were stored.

    Where zero-shot is `guessing`, nothing is claimed about the methods.

    Examples
    --------
    >>> from bench.leaderboard.build import build_boards
    >>> from bench.report.headline import headline
    >>> from bench.testing.fakes import fake_records
    >>> (board,) = build_boards(fake_records())
    >>> headline(board, None).text
    'Of 3 rows compared on 2 shifts, VRF on E2E-FT has the highest OOD mean, 51.0. Whether ...
    """
    rows = [row for row in board.rows if row.role == "method" and row.complete]
    shifts = len(board.over)
    places = f"{shifts} shift{'' if shifts == 1 else 's'}" if shifts else "ID alone"
    compared = f"{len(rows)} row{'' if len(rows) == 1 else 's'} compared on {places}"
    if not board.ranked or not rows:
        return Headline(f"{compared}. Nothing is ranked.")
    if guessing is not None:
        return Headline(guessing_sentence(guessing))
    choose = max if board.scale.higher_is_better else min
    top = choose(rows, key=lambda row: row.cells[-1].mean or 0)
    best = tuple(row for row in rows if row.cells[-1].best) or (top,)
    value = board.scale.text(top.cells[-1].mean or 0)
    label = board.columns[-1] if shifts else f"{board.title.lower()} on ID"
    names, higher = [full_name(board, row) for row in best], choose is max
    lead = lead_sentence(names, label, value, higher=higher)
    return Headline(f"Of {compared}, {lead} {_doubt(board, best, found, higher)}".rstrip(), best)


def guessing_sentence(guessing: Guessing) -> str:
    """Return why nothing is claimed about methods where zero-shot is at chance.

    Examples
    --------
    >>> from bench.leaderboard.stats.chance import Guessing
    >>> from bench.report.headline import guessing_sentence
    >>> guessing_sentence(Guessing(0.076, 0.1, on_id=True))[:66]
    'Nothing is claimed about the methods here: zero-shot is at chance.'
    """
    place = "on ID" if guessing.on_id else "in the mean over the shifts"
    right, chance = (f"{100 * value:.1f}%" for value in guessing[:2])
    return (
        f"Nothing is claimed about the methods here: zero-shot is at chance. It gets {right} right "
        f"{place}, where guessing gets {chance}, so there is no robustness to keep."
    )


def lead_sentence(names: Sequence[str], label: str, value: str, *, higher: bool = True) -> str:
    """Return who is ahead; several rows share the lead.

    Examples
    --------
    >>> from bench.report.headline import lead_sentence
    >>> lead_sentence(["E2E-FT", "OSE on E2E-FT"], "OOD mean", "67.3")
    'E2E-FT and OSE on E2E-FT share the highest OOD mean, 67.3.'
    """
    *first, last = names
    together = f"{', '.join(first)} and {last}" if first else last
    verb = "share" if first else "has"
    return f"{together} {verb} the {'highest' if higher else 'lowest'} {label}, {value}."


def others_sentence(worse: int, others: int, *, higher: bool = True) -> str:
    """Return how many of the other rows are surely worse than the best; empty without others.

    Examples
    --------
    >>> from bench.report.headline import others_sentence
    >>> others_sentence(3, 3)
    'All 3 other rows are lower by more than chance explains.'
    >>> others_sentence(1, 4)
    'Of the 4 other rows, 1 is lower by more than chance explains; the data do not separate ...
    """
    if not others:
        return ""
    rest, by = others - worse, f"{'lower' if higher else 'higher'} by {CHANCE}"
    if not worse:
        them = "other row" if others == 1 else f"{others} other rows"
        return f"The data do not separate the best from the {them}."
    if not rest:
        everyone = {1: "The other row is", 2: "Both other rows are"}
        return f"{everyone.get(others, f'All {others} other rows are')} {by}."
    left = "one" if rest == 1 else rest
    return (
        f"Of the {others} other rows, {worse} {'is' if worse == 1 else 'are'} {by}; the data do "
        f"not separate the best from the remaining {left}."
    )


def shared_sentence(worse: Mapping[str, int], others: int, *, higher: bool = True) -> str:
    """Return how many of the `others` are surely worse than each of the rows that share the lead.

    Examples
    --------
    >>> from bench.report.headline import shared_sentence
    >>> shared_sentence({"OSE": 0, "VRF": 3}, 11)
    'By more than chance explains, OSE is above none of the 11 other rows, and VRF above 3.'
    """
    side = "above" if higher else "below"
    (first, count), *more = worse.items()
    rows = "the other row" if others == 1 else f"the {others} other rows"
    of = rows if count == others == 1 else f"{count or 'none'} of {rows}"
    rest = "".join(f", and {name} {side} {number or 'none'}" for name, number in more)
    return f"By {CHANCE}, {first} is {side} {of}{rest}."


def _doubt(
    board: Board, best: Sequence[BoardRow], found: BoardStatistics | None, higher: bool
) -> str:
    """What the data say about the lead of the `best` rows, which share their value."""
    column = None if found is None else found.last
    if column is None or not column.ranks:
        why = found.reason.removeprefix("not ranked: ") if found else ""
        why = why or "no per-sample outcomes were stored"
        return f"Whether the lead is {CHANCE} is unknown: {why}."
    if found is not None and found.trained_once and len(column.ranks) > 2:
        return ONE_SEED
    others = len(column.ranks) - 1
    worse = {
        full_name(board, row): len(column.ranks) - column.ranks[row.method, row.base][1]
        for row in best
    }
    if len(best) > 1:
        return shared_sentence(worse, others, higher=higher)
    (count,) = worse.values()
    return others_sentence(count, others, higher=higher)

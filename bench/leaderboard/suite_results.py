"""All numbers of a report's chapter, as values: what its tables, figures and page are made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.core.records import MissingCell, Record
from bench.leaderboard.board import (
    KINDS,
    OWN_SCALES,
    SCALES,
    Board,
    BoardKey,
    Curve,
    Kind,
    board_key,
)
from bench.leaderboard.build import build_boards, build_curves
from bench.leaderboard.stats.significance import BoardStatistics, Kept, comparison


@dataclass(frozen=True)
class SuiteResults:
    """The numbers of one suite, model, protocol and set of watermarks.

    Attributes
    ----------
    board : every set in the metric it is judged by.
    common, scaled : every metric of all sets, by name, without and with temperature scaling.
    besides : metrics that some sets are measured in besides.
    curves : the rows' candidates; records : cells without and with scaling; figures : VRF's.
    samples : what is kept of each sample; comparison : what that says of `board`. None, if the
        runs kept none.
    """

    board: Board
    common: Mapping[str, Board]
    scaled: Mapping[str, Board]
    besides: tuple[Board, ...]
    curves: tuple[Curve, ...]
    records: tuple[Record, ...]
    figures: tuple[Record, ...]
    samples: Kept
    comparison: BoardStatistics | None

    @property
    def key(self) -> BoardKey:
        """Suite, model, protocol, watermarks."""
        return self.board.key


def measured(
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    samples: Mapping[BoardKey, Kept] | None = None,
) -> tuple[SuiteResults, ...]:
    """One value for each leaderboard, in the order of `bench.leaderboard.build.build_boards`.

    Raises InputError for records that contradict each other.
    """
    ordered, absent = list(records), list(missing)
    names = {r.metric for r in ordered if r.kind in KINDS and r.metric != r.primary_metric}
    own = [name for name in OWN_SCALES if name in names]

    def of(metric: str | None, kind: Kind = "cell") -> dict[BoardKey, Board]:
        return {board.key: board for board in build_boards(ordered, absent, metric, kind)}

    judged = of(None)
    common = {name: of(name) for name in SCALES}
    scaled = {name: of(name, "scaled") for name in SCALES}
    besides = [of(name) for name in own]
    drawn: dict[BoardKey, list[Curve]] = defaultdict(list)
    for curve in build_curves(ordered):
        drawn[curve.key].append(curve)
    by_kind: dict[tuple[BoardKey, bool], list[Record]] = defaultdict(list)
    for record in ordered:
        if record.kind in (*KINDS, "figure"):
            by_kind[board_key(record), record.kind == "figure"].append(record)
    by_board = samples or {}
    return tuple(
        SuiteResults(
            board=board,
            common={name: found[key] for name, found in common.items()},
            scaled={name: found[key] for name, found in scaled.items()},
            besides=tuple(found[key] for found in besides),
            curves=tuple(drawn[key]),
            records=tuple(by_kind[key, False]),
            figures=tuple(by_kind[key, True]),
            samples=by_board.get(key, {}),
            comparison=comparison(board, by_board.get(key, {}), common["ece"].get(key)),
        )
        for key, board in judged.items()
    )

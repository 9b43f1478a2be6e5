"""All numbers of one chapter of a report; its tables, figures and page are built from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.core.records import MissingCell, Record
from bench.leaderboard.board import (
    FURTHER_SCALES,
    KINDS,
    OWN_SCALES,
    SCALES,
    Board,
    BoardKey,
    Curve,
    Kind,
    board_key,
)
from bench.leaderboard.build import boards_of, build_curves, items_by_board
from bench.leaderboard.stats.row_samples import SamplesByRow
from bench.leaderboard.stats.significance import BoardStatistics, comparison


@dataclass(frozen=True)
class SuiteResults:
    """The numbers of one suite, model, protocol and set of watermarks.

    Attributes
    ----------
    board : the leaderboard with every set in its primary metric.
    common, scaled : leaderboards by metric, for metrics of all sets, without and with temperature
        scaling; those that were asked for come last.
    extra_boards : leaderboards in further metrics that only some sets have.
    curves : the candidates of each row.
    records : the cells without and with temperature scaling.
    figures : the records of VRF's figures.
    samples : the stored outputs per sample; empty if the runs stored none.
    comparison : the statistics of `board` from these samples; None if the runs stored none.

    Examples
    --------
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> results.board.title, len(results.records), results.comparison
    ('Accuracy', 9, None)
    """

    board: Board
    common: Mapping[str, Board]
    scaled: Mapping[str, Board]
    extra_boards: tuple[Board, ...]
    curves: tuple[Curve, ...]
    records: tuple[Record, ...]
    figures: tuple[Record, ...]
    samples: SamplesByRow
    comparison: BoardStatistics | None

    @property
    def key(self) -> BoardKey:
        """Suite, model, protocol, watermarks."""
        return self.board.key


def measured(
    records: Iterable[Record],
    missing: Iterable[MissingCell] = (),
    samples: Mapping[BoardKey, SamplesByRow] | None = None,
) -> tuple[SuiteResults, ...]:
    """Return the results of each leaderboard, in the order of `build_boards`.

    Raises InputError for records that contradict each other.

    Examples
    --------
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> results.common["top1"].rows[0].cells[0].mean
    0.6
    """
    ordered, absent = list(records), list(missing)
    names = {r.metric for r in ordered if r.kind in KINDS and r.metric != r.primary_metric}
    names |= {name for cell in absent for name in cell.lacking}
    own = [name for name in OWN_SCALES if name in names]
    shared = (*SCALES, *(name for name in FURTHER_SCALES if name in names))

    items = items_by_board(ordered, absent)

    def boards_in(metric: str | None, kind: Kind = "cell") -> dict[BoardKey, Board]:
        return {board.key: board for board in boards_of(items, metric, kind)}

    primary = boards_in(None)
    common = {name: boards_in(name) for name in shared}
    scaled = {name: boards_in(name, "scaled") for name in shared}
    extra = [boards_in(name) for name in own]
    curves: dict[BoardKey, list[Curve]] = defaultdict(list)
    for curve in build_curves(ordered):
        curves[curve.key].append(curve)
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
            extra_boards=tuple(found[key] for found in extra),
            curves=tuple(curves[key]),
            records=tuple(by_kind[key, False]),
            figures=tuple(by_kind[key, True]),
            samples=by_board.get(key, {}),
            comparison=comparison(
                board,
                by_board.get(key, {}),
                common["ece"].get(key),
                {name: common[name][key] for name in shared if name in FURTHER_SCALES},
            ),
        )
        for key, board in primary.items()
    )

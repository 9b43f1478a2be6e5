"""From a leaderboard and its samples to ranks: which rows may be ranked, and where each stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.board import ID, Board, Name, Row, Seed, key_of
from bench.errors import InputError
from bench.metrics import ACCURACY
from bench.ranking import Ranking, rank
from bench.samples import SampleOutputs
from bench.stats import Outcomes


def comparable(board: Board) -> tuple[Row, ...]:
    """The rows of a board that may be ranked together, in its order; often none.

    They share suite, model and protocol, as all of a board do. A partial or limited board ranks
    nothing, nor does one with a set that is judged by something else than accuracy; rows that lack
    a cell, controls and what was chosen in hindsight are left out.
    """
    if not board.ranked or set(board.metrics) != {ACCURACY.name}:
        return ()
    return tuple(row for row in board.rows if row.complete and row.role == "method")


def outcomes(board: Board, outputs: Iterable[SampleOutputs]) -> dict[Name, dict[str, Outcomes]]:
    """By row and evaluation set who is right, [seeds, samples]; outputs of other boards are let be.

    Raises InputError if a row's seeds were measured on different samples.
    """
    found: dict[tuple[Name, str], dict[Seed, SampleOutputs]] = defaultdict(dict)
    for output in outputs:
        record = output.record
        if key_of(record) == board.key:
            found[(record.method, record.base), record.shift][record.seed] = output
    rows: dict[Name, dict[str, Outcomes]] = defaultdict(dict)
    for (name, shift), by_seed in found.items():
        ordered = [by_seed[seed] for seed in sorted(by_seed, key=lambda s: -1 if s is None else s)]
        if len({output.on.digest for output in ordered}) > 1:
            raise InputError(f"{name[0]} on {shift}: seeds were measured on different samples")
        right: NDArray[np.bool_] = np.stack([output.right for output in ordered])
        rows[name][shift] = Outcomes(ordered[0].on.digest, right)
    return dict(rows)


@dataclass(frozen=True)
class Standings:
    """The rows that are ranked, their ranking, and the rows that are shown apart."""

    rows: tuple[Row, ...]
    ranking: Ranking
    apart: tuple[Row, ...]


def standings(board: Board, found: Mapping[Name, Mapping[str, Outcomes]]) -> Standings:
    """The board's rows ranked by their mean over its shifts, or by ID if there is no mean.

    `found` is what `outcomes` gives. Rows without samples on every set stand apart too, and so do
    rows whose seeds are not those of most: a pair of rows is compared seed by seed. Rows without
    seeds are compared with all.
    """
    places = board.over or (ID,)
    whole = [
        row
        for row in comparable(board)
        if all(place in found.get((row.method, row.base), {}) for place in places)
    ]
    seeds = [row.seeds for row in whole if not row.seed_free]
    usual = max(dict.fromkeys(seeds), key=seeds.count, default=(None,))
    ranked = tuple(row for row in whole if row.seed_free or row.seeds == usual)
    values = [[found[row.method, row.base][place] for place in places] for row in ranked]
    ranking = rank(values) if values else Ranking(np.zeros((0, 0), dtype=bool))
    return Standings(ranked, ranking, tuple(row for row in board.rows if row not in ranked))

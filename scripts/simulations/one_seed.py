"""Simulate what one training run per row can tell: a table in docs/statistics.md.

    python scripts/simulations/one_seed.py [REPETITIONS]

Six trained rows and zero-shot have the same true accuracy, on 4 sets, over all training runs. Each
training run moves the accuracy of its row. A test of the images alone takes such a move for a
difference of methods. The rows are those of `intervals`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from intervals import Setting, false_wins, rankings
from numpy.typing import NDArray

from bench.api.method import ZERO_SHOT
from bench.leaderboard.board import BoardRow
from bench.leaderboard.comparability import tested_pairs

TRAINED = 6
SETS = 4
SPREADS = (0.0, 0.3, 1.0)
"""Standard deviations over training runs, in points of accuracy."""
SIZES = (1000, 5000)
"""Images in each set."""
COLUMNS = (
    "1 seed, trained rows by images alone",
    "1 seed, trained rows",
    "1 seed, against zero-shot",
    "3 seeds, all pairs",
)
"""How pairs are tested; the last three are what a leaderboard reports."""


def false_claims(n: int, spread: float, repeats: int, seed: int) -> dict[str, float]:
    """Return, by column, how often any of the equal rows is called better than another."""
    one, three = (Setting(seeds, n, spread, SETS) for seeds in (1, 3))
    level = (0.0,) * (1 + TRAINED)
    among_trained = np.ones((1 + TRAINED, 1 + TRAINED), dtype=bool)
    among_trained[0] = among_trained[:, 0] = False
    alone = rankings(one, level, repeats, seed, untrained=1, tested=among_trained)
    by_rule = rankings(one, level, repeats, seed, untrained=1, tested=_tested((0,)))
    with_three = rankings(three, level, repeats, seed, untrained=1, tested=_tested((0, 1, 2)))
    found = (
        false_wins(alone, level),
        false_wins(by_rule[:, 1:, 1:], level[1:]),
        false_wins(by_rule, level),
        false_wins(with_three, level),
    )
    return dict(zip(COLUMNS, found, strict=True))


def _tested(seeds: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pairs a leaderboard of zero-shot and the trained rows tests."""
    trained = [BoardRow(f"row {i}", None, "", seeds, ()) for i in range(TRAINED)]
    return tested_pairs([BoardRow(ZERO_SHOT, None, "", (None,), ()), *trained])


def _table(repeats: int) -> Iterator[str]:
    yield f"Any false win among equal rows, in percent, {repeats} repetitions each."
    yield ""
    yield f"| images a set | seed sd | {' | '.join(COLUMNS)} |"
    yield "|--:|--:|" + "--:|" * len(COLUMNS)
    for n in SIZES:
        for spread in SPREADS:
            found = false_claims(n, spread, repeats, seed=13)
            shown = " | ".join(f"{100 * claimed:.1f}" for claimed in found.values())
            yield f"| {n} | {spread} | {shown} |"


if __name__ == "__main__":
    for line in _table(*map(int, sys.argv[1:2] or (1000,))):
        print(line, flush=True)

"""Whether the zero-shot model knows the classes of a suite at all."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from scipy.special import bdtrc

from bench.leaderboard.board import ID, Board
from bench.leaderboard.stats.row_samples import RowSamples, SamplesByRow
from bench.leaderboard.stats.significance import ZERO_SHOT

LEVEL = 0.05
"""The largest probability of so many right answers by guessing at which they count as knowledge."""


class Guessing(NamedTuple):
    """The accuracy of zero-shot where it is that of guessing, and of guessing; both fractions.

    Examples
    --------
    >>> from bench.leaderboard.stats.chance import Guessing
    >>> Guessing(accuracy=0.076, chance=0.1, on_id=True).chance
    0.1
    """

    accuracy: float
    chance: float
    on_id: bool


def zero_shot_guesses(board: Board, samples: SamplesByRow) -> Guessing | None:
    """Return where zero-shot is not above chance: on ID, or else on every shift of the mean.

    Chance is one divided by the number of classes that the labels and predictions of a set have.
    An accuracy is above it if guessing gives as many right answers with a probability below 5%
    (binomial). None if zero-shot is above chance, or if it has no stored samples.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.chance import zero_shot_guesses
    >>> from bench.leaderboard.stats.row_samples import samples_by_board
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.testing.fakes import fake_records
    >>> found = fake_records({"zero-shot": (0.1,)}, shifts=[])
    >>> labels = np.arange(200) % 10
    >>> on = EvaluationSet("1f" * 16, "2e" * 16, labels[:, None], {}, {})
    >>> outputs = [SampleOutputs(found[0], on, np.arange(200) < 20, np.full(200, 0.9), labels)]
    >>> (results,) = measured(found, (), samples_by_board(outputs))
    >>> zero_shot_guesses(results.board, results.samples)
    Guessing(accuracy=0.1, chance=0.1, on_id=True)
    """
    of_sets = samples.get(ZERO_SHOT, {})
    for places in ((ID,), board.over):
        found = [tuple(of_sets[place].values()) for place in places if place in of_sets]
        if found and len(found) == len(places) and not any(map(_knows, found)):
            rows = [row for same in found for row in same]
            accuracy = fmean(float(row.right.mean()) for row in rows)
            return Guessing(accuracy, fmean(1 / row.classes for row in rows), places == (ID,))
    return None


def _knows(same: Sequence[RowSamples]) -> bool:
    """Whether the outputs on a set are more often right than by chance, or chance is unknown."""
    return any(
        row.classes < 2 or bdtrc(int(row.right.sum()) - 1, row.n, 1 / row.classes) < LEVEL
        for row in same
    )

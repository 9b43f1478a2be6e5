"""Ranks as ranges: which rows are significantly better than which, with false wins controlled.

The best possible rank of a row is one behind all rows that are significantly better; its worst
possible rank is one ahead of all rows that are significantly worse. Rows whose range starts at 1
are tied for the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.leaderboard.stats.estimates import Estimate, Moments, estimate, moments, stack_rows
from bench.leaderboard.stats.outcomes import Floats, Outcomes
from bench.leaderboard.stats.selection_noise import redrawn_means

FALSE_WINS = 0.05
"""Bound on the probability that any row is reported as better than one that is not worse."""


@dataclass(frozen=True)
class Ranking:
    """A ranking of m rows: `better[i, j]` is whether row i is significantly better than row j.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.ranking import Ranking
    >>> better = np.array([[False, True, True], [False, False, False], [False, False, False]])
    >>> Ranking(better).ranges, Ranking(better).best
    ([(1, 1), (2, 3), (2, 3)], (0,))
    """

    better: NDArray[np.bool_]

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The best and worst possible rank of each row, from 1 to m."""
        first = 1 + self.better.sum(axis=0)
        last = len(self.better) - self.better.sum(axis=1)
        return [(int(low), int(high)) for low, high in zip(first, last, strict=True)]

    @property
    def best(self) -> tuple[int, ...]:
        """The rows that are tied for the best: no other row is significantly better."""
        return tuple(int(row) for row in np.flatnonzero(~self.better.any(axis=0)))


def rank(
    rows: Sequence[Sequence[Outcomes]],
    false_wins: float = FALSE_WINS,
    tested: NDArray[np.bool_] | None = None,
) -> Ranking:
    """Rank rows by the plain mean over evaluation sets.

    All pairs are compared by the p-value of `bench.leaderboard.stats.estimates.paired_difference`,
    or those for which `tested`, symmetric [m, m], is True: the others never separate two rows.
    `holm` bounds the probability of any false win by `false_wins`. Raises InputError for rows that
    cannot be paired.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.outcomes import Outcomes
    >>> from bench.leaderboard.stats.ranking import rank
    >>> good, poor = np.ones((1, 400)), np.zeros((1, 400))
    >>> rows = [[Outcomes("1f", good)], [Outcomes("1f", poor)]]
    >>> rank(rows).ranges
    [(1, 1), (2, 2)]
    """
    if not rows:
        raise InputError("no rows to rank")
    if len(rows) == 1:
        return Ranking(np.zeros((1, 1), dtype=bool))
    sets = [gram(values, weight) for values, weight in stack_rows(rows)]
    first, second = _pairs(len(rows))
    redrawn = redrawn_means(rows)
    selection = np.var(redrawn[first] - redrawn[second], axis=-1, ddof=min(1, redrawn.shape[1] - 1))
    found = replace(pairwise(sets, len(rows)), selection=selection)
    return Ranking(wins(found, len(rows), false_wins, tested))


def gram(values: NDArray[np.floating], weight: float) -> Moments:
    """Return the moments of rows [..., m, S, n] as if they were m S seeds of one row.

    They contain all sums that the differences of pairs need.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.ranking import gram
    >>> gram(np.ones((2, 1, 10)), weight=1.0).totals  # two rows, one seed, ten samples
    array([10., 10.])
    """
    *lead, m, count, n = values.shape
    return moments(values.reshape(*lead, m * count, n), weight)


def pairwise(sets: Sequence[Moments], m: int) -> Estimate:
    """Return the differences [..., pairs] of m rows, first minus second, ordered as in `_pairs`.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.ranking import gram, pairwise
    >>> right = np.stack([np.ones((1, 10)), np.zeros((1, 10))])
    >>> pairwise([gram(right, weight=1.0)], m=2).value
    array([1.])
    """
    return estimate([_moments_of_pairs(of_set, m) for of_set in sets])


def _moments_of_pairs(of_set: Moments, m: int) -> Moments:
    n, totals, products, weight = of_set
    count = totals.shape[-1] // m
    first, second = _pairs(m)
    t = totals.reshape(*totals.shape[:-1], m, count)
    p = products.reshape(*products.shape[:-2], m, count, m, count)
    p = np.moveaxis(p, -2, -3)  # [..., m, m, S, S]
    own = p[..., np.arange(m), np.arange(m), :, :]
    both = own[..., first, :, :] + own[..., second, :, :]
    crossed = p[..., first, second, :, :] + p[..., second, first, :, :]
    return Moments(n, t[..., first, :] - t[..., second, :], both - crossed, weight)


def _pairs(m: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    first, second = np.triu_indices(m, 1)
    return first, second


def wins(
    found: Estimate, m: int, false_wins: float, tested: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return `Ranking.better` [..., m, m] from the differences of all pairs of m rows.

    Only pairs that are `tested` [m, m] (default: all) count, for the correction by Holm, too.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.ranking import gram, pairwise, wins
    >>> right = np.stack([np.ones((1, 400)), np.zeros((1, 400))])
    >>> wins(pairwise([gram(right, weight=1.0)], m=2), m=2, false_wins=0.05)
    array([[False,  True],
           [False, False]])
    """
    first, second = _pairs(m)
    p_values = found.p_value()
    if tested is None:
        is_significant = holm(p_values, false_wins)
    else:
        counted = tested[first, second]
        is_significant = np.zeros(p_values.shape, dtype=bool)
        is_significant[..., counted] = holm(p_values[..., counted], false_wins)
    better = np.zeros((*found.value.shape[:-1], m, m), dtype=bool)
    better[..., first, second] = is_significant & (found.value > 0)
    better[..., second, first] = is_significant & (found.value < 0)
    return better


def holm(p_values: Floats, level: float) -> NDArray[np.bool_]:
    """Return which hypotheses [..., k] are rejected (Holm, Scandinavian J. of Statistics 6, 1979).

    The j-th smallest p-value, j from 1, is rejected if it and all smaller ones are at most
    level / (k - j + 1). This bounds the probability of any false rejection by `level`, however the
    p-values depend on each other.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.ranking import holm
    >>> holm(np.array([0.01, 0.04, 0.03]), level=0.05)
    array([ True, False, False])
    """
    order = np.argsort(p_values, axis=-1, kind="stable")
    limits = level / np.arange(p_values.shape[-1], 0, -1)
    passed = np.take_along_axis(p_values, order, axis=-1) <= limits
    rejected = np.zeros(p_values.shape, dtype=bool)
    np.put_along_axis(rejected, order, np.logical_and.accumulate(passed, axis=-1), axis=-1)
    return rejected

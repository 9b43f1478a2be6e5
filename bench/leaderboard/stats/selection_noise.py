"""The part of a variance that is due to choosing on one draw of the selection split.

`bench.posthoc.redraws` makes the choices again on resamples of that split; docs/statistics.md says
how good the intervals are with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.leaderboard.stats.outcomes import Floats, RowData


def selection_variance(one: RowData, other: RowData | None = None) -> float:
    """Return the variance of a row's mean over sets, or of `one` minus `other`, due to selection.

    It is that over resamples of the selection split, which all rows share: var_r of the mean over
    sets of redrawn[r]. Rows without `redrawn` add nothing.
    """
    means = redrawn_means([one] if other is None else [one, other])
    values = means[0] if other is None else means[0] - means[1]
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def redrawn_means(rows: Sequence[RowData]) -> Floats:
    """Return the mean over sets of each row on each resample, [m, R]; 0 where nothing is known.

    R is 1 if no row has redrawn values. Rows of runs with different R keep the resamples that they
    share, which are the first ones.
    """
    sizes = [len(of.redrawn) for row in rows for of in row if of.redrawn is not None]
    size = min(sizes, default=1)
    found = np.zeros((len(rows), size))
    for mean, row in zip(found, rows, strict=True):
        for of in row:
            mean += 0 if of.redrawn is None else of.redrawn[:size] / len(row)
    return found

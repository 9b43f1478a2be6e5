"""Weighted sums of a row's accuracies over evaluation sets, with their variance.

A contrast is sum_k w_k p_k, where p_k is the row's accuracy on set k and the weights w_k have any
sign and sum. ID minus the mean over shifts is one, with weights 1 and -1/K. Sets are independent
draws, except for those with the same ids, whose outcomes are added sample by sample first. Training
runs are the same on every set, so their variance is that of the contrast by seed. With weights 1/K
this is `bench.leaderboard.stats.estimates.mean_estimate`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.core.errors import InputError
from bench.leaderboard.board import BoardRow
from bench.leaderboard.stats.estimates import Estimate, _combined, _part_of_moments, moments
from bench.leaderboard.stats.outcomes import Outcomes
from bench.leaderboard.stats.row_samples import SamplesByRow
from bench.leaderboard.stats.significance import _outcomes, _sets


def column_contrast(
    row: BoardRow, weights: Mapping[str, float], samples: SamplesByRow
) -> Estimate | None:
    """Return the weighted sum of a row's columns; None without stored samples of all of them.

    `weights` are by column, ``id`` or a shift. A merged corruption is the mean of its severities.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.samples import EvaluationSet, SampleOutputs
    >>> from bench.leaderboard.stats.contrasts import column_contrast
    >>> from bench.leaderboard.stats.row_samples import samples_by_board
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.testing.fakes import fake_records
    >>> sure, zeros, order = np.full(1000, 0.9), np.zeros(1000, int), np.arange(1000)
    >>> found = [
    ...     SampleOutputs(
    ...         r, EvaluationSet(f"{r.order}f" * 16, "2e" * 16, zeros[:, None], {}, {}),
    ...         order < 1000 * r.value, sure, zeros)
    ...     for r in fake_records()]
    >>> (results,) = measured(fake_records(), (), samples_by_board(found))
    >>> row = results.board.rows[0]
    >>> gap = column_contrast(row, {"id": 1.0, "v2": -0.5, "sketch": -0.5}, results.samples)
    >>> round(float(gap.value), 3), round(float(gap.error), 3)
    (0.15, 0.019)
    """
    outcomes: list[Outcomes] = []
    by_set: list[float] = []
    for column, weight in weights.items():
        sets = _sets(column, samples)
        found = _outcomes(row, sets, samples)
        known = [one for one in found if isinstance(one, Outcomes)]
        if not known or len(known) != len(sets):
            return None
        outcomes += known
        by_set += [weight / len(sets)] * len(sets)
    return weighted_sum(outcomes, by_set) if outcomes else None


def weighted_sum(row: Sequence[Outcomes], weights: Sequence[float]) -> Estimate:
    """Return the sum of a row's means over samples, each times its weight.

    One more discordant pair on a set of n samples adds (w / n)^2, with w the sum of the absolute
    weights of the sets that share these samples. Raises InputError unless there is one weight a
    set and all sets have the same number of seeds.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.leaderboard.stats.contrasts import weighted_sum
    >>> from bench.leaderboard.stats.outcomes import Outcomes
    >>> on_id = Outcomes("id", np.array([[True, True, True, False]]))
    >>> shift = Outcomes("shift", np.array([[True, False, True, False]]))
    >>> float(weighted_sum([on_id, shift], [1.0, -1.0]).value)
    0.25
    """
    if not row or len(row) != len(weights) or len({len(one.values) for one in row}) > 1:
        raise InputError(
            f"weighted sum: {len(row)} sets of {sorted({len(one.values) for one in row})} seeds "
            f"and {len(weights)} weights, expected one weight a set and seeds that agree"
        )
    blocks: dict[str, list[tuple[Outcomes, float]]] = defaultdict(list)
    for one, weight in zip(row, weights, strict=True):
        blocks[one.ids].append((one, weight))
    parts = []
    for same in blocks.values():
        values = np.sum([weight * one.values.astype(np.float64) for one, weight in same], axis=0)
        size, part = sum(abs(weight) for _, weight in same), _part_of_moments(moments(values))
        parts.append(part._replace(unseen=(size / values.shape[1]) ** 2))
    return replace(_combined(parts), selection=_selection(row, weights))


def _selection(row: Sequence[Outcomes], weights: Sequence[float]) -> float:
    """Return the variance due to choosing on one draw of the selection split."""
    known = [(one.redrawn, w) for one, w in zip(row, weights, strict=True)]
    size = min((len(drawn) for drawn, _ in known if drawn is not None), default=0)
    found = [w * drawn[:size] for drawn, w in known if drawn is not None]
    return float(np.sum(found, axis=0).var(ddof=1)) if size > 1 else 0.0

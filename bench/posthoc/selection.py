"""Selection rules: choose a candidate from results on the selection split.

A rule only sees each candidate's accuracy on that split and its mean weight on the fine-tuned
model. If the primary metric of the ID test set is not accuracy, that metric is used instead.

``max-val`` is the rule of the papers. It is unstable if accuracy is flat over the grid.
``within-1pt`` makes use of this flatness: among candidates that are about equally good in
distribution, it chooses the one with the most weight on the robust zero-shot model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    pass

MARGIN = 0.01
"""One percentage point of accuracy."""

EPSILON = 1e-9
"""Makes the margin inclusive despite rounding; far smaller than one sample of any split."""


def choose(accuracies: Sequence[float], weights: Sequence[float], rule: str = "within-1pt") -> int:
    """Return the index of the candidate that `rule` chooses.

    Parameters
    ----------
    accuracies : each candidate's accuracy on the selection split, or the primary metric of the ID
        test set, as a fraction.
    weights : each candidate's mean weight on the fine-tuned model on that split, in [0, 1].
    rule : a name in `RULES`.

    Raises InputError for an unknown rule, no candidates, lists of different lengths or NaN.

    Examples
    --------
    >>> from bench.posthoc.selection import choose
    >>> accuracies, weights = [0.900, 0.905, 0.908], [0.3, 0.5, 0.7]
    >>> choose(accuracies, weights), choose(accuracies, weights, "max-val")
    (0, 2)
    """
    if rule not in RULES:
        raise unknown_name("selection rule", rule, RULES)
    if not accuracies or len(accuracies) != len(weights):
        raise InputError(
            f"selection: {len(accuracies)} accuracies and {len(weights)} weights, expected one of "
            "each for at least one candidate"
        )
    if any(map(math.isnan, [*accuracies, *weights])):
        raise InputError("selection: an accuracy or a weight is NaN")
    return RULES[rule](accuracies, weights)


def _max_val(accuracies: Sequence[float], weights: Sequence[float]) -> int:
    """Highest accuracy; ties go to the smaller weight, then to the earlier candidate."""
    return min(range(len(accuracies)), key=lambda i: (-accuracies[i], weights[i], i))


def _within_1pt(accuracies: Sequence[float], weights: Sequence[float]) -> int:
    """Smallest weight among candidates within 1 point of the best accuracy.

    Ties go to the higher accuracy, then to the earlier candidate.
    """
    floor = max(accuracies) - MARGIN - EPSILON
    near = [i for i, accuracy in enumerate(accuracies) if accuracy >= floor]
    return min(near, key=lambda i: (weights[i], -accuracies[i], i))


RULES: Mapping[str, Callable[[Sequence[float], Sequence[float]], int]] = {
    "within-1pt": _within_1pt,
    "max-val": _max_val,
}
"""All rules by name, the default first."""


ALPHAS: tuple[float, ...] = tuple(round(0.1 * i, 1) for i in range(11))
"""The grid 0, 0.1, ..., 1 of the weight on the fine-tuned model (VRF section 5.1)."""

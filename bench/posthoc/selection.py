"""Selection rules: which candidate to take, given how each does on the selection split.

No rule sees more than accuracies there and mean weights on the fine-tuned model; where the ID test
set is judged by another metric, that stands in for accuracy. `max-val` is the
papers' rule; it is unstable where accuracy is flat over the grid. `within-1pt` turns that flatness
to use: among candidates that are equally good ID, the one that leans most on the robust
zero-shot model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from bench.core.errors import InputError, unknown_name

MARGIN = 0.01
"""One point of accuracy."""

EPSILON = 1e-9
"""Far below one sample in any split: makes the margin inclusive despite rounding."""


def choose(accuracies: Sequence[float], weights: Sequence[float], rule: str = "within-1pt") -> int:
    """The index of the candidate that `rule` takes.

    Parameters
    ----------
    accuracies : accuracy of each candidate on the selection split, or what the ID test set is
        judged by; fractions.
    weights : each candidate's mean weight on the fine-tuned model there, in [0, 1].

    Raises InputError for an unknown rule, no candidate, lists of different length or NaN.
    """
    if rule not in RULES:
        raise unknown_name("selection rule", rule, RULES)
    if not accuracies or len(accuracies) != len(weights):
        raise InputError(f"selection: {len(accuracies)} accuracies and {len(weights)} weights")
    if any(map(math.isnan, [*accuracies, *weights])):
        raise InputError("selection: an accuracy or a weight is NaN")
    return RULES[rule](accuracies, weights)


def _max_val(accuracies: Sequence[float], weights: Sequence[float]) -> int:
    """Highest accuracy; ties to the smaller weight, then to the earlier candidate."""
    return min(range(len(accuracies)), key=lambda i: (-accuracies[i], weights[i], i))


def _within_1pt(accuracies: Sequence[float], weights: Sequence[float]) -> int:
    """Smallest weight within 1 point of the best; ties to accuracy, then to the earlier."""
    floor = max(accuracies) - MARGIN - EPSILON
    near = [i for i, accuracy in enumerate(accuracies) if accuracy >= floor]
    return min(near, key=lambda i: (weights[i], -accuracies[i], i))


RULES: Mapping[str, Callable[[Sequence[float], Sequence[float]], int]] = {
    "within-1pt": _within_1pt,
    "max-val": _max_val,
}
"""Every rule by name, the default first."""

"""Selection rules: choose a candidate from results on the selection split.

A rule only sees each candidate's accuracy on that split and its mean weight on the fine-tuned
model. If the primary metric of the ID test set is not accuracy, that metric is used instead.

``max-val`` is the rule of the papers. It is unstable if accuracy is flat over the grid.
``within-1pt`` makes use of this flatness: among candidates that are about equally good in
distribution, it chooses the one with the most weight on the zero-shot model. Its premise is that
the zero-shot model is the more robust one. Nothing on an in-distribution split can show that: where
the premise is wrong, the rule costs accuracy on the shifts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from bench.core.errors import InputError, unknown_name
from bench.posthoc.remarks import remark

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


def edge_sentence(
    name: str, value: float, candidates: Sequence[float], natural: Sequence[float] = ()
) -> str:
    """Return a sentence if `value` is the first or last of several candidates, else an empty text.

    At a `natural` bound of the parameter, such as 0 and 1 of a probability, nothing lies beyond.

    Examples
    --------
    >>> from bench.posthoc.selection import edge_sentence
    >>> edge_sentence("b", 0.4, [0.05, 0.1, 0.2, 0.4])
    'b = 0.4 is the largest of its candidates (0.05 to 0.4): a better one may lie beyond.'
    >>> edge_sentence("alpha", 1.0, [0.0, 0.5, 1.0], natural=(0, 1))
    ''
    """
    low, high = min(candidates), max(candidates)
    if low == high or value in natural or low < value < high:
        return ""
    which = "smallest" if value == low else "largest"
    return (
        f"{name} = {value:g} is the {which} of its candidates ({low:g} to {high:g}): a better one "
        "may lie beyond."
    )


def edge_remarks(
    name: str, value: float, candidates: Sequence[float], natural: Sequence[float] = ()
) -> None:
    """Remark on a chosen value beyond which no candidate was tried (`edge_sentence`).

    Examples
    --------
    >>> from bench.posthoc.remarks import collected
    >>> from bench.posthoc.selection import edge_remarks
    >>> with collected() as found:
    ...     edge_remarks("a", 0.5, [0.1, 0.5, 0.9])
    ...
    >>> found
    []
    """
    if text := edge_sentence(name, value, candidates, natural):
        remark(text)


ALPHAS: tuple[float, ...] = tuple(round(0.1 * i, 1) for i in range(11))
"""The grid 0, 0.1, ..., 1 of the weight on the fine-tuned model (VRF section 5.1)."""

RESOLUTION = 0.02
"""The mean weights of neighbouring candidates differ by at most this, for all ensembles alike.

`within-1pt` takes the smallest weight that is good enough: a method with finer steps would find a
smaller one for this reason alone.
"""

WEIGHTS: tuple[float, ...] = tuple(round(RESOLUTION * i, 2) for i in range(51))
"""The grid 0, 0.02, ..., 1."""


def around(weight: float) -> tuple[float, ...]:
    """Return the values of `WEIGHTS` between the two neighbours of `weight` in `ALPHAS`.

    Where each candidate costs forward passes, `ALPHAS` come first and then those around the one
    that was chosen.

    Examples
    --------
    >>> from bench.posthoc.selection import around
    >>> around(0.3), around(1.0)
    ((0.22, 0.24, 0.26, 0.28, 0.32, 0.34, 0.36, 0.38), (0.92, 0.94, 0.96, 0.98))
    """
    return tuple(w for w in WEIGHTS if 0 < round(abs(w - weight), 9) < ALPHAS[1])

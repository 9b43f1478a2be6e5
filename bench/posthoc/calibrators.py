"""Vector scaling and isotonic regression: calibration with a few or many parameters per class.

Temperature scaling has one parameter and keeps the order of classes. These two have more, can
change predicted classes, and need more held-out samples. Both work on log-probabilities over all
classes, since an ensemble has no logits. A class without a held-out sample stays as it is.

**Vector scaling** (Guo et al., ICML 2017, section 4.2) is softmax(w * log p + b), with w and b [C]
that minimise the mean NLL. **Isotonic regression** (Zadrozny and Elkan, KDD 2002, one class against
the rest) maps the probability of each class by a nondecreasing function, fitted by least squares to
whether a sample is of this class, and normalises the results. Between fitted values it
interpolates. A value below half a sample of the held-out set is raised to it, so that no true class
has probability 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError
from bench.posthoc.functional import Floats, log_softmax
from bench.posthoc.remarks import remark

BLOCK = 8192
"""Number of samples of which float64 arrays are held at a time."""
LOWEST = -100.0
"""Log-probabilities below it count as this one: those of probabilities that were rounded to 0."""
LARGEST = 100.0
"""The bound of the size of vector scaling's parameters."""
STEPS = 1000
"""The largest number of steps of the optimiser."""
SEPARATED = 1e-4
"""A mean NLL below it is that of classes that can be separated: it has no minimum."""

Fitted = dict[str, NDArray[Any]]
"""The arrays that a calibrator has fitted."""


class Calibrator(NamedTuple):
    """How a calibration is fitted on held-out data and applied: two functions on arrays.

    `fit` takes log-probabilities [N, C] and labels int64 [N] in [0, C); `apply` takes
    log-probabilities [M, C] and what `fit` returned, and returns log-probabilities [M, C].

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.calibrators import CALIBRATORS
    >>> sure = np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])  # 1 of 4 is wrong
    >>> fitted = CALIBRATORS["isotonic"].fit(sure, np.array([0, 0, 1, 1]))
    >>> np.exp(CALIBRATORS["isotonic"].apply(sure[:1], fitted)).round(2)
    array([[0.67, 0.33]])
    """

    fit: Callable[[Floats, NDArray[np.int64]], Fitted]
    apply: Callable[[Floats, Mapping[str, NDArray[Any]]], Floats]


def fit_vector(log_probs: Floats, labels: NDArray[np.int64]) -> Fitted:
    """Return ``w`` and ``b`` [C] that minimise the mean NLL of softmax(w * log p + b).

    The NLL is convex; L-BFGS starts at w = 1, b = 0. There is no minimum if the classes can be
    separated: then the search ends at the bound `LARGEST` of parameters, after `STEPS` steps or
    with an NLL near 0, and a remark says so.

    Parameters
    ----------
    log_probs : [N, C], N >= 1.
    labels : int64 [N] in [0, C).

    Raises InputError if N is 0, the lengths differ or a label is no class.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.calibrators import apply_vector, fit_vector
    >>> sure = np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    >>> fitted = fit_vector(sure, np.array([0, 0, 1, 1, 0]))
    >>> np.exp(apply_vector(sure[:1], fitted)).round(2)
    array([[0.67, 0.33]])
    """
    from scipy.optimize import minimize

    present = _checked(log_probs, labels)
    classes = log_probs.shape[1]

    def objective(parameters: Floats) -> tuple[float, Floats]:
        """Return the mean NLL and its gradient at (w, b)."""
        w, b = np.split(parameters, 2)
        total, of_w, of_b = 0.0, np.zeros(classes), np.zeros(classes)
        for x, y in _blocks(log_probs, labels):
            found, own = log_softmax(x * w + b), np.arange(len(y))
            total -= float(found[own, y].sum())
            rest = np.exp(found)
            rest[own, y] -= 1
            of_w += (rest * x).sum(axis=0)
            of_b += rest.sum(axis=0)
        return total / len(labels), np.concatenate([of_w, of_b]) / len(labels)

    free = [(-LARGEST, LARGEST) if here else None for here in present]
    bounds = [*(pair or (1.0, 1.0) for pair in free), *(pair or (0.0, 0.0) for pair in free)]
    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    options = {"maxiter": STEPS, "maxfun": 10 * STEPS, "ftol": 1e-13, "gtol": 1e-7}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    w, b = np.split(found.x, 2)
    at_bound = max(np.abs(w).max(), np.abs(b).max()) >= LARGEST
    if at_bound or found.nit >= STEPS or found.fun < SEPARATED:
        remark(
            "Vector scaling ended its search where the NLL of the held-out samples falls further, "
            "as it does if there are too few of them for two parameters a class."
        )
    return {"w": w, "b": b}


def apply_vector(log_probs: Floats, fitted: Mapping[str, NDArray[Any]]) -> Floats:
    """Return log softmax(w * log p + b), [N, C]. Raises InputError for another number of classes.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.calibrators import apply_vector
    >>> fitted = {"w": np.array([1.0, 1.0]), "b": np.array([0.0, np.log(4)])}
    >>> np.exp(apply_vector(np.log([[0.8, 0.2]]), fitted)).round(2)
    array([[0.5, 0.5]])
    """
    w, b = fitted["w"], fitted["b"]
    _check_classes(log_probs, len(w))
    return log_softmax(np.maximum(log_probs, LOWEST) * w + b)


def fit_isotonic(log_probs: Floats, labels: NDArray[np.int64]) -> Fitted:
    """Return the isotonic regression of each class: probabilities ``x``, their values ``y``.

    Class c has the points ``starts[c]`` to ``starts[c + 1]``, none if it has no sample; ``n`` is N.
    Equal probabilities are averaged first, and points inside of a constant piece are left out.

    Parameters
    ----------
    log_probs : [N, C], N >= 1.
    labels : int64 [N] in [0, C).

    Raises InputError if N is 0, the lengths differ or a label is no class.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.calibrators import fit_isotonic
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    >>> fitted = fit_isotonic(np.log(p), np.array([1, 0, 1]))
    >>> fitted["x"][:3].round(2), fitted["y"][:3], fitted["starts"]
    (array([0.4, 0.8, 0.9]), array([0. , 0.5, 0.5]), array([0, 3, 6]))
    """
    from scipy.optimize import isotonic_regression

    found: list[tuple[Floats, Floats]] = []
    for index, present in enumerate(_checked(log_probs, labels)):
        if not present:
            found.append((np.empty(0), np.empty(0)))
            continue
        p = np.exp(np.asarray(log_probs[:, index], dtype=np.float64))
        x, place, count = np.unique(p, return_inverse=True, return_counts=True)
        share = np.bincount(place, weights=labels == index) / count
        y = np.asarray(isotonic_regression(share, weights=count).x)
        inner = np.zeros(len(x), dtype=np.bool_)
        inner[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
        found.append((x[~inner], y[~inner]))
    xs, ys = zip(*found, strict=True)
    starts = np.cumsum([0, *map(len, xs)], dtype=np.int64)
    return {
        "x": np.concatenate(xs),
        "y": np.concatenate(ys),
        "starts": starts,
        "n": np.array([len(labels)], dtype=np.int64),
    }


def apply_isotonic(log_probs: Floats, fitted: Mapping[str, NDArray[Any]]) -> Floats:
    """Return normalised log-probabilities [N, C] after each class's isotonic regression.

    Raises InputError for another number of classes.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.calibrators import apply_isotonic
    >>> fitted = {"x": np.array([0.2, 0.8]), "y": np.array([0.0, 1.0])}
    >>> fitted |= {"starts": np.array([0, 2, 2]), "n": np.array([10])}  # class 1 had no sample
    >>> np.exp(apply_isotonic(np.log([[0.5, 0.5], [0.1, 0.9]]), fitted)).round(3)
    array([[0.5  , 0.5  ],
           [0.053, 0.947]])
    """
    starts, least = fitted["starts"], 0.5 / float(fitted["n"][0])
    _check_classes(log_probs, len(starts) - 1)
    p = np.exp(np.asarray(log_probs, dtype=np.float64))
    for index, (first, after) in enumerate(pairwise(starts)):
        if after > first:
            points = fitted["x"][first:after], fitted["y"][first:after]
            p[:, index] = np.maximum(np.interp(p[:, index], *points), least)
    kept = np.maximum(p, np.exp(LOWEST))
    return np.asarray(np.log(kept / kept.sum(axis=1, keepdims=True)))


CALIBRATORS: Mapping[str, Calibrator] = {
    "vector": Calibrator(fit_vector, apply_vector),
    "isotonic": Calibrator(fit_isotonic, apply_isotonic),
}
"""The calibrations that have parameters per class, by name."""


def _checked(log_probs: Floats, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which classes have a sample, [C]."""
    classes = log_probs.shape[1]
    if not len(labels) or len(labels) != len(log_probs):
        raise InputError(
            f"calibration: {len(log_probs)} samples with {len(labels)} labels, expected one label "
            "for each of at least one sample"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"calibration: labels {labels.min()} to {labels.max()}, expected 0 to {classes - 1}"
        )
    present = np.bincount(labels, minlength=classes) > 0
    if lacking := int((~present).sum()):
        remark(
            f"{lacking} of {classes} classes have no held-out sample: their calibration stays as "
            "it is."
        )
    return np.asarray(present)


def _check_classes(log_probs: Floats, classes: int) -> None:
    if log_probs.shape[1] != classes:
        raise InputError(
            f"calibration: fitted on {classes} classes, but the predictions have "
            f"{log_probs.shape[1]}"
        )


def _blocks(
    log_probs: Floats, labels: NDArray[np.int64]
) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Yield blocks of samples in float64, with their labels."""
    for start in range(0, len(labels), BLOCK):
        rows = slice(start, start + BLOCK)
        block = np.asarray(log_probs[rows], dtype=np.float64)
        yield np.maximum(block, LOWEST), labels[rows]

"""Post-hoc arithmetic on outputs: softmax, probability averaging, VRF's weights, temperatures.

Pure functions on arrays, usable without the harness. Rows are samples and columns are classes.
Where a shift has a label map, project scores *before* any of these (docs/methods.md section 1,
"OOD logit projection"). Floating-point input keeps its precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.errors import InputError, unknown_name

Floats = NDArray[np.floating]
KRule = Literal["round", "paper", "official-code"]


def log_softmax(scores: Floats) -> Floats:
    """[N, C] scores -> [N, C] log-probabilities in nats; a score of -inf keeps probability 0."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def mix(log_p_zs: Floats, log_p_ft: Floats, weight: ArrayLike) -> Floats:
    """log(w p_ft + (1 - w) p_zs), computed without leaving the log domain.

    With one weight for all samples this is the output-space ensemble, with one per sample VRF's
    (VRF, NeurIPS 2024, equation 1 and step 3). Weights 0 and 1 return that end exactly.

    Parameters
    ----------
    log_p_zs, log_p_ft : [N, C] log-probabilities of the zero-shot and the fine-tuned model.
    weight : w, on the fine-tuned model, in [0, 1]: one number or [N].

    Raises InputError for a weight outside [0, 1] or one that is not a number.
    """
    w = np.asarray(weight, dtype=np.float64)
    if not ((w >= 0) & (w <= 1)).all():
        raise InputError("ensemble weights must lie in [0, 1]")
    with np.errstate(divide="ignore"):  # log 0 = -inf is what makes both ends exact
        log_ft = np.log(w).astype(log_p_ft.dtype)
        log_zs = np.log1p(-w).astype(log_p_zs.dtype)
    if w.ndim == 1:
        log_ft, log_zs = log_ft[:, None], log_zs[:, None]
    return np.logaddexp(log_zs + log_p_zs, log_ft + log_p_ft)


def failure_set(correct_zs: NDArray[np.bool_], correct_ft: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[N]: training samples that the fine-tuned model gets right and the zero-shot model wrong.

    The zero-shot failure set V (VRF, NeurIPS 2024, equation 3, step 1).
    """
    return ~correct_zs & correct_ft


def kth(size: int, p: float = 0.001, rule: KRule = "round", n_train: int | None = None) -> int:
    """Which neighbour in a failure set V of `size` samples counts.

    The rules differ most on small data, where the paper's k is 0 below 1,000 samples and the
    code's a third of V (docs/methods.md section 9, item 4):

    - ``round``: round(p |V|), halves to even.
    - ``paper``: floor(p |V|), with p = 0.1 % (VRF, NeurIPS 2024, step 2).
    - ``official-code``: round(1000 |V| / N_train) whatever `p` (BeierZhu/VRF de9647d,
      ``src/knn_distance.py``). FAISS, which it asks for that neighbour, has none beyond |V| and
      says infinitely far.

    Every rule's k is clipped to [1, |V|]: there is always a neighbour.

    Parameters
    ----------
    size : |V| >= 1. p : in [0, 1].
    n_train : samples of the training set that V is a part of; ``official-code`` alone needs it.

    Raises InputError for an unknown rule or a number outside these ranges.
    """
    if rule not in get_args(KRule):
        raise unknown_name("rule for k", rule, get_args(KRule))
    if size < 1 or not 0 <= p <= 1:
        raise InputError(f"k-th neighbour: need |V| >= 1 and p in [0, 1], got {size} and {p}")
    if rule == "official-code":
        if n_train is None or n_train < size:
            raise InputError(f"k-th neighbour: {rule} needs N_train >= |V| = {size}, got {n_train}")
        k = round(size / n_train * 1000)
    elif rule == "paper":
        k = math.floor(p * size + 1e-9)  # 0.29 * 100 is a little below 29
    else:
        k = round(p * size)
    return min(max(1, k), size)


def sigmoid_weight(distance: Floats, a: float, b: float) -> Floats:
    """The weight on the fine-tuned model, w = sigmoid(-(d - a) / b) (VRF step 3).

    0.5 at distance `a`, larger when nearer; `b` > 0 sets how gradual the change is. `a` and `b`
    are in the units of `distance`; an infinite distance has weight 0. Raises InputError unless
    b > 0.
    """
    if not b > 0:
        raise InputError(f"VRF's b must be positive, got {b}")
    return np.asarray(np.exp(-np.logaddexp(0.0, (distance - a) / b)))


class DistanceBins(NamedTuple):
    """Samples in each bin of distance, and how many of them each end gets right: int64 [B].

    Counts, not accuracies, so that those of several sets add up.
    """

    n: NDArray[np.int64]
    hits_zs: NDArray[np.int64]
    hits_ft: NDArray[np.int64]


def distance_bins(
    distance: Floats,
    correct_zs: NDArray[np.bool_],
    correct_ft: NDArray[np.bool_],
    edges: ArrayLike,
) -> DistanceBins:
    """How right both ends are by distance to the failure set (VRF, NeurIPS 2024, figure 2).

    Parameters
    ----------
    distance : [N]; correct_zs, correct_ft : bool [N].
    edges : [B + 1], increasing. Bin i is [edges[i], edges[i + 1]), the last one closed. Samples
        outside all bins, such as infinitely far ones, are in none.

    Raises InputError for edges that do not increase, arrays of different length or a NaN.
    """
    if not len(distance) == len(correct_zs) == len(correct_ft):
        lengths = f"{len(distance)}, {len(correct_zs)} and {len(correct_ft)}"
        raise InputError(f"distance bins: arrays of {lengths} samples")
    counted = (distance, distance[correct_zs], distance[correct_ft])
    return DistanceBins(*(_histogram(values, edges, "distance") for values in counted))


def weight_histogram(weight: Floats, edges: ArrayLike) -> NDArray[np.int64]:
    """How many weights on the fine-tuned model, [N], lie in each bin: int64 [B].

    `edges` as in `distance_bins`. Raises InputError for edges that do not increase or a NaN.
    """
    return _histogram(weight, edges, "weight")


def _histogram(values: Floats, edges: ArrayLike, what: str) -> NDArray[np.int64]:
    bounds = np.asarray(edges, dtype=np.float64)
    if bounds.ndim != 1 or len(bounds) < 2 or not (np.diff(bounds) > 0).all():
        raise InputError(f"{what} bins: edges must be at least two increasing numbers")
    if np.isnan(values).any():
        raise InputError(f"{what} bins: a {what} is NaN")
    return np.histogram(values, bounds)[0].astype(np.int64)


BOUNDS = (0.1, 10.0)
"""Temperatures between which searches begin, those of the official VRF code."""

STEPS = 100
"""Of the search for a confident temperature; on samples enough to mean anything 60 suffice."""


def temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The T in `BOUNDS` for which softmax(logits / T) has the smallest mean NLL on `labels`.

    Guo et al., ICML 2017, section 4.2. The NLL is convex in 1 / T, so a bounded scalar search on
    log T finds its only minimum, the same one each time. The bounds keep T finite where every
    sample, or none, is right.

    Parameters
    ----------
    logits : [N, C]. labels : int64 [N] in [0, C). N >= 1, else InputError.
    """
    from scipy.optimize import minimize_scalar

    shifted = _shifted(logits, labels)
    of_label = shifted[np.arange(len(labels)), labels].mean()

    def nll(log_t: float) -> float:
        inverse = np.exp(-log_t)
        return float(np.log(np.exp(shifted * inverse).sum(axis=1)).mean() - of_label * inverse)

    limits = (np.log(BOUNDS[0]), np.log(BOUNDS[1]))
    found = minimize_scalar(nll, bounds=limits, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def confident_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The T for which softmax(logits / T) is on average as confident as it is right on `labels`.

    Confidence, the mean of the largest probability, is to come within 0.001 of accuracy. The
    criterion and search of the official VRF code (BeierZhu/VRF de9647d,
    ``src/models/calibration.py``), which fits T on the test set; the paper has no such step.
    Within a bracket, at first `BOUNDS`, the ends' gaps to the accuracy weigh the next T tried.
    If that is not it, the upper end grows by 10% if too confident, else the lower end is divided
    by 1.1 if too little so, else the T tried replaces the end that is farther off.

    That goes on for ever where no T will do (accuracy below chance, or 1 with ties), and it can
    end in a cycle even where one does, as the end replaced may be the wrong one. So after `STEPS`
    steps the nearest T tried is taken: in a cycle it is off by a few thousandths, below chance it
    is the upper end, some 10^5.

    Parameters
    ----------
    logits : [N, C]. labels : int64 [N] in [0, C). N >= 1, else InputError.
    """
    shifted = _shifted(logits, labels)
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    excess: dict[float, float] = {}

    def measure(t: float) -> float:
        """How far confidence is above accuracy."""
        if t not in excess:
            excess[t] = float((1 / np.exp(shifted / t).sum(axis=1)).mean()) - accuracy
        return excess[t]

    low, high = BOUNDS
    for _ in range(STEPS):
        gap_low, gap_high = abs(measure(low)), abs(measure(high))
        if gap_low + gap_high == 0:
            return 1.0  # every T does: the logits of each row are equal
        share = gap_low / (gap_low + gap_high)
        middle = low * (1 - share) + high * share
        if abs(measure(middle)) <= 0.001:
            return middle
        if measure(high) > 0:
            high *= 1.1
        elif measure(low) < 0:
            low /= 1.1
        elif gap_low < gap_high:
            high = middle
        else:
            low = middle
    return min(excess, key=lambda t: abs(excess[t]))


def _shifted(logits: Floats, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Float64 logits with a maximum of 0 in each row, which softmax cannot tell from `logits`.

    Searches then skip that step of softmax, whatever the temperature.
    """
    if len(logits) == 0 or len(logits) != len(labels):
        raise InputError(f"temperature: {len(logits)} samples with {len(labels)} labels")
    return np.asarray(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)


TEMPERATURES: Mapping[str, Callable[[Floats, NDArray[np.int64]], float]] = {
    "nll": temperature,
    "confidence": confident_temperature,
    "none": lambda logits, labels: 1.0,
}
"""Ways to a temperature, by criterion."""

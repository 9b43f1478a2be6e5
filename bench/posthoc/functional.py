"""Post-hoc arithmetic on outputs: softmax, probability averaging, VRF's weights, temperatures.

Pure functions on arrays, usable without the harness. Rows are samples and columns are classes.
If a shift has a label map, project scores *before* calling these functions (docs/methods.md section
1, "OOD logit projection"). Results have the floating-point precision of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.errors import InputError, unknown_name
from bench.posthoc.remarks import remark

Floats = NDArray[np.floating]
KRule = Literal["round", "paper", "official-code"]


def log_softmax(scores: Floats) -> Floats:
    """Return log-probabilities [N, C] in nats of scores [N, C].

    A score of -inf gives probability 0.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.functional import log_softmax
    >>> np.exp(log_softmax(np.array([[0.0, 0.0], [-np.inf, 1.0]])))
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    shifted = np.asarray(scores - scores.max(axis=1, keepdims=True))
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def mix(log_p_zs: Floats, log_p_ft: Floats, weight: ArrayLike) -> Floats:
    """Return log(w p_ft + (1 - w) p_zs), computed entirely in the log domain.

    With one weight for all samples this is the output-space ensemble, with one weight per sample
    it is VRF (VRF, NeurIPS 2024, equation 1 and step 3). Weights 0 and 1 return the zero-shot and
    the fine-tuned endpoint exactly.

    Parameters
    ----------
    log_p_zs, log_p_ft : [N, C] log-probabilities of the zero-shot and the fine-tuned model.
    weight : w, the weight on the fine-tuned model, in [0, 1]: one number or [N].

    Raises InputError for a weight that is NaN or outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.functional import mix
    >>> zs, ft = np.log([[0.8, 0.2]]), np.log([[0.4, 0.6]])
    >>> np.exp(mix(zs, ft, 0.75)).round(2)
    array([[0.5, 0.5]])
    """
    w = np.asarray(weight, dtype=np.float64)
    if not ((w >= 0) & (w <= 1)).all():
        raise InputError("ensemble weights must lie in [0, 1]")
    with np.errstate(divide="ignore"):  # log 0 = -inf makes both endpoints exact
        log_ft, log_zs = np.log(w).astype(log_p_ft.dtype), np.log1p(-w).astype(log_p_zs.dtype)
    log_ft, log_zs = (
        np.broadcast_to(one.reshape(-1, 1), (len(log_p_zs), 1)) for one in (log_ft, log_zs)
    )
    mixed = np.empty(log_p_zs.shape, np.result_type(log_p_zs, log_p_ft))
    rows = max(1, CACHED // max(1, mixed.shape[1]))
    for start in range(0, len(mixed), rows):
        part = slice(start, start + rows)
        mixed[part] = _log_sum(log_zs[part] + log_p_zs[part], log_ft[part] + log_p_ft[part])
    return mixed


CACHED = 2**16
"""Numbers handled at a time, so that several arrays of them stay in a core's cache."""


def _log_sum(one: Floats, other: Floats) -> Floats:
    """Return log(exp(one) + exp(other)), as `numpy.logaddexp` does without vector instructions.

    It is several times as fast (benchmarks/posthoc.py).
    """
    high = np.maximum(one, other)
    with np.errstate(invalid="ignore"):  # -inf minus -inf, corrected below
        gap = np.minimum(one, other) - high
    np.exp(gap, out=gap)
    np.log1p(gap, out=gap)
    gap += high
    np.copyto(gap, high, where=np.isneginf(high))
    return gap


def failure_set(correct_zs: NDArray[np.bool_], correct_ft: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the zero-shot failure set V as a mask, bool [N].

    V contains the training samples that the fine-tuned model classifies correctly and the zero-shot
    model does not (VRF, NeurIPS 2024, equation 3, step 1).

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.functional import failure_set
    >>> failure_set(np.array([True, False, False]), np.array([True, True, False]))
    array([False,  True, False])
    """
    return ~correct_zs & correct_ft


def kth(size: int, p: float = 0.001, rule: KRule = "round", n_train: int | None = None) -> int:
    """Return k: VRF's distance is that to the k-th nearest neighbour in the failure set V.

    - ``round``: round(p |V|), halves to even.
    - ``paper``: floor(p |V|), with p = 0.1 % (VRF, NeurIPS 2024, step 2).
    - ``official-code``: round(1000 |V| / N_train), regardless of `p` (BeierZhu/VRF de9647d,
      ``src/knn_distance.py``). The code does not limit k to |V|; beyond it, FAISS returns an
      infinite distance.

    Here, k is always clipped to [1, |V|], so that there is a neighbour. The rules differ most on
    small data: the paper's k is 0 if |V| is below 1,000, while the code's k can be a third of |V|
    (docs/methods.md section 9, item 4).

    Parameters
    ----------
    size : |V|, >= 1.
    p : k as a fraction of |V|, in [0, 1].
    rule : one of the above.
    n_train : size of the training set that V is a part of; only ``official-code`` needs it.

    Raises InputError for an unknown rule or a number outside these ranges.

    Examples
    --------
    >>> from bench.posthoc.functional import kth
    >>> kth(4600), kth(4600, rule="paper"), kth(4600, rule="official-code", n_train=50_000)
    (5, 4, 92)
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
        k = math.floor(p * size + 1e-9)  # 0.29 * 100 is slightly below 29
    else:
        k = round(p * size)
    return min(max(1, k), size)


def sigmoid_weight(distance: Floats, a: float, b: float) -> Floats:
    """Return the weight on the fine-tuned model, w = sigmoid(-(d - a) / b) (VRF step 3).

    The weight is 0.5 at distance `a` and larger at smaller distances; an infinite distance has
    weight 0. A larger `b` makes the transition more gradual. `a` and `b` are in the units of
    `distance`. Raises InputError unless b > 0.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.functional import sigmoid_weight
    >>> sigmoid_weight(np.array([0.0, 1.2, np.inf]), a=1.2, b=0.24).round(3)
    array([0.993, 0.5  , 0.   ])
    """
    if not b > 0:
        raise InputError(f"VRF's b must be positive, got {b}")
    return np.asarray(np.exp(-np.logaddexp(0.0, (distance - a) / b)))


BOUNDS = (0.1, 10.0)
"""First bounds of temperature searches, as in the official VRF code; T is one if none is best."""

LIMITS = (1e-7, 1e7)
"""Bounds to which a search by NLL may widen. Cosines without the logit scale have a T near 0.01."""

STEPS = 100
"""Maximum number of steps of `confident_temperature`. With sufficient samples, 60 are enough."""


def temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Return the T > 0 for which softmax(logits / T) has the smallest mean NLL.

    Guo et al., ICML 2017, section 4.2. The NLL is convex in 1 / T, so a bounded scalar search on
    log T always finds the same, unique minimum. It looks in `BOUNDS` first, and beyond them, up to
    `LIMITS`, if the slope there says that the minimum lies beyond.

    There is no minimum if all samples are classified correctly (the NLL falls as T goes to 0), or
    if labels have no larger logits than other classes on average (it falls as T grows). Then T is
    the bound in that direction, and a remark says so (`bench.posthoc.remarks`). If all logits of
    each row are equal, T is 1.

    Parameters
    ----------
    logits : [N, C], N >= 1.
    labels : int64 [N] in [0, C).

    Raises InputError if N is 0 or the lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.functional import log_softmax, temperature
    >>> logits = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])  # 1 of 4 is wrong
    >>> fitted = temperature(logits, np.array([0, 0, 1, 1]))
    >>> np.exp(log_softmax(logits / fitted)).max(axis=1).round(2)
    array([0.75, 0.75, 0.75, 0.75])
    """
    from scipy.optimize import minimize_scalar

    shifted = _shifted(logits, labels)
    of_label = shifted[np.arange(len(labels)), labels].mean()
    if not shifted.any():
        return 1.0
    low, high = BOUNDS
    if of_label == 0:
        remark(
            f"T = {low:g} is the bound of its search: all samples are classified correctly, so the "
            "NLL falls without end as the temperature T goes to 0."
        )
        return low
    if of_label <= shifted.mean():
        remark(
            f"T = {high:g} is the bound of its search: labels have no larger logits than other "
            "classes, so the NLL falls without end as the temperature T grows."
        )
        return high

    def nll(log_t: float) -> float:
        inverse = np.exp(-log_t)
        return float(np.log(np.exp(shifted * inverse).sum(axis=1)).mean() - of_label * inverse)

    def rises(t: float) -> bool:
        """Whether the NLL rises with T at `t`: the minimum is at a smaller T."""
        p = np.exp(shifted / t)
        return bool(((p * shifted).sum(axis=1) / p.sum(axis=1)).mean() < of_label)

    while low > 2 * LIMITS[0] and rises(low):
        low, high = low / 100, low
    while high < LIMITS[1] / 2 and not rises(high):
        low, high = high, high * 100
    found = minimize_scalar(
        nll, bounds=(np.log(low), np.log(high)), method="bounded", options={"xatol": 1e-6}
    )
    t = float(np.exp(found.x))
    if not 1.001 * LIMITS[0] < t < 0.999 * LIMITS[1]:
        remark(f"T = {t:.3g} is the bound of its search: the NLL is smaller beyond it.")
    return t


def confident_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Return the T for which the mean confidence of softmax(logits / T) equals the accuracy.

    Confidence is the largest probability of a sample; its mean must come within 0.001 of the
    accuracy. Criterion and search are those of the official VRF code (BeierZhu/VRF de9647d,
    ``src/models/calibration.py``), which fits T on the test set; the paper has no such step.

    The search keeps an interval of T, at first `BOUNDS`. Each step tries a weighted average of the
    two bounds, closer to the one with the smaller gap between confidence and accuracy. If that T
    does not meet the criterion, one bound changes. If the upper bound is overconfident, it grows by
    10 %. Otherwise, if the lower bound is underconfident, it is divided by 1.1. Otherwise, the T
    tried replaces the bound with the larger gap.

    This search would not terminate if no T meets the criterion (accuracy below chance, or accuracy
    1 with ties). It can also run in a cycle if a T exists, because the bound that is replaced may
    be the wrong one. After `STEPS` steps, the T with the smallest gap so far is therefore returned.
    In a cycle, its gap is a few thousandths; below chance, it is the upper bound, about 10^5. A
    remark says so.

    Parameters
    ----------
    logits : [N, C], N >= 1.
    labels : int64 [N] in [0, C).

    Raises InputError if N is 0 or the lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.functional import confident_temperature, log_softmax
    >>> logits = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])  # 1 of 4 is wrong
    >>> fitted = confident_temperature(logits, np.array([0, 0, 1, 1]))
    >>> np.exp(log_softmax(logits / fitted)).max(axis=1).round(2)
    array([0.75, 0.75, 0.75, 0.75])
    """
    shifted = _shifted(logits, labels)
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    excess: dict[float, float] = {}

    def measure(t: float) -> float:
        """Return mean confidence minus accuracy at temperature `t`."""
        if t not in excess:
            excess[t] = float((1 / np.exp(shifted / t).sum(axis=1)).mean()) - accuracy
        return excess[t]

    low, high = BOUNDS
    for _ in range(STEPS):
        gap_low, gap_high = abs(measure(low)), abs(measure(high))
        if gap_low + gap_high == 0:
            return 1.0  # any T meets the criterion: the logits of each row are equal
        fraction = gap_low / (gap_low + gap_high)
        middle = low * (1 - fraction) + high * fraction
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
    remark(
        "No temperature was found for which the mean confidence is within 0.001 of the accuracy: "
        "the one that came closest is used."
    )
    return min(excess, key=lambda t: abs(excess[t]))


def _shifted(logits: Floats, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return float64 logits with maximum 0 in each row; their softmax is that of `logits`.

    Searches can then omit this step of the softmax at every temperature.
    """
    if len(logits) == 0 or len(logits) != len(labels):
        raise InputError(
            f"temperature: {len(logits)} samples with {len(labels)} labels, expected one label for "
            "each of at least one sample"
        )
    return np.asarray(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)


TEMPERATURES: Mapping[str, Callable[[Floats, NDArray[np.int64]], float]] = {
    "nll": temperature,
    "confidence": confident_temperature,
    "none": lambda logits, labels: 1.0,
}
"""Functions that fit a temperature to (logits, labels), by criterion."""

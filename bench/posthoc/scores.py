"""What arrays named logits and labels really hold, as far as their values show it.

Probabilities, percentages and one-hot predictions in place of logits are refused: a softmax of them
is another model's. Cosines that were not multiplied by the logit scale, rows without an order and
ties by too few digits are legal, and remarked on. `bench score` and the estimators both use this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, label_hint, shortened
from bench.posthoc.functional import Floats, log_softmax
from bench.posthoc.remarks import remark

SUM = 2e-3
"""How far sums of probabilities may be from 1: a thousand float16 numbers are that far."""

TIED = 0.01
"""The share of rows with a tie for the largest value from which it is remarked on."""

EXACT = 2**53
"""The largest integer up to which float64 holds every integer."""


@dataclass(frozen=True)
class ScoreFacts:
    """What the values of scores [N, C] show, each for all N rows.

    Attributes
    ----------
    rows : N.
    one_hot : each row is 1 for one class and 0 for the others.
    probabilities, percentages : each row lies in [0, 1], or [0, 100], and sums to 1, or 100.
    log_probabilities : the exponentials of each row sum to 1.
    within_one : all values lie in [-1, 1].
    flat : number of rows with one value for all classes.
    tied : number of other rows with the largest value for several classes.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.scores import ScoreFacts
    >>> facts = ScoreFacts.of([np.array([[0.9, 0.1], [0.4, 0.6]])])
    >>> facts.refusal
    'every row lies in [0, 1] and sums to 1: these are probabilities, not logits'
    >>> list(ScoreFacts.of([np.array([[0.3, 0.2], [0.2, 0.2]])]).remarks("zs"))[1]
    'zs: 1 of 2 rows has one value for all classes, so its prediction is the first class.'
    """

    rows: int = 0
    one_hot: bool = True
    probabilities: bool = True
    percentages: bool = True
    log_probabilities: bool = True
    within_one: bool = True
    flat: int = 0
    tied: int = 0

    @classmethod
    def of(cls, blocks: Iterable[NDArray[Any]]) -> ScoreFacts:
        """Return the facts of scores that come in blocks of rows, each finite, [n, C]."""
        found = cls()
        for block in blocks:
            if len(block):
                found = found.and_of(cls._of_block(block))
        return found

    def and_of(self, other: ScoreFacts) -> ScoreFacts:
        """Return the facts of the rows of both."""
        return ScoreFacts(
            self.rows + other.rows,
            self.one_hot and other.one_hot,
            self.probabilities and other.probabilities,
            self.percentages and other.percentages,
            self.log_probabilities and other.log_probabilities,
            self.within_one and other.within_one,
            self.flat + other.flat,
            self.tied + other.tied,
        )

    @classmethod
    def _of_block(cls, block: NDArray[Any]) -> ScoreFacts:
        if block.shape[1] < 2:  # one class: there is nothing to tell apart
            return cls(len(block), False, False, False, True, False)
        largest, smallest = block.max(axis=1), block.min(axis=1)
        flat = largest == smallest
        tied = (block == largest[:, None]).sum(axis=1) > 1
        low, high = float(smallest.min()), float(largest.max())
        exponentials = np.full(1, np.inf)
        if high <= SUM:
            exponentials = np.exp(block, dtype=np.float64).sum(axis=1)
        sums = block.sum(axis=1, dtype=np.float64) if low >= -SUM else np.full(1, np.inf)
        near_one = bool((np.abs(sums - 1) <= SUM).all())
        return cls(
            rows=len(block),
            one_hot=near_one and bool(((block == 0) | (block == 1)).all()),
            probabilities=near_one and high <= 1 + SUM,
            percentages=bool((np.abs(sums - 100) <= 100 * SUM).all()),
            log_probabilities=bool((np.abs(exponentials - 1) <= 0.01).all()),
            within_one=low >= -1 - SUM and high <= 1 + SUM,
            flat=int(flat.sum()),
            tied=int((tied & ~flat).sum()),
        )

    @property
    def refusal(self) -> str:
        """Why the scores cannot be logits; empty if they can be."""
        if not self.rows:
            return ""
        if self.one_hot:
            return (
                "every row is 1 for one class and 0 for the others: these are class predictions "
                "(one-hot), not logits"
            )
        if self.probabilities:
            return "every row lies in [0, 1] and sums to 1: these are probabilities, not logits"
        if self.percentages:
            return (
                "every row is positive and sums to 100: these are probabilities in percent, not "
                "logits"
            )
        return ""

    def remarks(self, name: str, *, at_any_scale: bool = False) -> Iterator[str]:
        """Yield a sentence for each thing to know of scores `name` that were not refused.

        `at_any_scale` leaves out what a temperature mends.
        """
        shown, rows = shortened(name, 60), f"of {self.rows} rows"
        has_order = self.flat < self.rows
        if self.within_one and has_order and not (self.log_probabilities or at_any_scale):
            yield (
                f"{shown}: all values lie in [-1, 1], as cosines do. Logits are cosines multiplied "
                "by the model's logit scale (100 for most CLIPs); without it, all classes seem "
                "almost equally likely."
            )
        if self.flat:
            has, its = ("have", "their") if self.flat > 1 else ("has", "its")
            yield (
                f"{shown}: {self.flat} {rows} {has} one value for all classes, so {its} prediction "
                "is the first class."
            )
        if self.tied > TIED * self.rows:
            has = "have" if self.tied > 1 else "has"
            yield (
                f"{shown}: {self.tied} {rows} {has} the largest value for several classes: were "
                "digits lost, by float16 or by a large number added to all scores? Such rows count "
                "as the first of the classes."
            )


def checked_matrix(name: str, value: NDArray[Any]) -> Floats:
    """Return numbers [N, D] as floats, N >= 0, D >= 1, or raise InputError that names them.

    Integers become float64, exactly. They are refused if float64 cannot hold them.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.scores import checked_matrix
    >>> checked_matrix("logits", np.array([[3, 1]]))
    array([[3., 1.]])
    >>> checked_matrix("logits", np.array([2, 0, 1]))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: logits: int64 of shape (3,), expected numbers of shape [N, D] ...
    """
    if value.ndim != 2 or value.shape[1] == 0 or value.dtype.kind not in "fiu":
        hint = _kind_hint(value)
        raise InputError(
            f"{name}: {value.dtype} of shape {value.shape}, expected numbers of shape [N, D]{hint}"
        )
    if value.dtype.kind in "iu":
        if value.size and max(int(value.max()), -int(value.min())) > EXACT:
            raise InputError(f"{name}: integers beyond 2**53 have no exact float64: pass floats")
        return value.astype(np.float64)
    is_bad = ~np.isfinite(value).all(axis=1)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(
            f"{name} contain NaN or infinity, expected finite numbers: the first is in row {row} "
            "(counted from 0)"
        )
    return value


def _kind_hint(value: NDArray[Any]) -> str:
    """What an array that holds no matrix of real numbers may be instead."""
    kind = value.dtype.kind
    if kind == "c":
        return ": take the real part"
    if kind == "O":
        return ": rows of different lengths, or values that are no numbers"
    if kind == "b":
        return ": true and false are not scores"
    if value.ndim == 1 and kind in "iu":
        return " (one integer per sample is a predicted class, not scores of the classes)"
    if value.ndim == 1:
        return " (for two classes pass one column for each)"
    return ""


def checked_logits(name: str, value: NDArray[Any], *, at_any_scale: bool = False) -> Floats:
    """Return logits [N, C] as floats after checking that they can be logits.

    Remarks on what is doubtful (`bench.posthoc.remarks`). `at_any_scale` is for a use that does not
    depend on the scale of logits. Raises InputError for other shapes and types, NaN and infinity,
    and for probabilities and one-hot predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.scores import checked_logits
    >>> checked_logits("logits_zs", np.array([[0.5, 0.5], [0.9, 0.1]]))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: logits_zs: every row lies in [0, 1] and sums to 1: ...
    """
    scores = checked_matrix(name, value)
    facts = ScoreFacts.of([scores])
    if value.dtype.kind in "iu":  # counts of votes, say: ties are no lost digits
        facts = replace(facts, tied=0)
    if facts.refusal:
        mend = "pass the scores before the softmax"
        if not facts.one_hot:
            mend += f", or np.log({'' if facts.probabilities else '0.01 * '}probabilities)"
        raise InputError(f"{name}: {facts.refusal}; {mend}")
    for text in facts.remarks(name, at_any_scale=at_any_scale):
        remark(text)
    return scores


def checked_labels(labels: NDArray[Any], count: int, classes: int) -> NDArray[np.int64]:
    """Return labels as int64 [N] after checking that they are classes of `count` >= 1 samples.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.scores import checked_labels
    >>> checked_labels(np.array([1, 2, 3]), count=3, classes=3)
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: labels 1 to 3 for 3 classes, expected 0 to 2: ... subtract 1
    """
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or not count:
        hint = ""
        if labels.shape == (count, classes) and classes > 1:
            hint = "; for one-hot labels pass labels.argmax(axis=1)"
        elif labels.shape == (count, 1):
            hint = "; pass labels[:, 0]"
        elif labels.shape == (count,) and labels.dtype.kind in "fb":
            hint = "; if they are class indices, pass labels.astype(int)"
        raise InputError(
            f"labels: {labels.dtype} of shape {labels.shape}, expected integers, one for each of "
            f"{count} samples (at least one){hint}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"labels {labels.min()} to {labels.max()} for {classes} classes, expected 0 to "
            f"{classes - 1}{label_hint(int(labels.min()), int(labels.max()), classes)}"
        )
    return np.asarray(labels.astype(np.int64, copy=False))


def shifted_logits(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return scores [N, C] as float32, after taking off the largest of each row in float64.

    The softmax stays the same. What float32 could not hold beside a large common offset is kept.
    Scores that float32 holds as they are, float32 and float16, are not changed.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.scores import shifted_logits
    >>> shifted_logits(np.array([[-3e6 + 2.5, -3e6]]))
    array([[ 0. , -2.5]], dtype=float32)
    """
    if scores.dtype.kind == "f" and scores.dtype.itemsize <= 4:
        return scores.astype(np.float32, copy=False)
    exact = scores.astype(np.float64, copy=False)
    return np.asarray(exact - exact.max(axis=1, keepdims=True), dtype=np.float32)


def log_of_probabilities(name: str, value: NDArray[Any], first: int = 0) -> Floats:
    """Return log-probabilities [N, C], float64, of probabilities [N, C] > 0 whose rows sum to 1.

    They are logits. Raises InputError that names `name` for values that are no probabilities, and
    for zeros, which are often probabilities too small for the float type: their logarithm is lost.
    `first` is the number of the first row, which the error's row is counted from.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.scores import log_of_probabilities
    >>> np.exp(log_of_probabilities("clip.probabilities", np.array([[0.75, 0.25]])))
    array([[0.75, 0.25]])
    """
    found = checked_matrix(name, value).astype(np.float64)
    if not found.size:
        return found
    low = float(found.min())
    if low < 0:
        raise InputError(
            f"{name}: the smallest value is {low:.3g}, expected probabilities: logits and "
            "log-probabilities are to be named logits"
        )
    if low == 0:
        row = first + int((found == 0).any(axis=1).argmax())
        raise InputError(
            f"{name}: a value in row {row} (counted from 0) is 0, whose logarithm is lost: save "
            "logits, or log-probabilities under the name logits"
        )
    sums = found.sum(axis=1)
    if (np.abs(sums - 1) > SUM).any():
        row = int(np.abs(sums - 1).argmax())
        raise InputError(
            f"{name}: row {first + row} (counted from 0) sums to {sums[row]:.4g}, expected 1"
        )
    return log_softmax(np.log(found))

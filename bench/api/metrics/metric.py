"""What a metric is: a named function of predictions, its direction, and how it is printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.api.splits import Manifest
from bench.core.errors import CellError, InputError
from bench.core.hashing import NOT_KEYED

LogProbs = NDArray[np.floating]


@dataclass(frozen=True)
class Metric:
    """A named function that measures predictions on one split.

    Attributes
    ----------
    name : the name on the command line and in records.
    title : the name in reports.
    higher_is_better : the direction of rankings.
    function : (log_probs, manifest, **params) -> float. It is not part of the key.
    params : keyword arguments of `function`.
    version : part of the key. Must be raised whenever the same arguments would give another number.
    unit, factor, decimals : how the value is printed: value times `factor`, in `unit`, with
        `decimals` decimal places. Not part of the key.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import all_metrics
    >>> from bench.api.splits import single_label
    >>> metric, manifest = all_metrics()["top1"], single_label("abcd", [0, 0, 0, 1])
    >>> metric(np.log([[0.9, 0.1]] * 4), manifest), metric.title, metric.unit
    (0.75, 'Accuracy', 'percent')
    """

    kind: ClassVar[str] = "Metric"

    name: str
    title: str = field(metadata=NOT_KEYED)
    higher_is_better: bool
    function: Callable[..., float] = field(metadata=NOT_KEYED, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    version: int = 1
    unit: str = field(metadata=NOT_KEYED, kw_only=True)
    factor: float = field(default=1, metadata=NOT_KEYED, kw_only=True)
    decimals: int = field(default=3, metadata=NOT_KEYED, kw_only=True)

    def __call__(self, log_probs: LogProbs, manifest: Manifest) -> float:
        """Return the metric's value.

        Parameters
        ----------
        log_probs : [N, C'], in nats.
        manifest : the manifest of the N samples, N >= 1.

        Raises InputError if shapes or labels do not match. Raises CellError if a log-probability
        is NaN or the value is not finite, such as the NLL when a true class has probability 0.
        """
        if log_probs.ndim != 2 or len(log_probs) != len(manifest) or not len(manifest):
            raise InputError(
                f"{self.name}: log-probabilities of shape {log_probs.shape} for {len(manifest)} "
                "samples, expected [samples, classes] with at least one sample"
            )
        if manifest.labels.max() >= log_probs.shape[1]:
            raise InputError(
                f"{self.name}: label {manifest.labels.max()} is out of range for "
                f"{log_probs.shape[1]} classes"
            )
        if np.isnan(log_probs).any():
            raise CellError(f"{self.name}: a log-probability is NaN; did training diverge?")
        value = float(self.function(log_probs, manifest, **self.params))
        if not np.isfinite(value):
            raise CellError(f"{self.name} is {value}: a true class has probability 0")
        return value

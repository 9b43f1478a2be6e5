"""Calibration of a row's predictions: fitted on the selection split, applied to evaluation sets.

A temperature is applied to what a row predicts on a set. A calibration with parameters per class
(`bench.posthoc.calibrators`) needs the task's classes: where a set has others, the row predicts
with the identity in place of the label map, is calibrated, and then projected by the map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import LabelMap
from bench.core.store import MissingOutput, Store
from bench.posthoc.calibrators import CALIBRATORS
from bench.posthoc.ensembles import fit_temperatures, scaled_log_probs
from bench.posthoc.functional import Floats, log_softmax
from bench.posthoc.remarks import collected
from bench.runs.outputs import ArrayCache


@dataclass(frozen=True)
class Scaling:
    """The calibration that a protocol's field ``scaling`` names; its fits lie in the store."""

    criterion: str
    store: Store
    arrays: ArrayCache

    def fit(self, key: str, log_probs: Floats, labels: NDArray[np.int64], split: str) -> None:
        """Fit the calibration on held-out log-probabilities [N, C] and store it under `key`."""
        arrays: dict[str, NDArray[Any]] = {}
        facts: dict[str, Any] = {}
        with collected() as caveats:
            if self.criterion in CALIBRATORS:
                arrays = CALIBRATORS[self.criterion].fit(log_probs, labels)
            else:
                (found,) = fit_temperatures(self.criterion, labels, log_probs)
                facts = {"temperature": found}
        facts |= {"criterion": self.criterion, "split": split, "caveats": caveats}
        self.store.write_arrays("fits", key, arrays, facts)

    def apply(
        self,
        key: str,
        log_probs: Floats,
        pack: str,
        labels: LabelMap,
        over_task: Callable[[], Floats],
    ) -> tuple[Floats, float | None]:
        """Return calibrated log-probabilities on a set, [N, C'], and the temperature, if it is one.

        Parameters
        ----------
        key : that of the fit.
        log_probs : what the row predicts over the set's classes.
        pack : what identifies the row's predictions on this set, for the cache of arrays.
        labels : the set's label map.
        over_task : makes what the row predicts over the task's classes, [N, C].

        Raises MissingOutput if the store lacks the fit.
        """
        note = self.store.read_note("fits", key)
        if note is None:
            raise MissingOutput(f"calibration {key}")
        if self.criterion not in CALIBRATORS:
            return scaled_log_probs(log_probs, note["temperature"]), note["temperature"]
        whole = partial(np.asarray, log_probs) if labels.columns is None else over_task
        make = partial(self._calibrated, key, labels, whole)
        place = f"{pack} calibrated by {key}"
        found: Any = self.arrays.get(self.arrays.measured, place, make)
        return found, None

    def _calibrated(self, key: str, labels: LabelMap, whole: Callable[[], Floats]) -> Floats:
        fitted = self.store.read_arrays("fits", key)
        if fitted is None:
            raise MissingOutput(f"calibration {key}")
        found = CALIBRATORS[self.criterion].apply(whole(), fitted)
        return log_softmax(labels.project(found.astype(np.float32)))

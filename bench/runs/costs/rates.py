"""How long pending work takes, by the rates of earlier runs."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from bench.core.foreign.files import read_bounded
from bench.core.hashing import key_of
from bench.core.paths import write_atomic
from bench.core.store import Store
from bench.models.clip import EMBEDDED
from bench.runs.costs.counts import Counts
from bench.runs.study.study import Study

log = logging.getLogger("bench")


@dataclass(frozen=True)
class TimeEstimate:
    """Estimated duration of pending work; `elsewhere` if a rate comes from another machine."""

    seconds: float
    elsewhere: bool


def estimate_time(
    studies: Sequence[Study], left: Sequence[Counts], store: Store, device: str
) -> TimeEstimate | None:
    """Estimate the time for the pending work from the rates (images per second) of earlier runs.

    Without an earlier run, the embedded model uses the rates of the machine it was made on. Returns
    None if a rate is needed that is not known.
    """
    seconds, elsewhere = 0.0, False
    for study, count in zip(studies, left, strict=True):
        here = _rates(store, study, device)
        rates = _shipped_rates(study, device) | here
        for images, rate in (
            (count.forwards, "forward"),
            (count.training_images, "train"),
            (count.paired_images, "train both"),
        ):
            if images and rate not in rates:
                return None
            if images:
                seconds += images / rates[rate]
                elsewhere |= rate not in here
    return TimeEstimate(seconds, elsewhere)


def _shipped_rates(study: Study, device: str) -> dict[str, float]:
    """Return the rates measured when the embedded model was made, on a CPU in fp32."""
    is_comparable = device in ("auto", "cpu") and study.precision == "fp32"
    if not is_comparable or study.backbone.pretrained != EMBEDDED:
        return {}
    measured = json.loads((files("bench.data.mini") / "tiny.json").read_text())
    rates = {name: measured[f"{name}_images_per_second"] for name in ("forward", "train")}
    return rates | {"train both": rates["train"]}


def remember_rates(store: Store, study: Study, device: str, rates: Mapping[str, float]) -> None:
    """Store measured rates (images per second) for later estimates, if they can be written."""
    if rates:
        known = _rates(store, study, device) | dict(rates)
        data = json.dumps(known).encode()
        try:
            write_atomic(_rates_path(store, study, device), data, durable=False)
        except OSError as error:  # they are no result
            log.debug("rates are not stored: %s", error)


def _rates(store: Store, study: Study, device: str) -> dict[str, float]:
    """Rates of earlier runs; none if they cannot be read."""
    try:
        measured = json.loads(read_bounded(_rates_path(store, study, device)))
        rates = {str(name): float(rate) for name, rate in measured.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}
    return {name: rate for name, rate in rates.items() if 0 < rate < math.inf}


def _rates_path(store: Store, study: Study, device: str) -> Path:
    return store.root / "rates" / f"{key_of(study.backbone, device, study.precision)}.json"

"""Simulate the intervals of the metrics that are asked for: two tables in docs/statistics.md.

    python scripts/simulations/further_metrics.py [REPETITIONS]

A sample has a class, a confidence and, given both, a chance of being right, so that true values are
known from a draw of a million samples. Classes are equally frequent or not. Training runs share
their luck on most samples.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from intervals import SHARP, EceSetting, ece_coverage
from numpy.typing import NDArray

from bench.core.records import Record
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats.estimates import mean_estimate
from bench.leaderboard.stats.further import linearised_in
from bench.leaderboard.stats.outcomes import joined

Floats = NDArray[np.float64]
IN_COMMON, SEED_SD = 0.8, 0.01
"""Fraction of samples on which training runs share their luck; deviation of their accuracies."""
SIZES = (500, 2000, 10_000)


@dataclass(frozen=True)
class Model:
    """A model on a set: the accuracies of classes, their frequencies, and what confidence tells.

    A sample's confidence c is drawn, and it is right with chance a_c + `tells` (c - mean of c),
    where a_c is the accuracy of its class.
    """

    name: str
    accuracies: tuple[float, ...]
    ratio: float = 1.0
    tells: float = 0.5

    @property
    def frequencies(self) -> Floats:
        """Of the classes, falling geometrically from the first to the last."""
        found = np.geomspace(self.ratio, 1, len(self.accuracies))
        return found / found.sum()

    def outputs(
        self, rng: np.random.Generator, n: int, moved: Floats, ids: str = ""
    ) -> list[SampleOutputs]:
        """Return the outputs of one training run for each number in `moved`."""
        labels = rng.choice(len(self.accuracies), size=n, p=self.frequencies)
        confidence = 1 - 0.6 * rng.beta(1, 2, size=n)
        chance = np.array(self.accuracies)[labels] + self.tells * (confidence - 0.8)
        on = EvaluationSet(ids, "", labels[:, None], {}, {})
        luck, found = rng.random(n), []
        for shift in moved:
            own = np.where(rng.random(n) < IN_COMMON, luck, rng.random(n))
            right = own < np.clip(chance + shift, 0, 1)
            record = Record.model_construct(primary_metric="top1")
            found.append(SampleOutputs(record, on, right, confidence, labels))
        return found


MODELS = (
    Model("10 classes, unequal", tuple(np.linspace(0.9, 0.6, 10))),
    Model("10 equal classes", (0.7,) * 10),
    Model("50 nearly equal classes", tuple(np.linspace(0.74, 0.7, 50))),
    Model("20 classes, 20 to 1", tuple(np.linspace(0.9, 0.6, 20)), ratio=20),
    Model("95% right", (0.95,) * 10, tells=0.2),
)
METRICS = ("balanced", "worst-class", "auroc", "aurc")


@cache
def truth(metric: str, model: Model) -> float:
    """Return the true value of a metric."""
    if metric == "balanced":
        return float(np.mean(model.accuracies))
    if metric == "worst-class":
        return min(model.accuracies)
    (one,) = model.outputs(np.random.default_rng(99), 1_000_000, np.zeros(1))
    found = linearised_in(metric, one)
    assert found is not None
    return float(found.values.mean())


def interval_holds(
    rng: np.random.Generator, metric: str, model: Model, n: int, seeds: int = 1, sets: int = 1
) -> bool:
    """Return whether the interval of a row's mean over seeds and sets contains the truth."""
    row, moved = [], rng.normal(0, SEED_SD, size=seeds) if seeds > 1 else np.zeros(1)
    for number in range(sets):
        runs = [linearised_in(metric, one) for one in model.outputs(rng, n, moved, str(number))]
        row.append(joined([one for one in runs if one is not None]))
    low, high = mean_estimate(row).interval()
    return bool(max(0.0, low) <= truth(metric, model) <= min(1.0, high))


def further_coverage(
    metric: str, model: Model, n: int, repeats: int, seeds: int = 1, sets: int = 1
) -> float:
    """Return how often the interval contains the truth."""
    rng = np.random.default_rng(21)
    held = (interval_holds(rng, metric, model, n, seeds, sets) for _ in range(repeats))
    return sum(held) / repeats


def _table(repeats: int) -> Iterator[str]:
    yield f"Coverage of nominal 95% intervals, in percent, {repeats} repetitions each."
    yield ""
    heads = [f"{m}{more}" for m in METRICS for more in ("", ", 3 seeds, 4 sets")]
    yield f"| model | samples | {' | '.join(heads)} |"
    yield "|---|--:|" + "--:|" * len(heads)
    for model in MODELS:
        for n in SIZES:
            found = (
                further_coverage(metric, model, n, repeats, seeds, sets)
                for metric in METRICS
                for seeds, sets in ((1, 1), (3, 4))
            )
            shown = " | ".join(f"{100 * covered:.1f}" for covered in found)
            yield f"| {model.name} | {n} | {shown} |"
    yield ""
    yield "Adaptive ECE of 15 bins; models from overconfident to calibrated."
    yield ""
    yield f"| samples | sets | seeds | {' | '.join(f'sharpness {s}' for s in SHARP)} |"
    yield "|--:|--:|--:|" + "--:|" * len(SHARP)
    for n, sets, seeds in ((500, 1, 1), (2000, 1, 1), (1500, 5, 3)):
        settings = (EceSetting(n, sharpness, sets, seeds) for sharpness in SHARP)
        held = (ece_coverage(setting, repeats, 11, equal_mass=True)[0] for setting in settings)
        yield f"| {n} | {sets} | {seeds} | {' | '.join(f'{100 * h:.1f}' for h in held)} |"


if __name__ == "__main__":
    for line in _table(*map(int, sys.argv[1:2] or (400,))):
        print(line, flush=True)

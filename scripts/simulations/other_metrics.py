"""Simulate the intervals of macro-F1 and of the worst region: the last table in docs/statistics.md.

    python scripts/simulations/other_metrics.py [REPETITIONS]

Each sample has a class or region and, in a second draw of luck, the outcomes of the rows: rows and
training runs share their luck on most samples, so that they agree on most of them, as trained
models do. True values are those of a population of infinite size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.core.records import Record
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats.estimates import Interval, mean_estimate, paired_difference
from bench.leaderboard.stats.linearised import linearised
from bench.leaderboard.stats.outcomes import Linearised

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
IN_COMMON = 0.8
"""Fraction of the samples on which all rows and training runs have the same luck."""
SEED_SD = 0.01
"""Standard deviation of all accuracies over training runs, where there are several seeds."""
CAMERA_SD, CAMERA_SHAPE = 0.7, 0.3
"""Deviation of the log-odds of being right over cameras, and the shape of the gamma distribution of
the frequency of a class at a camera: most cameras see few classes."""
DRAWS = 500
"""Number of resamples of the basic bootstrap, which is shown for comparison."""
SIZES = (500, 2000, 10_000)


@dataclass(frozen=True)
class Case:
    """A set and two rows on it.

    `frequency` [G] is that of classes or regions; `one` and `other` are the accuracies of the rows
    there. A wrong prediction is any class, by frequency. With `cameras`, samples come from that
    many cameras, which differ in size, in the frequencies of classes and in difficulty.
    """

    name: str
    metric: str
    frequency: Floats
    one: Floats
    other: Floats
    cameras: int = 0

    def truth(self, accuracies: Floats) -> float:
        """Return the true value of a row."""
        if self.cameras:
            nodes, weights = np.polynomial.hermite_e.hermegauss(40)
            at_camera = expit(logit(accuracies)[:, None] + CAMERA_SD * nodes)
            accuracies = at_camera @ weights / weights.sum()
        if self.metric == "worst-region":
            return float(accuracies.min())
        confused = self.frequency * (1 - accuracies)
        hits = self.frequency * accuracies + confused * self.frequency
        predicted = self.frequency * accuracies + confused.sum() * self.frequency
        return float((2 * hits / (self.frequency + predicted)).mean())


def _case(
    name: str, metric: str, frequency: Floats, one: Floats, other: Floats, cameras: int = 0
) -> Case:
    return Case(name, metric, frequency / frequency.sum(), one, other, cameras)


LARGE_FIRST = np.array([0.4, 0.25, 0.17, 0.1, 0.08])
APART, EQUAL = np.array([0.8, 0.74, 0.68, 0.62, 0.56]), np.full(5, 0.7)
NEAR = np.array([0.72, 0.71, 0.7, 0.69, 0.68])
FREQUENCY = np.geomspace(50, 1, 20)
TWENTY, FIFTY = np.linspace(0.95, 0.6, 20), np.linspace(0.9, 0.5, 50)
CASES = (
    _case("20 classes, 50 to 1", "macro-f1", FREQUENCY, TWENTY, TWENTY - 0.05),
    _case("50 classes, 1000 to 1", "macro-f1", np.geomspace(1000, 1, 50), FIFTY, FIFTY - 0.05),
    _case("20 classes, 50 cameras", "macro-f1", FREQUENCY, TWENTY, TWENTY - 0.05, 50),
    _case("20 classes, 200 cameras", "macro-f1", FREQUENCY, TWENTY, TWENTY - 0.05, 200),
    _case("5 regions, unequal", "worst-region", LARGE_FIRST, APART, APART - 0.03),
    _case("5 regions, equal", "worst-region", LARGE_FIRST, EQUAL, EQUAL - 0.03),
    _case("5 regions, nearly equal", "worst-region", LARGE_FIRST, NEAR, NEAR - 0.03),
    _case("equal, the other unequal", "worst-region", LARGE_FIRST, EQUAL, APART - 0.03),
)


def _rows(
    rng: np.random.Generator, case: Case, n: int, accuracies: list[Floats], ids: str
) -> list[SampleOutputs]:
    """Return the outputs of rows, or training runs, of these accuracies on one set."""
    members, camera = _drawn(rng, case, n)
    hard = rng.normal(0, CAMERA_SD, size=case.cameras)[camera] if case.cameras else np.zeros(n)
    luck, other_class = rng.random(n), rng.choice(len(case.frequency), size=n, p=case.frequency)
    is_macro = case.metric == "macro-f1"
    labels = members if is_macro else np.ones(n, dtype=np.int64)
    groups = ({} if is_macro else {"region": members}) | (
        {"location": camera} if case.cameras else {}
    )
    on = EvaluationSet(ids, "", labels[:, None], groups, {})
    record = Record.model_construct(primary_metric=case.metric)
    made = []
    for of_row in accuracies:
        own = np.where(rng.random(n) < IN_COMMON, luck, rng.random(n))
        wrong = other_class if is_macro else np.zeros(n, dtype=np.int64)
        chance = of_row[members]
        if case.cameras:
            chance = expit(logit(chance) + hard)
        predicted = np.where(own < chance, labels, wrong)
        made.append(SampleOutputs(record, on, labels == predicted, np.ones(n), predicted))
    return made


def _drawn(rng: np.random.Generator, case: Case, n: int) -> tuple[Ints, Ints]:
    """Return the classes or regions of n samples, and their cameras (all 0 without cameras)."""
    if not case.cameras:
        return rng.choice(len(case.frequency), size=n, p=case.frequency), np.zeros(n, np.int64)
    shape = (case.cameras, len(case.frequency))
    rates = (
        case.frequency * rng.gamma(CAMERA_SHAPE, size=shape) * rng.gamma(1.0, size=(shape[0], 1))
    )
    cells = rng.choice(rates.size, size=n, p=(rates / rates.sum()).ravel())
    return cells % shape[1], cells // shape[1]


def _joined(outputs: list[SampleOutputs]) -> Linearised:
    """Return the seeds of one row on one set."""
    found = [one for one in map(linearised, outputs) if one is not None]
    arrays = zip(*((one.values, one.unseen, one.bias) for one in found), strict=True)
    return Linearised(found[0].ids, found[0].n, *(np.concatenate(a) for a in arrays))


def of_one_row(rng: np.random.Generator, case: Case, n: int, sets: int = 1) -> bool:
    """Return whether the interval of a row's mean over independent sets contains the truth."""
    row = [_joined(_rows(rng, case, n, [case.one], str(k))) for k in range(sets)]
    return _holds(mean_estimate(row).interval(), case.truth(case.one))


def of_old(rng: np.random.Generator, case: Case, n: int) -> bool:
    """Return whether the basic bootstrap interval of a row contains the truth."""
    (one,) = _rows(rng, case, n, [case.one], "")
    members = one.on.groups.get("region", one.on.labels[:, 0])
    guessed = np.where(one.right, members, one.predicted)
    if case.metric == "worst-region":
        guessed = members + len(case.frequency) * ~one.right
    size = int(max(members.max(), guessed.max())) + 1
    cells, cell_of, counts = np.unique(
        members * size + guessed, return_inverse=True, return_counts=True
    )
    if case.cameras:
        _, camera = np.unique(one.on.groups["location"], return_inverse=True)
        units = int(camera.max()) + 1
        table = np.bincount(camera * len(cells) + cell_of, minlength=units * len(cells))
        chosen = rng.multinomial(units, np.full(units, 1 / units), size=DRAWS)
        drawn = np.vstack([counts, chosen @ table.reshape(units, -1)])
    else:
        drawn = np.vstack([counts, rng.multinomial(n, counts / n, size=DRAWS)])
    of_label, of_guess = (np.eye(size)[of] for of in (cells // size, cells % size))
    labelled, hits = drawn @ of_label, drawn @ (of_label * of_guess)
    occurs = labelled > 0
    if case.metric == "worst-region":
        shares = np.where(occurs, hits / np.maximum(labelled, 1), np.inf)
        values = shares.min(axis=1)
    else:
        f1 = 2 * hits / np.maximum(labelled + drawn @ of_guess, 1)
        values = (f1 * occurs).sum(axis=1) / occurs.sum(axis=1)
    high, low = 2 * values[0] - np.quantile(values[1:], [0.025, 0.975])
    return _holds(Interval(low, high), case.truth(case.one))


def of_difference(rng: np.random.Generator, case: Case, n: int, seeds: int = 1) -> bool:
    """Return whether the interval of a difference of two rows contains the truth.

    With several seeds it is that over all training runs.
    """
    moved = rng.normal(0, SEED_SD, size=(2, seeds)) if seeds > 1 else np.zeros((2, 1))
    of_runs = [
        np.clip(of_row + one, 0, 1)
        for of_row, by_seed in zip((case.one, case.other), moved, strict=True)
        for one in by_seed
    ]
    outputs = _rows(rng, case, n, of_runs, "")
    between = paired_difference([_joined(outputs[:seeds])], [_joined(outputs[seeds:])])
    return _holds(between.interval(), case.truth(case.one) - case.truth(case.other))


def _holds(interval: Interval, truth: float) -> bool:
    return bool(interval.low <= truth <= interval.high)


Trial = Callable[[np.random.Generator, Case, int], bool]
TRIALS: dict[str, Trial] = {
    "one row": of_one_row,
    "(basic bootstrap)": of_old,
    "difference": of_difference,
    "difference, 3 seeds": lambda rng, case, n: of_difference(rng, case, n, seeds=3),
    "mean of 4 sets": lambda rng, case, n: of_one_row(rng, case, n, sets=4),
}


def metric_coverage(trial: str, case: Case, n: int, repeats: int, seed: int) -> float:
    """Return how often an interval of `TRIALS` contains the truth."""
    rng = np.random.default_rng(seed)
    return sum(TRIALS[trial](rng, case, n) for _ in range(repeats)) / repeats


def _table(repeats: int) -> Iterator[str]:
    yield f"Coverage of nominal 95% intervals, in percent, {repeats} repetitions each."
    yield ""
    yield f"| set | samples | {' | '.join(TRIALS)} |"
    yield "|---|--:|" + "--:|" * len(TRIALS)
    for case in CASES:
        for n in SIZES:
            found = (metric_coverage(trial, case, n, repeats, seed=12) for trial in TRIALS)
            shown = " | ".join(f"{100 * covered:.1f}" for covered in found)
            yield f"| {case.name} | {n} | {shown} |"


if __name__ == "__main__":
    for line in _table(*map(int, sys.argv[1:2] or (1000,))):
        print(line, flush=True)

"""Simulate how often `bench compare` finds a true loss: the table in docs/ci.md.

    python scripts/simulations/compare_power.py

Each run has five rows on the six sets of `mini`, 2,000 images each. One row is truly worse on all
sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.checks.compare import ComparedRun, compare_runs
from bench.core.records import Record
from bench.leaderboard.board import ID, MEAN
from bench.leaderboard.samples import EvaluationSet, SampleOutputs

N, ROWS = 2000, 5
LEVELS = {ID: 0.72, "v2": 0.60, "sketch": 0.80, "rendition": 0.63, "objectnet": 0.35, "a": 0.37}
"""Accuracies by set."""
CHURN = 0.10
"""Fraction of the images on which a new training run differs from the old one."""
SPREAD = 0.01
"""The deviation of a row's accuracy over seeds, the same on all sets."""
LOSSES = (0.0, 0.015, 0.02, 0.03, 0.04, 0.06)
REPETITIONS = 400
PLACES = (ID, MEAN, "any cell")


@dataclass(frozen=True)
class Case:
    """The seeds of the old and the new run, and whether both runs store samples."""

    name: str
    before: Sequence[int] = (0,)
    after: Sequence[int] = (0,)
    keeps_samples: bool = True


CASES = (
    Case("same seed, samples"),
    Case("same seed, no samples", keeps_samples=False),
    Case("3 other seeds", (0, 1, 2), (3, 4, 5)),
)


def simulated(case: Case, loss: float, rng: np.random.Generator) -> tuple[ComparedRun, ComparedRun]:
    """Return the old and the new run; the new run's first row is worse by `loss` on all sets.

    Outcomes of new training runs differ from the row's old ones in both directions, by `CHURN`.
    """
    shared = {(row, at): rng.random(N) < p for row in range(ROWS) for at, p in LEVELS.items()}
    sides = []
    for is_new, seeds in enumerate((case.before, case.after)):
        records, samples = [], []
        for row in range(ROWS):
            for seed in seeds:
                is_other = bool(is_new) or case.before != case.after
                moved = rng.normal(0, SPREAD) if case.before != case.after else 0.0
                lost = moved + (loss if is_new and row == 0 else 0.0)
                churn = max(CHURN, abs(lost)) * is_other
                for order, (shift, level) in enumerate(LEVELS.items()):
                    right, draw = shared[row, shift], rng.random(N)
                    breaks = draw < (churn + lost) / 2 / level
                    repairs = draw < (churn - lost) / 2 / (1 - level)
                    now_right = np.where(right, ~breaks, repairs)
                    made = Record(
                        suite="mini",
                        model="tiny/embedded",
                        method=f"row {row}",
                        base=None,
                        title="",
                        seed=seed,
                        shift=shift,
                        order=order,
                        shifts_in_suite=len(LEVELS) - 1,
                        metric="top1",
                        value=float(now_right.mean()),
                        n=N,
                    )
                    on = EvaluationSet(shift, "", np.zeros((N, 1), np.int64), {}, {})
                    none = np.zeros(N)
                    records.append(made)
                    samples.append(SampleOutputs(made, on, now_right, none, on.labels[:, 0]))
        sides.append(ComparedRun(records, samples if case.keeps_samples else ()))
    return sides[0], sides[1]


def found(case: Case, loss: float, repetitions: int = REPETITIONS) -> tuple[float, ...]:
    """Return the fractions of repetitions with a regression on ID, the OOD mean, and any cell."""
    rng = np.random.default_rng([int(1000 * loss), CASES.index(case)])
    counts = dict.fromkeys(PLACES, 0)
    for _ in range(repetitions):
        changes = compare_runs(*simulated(case, loss, rng))
        lost = {change.place for change in changes if change.state == "regression"}
        for place in PLACES:
            counts[place] += place in lost or (place == "any cell" and bool(lost))
    return tuple(count / repetitions for count in counts.values())


def line(loss: float, repetitions: int = REPETITIONS) -> str:
    """Return a row of the table in docs/ci.md."""
    by_case = (found(case, loss, repetitions) for case in CASES)
    cells = (" / ".join(f"{100 * fraction:.0f}" for fraction in one) for one in by_case)
    return f"| {100 * loss:g} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print(f"| loss, points | {' | '.join(case.name for case in CASES)} |")
    print(f"|---|{'---|' * len(CASES)}")
    for one in LOSSES:
        print(line(one), flush=True)

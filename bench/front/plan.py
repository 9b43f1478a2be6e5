"""What a run would do and cost: the plan as a value, as text and as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.front.executors.choice import check_executor
from bench.runs.costs.counts import Counts
from bench.runs.costs.estimate import Basis, TimeEstimate, estimate_time
from bench.runs.plan import Plan
from bench.runs.results.caveats import PlanCaveats
from bench.runs.session import Session


@dataclass(frozen=True)
class RunPlan:
    """The work that a run consists of and what is left of it; ``str`` gives it as text.

    Attributes
    ----------
    out : the run's output folder.
    plans : the plan of each suite; left : the pending work of each, in counts.
    time : the estimated duration, with a range and what it rests on.
    caveats : what is known of the data, the model and the prompts of each suite, in sentences.

    Examples
    --------
    >>> import bench
    >>> plan = bench.plan(suite="micro", methods=["wise-ft"], shifts="v2", curves=False)
    >>> [row["rows"] for row in plan.to_dict()["studies"]]
    [['zero-shot', 'e2e-ft', 'wise-ft:e2e-ft']]
    """

    out: Path
    plans: tuple[Plan, ...]
    left: tuple[Counts, ...]
    time: TimeEstimate
    caveats: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, session: Session) -> RunPlan:
        """The plan of a session as it stands: what is in the store is not counted as left.

        Raises InputError for an executor that there is not.
        """
        if session.config.executor is not None:
            check_executor(session.config.executor)
        left = session.left()
        about = {p.study.suite.name: PlanCaveats(p, session.store) for p in session.plans}
        known = {suite: caveats.of_inputs() for suite, caveats in about.items()}
        time = estimate_time(session.studies, left, session.store, session.config.device)
        return cls(session.out, session.plans, left, time, known)

    def summary(self) -> str:
        """One line: the work that is left, and the time it takes by earlier measurements."""
        return cost_summary(self.left, self.time)

    def __str__(self) -> str:
        """The plan in a few lines per suite."""
        lines = []
        for plan, count in zip(self.plans, self.left, strict=True):
            study, total = plan.study, count.total
            lines += [
                f"{study.suite.name} with {study.model}: "
                f"{len(study.rows)} rows, seeds {', '.join(map(str, study.seeds))}",
                f"  text heads to build: {count.text_heads}",
                *([f"  Fisher informations to compute: {count.fishers}"] if count.fishers else []),
                f"  training runs: {count.trainings} ({count.training_images:,} images)",
            ]
            lines += [
                f"  forward passes on {f.split}: {f.forwards:,} by "
                f"{_number(f.encoders, 'encoder')} ({f.merges} merged), "
                f"{f.decodes:,} images decoded"
                for f in count.splits
            ]
            lines += [
                f"  forward passes in total: {count.forwards:,}; images decoded: {count.decodes:,}",
                f"  fits: {count.fits} of {total['fits']}; "
                f"cells: {count.cells} of {total['cells']}",
            ]
            if plan.undecided:
                names = dict.fromkeys(fit.row.name for fit in plan.undecided)
                lines.append(f"  to be chosen on the selection split: {', '.join(names)}")
            lines += [f"  caveat: {caveat}" for caveat in self.caveats[plan.study.suite.name]]
        return "\n".join([*lines, self.summary()])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as ``bench plan --json`` prints them."""
        studies = [
            {
                "suite": p.study.suite.name,
                "model": p.study.model,
                "rows": [row.name for row in p.study.rows],
                "seeds": list(p.study.seeds),
                "undecided": sorted({fit.row.name for fit in p.undecided}),
                "caveats": list(self.caveats[p.study.suite.name]),
                **dataclasses.asdict(c),
                "forwards": c.forwards,
                "decodes": c.decodes,
            }
            for p, c in zip(self.plans, self.left, strict=True)
        ]
        return {
            "out": str(self.out),
            "estimate": dataclasses.asdict(self.time),
            "studies": studies,
        }


def cost_summary(left: Sequence[Counts], time: TimeEstimate) -> str:
    """One line: the work that is left, and the time it takes by earlier measurements.

    Examples
    --------
    >>> from bench.front.plan import cost_summary
    >>> from bench.runs.costs.estimate import TimeEstimate
    >>> cost_summary(left=[], time=TimeEstimate(0, 0, 0, "measured"))
    'to do: nothing; every cell is in the cache'
    """
    trainings = sum(c.trainings for c in left)
    forwards, decodes = sum(c.forwards for c in left), sum(c.decodes for c in left)
    cells = sum(c.cells for c in left)
    if not cells:
        return "to do: nothing; every cell is in the cache"
    took = duration_text(time) if time.seconds else "no forward pass"
    return (
        f"to do: {_number(trainings, 'training run')}, {forwards:,} forward passes of "
        f"{decodes:,} decoded images, {_number(cells, 'cell')}; {took}"
    )


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def duration_text(time: TimeEstimate) -> str:
    """Return an estimate in words, with its range and what it rests on.

    Examples
    --------
    >>> from bench.front.plan import duration_text
    >>> from bench.runs.costs.estimate import TimeEstimate
    >>> duration_text(TimeEstimate(600, 540, 700, "measured"))
    'about 10 min (9 to 12 min)'
    >>> duration_text(TimeEstimate(7, 3.5, 14, "few images"))
    'about 7 s (4 to 14 s, measured on few images)'
    """
    unit, name = next((u, n) for u, n in UNITS if time.seconds >= 2 * u or u == 1)
    middle, low, high = (
        f"{value / unit:.{0 if value >= 2 * unit or unit == 1 else 1}f}"
        for value in (max(1, time.seconds), max(1, time.low), max(1, time.high))
    )
    return f"about {middle} {name} ({low} to {high} {name}{BASES[time.basis]})"


UNITS = ((3600, "h"), (60, "min"), (1, "s"))
BASES: Mapping[Basis, str] = {
    "measured": "",
    "few images": ", measured on few images",
    "another machine": ", a guess by rates of another machine",
    "nothing": ", a guess: this model was not timed here yet",
}
"""What an estimate rests on, in words."""

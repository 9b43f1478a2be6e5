"""Execution of a plan: stage 1 with its fits, stage 2 with its cells, and then the records."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.api.method import Choice
from bench.core.errors import DataError, InputError
from bench.core.progress import Progress
from bench.core.records import MissingCell, Record
from bench.core.store import Store
from bench.core.trainings import TrainingRecord
from bench.leaderboard import samples
from bench.models.facts import read_model_note
from bench.runs.costs.pending import pending
from bench.runs.execution.dispatch import Dispatcher, Workers
from bench.runs.execution.runner import EngineMaker, Runner
from bench.runs.items import CellItem, FeaturesItem
from bench.runs.measure import address_of
from bench.runs.plan import Plan, make_plan
from bench.runs.results.caveats import PlanCaveats
from bench.runs.results.trainings import plan_trainings

if TYPE_CHECKING:
    from bench.models.devices.group import ProcessGroup


@dataclass(frozen=True)
class Outcome:
    """A finished run: the final plan, its records, the cells that could not be computed, and the
    training runs with their histories.
    """

    plan: Plan
    records: tuple[Record, ...]
    missing: tuple[MissingCell, ...]
    trainings: tuple[TrainingRecord, ...] = ()


def choice_lookup(store: Store) -> Callable[[str], Choice | None]:
    """Return a function from a fit's key to the choice stored under it, None if there is none."""

    def known(key: str) -> Choice | None:
        note = store.read_note("fits", key)
        return None if note is None else note["choice"]

    return known


def execute_plan(
    first: Plan,
    store: Store,
    engine: EngineMaker,
    progress: Progress,
    workers: Workers | None = None,
    group: ProcessGroup | None = None,
) -> Outcome:
    """Compute what the store lacks and return all records of the plan's study.

    The plan is made again when choices were made. With `workers`, these compute. In a `group`, the
    other processes take part by `Runner.follow`.

    `engine` is called at most once, and only when a model is needed. If an item fails, the items
    that depend on it fail too, and all others are still computed. Raises InputError for bad input
    and DataError for an image that cannot be read. What was computed before stays in the store.
    """
    study = first.study
    runner = (
        Runner(study, store, engine, progress, group)
        if workers is None
        else Dispatcher(study, store, engine, progress, workers=workers)
    )
    final, before = first, set[str]()
    runner.work(first, lambda: pending(first, store, first.first))
    while final.undecided and (now := {fit.key for fit in final.undecided}) != before:
        # Once the settings of a base are chosen, the ensembles on it choose theirs.
        final, before = make_plan(study, choice_lookup(store)), now
        runner.work(final, partial(pending, final, store, final.first))
    for fit in final.undecided:  # whose cells have a placeholder for the choice
        if not runner.blocked(fit, final):
            runner.failed[fit.key] = "nothing was chosen; run the same command again"
    for cell in final.cells:
        if cell.keeps_samples:  # read only when the run is over: too late to recompute
            samples.drop_damaged_samples(store, cell.key, cell.shift.split.fingerprint)
    runner.work(final, lambda: pending(final, store, runner.possible(final)))
    _know_model(runner, final)
    if group is not None:
        group.announce(None)
    return _outcome(runner, final)


def _know_model(runner: Runner, plan: Plan) -> None:
    """Load the model if the store lacks what records say of it, as that of an older version."""
    if plan.of(FeaturesItem) and read_model_note(runner.store, runner.study.backbone) is None:
        # A check of a run loads none. Weights that are not to be had are not needed either.
        with suppress(DataError, InputError):
            _ = runner.engine


def _outcome(runner: Runner, plan: Plan) -> Outcome:
    """Return the records of the stored cells, and the missing cells with their reasons."""
    records: list[Record] = []
    known = PlanCaveats(plan, runner.store)
    lacking: dict[tuple[object, ...], list[CellItem]] = {}
    for cell in plan.cells:
        value = runner.store.read_cell(cell.pack, cell.key)
        if value is not None:
            records.append(runner.measuring.record(cell, value, known))
        else:
            runner.blocked(cell, plan)
            reason = runner.failed.get(cell.key, "not computed")
            place = (cell.row.name, cell.fit.seed, cell.shift.name, reason)
            lacking.setdefault(place, []).append(cell)
    missing = [
        MissingCell.model_validate(
            address_of(runner.study, cells[0])
            | {"reason": str(place[-1]), "lacking": tuple(cell.name for cell in cells)}
        )
        for place, cells in lacking.items()
    ]
    trainings = tuple(plan_trainings(plan, runner.store))
    if len(records) + sum(cell.count for cell in missing) != len(plan.cells):
        raise RuntimeError(f"{len(plan.cells)} cells were planned, others were computed")
    return Outcome(plan, tuple(records), tuple(missing), trainings)

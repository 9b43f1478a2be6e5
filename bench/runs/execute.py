"""Execution of a plan: stage 1 with its fits, stage 2 with its cells, and then the records."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from bench.api.method import Choice
from bench.api.recipes import Fisher, TextHead, Tuned
from bench.api.splits import Loaded, Split
from bench.api.trainer import DIVERGED
from bench.core.errors import BenchError, DataError, InputError, one_line
from bench.core.progress import Progress
from bench.core.records import MissingCell, Record
from bench.core.store import MissingOutput, Store
from bench.core.trainings import TrainingRecord
from bench.leaderboard import samples
from bench.models.facts import read_model_note
from bench.runs.costs.pending import pending
from bench.runs.items import (
    CellItem,
    FeaturesItem,
    FitItem,
    GivenItem,
    ScaleItem,
    WeightsItem,
    WorkItem,
    by_split,
    is_stored,
    pack_items,
    unpack_items,
)
from bench.runs.measure import Measurement, address_of
from bench.runs.plan import Plan, make_plan
from bench.runs.results.caveats import PlanCaveats
from bench.runs.results.trainings import plan_trainings, training_labels
from bench.runs.study.study import Study
from bench.runs.study.tuning import Searched

if TYPE_CHECKING:
    from bench.models.devices.group import ProcessGroup
    from bench.runs.engine import Engine

log = logging.getLogger("bench")

WAIT, LONGEST_WAIT = 0.05, 2.0
"""Seconds between two looks at what other runs are computing."""

EngineMaker = Callable[[Callable[[Split], Loaded]], "Engine"]
"""Makes the engine from the function that opens a split."""


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
    group: ProcessGroup | None = None,
) -> Outcome:
    """Compute what the store lacks and return all records of the plan's study.

    The plan is made again when choices were made. The other processes of a `group` take part in
    it by `follow_plan`.

    `engine` is called at most once, and only when a model is needed. If an item fails, the items
    that depend on it fail too, and all others are still computed. Raises InputError for bad input
    and DataError for an image that cannot be read. What was computed before stays in the store.
    """
    study = first.study
    runner = _Runner(study, store, engine, progress, group)
    final, before = first, set[str]()
    runner.work(first, lambda: pending(first, store, first.first))
    while final.undecided and (now := {fit.key for fit in final.undecided}) != before:
        # Once the settings of a base are chosen, the ensembles on it choose theirs.
        final, before = make_plan(study, choice_lookup(store)), now
        runner.work(final, partial(pending, final, store, final.first))
    for fit in final.undecided:  # whose cells have a placeholder for the choice
        if not runner._blocked(fit, final):
            runner.failed[fit.key] = "nothing was chosen; run the same command again"
    for cell in final.cells:
        if cell.keeps_samples:  # read only when the run is over: too late to recompute
            samples.drop_damaged_samples(store, cell.key, cell.shift.split.fingerprint)
    runner.work(final, lambda: pending(final, store, runner.possible(final)))
    runner.know_model(final)
    if group is not None:
        group.announce(None)
    return runner.outcome(final)


def follow_plan(
    study: Study, store: Store, engine: EngineMaker, progress: Progress, group: ProcessGroup
) -> None:
    """Do this process's part of the items that the first process announces, until it ends."""
    runner = _Runner(study, store, engine, progress, group)
    while (packed := group.hear()) is not None:
        items = unpack_items(packed, study.suite.splits)
        runner._try(items, partial(runner.carry_out, items))


@dataclass
class _Runner:
    """The state of one execution.

    `failed` has the reason for each failed item, `labels` the name of each training, by key. In the
    current round, `tried` is the number of items that were tried and `taken` that of those that
    other runs are computing.
    """

    study: Study
    store: Store
    make_engine: EngineMaker
    progress: Progress
    group: ProcessGroup | None = None
    failed: dict[str, str] = field(default_factory=dict)
    splits: dict[str, Loaded] = field(default_factory=dict)
    made_engine: Engine | None = None
    labels: dict[str, str] = field(default_factory=dict)
    tried: int = 0
    taken: int = 0

    @property
    def engine(self) -> Engine:
        if self.made_engine is None:
            with self.progress.task(f"load {self.study.backbone}", 1):
                self.made_engine = self.make_engine(self.opened)
        return self.made_engine

    @cached_property
    def measuring(self) -> Measurement:
        return Measurement(self.study, self.store, self.opened, self.progress)

    def opened(self, split: Split) -> Loaded:
        """Return the opened split; each split is opened once per run."""
        if split.fingerprint not in self.splits:
            with self.progress.task(f"open {split.name}", 1):
                self.splits[split.fingerprint] = split.load()
        return self.splits[split.fingerprint]

    def work(self, plan: Plan, left: Callable[[], dict[str, WorkItem]]) -> None:
        """Compute all pending items that do not depend on a failed one.

        An input that turns out to be damaged when it is read is recomputed in the next round. What
        another run on the same store is computing is left to it, and waited for at last.
        """
        self.labels = training_labels(plan, left())
        rounds, waited = 0, 0
        while rounds <= len(plan.items):
            items = [i for i in left().values() if not self._blocked(i, plan)]
            if not items:
                return
            self.tried, self.taken = 0, 0
            self._work_round(items, plan)
            if self.tried or not self.taken:
                rounds, waited = rounds + 1, 0
            else:
                time.sleep(min(WAIT * 1.5**waited, LONGEST_WAIT))
                waited += 1

    def _work_round(self, items: Sequence[WorkItem], plan: Plan) -> None:
        for item in items:
            if isinstance(item, WeightsItem) and self._ready(item, plan):
                same = self._same_training(item, plan)
                if same:  # else another run has just stored them
                    self._claim(same, [item.made_by], partial(self._compute, same))
        cells = [item for item in items if isinstance(item, CellItem)]
        self._measure([c for c in cells if self._ready(c, plan)])
        # Heads are trained on features. These features come first: the encoders trained after
        # them then share their forward passes, and the decoded images, with all others.
        first = self._features_for_training(items, plan)
        for features in by_split(first or items):
            if ready := [i for i in features if self._ready(i, plan)]:
                self._forward(ready)
            split = features[0].split.fingerprint
            here = [c for c in cells if c.shift.split.fingerprint == split]
            self._measure([c for c in here if self._ready(c, plan)])
        for item in items:
            if isinstance(item, FitItem) and self._ready(item, plan):
                act = partial(self.measuring.fit, item, self.failed)
                self._claim([item], [item.key], act)
        for item in items:
            if isinstance(item, ScaleItem) and self._ready(item, plan):
                self._claim([item], [item.key], partial(self.measuring.scale, item))

    def _claim(
        self, items: Sequence[WorkItem], names: Sequence[str], act: Callable[[], None]
    ) -> None:
        """Compute items, unless another run holds one of the claims `names` or just has them."""
        with self.store.claims.held(names) as got:
            if len(got) < len(names):
                self.taken += 1
            elif not all(is_stored(item, self.store) for item in items):
                self.tried += 1
                self._try(items, act)

    def _features_for_training(self, items: Sequence[WorkItem], plan: Plan) -> list[WorkItem]:
        """Return the features items on every split whose features a pending training run reads."""
        weights = [item for item in items if isinstance(item, WeightsItem)]
        inputs = {key for item in weights for key in item.inputs}
        read = [i for i in items if isinstance(i, FeaturesItem) and i.key in inputs]
        ready = [i for i in read if self._ready(i, plan)]
        splits = {item.split.fingerprint for item in ready}
        features = [i for i in items if isinstance(i, FeaturesItem)]
        return [i for i in features if i.split.fingerprint in splits]

    def _blocked(self, item: WorkItem, plan: Plan) -> bool:
        """Whether the item or one of its inputs has failed; the reason is stored in `failed`."""
        if isinstance(item, GivenItem) and item.reason:
            self.failed[item.key] = item.reason
        if item.key in self.failed:
            return True
        if is_stored(item, self.store):
            return False
        for key in item.inputs:
            if key in self.failed or self._blocked(plan.items[key], plan):
                if _is_lost_trial(item, self.failed[key]):
                    continue
                self.failed[item.key] = self.failed[key]
                return True
        return False

    def possible(self, plan: Plan) -> list[CellItem]:
        """Return the cells that no failure prevents."""
        return [cell for cell in plan.cells if not self._blocked(cell, plan)]

    def _ready(self, item: WorkItem, plan: Plan) -> bool:
        """Whether the item is not done yet and all its inputs are stored."""
        unfinished = not is_stored(item, self.store) and not self._blocked(item, plan)
        return unfinished and all(
            is_stored(plan.items[key], self.store)
            or (key in self.failed and _is_lost_trial(item, self.failed[key]))
            for key in item.inputs
        )

    def _same_training(self, item: WeightsItem, plan: Plan) -> list[WorkItem]:
        """Return the weights items, `item` included, that the same training run will produce."""
        if not isinstance(item.recipe, Tuned):
            return [item]
        return [
            other
            for other in plan.items.values()
            if isinstance(other, WeightsItem)
            and isinstance(other.recipe, Tuned)
            and other.recipe.training == item.recipe.training
            and not is_stored(other, self.store)
        ]

    def _try(self, items: Sequence[WorkItem], act: Callable[[], None]) -> None:
        """Call `act` for `items` and record a failure under each of them.

        InputError and DataError are raised, except for a stored output that cannot be read. Any
        other exception fails these items only, because methods may be third-party code; ``--debug``
        logs the traceback. After MissingOutput the inputs are verified, so that damaged ones are
        recomputed.
        """
        if not items:
            return
        try:
            act()
        except MissingOutput:
            for key in {key for item in items for key in item.inputs}:
                self.store.check(key)
        except (Exception, SystemExit) as error:
            if isinstance(error, BenchError) and error.ends_run:
                raise
            log.debug("failed", exc_info=True)
            self.failed |= dict.fromkeys((item.key for item in items), one_line(error))

    def _forward(self, items: Sequence[FeaturesItem]) -> None:
        """Compute features together to decode each image once; after a failure, item by item.

        Blocks that other runs are computing are left out.
        """
        before = self._missing_blocks(items)
        self._try(items, partial(self._compute, items))
        for item in items if len(items) > 1 else ():
            if self.failed.pop(item.key, None):
                self._try([item], partial(self._compute, [item]))
        left = [item for item in items if item.key not in self.failed]
        after = self._missing_blocks(left)
        self.tried += not after or after != before
        self.taken += bool(after)

    def _missing_blocks(self, items: Sequence[FeaturesItem]) -> int:
        return sum(len(self.store.blocks(item.key, item.split.size)) for item in items)

    def _compute(self, items: Sequence[WorkItem]) -> None:
        """Have all processes compute one weights item or the features of one split."""
        # Another run may have stored some of them just now.
        if left := [item for item in items if not is_stored(item, self.store)]:
            if self.group is not None:
                _ = self.engine  # the first process fetches the model before all others
                self.group.announce(pack_items(left))
            self.carry_out(left)

    def carry_out(self, items: Sequence[WorkItem]) -> None:
        """Do this process's part of some items and wait for all other processes.

        Raises the exception of this process, or that of another.
        """
        in_step = isinstance(items[0], WeightsItem) and isinstance(items[0].recipe, Tuned)
        with nullcontext() if self.group is None else self.group.agreement(in_step=in_step):
            self._do(items)

    def _do(self, items: Sequence[WorkItem]) -> None:
        """Compute a head, one training run, a Fisher information or the features of one split."""
        match items[0]:
            case WeightsItem(recipe=TextHead() as recipe):
                self.engine.build_head(recipe)
            case WeightsItem(recipe=Fisher() as recipe, train=train, selection=selection):
                is_held_out = recipe.train == selection.fingerprint
                self.engine.find_fisher(recipe, selection if is_held_out else train)
            case WeightsItem(recipe=Tuned(), train=train, selection=selection):
                weights = [item.recipe for item in items if isinstance(item, WeightsItem)]
                tuned = [recipe for recipe in weights if isinstance(recipe, Tuned)]
                self.engine.train(tuned, train, selection, self.labels.get(items[0].key, "train"))
            case FeaturesItem(split=split):
                features = [item for item in items if isinstance(item, FeaturesItem)]
                self.engine.predict(split, {item.key: item.encoder for item in features})

    def _measure(self, cells: Sequence[CellItem]) -> None:
        """Measure cells; all metrics of a row's candidate on a split share one prediction."""
        groups: dict[str, list[CellItem]] = {}
        for cell in cells:
            groups.setdefault(cell.pack, []).append(cell)
        for pack, group in groups.items():
            self._claim(group, [pack], partial(self._score, group))

    def _score(self, cells: Sequence[CellItem]) -> None:
        """Measure those cells of a pack that no other run has measured meanwhile."""
        left = [cell for cell in cells if not is_stored(cell, self.store)]
        self.measuring.score(left, lambda cell, act: self._try([cell], act))

    def know_model(self, plan: Plan) -> None:
        """Load the model if the store lacks what records say of it, as that of an older version."""
        if plan.of(FeaturesItem) and read_model_note(self.store, self.study.backbone) is None:
            # A check of a run loads none. Weights that are not to be had are not needed either.
            with suppress(DataError, InputError):
                _ = self.engine

    def outcome(self, plan: Plan) -> Outcome:
        """Return the records of the stored cells, and the missing cells with their reasons."""
        records: list[Record] = []
        known = PlanCaveats(plan, self.store)
        lacking: dict[tuple[object, ...], list[CellItem]] = {}
        for cell in plan.cells:
            value = self.store.read_cell(cell.pack, cell.key)
            if value is not None:
                records.append(self.measuring.record(cell, value, known))
            else:
                self._blocked(cell, plan)
                reason = self.failed.get(cell.key, "not computed")
                place = (cell.row.name, cell.fit.seed, cell.shift.name, reason)
                lacking.setdefault(place, []).append(cell)
        missing = [
            MissingCell.model_validate(
                address_of(self.study, cells[0])
                | {"reason": str(place[-1]), "lacking": tuple(cell.name for cell in cells)}
            )
            for place, cells in lacking.items()
        ]
        trainings = tuple(plan_trainings(plan, self.store))
        if len(records) + sum(cell.count for cell in missing) != len(plan.cells):
            raise RuntimeError(f"{len(plan.cells)} cells were planned, others were computed")
        return Outcome(plan, tuple(records), tuple(missing), trainings)


def _is_lost_trial(item: WorkItem, reason: str) -> bool:
    """Whether an input that failed is a trial that diverged: a search goes on without it."""
    searches = isinstance(item, FitItem) and isinstance(item.row.method, Searched)
    return searches and reason.startswith(DIVERGED)

"""Carrying out a plan: stage 1 and its fits, then stage 2 and its cells, then the records."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from bench.api.method import Choice
from bench.api.recipes import Fisher, TextHead, Tuned
from bench.api.splits import Loaded, Split
from bench.core.environment import process_count
from bench.core.errors import CellError, DataError, InputError, one_line
from bench.core.progress import Progress
from bench.core.records import MissingCell, Record
from bench.core.store import MissingOutput, Store
from bench.leaderboard import samples
from bench.runs.measure import Measurement, address_of
from bench.runs.plan import (
    CellItem,
    FeaturesItem,
    FitItem,
    GivenItem,
    Plan,
    ScaleItem,
    WeightsItem,
    WorkItem,
    is_stored,
    pending,
    plan,
)
from bench.runs.study.study import Study

if TYPE_CHECKING:
    from bench.runs.engine import Engine

log = logging.getLogger("bench")

EngineMaker = Callable[[Callable[[Split], Loaded]], "Engine"]
"""Makes the engine, given how splits are opened."""


@dataclass(frozen=True)
class Outcome:
    """A finished run: the final plan, its records, and the cells that could not be computed."""

    plan: Plan
    records: tuple[Record, ...]
    missing: tuple[MissingCell, ...]


def choice_lookup(store: Store) -> Callable[[str], Choice | None]:
    """The choices that fits in `store` have made, by key."""

    def known(key: str) -> Choice | None:
        note = store.read_note("fits", key)
        return None if note is None else note["choice"]

    return known


def execute_plan(study: Study, store: Store, engine: EngineMaker, progress: Progress) -> Outcome:
    """Do what the store lacks and return all records of the study.

    `engine` is called at most once, and only when a model is needed. An item that fails takes its
    dependents with it and nothing else. Raises InputError for bad input, DataError for an image
    that cannot be read: what is computed by then stays in the store.
    """
    runner = _Runner(study, store, engine, progress)
    known = choice_lookup(store)
    first = plan(study, known)
    runner.work(first, lambda: pending(first, store, first.first))
    final = plan(study, known)
    for cell in final.cells:
        if cell.keeps_samples:  # read at the very end, when nothing could be made again
            samples.drop_damaged_samples(store, cell.key, cell.shift.split.fingerprint)
    runner.work(final, lambda: pending(final, store, runner.possible(final)))
    if process_count() > 1:
        runner.engine.announce(None)
    return runner.outcome(final)


def follow_plan(study: Study, store: Store, engine: EngineMaker, progress: Progress) -> None:
    """Do this process's part of what the first process announces, until it announces the end."""
    runner = _Runner(study, store, engine, progress)
    while (keys := runner.engine.heard()) is not None:
        items = plan(study, choice_lookup(store)).items
        try:
            runner.carry_out([items[key] for key in keys])
        except Exception:
            log.debug("failed", exc_info=True)  # the first process is told, and notes it


@dataclass
class _Runner:
    study: Study
    store: Store
    make_engine: EngineMaker
    progress: Progress
    failed: dict[str, str] = field(default_factory=dict)
    splits: dict[str, Loaded] = field(default_factory=dict)
    made_engine: Engine | None = None

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
        """The opened split; opened once in a run."""
        if split.fingerprint not in self.splits:
            with self.progress.task(f"open {split.name}", 1):
                self.splits[split.fingerprint] = split.load()
        return self.splits[split.fingerprint]

    def work(self, plan: Plan, left: Callable[[], dict[str, WorkItem]]) -> None:
        """Do all pending items that can be done.

        An input that is found damaged when it is read is made again in the next round.
        """
        for _ in plan.items:
            items = [i for i in left().values() if not self._blocked(i, plan)]
            if not items:
                return
            for item in items:
                if isinstance(item, WeightsItem) and self._ready(item, plan):
                    together = self._together(item, plan)
                    self._try(together, partial(self._compute, together))
            cells = [item for item in items if isinstance(item, CellItem)]
            self._measure([c for c in cells if self._ready(c, plan)])
            # Heads are trained on features. Those come first, so that what is trained after them
            # shares its forwards, and their decoded images, with all the others.
            first = self._awaited(items, plan)
            for features in _by_split(first or items):
                ready = [i for i in features if self._ready(i, plan)]
                self._forward(ready)
                split = features[0].split.fingerprint
                here = [c for c in cells if c.shift.split.fingerprint == split]
                self._measure([c for c in here if self._ready(c, plan)])
            for item in items:
                if isinstance(item, FitItem) and self._ready(item, plan):
                    self._try([item], partial(self.measuring.fit, item))
            for item in items:
                if isinstance(item, ScaleItem) and self._ready(item, plan):
                    self._try([item], partial(self.measuring.scale, item))

    def _awaited(self, items: Sequence[WorkItem], plan: Plan) -> list[WorkItem]:
        """Features on the splits of those that a pending training waits for."""
        weights = [item for item in items if isinstance(item, WeightsItem)]
        inputs = {key for item in weights for key in item.inputs}
        read = [i for i in items if isinstance(i, FeaturesItem) and i.key in inputs]
        ready = [i for i in read if self._ready(i, plan)]
        splits = {item.split.fingerprint for item in ready}
        features = [i for i in items if isinstance(i, FeaturesItem)]
        return [i for i in features if i.split.fingerprint in splits]

    def _blocked(self, item: WorkItem, plan: Plan) -> bool:
        """Whether the item, or something it needs, has failed."""
        if isinstance(item, GivenItem) and item.reason:
            self.failed[item.key] = item.reason
        if item.key in self.failed:
            return True
        if is_stored(item, self.store):
            return False
        for key in item.inputs:
            if key in self.failed or self._blocked(plan.items[key], plan):
                self.failed[item.key] = self.failed[key]
                return True
        return False

    def possible(self, plan: Plan) -> list[CellItem]:
        """The cells that no failure stands in the way of."""
        return [cell for cell in plan.cells if not self._blocked(cell, plan)]

    def _ready(self, item: WorkItem, plan: Plan) -> bool:
        unfinished = not is_stored(item, self.store) and not self._blocked(item, plan)
        return unfinished and all(is_stored(plan.items[k], self.store) for k in item.inputs)

    def _together(self, item: WeightsItem, plan: Plan) -> list[WorkItem]:
        """The weights of a plan that come out of one training with `item` and are not stored."""
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
        """Do something for `items`; a failure is noted under each, bad input or data is raised.

        Any exception fails these items alone, since methods may be anybody's code; ``--debug``
        logs where it came from.
        """
        if not items:
            return
        try:
            act()
        except (InputError, DataError):
            raise
        except MissingOutput:
            for key in {key for item in items for key in item.inputs}:
                self.store.check(key)
        except Exception as error:
            log.debug("failed", exc_info=True)
            self.failed |= dict.fromkeys((item.key for item in items), one_line(error))

    def _alone(self, cell: CellItem, act: Callable[[], None]) -> None:
        self._try([cell], act)

    def _forward(self, items: Sequence[FeaturesItem]) -> None:
        """Compute features together, so that images are decoded once; alone where that failed."""
        self._try(items, partial(self._compute, items))
        for item in items if len(items) > 1 else ():
            if self.failed.pop(item.key, None):
                self._try([item], partial(self._compute, [item]))

    def _compute(self, items: Sequence[WorkItem]) -> None:
        """Have the engine, in all processes, do one weights item or a split's features."""
        self.engine.announce([item.key for item in items])
        self.carry_out(items)

    def carry_out(self, items: Sequence[WorkItem]) -> None:
        """This process's part of some items, and whether all others did theirs.

        Raises what went wrong here, or CellError that says what went wrong elsewhere.
        """
        failure: Exception | None = None
        try:
            self._do(items)
        except Exception as error:
            failure = error
        told = self.engine.agreed(None if failure is None else one_line(failure))
        if failure is not None:
            raise failure
        if told is not None:
            raise CellError(f"in another process: {told}")

    def _do(self, items: Sequence[WorkItem]) -> None:
        """A head, one training, a Fisher information, or features on one split."""
        match items[0]:
            case WeightsItem(recipe=TextHead() as recipe):
                self.engine.build_head(recipe)
            case WeightsItem(recipe=Fisher() as recipe, train=train):
                self.engine.find_fisher(recipe, train)
            case WeightsItem(recipe=Tuned(), train=train, selection=selection):
                weights = [item.recipe for item in items if isinstance(item, WeightsItem)]
                tuned = [recipe for recipe in weights if isinstance(recipe, Tuned)]
                self.engine.train(tuned, train, selection)
            case FeaturesItem(split=split):
                features = [item for item in items if isinstance(item, FeaturesItem)]
                self.engine.predict(split, {item.key: item.encoder for item in features})

    def _measure(self, cells: Sequence[CellItem]) -> None:
        """Measure cells: all metrics and candidates of a row on a split from one prediction."""
        groups: dict[tuple[str, str], list[CellItem]] = {}
        for cell in cells:
            row = f"{cell.row.name} {cell.fit.seed}"
            groups.setdefault((row, cell.shift.name), []).append(cell)
        for group in groups.values():
            self._try(group, partial(self.measuring.score, group, self._alone))

    def outcome(self, plan: Plan) -> Outcome:
        """Records of the cells in the store, and what is missing with its reason."""
        records: list[Record] = []
        missing: dict[tuple[object, ...], MissingCell] = {}
        for cell in plan.cells:
            value = self.store.read_cell(cell.key)
            if value is not None:
                records.append(self.measuring.record(cell, value))
            elif cell.chosen:
                self._blocked(cell, plan)
                reason = self.failed.get(cell.key, "not computed")
                row = (cell.row.name, cell.fit.seed, cell.shift.name)
                missing[row] = MissingCell.model_validate(
                    address_of(self.study, cell) | {"reason": reason}
                )
        return Outcome(plan, tuple(records), tuple(missing.values()))


def _by_split(items: Iterable[WorkItem]) -> list[list[FeaturesItem]]:
    """The feature items, grouped by split in the order of first appearance."""
    features = [i for i in items if isinstance(i, FeaturesItem)]
    order = list(dict.fromkeys(i.split.fingerprint for i in features))
    ranked = sorted(features, key=lambda i: order.index(i.split.fingerprint))
    groups = itertools.groupby(ranked, key=lambda i: i.split.fingerprint)
    return [list(group) for _, group in groups]

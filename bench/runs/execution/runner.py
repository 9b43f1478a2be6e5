"""The state of one execution: what of a plan is left, what failed, and how an item is computed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from bench.api.recipes import Fisher, TextHead, Tuned
from bench.api.splits import Loaded, Split
from bench.api.trainer import DIVERGED
from bench.core.errors import BenchError, one_line
from bench.core.progress import Progress
from bench.core.store import MissingOutput, Store
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
from bench.runs.measure import Measurement
from bench.runs.plan import Plan
from bench.runs.results.trainings import training_labels
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


@dataclass
class Runner:
    """The state of one execution, in this process.

    `failed` has the reason for each failed item, `labels` the name of each training, by key. In the
    current round, `tried` is the number of items that were tried and `taken` that of those that
    other runs are computing. In a `group`, the other processes take part in what needs the model.
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
        """The engine, made when it is first needed."""
        if self.made_engine is None:
            with self.progress.task(f"load {self.study.backbone}", 1):
                self.made_engine = self.make_engine(self.opened)
        return self.made_engine

    @cached_property
    def measuring(self) -> Measurement:
        """What fits and measures."""
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
            items = [i for i in left().values() if not self.blocked(i, plan)]
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
            if isinstance(item, WeightsItem) and self.ready(item, plan):
                same = self._same_training(item, plan)
                if same:  # else another run has just stored them
                    self._claim(same, [item.made_by], partial(self._compute, same))
        cells = [item for item in items if isinstance(item, CellItem)]
        self._measure([c for c in cells if self.ready(c, plan)])
        # Heads are trained on features. These features come first: the encoders trained after
        # them then share their forward passes, and the decoded images, with all others.
        first = self._features_for_training(items, plan)
        for features in by_split(first or items):
            if ready := [i for i in features if self.ready(i, plan)]:
                self._forward(ready)
            split = features[0].split.fingerprint
            here = [c for c in cells if c.shift.split.fingerprint == split]
            self._measure([c for c in here if self.ready(c, plan)])
        for item in items:
            if isinstance(item, FitItem) and self.ready(item, plan):
                act = partial(self.measuring.fit, item, self.failed)
                self._claim([item], [item.key], act)
        for item in items:
            if isinstance(item, ScaleItem) and self.ready(item, plan):
                self._claim([item], [item.key], partial(self.measuring.scale, item))

    def _claim(
        self, items: Sequence[WorkItem], names: Sequence[str], act: Callable[[], None]
    ) -> None:
        """Compute items, unless another run holds one of the claims `names` or just has them."""
        with self.store.claims.held(names) as got:
            if len(got) < len(names):
                self.taken += 1
            elif not self._are_stored(items):
                self.tried += 1
                self._try(items, act)

    def _are_stored(self, items: Sequence[WorkItem]) -> bool:
        """Whether the outputs of items are stored now: another run may just have ended them."""
        with self.store.files.looking_again():
            return all(is_stored(item, self.store) for item in items)

    def _features_for_training(self, items: Sequence[WorkItem], plan: Plan) -> list[WorkItem]:
        """Return the features items on every split whose features a pending training run reads."""
        weights = [item for item in items if isinstance(item, WeightsItem)]
        inputs = {key for item in weights for key in item.inputs}
        read = [i for i in items if isinstance(i, FeaturesItem) and i.key in inputs]
        ready = [i for i in read if self.ready(i, plan)]
        splits = {item.split.fingerprint for item in ready}
        features = [i for i in items if isinstance(i, FeaturesItem)]
        return [i for i in features if i.split.fingerprint in splits]

    def blocked(self, item: WorkItem, plan: Plan) -> bool:
        """Whether the item or one of its inputs has failed; the reason is stored in `failed`."""
        if isinstance(item, GivenItem) and item.reason:
            self.failed[item.key] = item.reason
        if item.key in self.failed:
            return True
        if is_stored(item, self.store):
            return False
        for key in item.inputs:
            if key in self.failed or self.blocked(plan.items[key], plan):
                if _is_lost_trial(item, self.failed[key]):
                    continue
                self.failed[item.key] = self.failed[key]
                return True
        return False

    def possible(self, plan: Plan) -> list[CellItem]:
        """Return the cells that no failure prevents."""
        return [cell for cell in plan.cells if not self.blocked(cell, plan)]

    def ready(self, item: WorkItem, plan: Plan) -> bool:
        """Whether the item is not done yet and all its inputs are stored."""
        unfinished = not is_stored(item, self.store) and not self.blocked(item, plan)
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
        try:
            with nullcontext() if self.group is None else self.group.agreement(in_step=in_step):
                self._do(items)
        finally:
            if self.group is not None:
                self.store.files.forget()  # the other processes have stored their parts

    def follow(self) -> None:
        """Do this process's part of what the first one of the group announces, until it ends."""
        while self.group is not None and (packed := self.group.hear()) is not None:
            items = unpack_items(packed, self.study.suite.splits)
            self.store.files.forget()  # the first process has stored their inputs
            self._try(items, partial(self.carry_out, items))

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
        # Set by set, so that the arrays of a set are read once and then leave the memory.
        sets = dict.fromkeys(cell.shift.split.fingerprint for cell in cells)
        number = {split: i for i, split in enumerate(sets)}
        groups: dict[str, list[CellItem]] = {}
        for cell in sorted(cells, key=lambda cell: number[cell.shift.split.fingerprint]):
            groups.setdefault(cell.pack, []).append(cell)
        for pack, group in groups.items():
            self._claim(group, [pack], partial(self._score, group))

    def _score(self, cells: Sequence[CellItem]) -> None:
        """Measure those cells of a pack that no other run has measured meanwhile."""
        left = [cell for cell in cells if not is_stored(cell, self.store)]
        self.measuring.score(left, lambda cell, act: self._try([cell], act))


def _is_lost_trial(item: WorkItem, reason: str) -> bool:
    """Whether an input that failed is a trial that diverged: a search goes on without it."""
    searches = isinstance(item, FitItem) and isinstance(item.row.method, Searched)
    return searches and reason.startswith(DIVERGED)

"""Carries out a plan as jobs of workers: sends what can be computed, and looks what is done."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import BenchError, CellError, DataError, InputError, one_line
from bench.core.progress import ProgressTask
from bench.runs.costs.counts import counts_of
from bench.runs.execution.grouping import groups_of
from bench.runs.execution.jobs import Executor, Job, JobContext, JobResult, Submitted
from bench.runs.execution.runner import Runner
from bench.runs.execution.states import JobState, write_jobs
from bench.runs.items import CellItem, FeaturesItem, FitItem, ScaleItem, WeightsItem, WorkItem
from bench.runs.plan import Plan
from bench.runs.results.trainings import training_labels

LOST, TRIES = 3, 10
"""How often a job is sent again whose worker was lost, and items that are still not there."""
PAUSE, BUSY, LONGEST = 0.05, 0.05, 5.0
"""Seconds between two looks at the plan: the least, the share of them spent looking, the most."""

log = logging.getLogger("bench")


@dataclass(frozen=True)
class Workers:
    """Who computes: an executor, the context of its jobs, and which study of the run this is."""

    executor: Executor
    context: JobContext
    study: int


@dataclass
class _Flying:
    """A job that was sent, the work that it stands for, and how it is shown."""

    job: Job
    submitted: Submitted
    state: JobState
    work: float
    shown: ExitStack
    task: ProgressTask


@dataclass
class Dispatcher(Runner):
    """A runner that has workers compute; see `Runner`.

    `sent` counts how often an item was sent, once however many workers share it, and `lost` how
    often that cost a worker. `states` are those of all jobs.
    """

    workers: Workers = field(kw_only=True)
    sent: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    states: list[JobState] = field(default_factory=list)
    written: float = 0.0

    def work(self, plan: Plan, left: Callable[[], dict[str, WorkItem]]) -> None:
        """Have all pending items computed that do not depend on a failed one.

        Raises what ends the run, such as InputError; jobs that were sent are then left to
        `Executor.close`.
        """
        self.labels = training_labels(plan, left())
        flying: list[_Flying] = []
        try:
            self._work(plan, left, flying)
        finally:  # of a run that ends, jobs are ended, too
            for one in flying:
                one.state.state = "stopped"
            if flying:
                self._write([], now=True)

    def _work(
        self, plan: Plan, left: Callable[[], dict[str, WorkItem]], flying: list[_Flying]
    ) -> None:
        while True:
            started = time.monotonic()
            items = [i for i in left().values() if not self.blocked(i, plan)]
            for item in items:
                if self.sent[item.key] > TRIES:
                    self.failed[item.key] = f"not there after {TRIES} tries"
            away = {key for one in flying for key in one.job.keys}
            ready = [i for i in items if self.ready(i, plan) and i.key not in away]
            free = self.workers.executor.slots - len(flying)
            if not ready and not flying:
                return
            if ready and free > 0:
                jobs = self._jobs(ready, plan, free)
                self.sent.update({key for job in jobs for key in job.keys})
                flying += self._send(jobs, plan)
            looked = time.monotonic() - started
            self._wait(flying, min(LONGEST, max(PAUSE, looked / BUSY)))
            for one in [one for one in flying if one.submitted.done()]:
                flying.remove(one)
                self._end(one, plan)
            self._write(flying)

    def _jobs(self, ready: Sequence[WorkItem], plan: Plan, free: int) -> list[Job]:
        """Return the jobs to send now, at most as many as there are free workers."""
        first = {id(item) for item in self._features_for_training(ready, plan)}
        ordered = sorted(ready, key=lambda item: id(item) not in first)
        # What a lost worker was computing may be to blame: it goes alone.
        alone = [item for item in ordered if self.lost[item.key]]
        rest = [item for item in ordered if not self.lost[item.key]]
        blocks = {
            item.key: len(self.store.blocks(item.key, item.split.size))
            for item in rest
            if isinstance(item, FeaturesItem)
        }
        workers = self.workers
        slots, least = free - len(alone), workers.executor.least
        groups = [*([item] for item in alone), *groups_of(rest, blocks, slots, least)]
        return [
            Job(
                workers.context,
                workers.study,
                tuple(item.key for item in group),
                self._label(group),
                on_device=isinstance(group[0], WeightsItem | FeaturesItem),
            )
            for group in groups[:free]
        ]

    def _label(self, group: Sequence[WorkItem]) -> str:
        """Return a few words on what is computed."""
        match group[0]:
            case WeightsItem(key=key):
                return self.labels.get(key, "zero-shot head")
            case FeaturesItem(split=split):
                return f"features of {split.name} (encoders: {len(group)})"
            case FitItem() | ScaleItem():
                return f"{len(group)} fits"
            case CellItem(shift=shift):
                return f"{len(group)} cells on {shift.name}"
        raise TypeError(group[0])

    def _send(self, jobs: Sequence[Job], plan: Plan) -> list[_Flying]:
        found = []
        for on_device in (True, False):
            alike = [job for job in jobs if job.on_device is on_device]
            counted: set[tuple[str, ...]] = set()
            for job, submitted in zip(alike, self.workers.executor.submit(alike), strict=True):
                items = [] if job.keys in counted else [plan.items[key] for key in job.keys]
                counted.add(job.keys)
                state = JobState(label=job.label, items=len(job.keys), log=submitted.log)
                work, shown = counts_of(items, self.store, {}).work, ExitStack()
                share = work and 1.0
                task = shown.enter_context(
                    self.progress.task(job.label, max(1, round(work)), share)
                )
                self.states.append(state)
                found.append(_Flying(job, submitted, state, work, shown, task))
        return found

    def _wait(self, flying: Sequence[_Flying], seconds: float) -> None:
        """Wait so long, and then for the first job to end."""
        pause, before = seconds, time.monotonic()
        while True:
            time.sleep(pause)
            if any(one.submitted.done() for one in flying) or not flying:
                return
            pause = min(1.0, 0.02 * (time.monotonic() - before) + 0.02)
            self._write(flying)

    def _end(self, one: _Flying, plan: Plan) -> None:
        """Take note of what a job did; raise what ends the run."""
        with one.shown:
            try:
                result = one.submitted.result()
            except Exception as error:  # whatever an executor raises for a lost worker
                self._lose(one, one_line(error))
                return
            one.task.advance(max(1, round(one.work)))
        one.state.host, one.state.seconds = result.host, round(result.seconds, 2)
        one.state.log = result.log or one.state.log
        one.state.state = "failed" if result.failed or result.error else "done"
        self._raise(one, result)
        self.failed |= result.failed
        self.store.files.forget()
        one.state.reason = next(iter(result.failed.values()), "")
        for key in one.job.keys:
            item = plan.items[key]
            if isinstance(item, CellItem) and item.kind == "cell":
                value = self.store.read_cell(item.pack, item.key)
                if value is not None:
                    self.progress.measured(self.measuring.record(item, value))

    def _lose(self, one: _Flying, reason: str) -> None:
        """Send the items again, each alone; after `LOST` times they have failed."""
        one.state.state, one.state.reason = "lost", reason
        log.warning("a worker was lost (%s): %s", one.job.label, reason)
        for key in one.job.keys:
            self.lost[key] = min(self.lost[key] + 1, self.sent[key])  # of a machine, all at once
            if self.lost[key] >= LOST:
                self.failed[key] = f"its worker was lost {LOST} times: {reason}"

    def _raise(self, one: _Flying, result: JobResult) -> None:
        """Raise what ends the run, with the exit code that it would have here."""
        if result.error is None:
            return
        code, message = result.error
        kinds: tuple[type[BenchError], ...] = (InputError, DataError)
        one.state.reason = message
        self._write([], now=True)
        raise next((kind for kind in kinds if kind.exit_code == code), CellError)(message)

    def _write(self, flying: Sequence[_Flying], now: bool = False) -> None:
        """Write what all jobs do, once a second: for `bench status`, which is no result."""
        if not now and flying and time.monotonic() - self.written < 1:
            return
        self.written = time.monotonic()
        for one in flying:
            one.state.state = one.submitted.state()
        write_jobs(Path(self.workers.context.log).parent, self.workers.executor.name, self.states)

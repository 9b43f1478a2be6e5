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
from bench.runs.costs.counts import counts_of, pending_counts
from bench.runs.execution.grouping import groups_of
from bench.runs.execution.job_progress import job_name, work_by_job
from bench.runs.execution.jobs import Executor, Job, JobContext, JobResult, Submitted
from bench.runs.execution.runner import Runner
from bench.runs.execution.states import JobBook, JobState
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
    """Who computes: an executor, the context of its jobs, and which study of the run this is.

    The `book` is what is known of all jobs of the run. The studies that come `later` have so much
    work, in forward passes of an image.
    """

    executor: Executor
    context: JobContext
    study: int
    book: JobBook
    later: float


def workers_of(executor: Executor, context: JobContext, work: Sequence[float]) -> list[Workers]:
    """Return the workers of each study of a run; `work` is what is left of each."""
    book = JobBook(Path(context.log).parent, executor.name)
    return [Workers(executor, context, n, book, sum(work[n + 1 :])) for n in range(len(work))]


@dataclass
class _Flying:
    """A job that was sent, the work that it stands for and what is done of it; how it is shown."""

    job: Job
    submitted: Submitted
    state: JobState
    work: int
    shown: ExitStack
    task: ProgressTask
    done: int = 0


@dataclass
class Dispatcher(Runner):
    """A runner that has workers compute; see `Runner`.

    `sent` counts how often an item was sent, once however many workers share it, and `lost` how
    often that cost a worker. `states` are those of all jobs.
    """

    workers: Workers = field(kw_only=True)
    sent: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)

    def work(self, plan: Plan, left: Callable[[], dict[str, WorkItem]]) -> None:
        """Have all pending items computed that do not depend on a failed one.

        Raises what ends the run, such as InputError; jobs that were sent are then left to
        `Executor.close`.
        """
        self.labels = training_labels(plan, left())
        self._count(plan)
        flying: list[_Flying] = []
        try:
            self._work(plan, left, flying)
            self._count(plan)  # jobs that were lost had stored a part of their work
        finally:  # of a run that ends, jobs are ended, too
            for one in flying:
                one.state.state = "stopped"
            if self.workers.book.jobs:  # else the file is that of the run that had some
                self.workers.book.write()

    def _count(self, plan: Plan) -> None:
        """Take note of the work that is left."""
        here = pending_counts(plan, self.store).work
        self.workers.book.work_left = here + self.workers.later

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
            self._note(flying)

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
        slots, least = free - len(alone), self.workers.executor.least
        groups = [*([item] for item in alone), *groups_of(rest, blocks, slots, least)]
        return [self._job(group) for group in groups[:free]]

    def _job(self, group: Sequence[WorkItem]) -> Job:
        workers, is_on = self.workers, isinstance(group[0], WeightsItem | FeaturesItem)
        keys, label = tuple(item.key for item in group), self._label(group)
        processes = workers.executor.processes if is_on else 1
        return Job(workers.context, workers.study, keys, label, is_on, processes)

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
                work, shown = round(counts_of(items, self.store, {}).work), ExitStack()
                task = shown.enter_context(
                    self.progress.task(job.label, max(1, work), 1.0 if work else 0.0)
                )
                self.workers.book.jobs.append(state)
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
            self._note(flying)

    def _end(self, one: _Flying, plan: Plan) -> None:
        """Take note of what a job did; raise what ends the run."""
        with one.shown:
            try:
                result = one.submitted.result()
            except Exception as error:  # whatever an executor raises for a lost worker
                self._lose(one, one_line(error))
                return
            self._advance(one, one.work)
        one.state.host, one.state.seconds = result.host, round(result.seconds, 2)
        one.state.log = result.log or one.state.log
        one.state.state = "failed" if result.failed or result.error else "done"
        one.state.share = 1.0 if one.state.state == "done" else one.state.share
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
        self.workers.book.did(-one.done)  # it is to come again
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
        self.workers.book.write()
        raise next((kind for kind in kinds if kind.exit_code == code), CellError)(message)

    def _advance(self, one: _Flying, done: int) -> None:
        """Take note that so much of a job's work is done."""
        new = max(0, min(done, one.work) - one.done)
        one.done += new
        one.task.advance(new)
        self.workers.book.did(new)

    def _note(self, flying: Sequence[_Flying]) -> None:
        """Write what all jobs do, once a second: for `bench status`, which is no result."""
        if flying and not self.workers.book.is_due():
            return
        reported = work_by_job(Path(self.workers.context.log)) if flying else {}
        for one in flying:
            one.state.state = one.submitted.state()
            self._advance(one, round(reported.get(job_name(one.job.keys), 0.0)))
            one.state.share = round(one.done / one.work, 3) if one.work else 0.0
        self.workers.book.write()

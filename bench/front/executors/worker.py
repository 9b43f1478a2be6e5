"""What a worker does with a job, in whatever process an executor starts."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import DataError, InputError, one_line
from bench.core.foreign.documents import parse_json
from bench.core.progress import SilentProgress
from bench.front.executors.together import Ended, carry_out_together
from bench.runs.costs.rates import remember_samples
from bench.runs.execution.execute import choice_lookup
from bench.runs.execution.job_progress import JobProgress
from bench.runs.execution.jobs import Job, JobContext, JobResult
from bench.runs.execution.runner import Runner
from bench.runs.items import WorkItem, is_stored
from bench.runs.plan import Plan, make_plan
from bench.runs.session import Session, engine_maker, prepare_session
from bench.runs.study.config import RunConfig
from bench.runs.trackers import Trackers

if TYPE_CHECKING:
    from bench.models.devices.group import ProcessGroup
    from bench.runs.engine import Engine

log = logging.getLogger("bench")


def carry_out_job(job: Job) -> JobResult:
    """Compute the items of a job into the store of its run; return how that ended.

    What the process has loaded, such as the model, it keeps for the next job of the same run.
    Raises CellError if processes that share the job were lost, as the loss of a worker.

    Examples
    --------
    >>> from bench.front.executors.worker import carry_out_job
    >>> from bench.runs.execution.jobs import Job, JobContext
    >>> config = '{"suite": ["micro"], "methods": ["zero-shot"], "limit": 20}'
    >>> context = JobContext(config, ".", "logs")
    >>> carry_out_job(Job(context, 0, ("1f0c",), "features", on_device=True)).error
    (2, "this worker's plan has no item 1f0c: it has another version of bench, other data or ...
    """
    started = time.monotonic()
    with _logged(Path(job.context.log)) as place:
        failed, error = ended(job, _alone) if job.processes == 1 else carry_out_together(job)
    return JobResult(failed, error, socket.gethostname(), time.monotonic() - started, place)


def ended(job: Job, act: Callable[[Job], Ended]) -> Ended:
    """Return how a job ended that `act` computes, whatever that raises.

    Bad input and bad data end the run; whatever else is raised fails the items of the job.

    Examples
    --------
    >>> from bench.core.errors import DataError
    >>> from bench.front.executors.worker import ended
    >>> from bench.runs.execution.jobs import Job, JobContext
    >>> def act(job):
    ...     raise DataError("dog.png is cut")
    ...
    >>> ended(Job(JobContext("{}", ".", "logs"), 0, ("1f0c",), "features", on_device=True), act)
    ({}, (4, 'dog.png is cut'))
    """
    try:
        return act(job)
    except (InputError, DataError) as problem:
        log.debug("failed", exc_info=True)
        return {}, (problem.exit_code, one_line(problem))
    except Exception as problem:
        log.debug("failed", exc_info=True)
        return dict.fromkeys(job.keys, one_line(problem)), None


def carry_out_part(job: Job) -> Ended:
    """Do the part of a job of this process, which a launcher started with others, all for this job.

    What the first process returns is how the job ended. Raises InputError if they do not join.

    Examples
    --------
    >>> from bench.front.executors.worker import carry_out_part
    >>> from bench.runs.execution.jobs import Job, JobContext
    >>> context = JobContext('{"suite": ["micro"], "methods": ["zero-shot"]}', ".", "logs")
    >>> carry_out_part(Job(context, 0, (), "features", on_device=True))  # the only process
    ({}, None)
    """
    from bench.models.devices.group import process_group

    config = RunConfig.model_validate(parse_json(job.context.config))
    with process_group(config.device) as group:
        run = group.first_alone(partial(_bench, job.context))
        if not group.is_first:
            run.follow(job.study, group)
            return {}, None
        failed = run.do(job, group)
        group.announce(None)
        return failed, None


def _alone(job: Job) -> Ended:
    return _bench(job.context).do(job), None


@dataclass
class _Bench:
    """A run as a worker sees it; `plans` and `runners` are those of its studies, once needed."""

    session: Session
    progress: JobProgress
    engines: list[Engine] = field(default_factory=list)
    plans: dict[int, Plan] = field(default_factory=dict)
    runners: dict[int, Runner] = field(default_factory=dict)

    def do(self, job: Job, group: ProcessGroup | None = None) -> dict[str, str]:
        """Carry out a job; return the reasons of the items that failed, by key.

        It is the first process of a `group`, if several share the job; the others `follow`.
        """
        study, store = self.session.studies[job.study], self.session.store
        store.files.forget()  # others have stored the inputs of the job since the last one
        if job.study not in self.runners:
            make = engine_maker(self.session, study, self.progress, self.engines, self.trackers)
            self.runners[job.study] = Runner(study, store, make, self.progress, group)
        runner = self.runners[job.study]
        if not self._plan(job.study).items.keys() >= set(job.keys):
            self.plans.pop(job.study)  # choices were made since
        plan = self._plan(job.study)
        for key in job.keys:
            if key not in plan.items:
                raise InputError(
                    f"this worker's plan has no item {key}: it has another version of bench, other "
                    f"data or another store than the run; its store is {store.place}"
                )
        runner.failed.clear()

        def left() -> dict[str, WorkItem]:
            items = {key: plan.items[key] for key in job.keys}
            return {key: item for key, item in items.items() if runner.ready(item, plan)}

        self.progress.begin(job.keys)
        try:
            with store.in_use():
                runner.work(plan, left)
        finally:
            self.progress.end()
        for engine in self.engines:
            remember_samples(store, study, engine.device, engine.times)
            engine.times.clear()
        return {
            key: runner.failed[key]
            for key in job.keys
            if key in runner.failed and not is_stored(plan.items[key], store)
        }

    def follow(self, study: int, group: ProcessGroup) -> None:
        """Do this process's part of a job of which another one is the first process."""
        of, silent = self.session.studies[study], SilentProgress()
        make = engine_maker(self.session, of, silent, self.engines, self.trackers)
        Runner(of, self.session.store, make, silent, group).follow()

    @property
    def trackers(self) -> Trackers:
        return Trackers(self.session.config.tracker, self.session.out / "trackers")

    def _plan(self, study: int) -> Plan:
        if study not in self.plans:
            lookup = choice_lookup(self.session.store)
            self.plans[study] = make_plan(self.session.studies[study], lookup)
        return self.plans[study]


@lru_cache(maxsize=1)
def _bench(context: JobContext) -> _Bench:
    try:
        os.chdir(context.folder)
    except OSError as error:
        raise InputError(
            f"{context.folder}, where the run was started, is not on {socket.gethostname()}: "
            f"workers need the same folders as the run ({error.strerror})"
        ) from error
    config = RunConfig.model_validate(parse_json(context.config))
    return _Bench(prepare_session(config, writes=False), JobProgress(Path(context.log)))


@contextmanager
def _logged(folder: Path) -> Iterator[str]:
    """Write the log of this process to a file in `folder` and give its name; else an empty one."""
    path = folder / f"{socket.gethostname()}-{os.getpid()}.log"
    handler: logging.Handler = logging.NullHandler()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield str(path) if isinstance(handler, logging.FileHandler) else ""
    finally:
        log.setLevel(before)
        log.removeHandler(handler)
        handler.close()

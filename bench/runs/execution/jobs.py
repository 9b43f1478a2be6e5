"""Jobs, which workers carry out, and what every executor does with them.

A job names items of a run by their keys; nothing else travels. The worker resolves the run's
configuration itself, makes the same plan, and computes what these keys stand for into the store
that it shares with all others. A job that is lost, or done twice, therefore costs time and never a
result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.core.paths import store_address
from bench.runs.study.config import RunConfig

LOGS = "jobs"
"""The folder in a run's folder with the logs of its workers."""


@dataclass(frozen=True)
class JobContext:
    """What all jobs of a run have in common.

    `config` is its configuration (`RunConfig`) as JSON, with the options that were set. `folder` is
    the working folder, where its relative paths start. `log` is the folder for the logs of workers.
    """

    config: str
    folder: str
    log: str


def context_of(config: RunConfig, cache: str, out: Path) -> JobContext:
    """Return what workers must know of a run with its outputs in `cache` and its results in `out`.

    `cache` is a folder or the address of an object store.
    What an option stands for here, such as ``--precision auto``, must be decided already.
    """
    store = Path(cache) if store_address(cache) else Path(cache).resolve()
    places = {"cache_dir": store, "out": out.resolve()}
    text = config.model_copy(update=places).model_dump_json(
        exclude_unset=True, exclude={"executor"}
    )
    return JobContext(text, str(Path.cwd()), str(out.resolve() / LOGS))


@dataclass(frozen=True)
class Job:
    """Items of the plan of one study of a run, by key; `label` says what they are.

    `study` counts the run's studies from 0. A job that is not `on_device` needs processor cores
    alone: it fits or measures. One that is may be shared by several `processes` of a machine.
    """

    context: JobContext
    study: int
    keys: tuple[str, ...]
    label: str
    on_device: bool
    processes: int = 1


@dataclass(frozen=True)
class JobResult:
    """How a job ended: the reasons of the items that `failed`, by key.

    `error` is the exit code and message of what ends the whole run: bad input or data. `log` is the
    file with the worker's log, empty if it could not be written.
    """

    failed: Mapping[str, str] = field(default_factory=dict)
    error: tuple[int, str] | None = None
    host: str = ""
    seconds: float = 0.0
    log: str = ""


@dataclass(frozen=True)
class Submitted:
    """A job that an executor has taken.

    `result` waits for its end; it raises if the worker was lost, as often as the executor starts
    it. `state` says what it does now, such as ``waiting``; `log` names the place of its log.
    """

    done: Callable[[], bool]
    result: Callable[[], JobResult]
    state: Callable[[], str] = lambda: "running"
    log: str = ""


class Executor(Protocol):
    """Carries out jobs: starts workers, queues, transports and starts again what was lost."""

    name: str
    least: int
    """The fewest fits, or packs of cells, that are worth a job."""
    processes: int
    """The number of processes that share a job on a device, each with a GPU if there are any."""

    @property
    def slots(self) -> int:
        """The number of jobs that run at once, now."""
        ...

    def submit(self, jobs: Sequence[Job]) -> list[Submitted]:
        """Take some jobs, all on a device or none; returns at once."""
        ...

    def close(self) -> None:
        """End all workers. What they have stored stays."""
        ...

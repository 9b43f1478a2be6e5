"""Workers in a Ray cluster, or in one that is started on this machine."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from importlib import import_module
from typing import Any

from bench.core.errors import CellError, InputError, one_line
from bench.front.executors.parts import code_folder, gpus_and_processes, numbers_of
from bench.front.executors.worker import carry_out_job
from bench.runs.execution.jobs import Job, Submitted

RETRIES = 3
"""How often Ray starts a job again whose process or node was lost."""
OPTIONS = ("cpus", "gpus", "processes", "memory")

log = logging.getLogger("bench")


class RayExecutor:
    """Carries out jobs as tasks of Ray: queues, transport and retries are Ray's.

    `address` is that of a cluster, ``auto`` for the one of this machine; without one, a cluster is
    started here and ends with the run. Of the `options`, ``cpus`` (1) and ``memory`` (in GB) are
    what each job gets, ``gpus`` what each on a device gets (1 if the cluster has any and `device`
    may be one), each with a process of its own (``processes``). Raises InputError if Ray is not
    installed, if there is no cluster at the address, and if the one started here cannot give that;
    a cluster elsewhere may still grow.

    Examples
    --------
    >>> from bench.front.executors.ray import RayExecutor
    >>> RayExecutor("auto", {"gpu": "1"}, "cuda")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown option of --executor ray 'gpu': did you mean 'gpus'? ...
    """

    least = 4

    def __init__(self, address: str, options: Mapping[str, str], device: str) -> None:
        numbers = numbers_of("--executor ray", options, OPTIONS)
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            raise InputError(
                "--executor ray: the package ray is not installed: "
                'pip install "robust-ft-bench[ray]"'
            ) from error
        self.name, self._ray = f"ray:{address}" if address else "ray", ray
        start: dict[str, Any] = {"include_dashboard": False} if not address else {}
        try:
            # Ray has workers import from the working folder first, which may have another bench.
            with chdir(code_folder() or sys.prefix):
                ray.init(
                    address=address or "local", log_to_driver=False, logging_level="error", **start
                )
        except Exception as error:
            raise InputError(
                f"--executor ray:{address}: no Ray cluster there: {one_line(error)}"
            ) from error
        self._cpus = numbers.get("cpus", 1)
        may_be_gpu = device in ("auto", "cuda")
        default = 1 if may_be_gpu and self._resources().get("GPU", 0) else 0
        self._gpus, self.processes = gpus_and_processes("--executor ray", numbers, default)
        memory = {"memory": numbers["memory"] * 10**9} if "memory" in numbers else {}
        self._check_room({"CPU": self._cpus, "GPU": self._gpus, **memory}, waits=bool(address))
        # A process that took a GPU job would otherwise end with it, and load the model each time.
        self._task = ray.remote(max_retries=RETRIES, max_calls=0, **memory)(carry_out_job)
        self._sent: list[Any] = []

    def _check_room(self, needs: Mapping[str, float], *, waits: bool) -> None:
        """Raise InputError, or warn if it `waits`, if no machine has what a job needs."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if any(all(m.get(k, 0) >= need for k, need in needs.items()) for m in machines):
            return
        needed = ", ".join(f"{need:g} of {name}" for name, need in needs.items() if need)
        said = f"--executor {self.name}: no machine of the cluster has what a job needs ({needed})"
        if not waits:
            self._ray.shutdown()
            raise InputError(f"{said}: ask for less")
        log.warning("%s: jobs wait until one joins", said)

    def _resources(self) -> Mapping[str, float]:
        with self._reached():
            found: Mapping[str, float] = self._ray.cluster_resources()
        return found

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Raise CellError for whatever Ray raises where the cluster is gone."""
        try:
            yield
        except Exception as error:
            raise CellError(
                f"--executor {self.name}: the cluster does not answer ({one_line(error)}): run the "
                "same command again to resume"
            ) from error

    @property
    def slots(self) -> int:
        """The number of jobs that the cluster can run at once, with nodes that joined meanwhile."""
        resources = self._resources()
        by_cpu = resources.get("CPU", 0) / self._cpus
        by_gpu = resources.get("GPU", 0) / self._gpus if self._gpus else math.inf
        return max(1, int(min(by_cpu, by_gpu, 10**6)))

    def submit(self, jobs: Sequence[Job]) -> list[Submitted]:
        """Send each job as a task."""
        found = []
        for job in jobs:
            gpus = self._gpus if job.on_device else 0
            with self._reached():
                reference = self._task.options(num_cpus=self._cpus, num_gpus=gpus).remote(job)
            future = reference.future()
            self._sent.append(reference)
            found.append(Submitted(future.done, future.result))
        return found

    def close(self) -> None:
        """Cancel what runs, and leave the cluster."""
        for reference in self._sent:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

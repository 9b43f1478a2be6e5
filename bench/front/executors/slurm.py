"""Workers in SLURM, submitted as job arrays by submitit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.core.errors import InputError, one_line, unknown_name
from bench.front.executors.parts import (
    changed_environment,
    code_environment,
    gpus_and_processes,
    numbers_of,
)
from bench.front.executors.worker import carry_out_job
from bench.runs.execution.jobs import Job, JobResult, Submitted

NUMBERS = ("gpus", "processes", "cpus", "memory", "minutes", "jobs")
TEXTS = ("partition", "account", "qos", "constraint", "cluster")
FOLDER = "slurm"
"""The folder of submitit's files and of the logs, below that of the logs of workers."""


class SlurmExecutor:
    """Carries out jobs in SLURM, as job arrays; one at its time limit is put into the queue again.

    Of the `options`, ``partition``, ``account``, ``qos`` and ``constraint`` go to SLURM; each job
    gets ``minutes`` (240), ``cpus`` (8), ``memory`` in GB (32) and, on a device, ``gpus`` (1 unless
    `device` is the CPU), each with a process of its own (``processes``); at most ``jobs`` (64) run
    at once. ``cluster=local`` runs them as processes here, to try it. `logs` is the folder for what
    submitit writes. Raises InputError if submitit is not installed, for unknown options, and where
    there is no SLURM.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.front.executors.slurm import SlurmExecutor
    >>> SlurmExecutor({"time": "60"}, "cuda", Path("logs"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown option of --executor slurm 'time': expected one of ...
    """

    least = 64

    def __init__(self, options: Mapping[str, str], device: str, logs: Path) -> None:
        numbers, texts = numbers_and_texts(options)
        cluster = texts.pop("cluster", "slurm")
        try:
            submitit: Any = import_module("submitit")
        except ImportError as error:
            raise InputError(
                "--executor slurm: the package submitit is not installed: "
                'pip install "robust-ft-bench[slurm]"'
            ) from error
        for noisy in ("submitit", "srun"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        try:
            self._executor = submitit.AutoExecutor(folder=logs / FOLDER / "%j", cluster=cluster)
            self._executor.update_parameters(
                name="bench",
                timeout_min=numbers.get("minutes", 240),
                cpus_per_task=numbers.get("cpus", 8),
                mem_gb=numbers.get("memory", 32),
                slurm_array_parallelism=numbers.get("jobs", 64),
                **{f"slurm_{name}": value for name, value in texts.items()},
            )
        except (RuntimeError, OSError) as error:
            raise InputError(f"--executor slurm: {one_line(error)}") from error
        self.name, self.slots = "slurm", numbers.get("jobs", 64)
        default = 0 if device == "cpu" or cluster == "local" else 1
        self._gpus, self.processes = gpus_and_processes("--executor slurm", numbers, default)
        self._sent: list[Any] = []

    def submit(self, jobs: Sequence[Job]) -> list[Submitted]:
        """Send jobs as one array. Raises InputError if SLURM refuses it, such as its partition."""
        if not jobs:
            return []
        self._executor.update_parameters(gpus_per_node=self._gpus if jobs[0].on_device else 0)
        try:
            with changed_environment(code_environment()), self._executor.batch():
                sent = [self._executor.submit(_Again(), job) for job in jobs]
        except Exception as error:  # submitit's own, with what sbatch said
            raise InputError(
                f"--executor slurm: jobs are not accepted: {one_line(error)}"
            ) from error
        self._sent += sent
        return [
            Submitted(one.done, one.result, partial(_state, one), str(one.paths.stderr))
            for one in sent
        ]

    def close(self) -> None:
        """Cancel what waits or runs."""
        for one in self._sent:
            with suppress(Exception):
                if not one.done():
                    one.cancel()


def numbers_and_texts(options: Mapping[str, str]) -> tuple[dict[str, int], dict[str, str]]:
    """Return the options that are numbers, and the others. Raises InputError for wrong ones.

    Examples
    --------
    >>> from bench.front.executors.slurm import numbers_and_texts
    >>> numbers_and_texts({"partition": "gpu", "minutes": "90"})
    ({'minutes': 90}, {'partition': 'gpu'})
    """
    for name in options:
        if name not in (*NUMBERS, *TEXTS):
            raise unknown_name("option of --executor slurm", name, (*NUMBERS, *TEXTS))
    texts = {name: value for name, value in options.items() if name in TEXTS}
    given = {name: value for name, value in options.items() if name in NUMBERS}
    cluster = texts.get("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise InputError(f"--executor slurm: cluster={cluster:.40}: expected slurm or local")
    numbers = numbers_of("--executor slurm", given, NUMBERS)
    gpus_and_processes("--executor slurm", numbers, 0)
    return numbers, texts


def _state(job: Any) -> str:
    """Return what SLURM says of a job, such as ``pending``."""
    return str(job.state).lower()


class _Again:
    """Carries out a job; at the time limit submitit puts the same job into the queue again."""

    def __call__(self, job: Job) -> JobResult:
        return carry_out_job(job)

    def checkpoint(self, job: Job) -> Any:
        """Return what submitit submits when the time is over."""
        return import_module("submitit").helpers.DelayedSubmission(self, job)

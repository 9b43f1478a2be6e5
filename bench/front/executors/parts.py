"""What executors share: options, as ``NAME=VALUE,...``, and where workers find bench."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import bench
from bench.core.errors import InputError, unknown_name


def code_folder() -> Path | None:
    """Return the folder that workers must import bench from; None if it is installed.

    The working folder, where the run was started, may have another one.

    Examples
    --------
    >>> from bench.front.executors.parts import code_folder
    >>> place = code_folder()
    >>> place is None or (place / "bench").is_dir()
    True
    """
    place = Path(bench.__file__).resolve().parents[1]
    return None if place.name in ("site-packages", "dist-packages") else place


def code_environment() -> dict[str, str]:
    """Return the variables with which Python imports the bench of this process.

    It would import from the working folder first, which may have another one.

    Examples
    --------
    >>> from bench.front.executors.parts import code_environment
    >>> code_environment()["PYTHONSAFEPATH"]
    '1'
    """
    paths = [str(path) for path in (code_folder(), os.environ.get("PYTHONPATH")) if path]
    return {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


@contextmanager
def changed_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Have processes that start meanwhile see other variables.

    Examples
    --------
    >>> import os
    >>> from bench.front.executors.parts import changed_environment
    >>> with changed_environment({"BENCH_EXAMPLE": "1"}):
    ...     print(os.environ["BENCH_EXAMPLE"])
    1
    >>> "BENCH_EXAMPLE" in os.environ
    False
    """
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def options_of(option: str, text: str) -> dict[str, str]:
    """Return ``NAME=VALUE,...`` as a mapping. Raises InputError for another form.

    Examples
    --------
    >>> from bench.front.executors.parts import options_of
    >>> options_of("--executor slurm:partition=gpu,minutes=240", "partition=gpu,minutes=240")
    {'partition': 'gpu', 'minutes': '240'}
    """
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, equals, value = part.partition("=")
        if not (equals and name and value) or name in found:
            raise InputError(f"{option}: expected NAME=VALUE, each once, got {part!r}")
        found[name] = value
    return found


def numbers_of(option: str, given: Mapping[str, str], known: Sequence[str]) -> dict[str, int]:
    """Return options as whole numbers from 1; only of ``gpus`` a job may have 0.

    Raises InputError for unknown names and other values.

    Examples
    --------
    >>> from bench.front.executors.parts import numbers_of
    >>> numbers_of("--executor ray", {"cpus": "4"}, ["cpus", "gpus"])
    {'cpus': 4}
    """
    for name, value in given.items():
        if name not in known:
            raise unknown_name(f"option of {option}", name, known)
        least = 0 if name == "gpus" else 1
        if not (re.fullmatch("[0-9]{1,6}", value) and int(value) >= least):
            raise InputError(
                f"{option}: {name}={value:.40}: expected a whole number from {least} to 999999"
            )
    return {name: int(value) for name, value in given.items()}


def gpus_and_processes(option: str, numbers: Mapping[str, int], default: int) -> tuple[int, int]:
    """Return how many GPUs a job on a device gets, and how many processes share it.

    Each process has a GPU of its own, so one number gives the other; a job without GPUs may have
    several processes. `default` is the number of GPUs of a process if none is named: 0 or 1.
    Raises InputError if there are GPUs, but not one for each process.

    Examples
    --------
    >>> from bench.front.executors.parts import gpus_and_processes
    >>> gpus_and_processes("--executor ray", {"gpus": 4}, default=1)
    (4, 4)
    >>> gpus_and_processes("--executor ray", {"processes": 2}, default=0)
    (0, 2)
    """
    processes = numbers.get("processes", max(1, numbers.get("gpus", 1)))
    gpus = numbers.get("gpus", default * processes)
    if gpus not in (0, processes):
        raise InputError(
            f"{option}: gpus={gpus} and processes={processes}: each process has one GPU: name one "
            "of the two, or the same number"
        )
    return gpus, processes

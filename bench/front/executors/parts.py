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

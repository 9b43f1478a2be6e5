"""The executor that ``--executor`` names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.core.environment import process_count
from bench.core.errors import InputError, unknown_name
from bench.front.executors.parts import gpus_and_processes, numbers_of, options_of
from bench.runs.execution.jobs import Executor

NAMES = ("local", "ray", "slurm")


@contextmanager
def chosen_executor(text: str | None, device: str, logs: Path) -> Iterator[Executor | None]:
    """Give the executor that `text` names, such as ``ray:auto``, and close it afterwards.

    None stands for this process. It is also what ``local`` means, unless the machine has several
    GPUs and `device` is ``auto`` or ``cuda``: then it is a process for each. `logs` is the
    folder for what executors write. Raises InputError for unknown names and options, for one whose
    package is not installed, and beside a launcher of several processes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.front.executors.choice import chosen_executor
    >>> with chosen_executor("local:3", "cpu", Path("logs")) as executor:
    ...     executor.slots
    3
    >>> with chosen_executor("dask", "cpu", Path("logs")) as executor:
    ...     pass
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown executor 'dask': expected one of local, ray, slurm
    """
    executor = _executor(text, device, logs)
    try:
        yield executor
    finally:
        if executor is not None:
            executor.close()


def check_executor(text: str) -> None:
    """Raise InputError for a name or for options that no executor has. Starts nothing.

    Examples
    --------
    >>> from bench.front.executors.choice import check_executor
    >>> check_executor("ray:auto,gpus=1")
    >>> check_executor("local:0")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: --executor local:0: expected local or local:N with N from ...
    """
    name, _, rest = text.partition(":")
    option = f"--executor {text}"
    if name not in NAMES:
        raise unknown_name("executor", name, NAMES)
    if name == "local":
        _local(option, rest)
    elif name == "ray":
        from bench.front.executors.ray import OPTIONS

        given = _place_and_options(option, rest)[1]
        gpus_and_processes("--executor ray", numbers_of("--executor ray", given, OPTIONS), 0)
    else:
        from bench.front.executors.slurm import numbers_and_texts

        numbers_and_texts(options_of(option, rest))


def _executor(text: str | None, device: str, logs: Path) -> Executor | None:
    if text is None:
        return None
    check_executor(text)
    name, _, rest = text.partition(":")
    if process_count() > 1:
        if text == "local":
            return None
        raise InputError(
            f"--executor {text}: a launcher started {process_count()} processes of this command: "
            "leave one of the two out"
        )
    if name == "local":
        from bench.front.executors.local import LocalExecutor

        gpus = visible_gpus() if device in ("auto", "cuda") else ()
        named, processes = _local(f"--executor {text}", rest)
        if gpus and processes > len(gpus):
            raise InputError(
                f"--executor {text}: this machine has {len(gpus)} GPUs, one for each process: name "
                "at most as many"
            )
        count = named or max(1, len(gpus) // processes)
        return LocalExecutor(count, gpus, processes) if rest or count > 1 else None
    if name == "ray":
        from bench.front.executors.ray import RayExecutor

        return RayExecutor(*_place_and_options(f"--executor {text}", rest), device)
    from bench.front.executors.slurm import SlurmExecutor

    return SlurmExecutor(options_of(f"--executor {text}", rest), device, logs)


def _local(option: str, rest: str) -> tuple[int, int]:
    """Return the number of workers, 0 if none is named, and that of processes of a job."""
    count, given = _place_and_options(option, rest)
    if count and not re.fullmatch(r"[1-9][0-9]{0,3}", count):
        raise InputError(f"{option}: expected local or local:N with N from 1 to 9999")
    return int(count or 0), numbers_of("--executor local", given, ["processes"]).get("processes", 1)


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs of this machine that a run may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    torch is not asked: it takes seconds to load, and this process may need no model.

    Examples
    --------
    >>> import os
    >>> from bench.front.executors.choice import visible_gpus
    >>> os.environ["CUDA_VISIBLE_DEVICES"] = "2,5"
    >>> visible_gpus()
    ('2', '5')
    >>> del os.environ["CUDA_VISIBLE_DEVICES"]
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(part.strip() for part in named.split(",") if part.strip() not in ("", "-1"))
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return tuple(sorted((match[1] for match in found if match), key=int))


def _place_and_options(option: str, text: str) -> tuple[str, Mapping[str, str]]:
    """Split ``PLACE,NAME=VALUE,...``; the place may be missing."""
    first, _, rest = text.partition(",")
    if "=" in first:
        return "", options_of(option, text)
    return first, options_of(option, rest)

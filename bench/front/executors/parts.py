"""Options of an executor, as ``NAME=VALUE,...`` behind its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.core.errors import InputError, unknown_name


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
    """Return options as whole numbers. Raises InputError for unknown names and other values.

    Examples
    --------
    >>> from bench.front.executors.parts import numbers_of
    >>> numbers_of("--executor ray", {"cpus": "4"}, ["cpus", "gpus"])
    {'cpus': 4}
    """
    for name, value in given.items():
        if name not in known:
            raise unknown_name(f"option of {option}", name, known)
        if not (value.isascii() and value.isdigit() and 0 <= int(value) < 10**6):
            raise InputError(f"{option}: {name}={value:.40}: expected a whole number")
    return {name: int(value) for name, value in given.items()}

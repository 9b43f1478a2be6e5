"""The hyper-parameters in records, and where they are not those of the record's protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bench.api.protocol import OFFICIAL
from bench.api.registry import methods
from bench.core.hashing import canonical
from bench.core.parameters import Setting, settings, suited_settings
from bench.core.records import Record

TUNED = "+tuned"
"""What the label of a row ends with whose hyper-parameters were searched."""


def method_name(label: str) -> str:
    """Return METHOD of a row's label ``METHOD[@EPOCH][+MODIFIER]``.

    Examples
    --------
    >>> from bench.leaderboard.hyper_parameters import method_name
    >>> method_name("e2e-ft@3+ls")
    'e2e-ft'
    """
    return re.split("[@+]", label)[0]


def own_parameters(record: Record) -> dict[str, dict[str, Any]]:
    """Return the hyper-parameters of a record's method and base, {label: {name: value}}.

    Names are those of ``--set``; values are plain JSON data.

    Examples
    --------
    >>> from bench.leaderboard.hyper_parameters import own_parameters
    >>> from bench.testing.fakes import fake_records
    >>> (record, *_) = fake_records({"ose:e2e-ft": (0.7, 0.5)}, shifts=["v2"])
    >>> described = {"type": "OutputSpaceEnsemble", "version": 1, "alphas": [0, 1]}
    >>> own_parameters(record.model_copy(update={"provenance": {"method": described}}))
    {'ose': {'alphas': [0, 1]}}
    """
    found = {}
    for label, fact in ((record.method, "method"), (record.base, "base")):
        described = record.provenance.get(fact)
        if label is None or not isinstance(described, Mapping):
            continue
        is_inner = "@" in label or label.endswith(TUNED)
        trained = described.get("method") if is_inner else described
        found[label] = dict(_flat(trained if isinstance(trained, Mapping) else described))
    return found


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names as in `bench.core.parameters.parameters`; those of ``trainer`` have no prefix."""
    for name, inner in sorted(value.items()):
        if name in ("type", "version"):
            continue
        if isinstance(inner, Mapping):
            yield from _flat(inner, prefix if name == "trainer" else f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def fixed_by_protocols(method: str, task: str) -> dict[str, Setting]:
    """Return the hyper-parameters whose official value is another than the default, by name.

    Not those that follow from the data, such as learning rates and batch sizes, because a suite's
    own come before a protocol's. Empty for a method that is not registered.

    Examples
    --------
    >>> from bench.leaderboard.hyper_parameters import fixed_by_protocols
    >>> list(fixed_by_protocols("flyp", "imagenet"))
    ['captions']
    """
    if method not in methods():
        return {}
    made = methods()[method]()
    suited = suited_settings(made, images=1, small=False)
    return {
        name: own
        for name, own in settings(made, task).items()
        if own.clean != own.official and name not in suited
    }


def expected_parameters(record: Record, label: str) -> dict[str, Any]:
    """Return what the record's protocol sets for the method of a label, as plain JSON data.

    Examples
    --------
    >>> from bench.leaderboard.hyper_parameters import expected_parameters
    >>> from bench.testing.fakes import fake_records
    >>> (record, *_) = fake_records({"flyp": (0.7, 0.5)}, shifts=["v2"])
    >>> expected_parameters(record.model_copy(update={"protocol": "official"}), "flyp")
    {'captions': 'csv-rows'}
    """
    is_official = record.protocol.partition(",")[0] == OFFICIAL.name
    fixed = fixed_by_protocols(method_name(label), re.split("[+,]", record.suite)[0])
    return {n: canonical(s.official if is_official else s.clean) for n, s in fixed.items()}


def off_protocol(record: Record, *, grids: bool = True) -> list[str]:
    """Return the hyper-parameters that are not those of the record's protocol: ``NAME of METHOD``.

    `grids` is whether values to choose from count; they do not if the choice is known.

    Examples
    --------
    >>> from bench.leaderboard.hyper_parameters import off_protocol
    >>> from bench.testing.fakes import fake_records
    >>> (record, *_) = fake_records({"ose:e2e-ft": (0.7, 0.5)}, shifts=["v2"])
    >>> described = {"type": "OutputSpaceEnsemble", "version": 1, "alphas": [0.5]}
    >>> off_protocol(record.model_copy(update={"provenance": {"method": described}}))
    ['alphas of ose']
    """
    return [
        f"{name} of {label}"
        for label, own in own_parameters(record).items()
        for name, value in expected_parameters(record, label).items()
        if own.get(name, value) != value and (grids or not isinstance(value, list))
    ]

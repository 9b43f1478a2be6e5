"""The command that reproduces a record, with every hyper-parameter as an option."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from bench.api.metrics import FURTHER
from bench.api.protocol import CLEAN, PROTOCOLS
from bench.core.hashing import canonical
from bench.core.records import Record
from bench.leaderboard.comparability import row_name
from bench.leaderboard.hyper_parameters import (
    TUNED,
    expected_parameters,
    method_name,
    own_parameters,
)

LOOSE = re.compile(r"(.+)@[0-9a-f]{12}\.")
"""The start of the kind of a class in a loose file: ``STEM@DIGEST.``."""


def rerun_command(record: Record) -> str | None:
    """Return ``bench run`` for one row and one seed; None if the record does not suffice for it.

    That is the case for external outputs and classifiers, which no command trains, and for records
    that are older than the provenance read here. The command runs all evaluation sets; add
    ``--shifts`` for fewer.

    Examples
    --------
    >>> from bench.report.formats.rerun_command import rerun_command
    >>> from bench.testing.fakes import fake_records
    >>> rerun_command(fake_records()[0])  # None: the record does not say how it was made
    """
    provenance = record.provenance
    suite, shots, few = record.suite.partition(", ")
    said = _reading(record)
    plain = record.model.rpartition(" (")[0] if said else record.model
    model, _, pretrained = plain.rpartition("/")
    external = ("Imported", "External")
    is_external = any(t in external for n in ("method", "base") for t in _types(provenance.get(n)))
    if is_external or "backbone" not in provenance or not model:
        return None
    parts = ["bench", "run", "--suite", suite, "--model", model, "--pretrained", pretrained]
    parts += said
    parts += ["--methods", row_name(record).replace(TUNED, "")]
    for label, fact in ((record.method, "method"), (record.base or "", "base")):
        if label.endswith(TUNED):
            trials = len((provenance.get(fact) or {}).get("trials", ()))
            parts += ["--tune", method_name(label), "--trials", str(trials)]
    if record.seed is not None:
        parts += ["--seeds", str(record.seed)]
    if shots:
        parts += ["--shots", few.removesuffix(" shots")]
    if record.metric in FURTHER:
        parts += ["--metrics", record.metric]
    for note in record.notes:
        if limit := re.fullmatch(r"limit=(\d+)", note):
            parts += ["--limit", limit[1]]
        elif note.startswith("incomplete data"):
            parts.append("--allow-incomplete")
    if "precision" in provenance:
        parts += ["--precision", _precision(record)]
    parts += _protocol(record)
    for plugin in _plugins(record):
        parts += ["--plugin", plugin]
    for name, value in _settings(record):
        parts += ["--set", f"{name}={value}"]
    return shlex.join(parts)


def _precision(record: Record) -> str:
    """``bf16-eval`` if only the evaluation was in bf16, else the precision of both."""
    own = (
        p for name in ("method", "base") for p in _values(record.provenance.get(name), "precision")
    )
    evaluated = str(record.provenance["precision"])
    return "bf16-eval" if evaluated == "bf16" and "fp32" in own else evaluated


def _plugins(record: Record) -> list[str]:
    """Names of the loose files (`bench.api.registry.load_plugin`) that define the record's row."""
    found = (_types(record.provenance.get(name)) for name in ("method", "base"))
    return sorted({m[1] + ".py" for kinds in found for kind in kinds if (m := LOOSE.match(kind))})


def _types(value: Any) -> Iterator[str]:
    return _values(value, "type")


def _values(value: Any, name: str) -> Iterator[str]:
    """All values that go by a name in a record's method, however deep."""
    if isinstance(value, Mapping):
        if name in value:
            yield str(value[name])
        for inner in value.values():
            yield from _values(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, name)


def _reading(record: Record) -> list[str]:
    """What the user said of a checkpoint file (`bench.api.reading`), which its name ends with."""
    reading = (record.provenance.get("backbone") or {}).get("reading") or {}
    fields = {k: v for k, v in reading.items() if k not in ("type", "version") and v is not None}
    return [t for k, v in fields.items() for t in ("--set", f"model.{k}={_option_value(v)}")]


def _protocol(record: Record) -> list[str]:
    name = record.protocol.partition(",")[0]
    parts = ["--protocol", name]
    facts = record.provenance.get("protocol")
    defaults = canonical(PROTOCOLS.get(name, CLEAN).facts())
    for field, value in sorted((facts or {}).items()):
        # Records of older versions also list hyper-parameters of methods, which `_settings` gives.
        if field in defaults and defaults[field] != value:
            parts += ["--set", f"protocol.{field}={_option_value(value)}"]
    return parts


def _settings(record: Record) -> Iterator[tuple[str, str]]:
    """``METHOD.PARAM`` and value for the row and its base, except those the protocol sets."""
    for label, own in own_parameters(record).items():
        by_protocol = expected_parameters(record, label)
        for name, value in own.items():
            if name not in by_protocol or by_protocol[name] != value:
                yield f"{method_name(label)}.{name}", _option_value(value)


def _option_value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_option_value, value)) + "]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )

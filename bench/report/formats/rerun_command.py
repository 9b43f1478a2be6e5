"""The command that reproduces a record, with every hyper-parameter as an option."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from bench.api.protocol import CLEAN, OFFICIAL
from bench.core.hashing import canonical
from bench.core.records import Record
from bench.leaderboard.comparability import row_name


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
    model, _, pretrained = record.model.rpartition("/")
    external = ("Imported", "External")
    is_external = any(_mentions(provenance.get(name), external) for name in ("method", "base"))
    if is_external or "backbone" not in provenance or not model:
        return None
    parts = ["bench", "run", "--suite", suite, "--model", model, "--pretrained", pretrained]
    parts += ["--methods", row_name(record)]
    if record.seed is not None:
        parts += ["--seeds", str(record.seed)]
    if shots:
        parts += ["--shots", few.removesuffix(" shots")]
    for note in record.notes:
        if limit := re.fullmatch(r"limit=(\d+)", note):
            parts += ["--limit", limit[1]]
        elif note.startswith("incomplete data"):
            parts.append("--allow-incomplete")
    if "precision" in provenance:
        parts += ["--precision", str(provenance["precision"])]
    parts += _protocol(record)
    for name, value in _settings(record):
        parts += ["--set", f"{name}={value}"]
    return shlex.join(parts)


def _mentions(value: Any, types: tuple[str, ...]) -> bool:
    if isinstance(value, Mapping):
        return value.get("type") in types or any(_mentions(v, types) for v in value.values())
    return isinstance(value, list) and any(_mentions(v, types) for v in value)


def _protocol(record: Record) -> list[str]:
    name = record.protocol.partition(",")[0]
    parts = ["--protocol", name]
    facts = record.provenance.get("protocol")
    defaults = canonical({"clean": CLEAN, "official": OFFICIAL}.get(name, CLEAN).facts())
    for field, value in sorted((facts or {}).items()):
        if defaults.get(field) != value:
            parts += ["--set", f"protocol.{field}={_option_value(value)}"]
    return parts


def _settings(record: Record) -> Iterator[tuple[str, str]]:
    """``METHOD.PARAM`` and value for the row and its base, except those the protocol sets."""
    fixed = {"alphas", "a_grid", "b_grid", "k_rule", "squared", "p", "calibrate", "captions"}
    for name, facts in ((record.method, "method"), (record.base, "base")):
        described = record.provenance.get(facts)
        if name is None or not isinstance(described, Mapping):
            continue
        method = re.split("[@+]", name)[0]
        inner = described.get("method") if "@" in name else described
        for field, value in _flat(inner if isinstance(inner, Mapping) else described):
            if field not in fixed:
                yield f"{method}.{field}", _option_value(value)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names as in `bench.core.parameters.parameters`; those of ``trainer`` have no prefix."""
    for name, inner in sorted(value.items()):
        if name in ("type", "version"):
            continue
        if isinstance(inner, Mapping):
            yield from _flat(inner, prefix if name == "trainer" else f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _option_value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_option_value, value)) + "]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )

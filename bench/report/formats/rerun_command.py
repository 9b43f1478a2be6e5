"""The command that makes a record again, with every hyper-parameter said."""

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
    """``bench run`` with one row and one seed; None where the record does not say enough.

    That is so for outputs and classifiers made elsewhere, which no command trains, and for records
    older than the provenance that is read here. All evaluation sets are run; ``--shifts`` would
    leave out others.
    """
    made = record.provenance
    suite, shots, few = record.suite.partition(", ")
    model, _, pretrained = record.model.rpartition("/")
    given = any(_mentions(made.get(name), ("Imported", "External")) for name in ("method", "base"))
    if given or "backbone" not in made or not model:
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
    if "precision" in made:
        parts += ["--precision", str(made["precision"])]
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
    usual = canonical({"clean": CLEAN, "official": OFFICIAL}.get(name, CLEAN).facts())
    for field, value in sorted((facts or {}).items()):
        if usual.get(field) != value:
            parts += ["--set", f"protocol.{field}={_said(value)}"]
    return parts


def _settings(record: Record) -> Iterator[tuple[str, str]]:
    """``METHOD.PARAM`` and value of the row and its base; what the protocol fixes is left out."""
    fixed = {"alphas", "a_grid", "b_grid", "k_rule", "squared", "p", "calibrate", "captions"}
    for name, facts in ((record.method, "method"), (record.base, "base")):
        made = record.provenance.get(facts)
        if name is None or not isinstance(made, Mapping):
            continue
        method = re.split("[@+]", name)[0]
        inner = made.get("method") if "@" in name else made
        for field, value in _flat(inner if isinstance(inner, Mapping) else made):
            if field not in fixed:
                yield f"{method}.{field}", _said(value)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names as `bench.core.parameters.parameters` has them: those of ``trainer`` by themselves."""
    for name, inner in sorted(value.items()):
        if name in ("type", "version"):
            continue
        if isinstance(inner, Mapping):
            yield from _flat(inner, prefix if name == "trainer" else f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _said(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_said, value)) + "]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )

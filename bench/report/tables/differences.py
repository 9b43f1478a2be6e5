"""What a run does otherwise than the protocol ``clean``, with the sources."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.api.protocol import CLEAN
from bench.api.registry import methods
from bench.core.hashing import canonical
from bench.core.parameters import settings
from bench.core.records import Record
from bench.report.tables.table import Table, TableCell, TableLine, _one_group, _value_or_dash

CAPTION = "Differences from the clean protocol"
COLUMNS = ("Field", "Clean", "This run", "Source")


def differences_table(protocol: Mapping[str, Any], records: Iterable[Record]) -> Table:
    """Return the fields of a protocol and of its methods that differ from ``clean``.

    Parameters
    ----------
    protocol : the fields of the run's protocol.
    records : the run's records. Of a method, only hyper-parameters with an official value of their
        own are compared; others suit the data and are no choice of the protocol.
    """
    clean, known = canonical(CLEAN.facts()), settings(CLEAN)
    texts = [
        (name, clean[name], protocol[name], known[name].source)
        for name in clean
        if name in protocol and protocol[name] != clean[name]
    ]
    shared: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for name, described in _described(records).items():
        if (cls := methods().get(name)) is None:
            continue
        for field, setting in settings(cls()).items():
            before = canonical(setting.clean)
            if setting.official != setting.clean and described.get(field, before) != before:
                after = described[field]
                shared[field, _value_or_dash(before), _value_or_dash(after), setting.source].append(
                    name
                )
    lines = [(name, _value_or_dash(a), _value_or_dash(b), source) for name, a, b, source in texts]
    lines += [
        (f"{field} of {', '.join(names)}", before, after, source)
        for (field, before, after, source), names in shared.items()
    ]
    rows = [TableLine(tuple(map(TableCell, line))) for line in lines]
    return Table(CAPTION, COLUMNS, "llll", _one_group(rows))


def described_parameters(
    described: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the hyper-parameters of a method in a record's provenance, named as in ``--set``."""
    for name, inner in sorted(described.items()):
        if name in ("type", "version"):
            continue
        if isinstance(inner, Mapping):
            yield from described_parameters(
                inner, prefix if name == "trainer" else f"{prefix}{name}."
            )
        else:
            yield f"{prefix}{name}", inner


def own_parameters(label: str, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of ``METHOD[@EPOCH]`` from its description in a record."""
    inner = described.get("method") if "@" in label else described
    return dict(described_parameters(inner if isinstance(inner, Mapping) else described))


def method_name(label: str) -> str:
    """Return METHOD of ``METHOD[@EPOCH][+MODIFIER]``."""
    return re.split("[@+]", label)[0]


def _described(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """Hyper-parameters of the methods and bases of `records`, {method: {parameter: value}}."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        for label, fact in ((record.method, "method"), (record.base, "base")):
            described = record.provenance.get(fact)
            if label is not None and isinstance(described, Mapping):
                name = method_name(label)
                if name not in found:
                    found[name] = own_parameters(label, described)
    return dict(sorted(found.items()))

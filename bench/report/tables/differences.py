"""What a run does otherwise than the protocol ``clean``, with the sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from bench.api.protocol import CLEAN
from bench.core.hashing import canonical
from bench.core.parameters import settings
from bench.core.records import Record
from bench.leaderboard.hyper_parameters import fixed_by_protocols, method_name, own_parameters
from bench.report.tables.table import Table, TableCell, TableLine, _one_group, _value_or_dash


def differences_table(protocol: Mapping[str, Any], records: Iterable[Record]) -> Table:
    """Return the fields of a protocol and of its methods that differ from ``clean``.

    Parameters
    ----------
    protocol : the fields of the run's protocol.
    records : the run's records. Of their methods, those hyper-parameters are compared that have an
        official value of their own; others suit the data and are no choice of a protocol.

    Examples
    --------
    >>> from bench.api.protocol import protocol_with
    >>> from bench.core.hashing import canonical
    >>> from bench.report.tables.differences import differences_table
    >>> table = differences_table(canonical(protocol_with("clean", {"ece_bins": 20}).facts()), [])
    >>> [cell.text for cell in table.groups[0][0].items[:3]]
    ['ece_bins', '15', '20']
    """
    clean, known = canonical(CLEAN.facts()), settings(CLEAN)
    lines = [
        (name, _value_or_dash(value), _value_or_dash(protocol[name]), known[name].source)
        for name, value in clean.items()
        if protocol.get(name, value) != value
    ]
    by_difference: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    own = {method_name(label): p for r in records for label, p in own_parameters(r).items()}
    for method, found in sorted(own.items()):
        for name, setting in fixed_by_protocols(method, task="").items():
            expected = canonical(setting.clean)
            if (value := found.get(name, expected)) != expected:
                texts = (_value_or_dash(expected), _value_or_dash(value))
                by_difference[(name, *texts, setting.source)].append(method)
    for (name, before, after, source), of in by_difference.items():
        lines.append((f"{name} of {', '.join(of)}", before, after, source))
    rows = [TableLine(tuple(map(TableCell, line))) for line in lines]
    columns = ("Field", "Clean", "This run", "Source")
    return Table("Differences from the clean protocol", columns, "llll", _one_group(rows))

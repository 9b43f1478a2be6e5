"""Columns of ``SUITE+corruptions``: the mean of each corruption over its severities.

Nobody can read 75 columns. Records hold every severity; only the shown columns are merged.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, TypeVar

from bench.core.errors import InputError
from bench.core.records import MissingCell, Record
from bench.data.suites.corruptions import SEVERITIES
from bench.leaderboard.board import ID, KINDS, BoardKey, board_key
from bench.leaderboard.comparability import check_comparable, describe_conflict, same_value

P = TypeVar("P", Record, MissingCell)


def merge_severities(
    records: Iterable[Record], missing: Iterable[MissingCell] = ()
) -> tuple[list[Record], list[MissingCell]]:
    """Merge the five severities of each corruption into one cell; return all other cells unchanged.

    Merges on leaderboards that have all corruptions at all severities. The value is the plain mean
    over severities. If a row has no value at one severity, it gets no cell for that corruption.
    Figures stay unchanged. Raises InputError, as `bench.leaderboard.build.build_boards` does, for
    records that contradict each other.

    Examples
    --------
    >>> from bench.leaderboard.severities import merge_severities
    >>> from bench.testing.fakes import fake_records
    >>> records, missing = merge_severities(fake_records())
    >>> records == fake_records()  # the suite has no corruptions
    True
    """
    found, absent = list(records), list(missing)
    to_merge = _with_all_severities((*(r for r in found if r.kind in KINDS), *absent))
    for key in sorted(to_merge):
        check_comparable(r for r in found if r.kind in KINDS and board_key(r) == key)
    merged = []
    severities: dict[tuple[Any, ...], dict[int, Record]] = defaultdict(dict)
    for record in found:
        if board_key(record) not in to_merge or record.kind == "figure":
            merged.append(record)
        elif record.shift == ID:
            merged.append(_moved(record))
        else:
            value_of = (record.kind, record.metric, record.kind == "curve" and str(record.choice))
            corruption, severity = _parts(record.shift)
            same = severities[
                board_key(record), record.method, record.base, record.seed, corruption, value_of
            ]
            if not same_value(same.setdefault(severity, record).value, record.value):
                raise InputError(describe_conflict(record, same[severity].value))
    merged += [
        _mean(list(same.values())) for same in severities.values() if len(same) == len(SEVERITIES)
    ]
    moved = (_moved(m) if board_key(m) in to_merge else m for m in absent)
    return merged, list(dict.fromkeys(moved))


def _with_all_severities(items: Iterable[Record | MissingCell]) -> set[BoardKey]:
    """Return the leaderboards that have every corruption at every severity."""
    shifts: dict[BoardKey, set[str]] = defaultdict(set)
    sizes: dict[BoardKey, int] = {}
    for item in items:
        if re.search(r"\+corruptions(?!=)", item.suite):
            shifts[board_key(item)] |= {item.shift} - {ID}
            sizes[board_key(item)] = item.shifts_in_suite
    return {key for key, names in shifts.items() if len(names) == sizes[key]}


def _parts(shift: str) -> tuple[str, int]:
    """Return the corruption and the severity of a shift: ``fog`` and 3 for ``fog-3``."""
    kind, _, severity = shift.rpartition("-")
    return kind, int(severity)


def _moved(item: P) -> P:
    """Return the cell at the place of its corruption, or an ID cell that counts corruptions."""
    count = len(SEVERITIES)
    changes: dict[str, object] = {"shifts_in_suite": item.shifts_in_suite // count}
    if item.shift != ID:
        changes |= {"shift": _parts(item.shift)[0], "order": (item.order - 1) // count + 1}
    return item.model_copy(update=changes)


def _mean(same: Sequence[Record]) -> Record:
    """Return the cell of a corruption from its cells at all severities."""
    weights = [record.weight for record in same if record.weight is not None]
    choices = [record.choice for record in same]
    changes = {
        "value": fmean(record.value for record in same),
        "n": sum(record.n for record in same),
        "weight": fmean(weights) if len(weights) == len(same) else None,
        "choice": choices[0] if all(choice == choices[0] for choice in choices) else {},
    }
    return _moved(same[0]).model_copy(update=changes)

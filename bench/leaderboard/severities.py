"""Columns of ``SUITE+corruptions``: each corruption's mean over its severities.

75 columns cannot be read. Records keep every severity; only what is shown is merged.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

from bench.core.errors import InputError
from bench.core.records import MissingCell, Record
from bench.data.suites.corruptions import SEVERITIES
from bench.leaderboard.board import ID, KINDS, BoardKey, board_key
from bench.leaderboard.comparability import check_comparable, describe_conflict

P = TypeVar("P", Record, MissingCell)


def merge_severities(
    records: Iterable[Record], missing: Iterable[MissingCell] = ()
) -> tuple[list[Record], list[MissingCell]]:
    """The cells, with those of each corruption's five severities made one; others as they are.

    That is done where all of a suite's corruptions are there at all severities. The value is the
    plain mean; a row that lacks a severity lacks the corruption. Figures stay as they are. Raises
    InputError, as `bench.leaderboard.build.build_boards` does, for records that contradict each
    other.
    """
    found, lacking = list(records), list(missing)
    whole = _whole((*(r for r in found if r.kind in KINDS), *lacking))
    for key in sorted(whole):
        check_comparable(r for r in found if r.kind in KINDS and board_key(r) == key)
    shown = []
    severities: dict[tuple[Any, ...], dict[int, Record]] = defaultdict(dict)
    for record in found:
        if board_key(record) not in whole or record.kind == "figure":
            shown.append(record)
        elif record.shift == ID:
            shown.append(_placed(record))
        else:
            what = (record.kind, record.metric, record.kind == "curve" and str(record.choice))
            kind, severity = _parts(record.shift)
            same = severities[
                board_key(record), record.method, record.base, record.seed, kind, what
            ]
            if same.setdefault(severity, record).value != record.value:
                raise InputError(describe_conflict(record, same[severity].value))
    shown += [_mean(list(same.values())) for same in severities.values() if _all(same)]
    absent = (_placed(m) if board_key(m) in whole else m for m in lacking)
    return shown, list(dict.fromkeys(absent))


def _whole(items: Iterable[Record | MissingCell]) -> set[BoardKey]:
    """The leaderboards of which every corruption is there at every severity."""
    shifts: dict[BoardKey, set[str]] = defaultdict(set)
    sizes: dict[BoardKey, int] = {}
    for item in items:
        if re.search(r"\+corruptions(?!=)", item.suite):
            shifts[board_key(item)] |= {item.shift} - {ID}
            sizes[board_key(item)] = item.shifts_in_suite
    return {key for key, names in shifts.items() if len(names) == sizes[key]}


def _all(same: Mapping[int, Record]) -> bool:
    return len(same) == len(SEVERITIES)


def _parts(shift: str) -> tuple[str, int]:
    """``fog`` and 3 of ``fog-3``."""
    kind, _, severity = shift.rpartition("-")
    return kind, int(severity)


def _placed(item: P) -> P:
    """A cell of one severity where its corruption's is, or an ID cell beside those."""
    count = len(SEVERITIES)
    changes: dict[str, object] = {"shifts_in_suite": item.shifts_in_suite // count}
    if item.shift != ID:
        changes |= {"shift": _parts(item.shift)[0], "order": (item.order - 1) // count + 1}
    return item.model_copy(update=changes)


def _mean(same: Sequence[Record]) -> Record:
    """The cell of a corruption from its cells at all severities."""
    weights = [record.weight for record in same if record.weight is not None]
    choices = [record.choice for record in same]
    changes = {
        "value": fmean(record.value for record in same),
        "n": sum(record.n for record in same),
        "weight": fmean(weights) if len(weights) == len(same) else None,
        "choice": choices[0] if all(choice == choices[0] for choice in choices) else {},
    }
    return _placed(same[0]).model_copy(update=changes)
